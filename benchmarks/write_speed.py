"""Write the measured speed of encoders, on a CPU and on the GPUs that were had, into ``speed.md``.

PYTHONPATH=tools python benchmarks/write_speed.py
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from statistics import median
from typing import Any

from ipcv.bench.variants import UNCOMPRESSED
from speed_table import Row, bound, speedup
from speed_table import table as speed_table
from write_tables import RESULTS, ROOT, fill, read, table

PAGE = ROOT / "benchmarks" / "speed.md"
PUBLISHED, NOT_MEASURED = "published", "not measured"

Gpu = dict[str, Any]
"""What `tools/gpu/run.sh` writes: the `device`, `versions`, and `parts` with their results."""


def gpus() -> list[Gpu]:
    """All that were measured. Raises `ValueError` for the result of a quick run."""
    found = [json.loads(path.read_text()) for path in sorted(RESULTS.glob("gpu-*.json"))]
    for gpu in found:
        if gpu["quick"]:
            raise ValueError(f"the result of {gpu['device']} is from a quick run, whose sizes lie")
    return found


def devices(cpu: Sequence[Row], measured: Sequence[Gpu]) -> str:
    """Speed-ups by the published settings, and their bounds: a column for each device."""
    columns = {"CPU, few blocks": [row for row in cpu if is_usual(row, "float32")]}
    for gpu in measured:
        rows = result(gpu, "speed") or []
        columns[gpu["device"]] = [row for row in rows if is_usual(row, "bfloat16")]
    places = dict.fromkeys((row["shape"], row["case"]) for rows in columns.values() for row in rows)
    header = ["encoder, patches", *columns, *([] if measured else ["GPU"])]
    lines = []
    for shape, case in places:
        cells = [f"{shape}, {case}"]
        for rows in columns.values():
            own = [row for row in rows if (row["shape"], row["case"]) == (shape, case)]
            cells.append(gain(own[0]) if own else NOT_MEASURED)
        lines.append(cells if measured else [*cells, NOT_MEASURED])
    return table(header, lines)


def is_usual(row: Row, dtype: str) -> bool:
    """Whether a row is one of the real dimensions, with everybody's attention."""
    return row["dtype"] == dtype and row["attention"] == "sdpa" and not row["width"]


def gain(row: Row) -> str:
    """By the published settings."""
    if PUBLISHED not in row["ms"]:
        return "failed"
    return f"{speedup(row, PUBLISHED):.2f}x of {bound(row, PUBLISHED):.2f}x"


def result(gpu: Gpu, part: str) -> Any:
    """What a part wrote; `None` where it was not reached."""
    return gpu["parts"].get(part, {}).get("result")


def section(gpu: Gpu) -> str:
    """All that one GPU told."""
    versions = ", ".join(f"{name} {value}" for name, value in gpu["versions"].items())
    unfinished = [f"{n} {p['ended']}" for n, p in gpu["parts"].items() if p["ended"] != "finished"]
    paragraphs = [f"### {gpu['device']}", f"{versions}."]
    if unfinished:
        paragraphs.append(f"Incomplete: {', '.join(unfinished)}.")
    for part, (title, show) in SHOWN.items():
        found = result(gpu, part)
        paragraphs += [f"{title}:", show(found) if found else NOT_MEASURED]
    return "\n\n".join(paragraphs)


def tests(found: dict[str, Row]) -> str:
    """How many passed, which failed, and the numbers that they recorded."""
    outcomes = Counter(row["outcome"] for row in found.values())
    lines = [[", ".join(f"{number} {outcome}" for outcome, number in outcomes.items()), ""]]
    for name, row in found.items():
        numbers = {k: v for k, v in row.items() if isinstance(v, int | float)}
        if numbers or row["outcome"] == "failed":
            texts = [f"{key} {value:.3g}" for key, value in numbers.items()]
            lines.append([f"`{name}`", ", ".join([row["outcome"], *texts])])
    return table(["test", "result"], lines)


