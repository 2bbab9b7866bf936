"""The built-in suite's questions as a task of lmms-eval: a YAML file and its data.

    python benchmarks/write_scenes_task.py FOLDER --questions 60
    lmms-eval --model ipcv --model_args pretrained=src/ipcv/models/tiny --tasks FOLDER/scenes.yaml

Needs `datasets`, which lmms-eval brings.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from datasets import Dataset, Features, Image, Value

from ipcv.bench.quality.suite import ANSWER_TOKENS, held_out_scenes

TASK = """\
task: ipcv_scenes
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
  max_new_tokens: {tokens}
  do_sample: false
metric_list:
  - metric: exact_match
    aggregation: mean
    higher_is_better: true
"""

FEATURES = {"image": Image(), "question": Value("string"), "answer": Value("string")}


def write_task(folder: Path, num_questions: int) -> Path:
    """The task's YAML file, in `folder`; each question is a row with its image."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = [
        {"image": scene.image, "question": question.text, "answer": question.answer}
        for scene in held_out_scenes(num_questions)
        for question in scene.questions
    ]
    data, task = folder.resolve() / "scenes.parquet", folder / "scenes.yaml"
    Dataset.from_list(rows, features=Features(FEATURES)).to_parquet(data)
    task.write_text(TASK.format(data=data, tokens=ANSWER_TOKENS))
    return task


def main() -> None:
    """Parse the options and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--questions", type=int, default=1000)
    options = parser.parse_args()
    print(write_task(options.folder, options.questions))


if __name__ == "__main__":
    main()
