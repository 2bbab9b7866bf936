"""lmms-eval called from Python."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from ipcv.integrations.lmms_eval.arguments import ModelArguments


def run(
    tasks: Sequence[str],
    model: str,
    settings: Mapping[str, Any],
    *,
    batch_size: int = 1,
    limit: int | None = None,
    output: Path | None = None,
    include: Path | None = None,
) -> dict[str, dict[str, Any]]:
    """Metrics per task, by lmms-eval's names. Empty in all but the first of several processes.

    Args:
        tasks: lmms-eval's names.
        model: folder or hub id.
        settings: other names of `ModelArguments.parse`.
        batch_size: prompts per batch.
        limit: questions per task; all by default.
        output: folder for lmms-eval's own files: results, and each answer.
        include: folder with YAML files of more tasks.

    Raises:
        ImportError: lmms-eval is not installed.
        OSError: the output folder cannot be made.
        ValueError: an unknown task, a setting that is unknown or wrong, or lmms-eval stopped, for
            instance for missing data or a hub out of reach.
    """
    given = {"pretrained": model} | dict(settings)
    ModelArguments.parse(given | {"batch_size": batch_size})
    model_args = ",".join(f"{name}={_text(value)}" for name, value in given.items())
    if output is not None:
        output.mkdir(parents=True, exist_ok=True)
    try:
        from lmms_eval.__main__ import cli_evaluate_single, parse_eval_args
        from tenacity import RetryError
    except ImportError as error:
        raise ImportError(
            f"tasks need lmms-eval: pip install 'ipcv[lmms-eval]' ({error})"
        ) from None
    options: dict[str, Any] = {
        "--model": "ipcv",
        "--model_args": model_args,
        "--tasks": ",".join(tasks),
        "--batch_size": batch_size,
        "--limit": limit,
        "--output_path": output,
        "--include_path": include,
    }
    line = [str(word) for pair in options.items() if pair[1] is not None for word in pair]
    if output is not None:
        line.append("--log_samples")
    before, sys.argv = sys.argv, ["lmms_eval", *line]  # the only place its parser reads from
    try:
        _, parsed = parse_eval_args()
        results, _ = cli_evaluate_single(parsed)
    except SystemExit as stop:
        raise ValueError(str(stop.code).removeprefix("ipcv: ")) from None
    except RetryError as error:  # what it tries again and again, like a download
        raise ValueError(f"lmms-eval gave up: {error.last_attempt.exception()}") from None
    finally:
        sys.argv = before
    return dict(results["results"]) if results else {}


def metrics_table(results: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> Table:
    """A row per variant, a column per task and metric; without standard errors.

    Args:
        results: what `run` returned, per variant.
    """
    cells = {
        variant: {
            f"{task} {metric.partition(',')[0]}": value
            for task, metrics in tasks.items()
            for metric, value in metrics.items()
            if isinstance(value, int | float) and "stderr" not in metric
        }
        for variant, tasks in results.items()
    }
    table = Table("")
    names = list(dict.fromkeys(name for row in cells.values() for name in row))
    for name in names:
        table.add_column(name, justify="right")
    for variant, row in cells.items():
        table.add_row(variant, *(f"{row[n]:.4g}" if n in row else "-" for n in names))
    return table


def _text(value: Any) -> str:
    """A value as lmms-eval reads it back."""
    if not isinstance(value, str):
        return json.dumps(value)
    if "," in value:
        raise ValueError(f"lmms-eval takes no value with a comma: {value!r}")
    return value