def speed(rows: list[Row]) -> str:
    """Every way through every case, and by how much longer the host is busy."""
    ways = list(dict.fromkeys(way for row in rows for way in row["ms"] if way != UNCOMPRESSED))
    lines = []
    for row in rows:
        host = {way: median(times) for way, times in row["host_ms"].items()}
        more = [f"{host[way] - host[UNCOMPRESSED]:+.2f}" if way in host else "" for way in ways]
        label = f"{row['shape']}, {row['case']}, {row['attention']}"
        lines.append([label, f"{host[UNCOMPRESSED]:.2f}", *more])
    host_table = table(["host, ms", UNCOMPRESSED, *(f"{way}, more" for way in ways)], lines)
    return f"{speed_table(rows)}\n\nMilliseconds until the host is free again:\n\n{host_table}"


def fixed_lengths(rows: list[Row]) -> str:
    """Launched one by one and as a graph, compiled and not."""
    lines = []
    for row in rows:
        label = f"{row['shape']}, {row['case']}, {row['blocks']} blocks, {row['variant']}"
        times = {way: f"{median(ms):.3f}" for way, ms in row["ms"].items()}
        compiled = "compiled" if row["compiled"] else "eager"
        lines.append([label, compiled, times["call"], times.get("graph", "")])
    return table(["blocks", "", "ms", "as a CUDA graph, ms"], lines)


def generation(rows: list[Row]) -> str:
    """Time to the first token, and tokens per second of all requests together."""
    header = ["requests, variant", "first token, ms", "speed-up", "tokens/s", "LLM tokens"]
    return table(
        header,
        [
            [
                f"{row['requests']}, {row['variant']}",
                f"{row['first_token_ms']:.1f}",
                f"{row['first_token_speedup']:.2f}",
                f"{row['tokens_per_second']:.0f}",
                f"{row['llm_tokens']:,}",
            ]
            for row in rows
        ],
    )


def precision(found: dict[str, dict[str, Row]]) -> str:
    """Right answers and cosines in both dtypes."""
    header = ["", "bf16", "fp32 on the CPU", "same answers", "p"]
    lines = [
        [
            f"{name}, right of {row['questions']}",
            f"{row['bfloat16']}",
            f"{row['float32']}",
            f"{row['same_answers']}",
            f"{row['p']:.2f}",
        ]
        for name, row in found["questions"].items()
    ]
    for name, row in found["features"].items():
        cosines = [f"{row[dtype]:.4f}" for dtype in ("bfloat16", "float32")]
        lines.append([f"{name}, cosine on {row['images']} images", *cosines, "", ""])
    return table(header, lines)


def one_call(rows: list[Row]) -> str:
    """Where the time of a call goes."""
    names = ["ms", "host_ms", "kernels", "busy_ms", "gaps_ms", "longest_gap_ms"]
    header = ["", *(name.replace("_", " ") for name in names)]
    return table(header, [[row["variant"], *(f"{row[n]:.4g}" for n in names)] for row in rows])


SHOWN: dict[str, tuple[str, Callable[[Any], str]]] = {
    "tests": ("Tests", tests),
    "speed": ("Speed", speed),
    "fixed-lengths": ("Blocks at fixed lengths", fixed_lengths),
    "generation": ("Whole model, random weights", generation),
    "precision": ("Answers and features", precision),
    "one-call": ("One call, profiled", one_call),
}


def write() -> None:
    """Fill the page with what there is."""
    cpu, measured = read("speed-cpu"), gpus()
    fill(PAGE, "devices", devices(cpu, measured))  # type: ignore[arg-type]
    fill(PAGE, "cpu", speed_table(cpu))  # type: ignore[arg-type]
    fill(PAGE, "gpu", "\n\n".join(map(section, measured)) or "Not measured.")


if __name__ == "__main__":
    write()
