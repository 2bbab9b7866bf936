"""lmms-eval: a task of your own questions, asked with and without compression."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from datasets import Dataset, Features, Image, Value  # which lmms-eval brings
from rich.console import Console

from ipcv.integrations.lmms_eval.front import metrics_table, run
from ipcv.models import EXAMPLE, TINY

QUESTIONS = {"What number is written?": "880"}
"""With their answers, about the shipped picture."""

TASK = """\
task: own_questions
dataset_path: parquet
dataset_kwargs:
  data_files:
    test: {data}
test_split: test
output_type: generate_until
doc_to_visual: image
doc_to_text: "{{{{question}}}}"
doc_to_target: answer
generation_kwargs:
  max_new_tokens: 8
metric_list:
  - metric: exact_match
    aggregation: mean
    higher_is_better: true
"""


def write_task(folder: Path) -> None:
    """A row for each question with its picture, and a file that tells lmms-eval about them."""
    columns = {"image": Image(), "question": Value("string"), "answer": Value("string")}
    rows = [
        {"image": str(EXAMPLE), "question": question, "answer": answer}
        for question, answer in QUESTIONS.items()
    ]
    data = folder / "own.parquet"
    Dataset.from_list(rows, features=Features(columns)).to_parquet(data)
    (folder / "own.yaml").write_text(TASK.format(data=data))


def main() -> None:
    """Ask the embedded model; lmms-eval's own tasks, such as gqa, work the same way."""
    variants = {"uncompressed": {"compress": False}, "compressed": {"reduction_ratio": 0.5}}
    with TemporaryDirectory() as name:
        write_task(folder := Path(name))
        results = {
            variant: run(["own_questions"], str(TINY), settings, include=folder)
            for variant, settings in variants.items()
        }
    Console().print(metrics_table(results))


if __name__ == "__main__":
    main()
