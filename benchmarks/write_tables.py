"""The measured tables of the Markdown files, from ``benchmarks/results``.

python benchmarks/write_tables.py
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ipcv.bench.scenes import QUESTION_KINDS
from ipcv.bench.scenes.clips import CLIP_KINDS
from ipcv.bench.scenes.pictures import PICTURES
from ipcv.models import TINY

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
TABLES = ROOT / "benchmarks" / "README.md"
OURS = "ipcv 0.5"
"""What the README shows of ours: the embedded model's preset."""

SHOWN = ("uncompressed", "ipcv 0.35", OURS, "pixelprune 0.5", "downsample 0.35", "downsample 0.5")
"""The rows of the suite that the README has."""

COMPARED = (
    "uncompressed",
    "ipcv 0.35",
    "ipcv 0.5",
    "ipcv 0.65",
    "ipcv 0.8",
    "adaptive 0.65",
    "published 0.5",
    "published 0.65",
    "tome-decreasing 0.8",
    "pixelprune 0.5",
    "pixelprune 0.65",
    "downsample 0.35",
    "downsample 0.5",
)
"""The rows that help to choose a method, about the times that people ask for."""


def read(name: str) -> dict[str, Any]:
    """A file of results."""
    content: dict[str, Any] = json.loads((RESULTS / f"{name}.json").read_text())
    return content


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Markdown, numbers to the right."""
    rule = ["---", *["---:"] * (len(header) - 1)]
    return "\n".join("| " + " | ".join(row) + " |" for row in [header, rule, *rows])


def percent(estimate: Sequence[float] | None) -> str:
    """A share in percent."""
    return "" if estimate is None else f"{100 * estimate[0]:.1f}"


def plus_minus(estimate: Sequence[float], scale: float = 1, digits: int = 3) -> str:
    """A mean and half its 95 % interval."""
    mean, low, high = (scale * value for value in estimate)
    return f"{mean:.{digits}f} ±{(high - low) / 2:.{digits}f}"


def accuracy(
    variants: dict[str, dict[str, Any]], kinds: Sequence[str] = tuple(QUESTION_KINDS)
) -> str:
    """Right answers in percent, overall and by kind of question."""
    header = ["", "all", *kinds, "encoder time"]
    rows = []
    for name, row in variants.items():
        overall = plus_minus(row["overall"], scale=100, digits=1)
        time = f"{row['time']:.2f}" if "time" in row else ""
        rows.append([name, overall, *(percent(row.get(kind)) for kind in kinds), time])
    return table(header, rows)


def asked(variants: dict[str, dict[str, Any]]) -> tuple[str, ...]:
    """The kinds of pictures that were asked about."""
    return tuple(name for name in PICTURES if name in variants["uncompressed"])


def fidelity(variants: dict[str, dict[str, Any]]) -> str:
    """Cosine and error overall, cosine by kind of content."""
    names = [name for name in next(iter(variants.values())) if name != "time"]
    header = ["", "encoder time", *names]
    return table(
        header,
        [
            [variant, f"{row['time']:.2f}", *(plus_minus(row[name]) for name in names)]
            for variant, row in variants.items()
        ],
    )


def equal_time(
    results: dict[str, Any], rival: str = "downsample", scale: float = 1, digits: int = 3
) -> str:
    """Quality at equal encoder time, and in brackets the gain over the rival."""
    compared = results["at_equal_time"]
    gains = compared["gains"][rival]

    def cell(quality: Sequence[float] | None, gain: Sequence[float] | None) -> str:
        if quality is None:
            return "-"
        text = f"{scale * quality[0]:.{digits}f}"
        if gain is None:
            return text
        mean, low, high = (scale * value for value in gain)
        mark = "**" if low > 0 else ""
        return f"{mark}{text}{mark} ({mean:+.{digits}f} ±{(high - low) / 2:.{digits}f})"

    rows = []
    for method, qualities in compared["quality"].items():
        own = gains.get(method, [None] * len(qualities))
        rows.append([method, *map(cell, qualities, own)])
    return table(["encoder time", *(f"{time:g}" for time in compared["times"])], rows)


def by_kind(
    results: dict[str, Any],
    methods: Sequence[str] = (),
    kinds: Sequence[str] = (),
    scale: float = 1,
    digits: int = 3,
) -> str:
    """Quality at one encoder time, by kind of content; bold where one method is clear of all."""
    known = results["best"]["kinds"]
    columns = {name: known[name] for name in kinds or known}
    methods = methods or list(dict.fromkeys(m for k in columns.values() for m in k["qualities"]))

    def cell(method: str, best: dict[str, Any]) -> str:
        if method not in best["qualities"]:
            return "-"
        mark = "**" if best["decided"] and method == best["method"] else ""
        return f"{mark}{plus_minus(best['qualities'][method], scale, digits)}{mark}"

    rows = [[method, *(cell(method, best) for best in columns.values())] for method in methods]
    return table([f"at {results['best']['time']:g} of the time", *columns], rows)


def by_size(results: dict[str, Any]) -> str:
    """Right answers in percent, by size of picture."""
    sizes = results["sizes"]
    rows = [
        [name, *(plus_minus(row[name], scale=100, digits=1) for row in sizes.values())]
        for name in next(iter(sizes.values()))
    ]
    return table(["", *sizes], rows)


def costs(results: dict[str, Any]) -> str:
    """Measured cost of the vision encoder."""
    header = ["", "kept", "ms", "GFLOPs", "speed-up (least-most)", "bound", "of bound", "peak MB"]
    rows = []
    for row in results["rows"]:
        spread = f"{row['encoder_speedup_min']:.2f}-{row['encoder_speedup_max']:.2f}"
        rows.append(
            [
                f"{row['workload']}, {row['variant']}",
                f"{row['patches_kept']:,} of {row['patches']:,}",
                f"{row['encoder_ms']:.1f}",
                f"{row['encoder_gflops']:.1f}",
                f"{row['encoder_speedup']:.2f} ({spread})",
                f"{row['encoder_bound']:.2f}",
                f"{row['speedup_over_bound']:.2f}",
                f"{row['peak_bytes'] / 1e6:,.0f}",
            ]
        )
    return table(header, rows)


def serving(results: dict[str, list[dict[str, Any]]]) -> str:
    """What a compressing server, and one with shorter prompts, gain over a plain one."""
    header = ["model", "pixels, clients"]
    for server in ("compressed", "and shorter prompts"):
        header += [f"{server}: first token, s", "earlier by", "requests/s", "tokens"]
    rows = []
    for model, measured in results.items():
        for pair in zip(measured[::2], measured[1::2], strict=True):
            row = [model, f"{pair[0]['size']}, {pair[0]['concurrency']}"]
            for one in pair:
                before, after = one["baseline"], one["compressed"]
                seconds = [x["ttft_ms_median"] / 1e3 for x in (before, after)]
                row += [
                    "{:.2f} → {:.2f}".format(*seconds),
                    "{ttft_speedup:.2f} ({ttft_speedup_min:.2f}-{ttft_speedup_max:.2f})".format(
                        **one
                    ),
                    f"{before['requests_per_second']:.2f} → {after['requests_per_second']:.2f}",
                    f"{after['prompt_tokens_mean']:.0f} of {before['prompt_tokens_mean']:.0f}",
                ]
            rows.append(row)
    return table(header, rows)


def environment(results: dict[str, Any]) -> str:
    """Machine and versions, in a line."""
    return ", ".join(f"{name} {value}" for name, value in results["environment"].items())


def fill(path: Path, marker: str, text: str) -> None:
    """Replace what is between the two comments ``marker`` of a Markdown file."""
    start, end = f"<!-- {marker} -->", f"<!-- /{marker} -->"
    head, rest = path.read_text().split(start)
    path.write_text(f"{head}{start}\n\n{text}\n\n{end}{rest.split(end)[1]}")


def main() -> None:
    """Fill all files."""
    suite, parts, language = read("suite"), read("suite-parts"), read("suite-language")
    controls, video = read("controls-pictures")["variants"], read("suite-video")
    pictures = asked(suite["variants"])
    shown, compared = (
        {name: suite["variants"][name] for name in names} for names in (SHOWN, COMPARED)
    )
    fill(ROOT / "README.md", "scores", accuracy(shown, pictures))
    fill(ROOT / "docs" / "which-method.md", "scores", accuracy(compared, pictures))
    fill(TINY / "README.md", "reference", accuracy(read("controls")["variants"]))
    for path in (TINY / "README.md", TABLES):
        fill(path, "pictures", accuracy(controls, asked(controls)))
        fill(path, "video", accuracy(video["variants"], CLIP_KINDS))
    fill(TINY / "README.md", "vision", accuracy(suite["variants"], pictures))
    fill(TINY / "README.md", "language", accuracy(language["variants"]))
    fill(TABLES, "suite", accuracy(suite["variants"], pictures))
    fill(TABLES, "suite-kinds", by_kind(suite, (), ("all", *pictures), 100, 1))
    fill(TABLES, "suite-time", equal_time(suite, scale=100, digits=1))
    fill(TABLES, "clips-kinds", by_kind(read("clips")))
    fill(TABLES, "clips-time", equal_time(read("clips")))
    fill(TABLES, "suite-parts", accuracy(parts["variants"]))
    fill(TABLES, "language", accuracy(language["variants"]))
    fill(TINY / "README.md", "sizes", by_size(read("sizes")))
    dinov2, bench = read("dinov2"), read("bench")
    fill(
        ROOT / "README.md", "kinds", by_kind(dinov2, ("adaptive", "tome-decreasing", "downsample"))
    )
    fill(TABLES, "dinov2", fidelity(dinov2["variants"]))
    for name in ("dinov2", "dinov2-224"):
        fill(TABLES, f"{name}-kinds", by_kind(read(name)))
        fill(TABLES, f"{name}-time", equal_time(read(name)))
    fill(TABLES, "dinov2-parts", fidelity(read("dinov2-parts")["variants"]))
    fill(TABLES, "bench", costs(bench))
    fill(ROOT / "docs" / "serving.md", "serving", serving(read("serving")))
    fill(TABLES, "environment", environment(suite))


if __name__ == "__main__":
    main()
