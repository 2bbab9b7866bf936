"""Runs of one prompt side by side: what `ipcv run` prints, and `ipcv demo` shows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rich.table import Table

from ipcv.bench.cost.measure import Cost
from ipcv.bench.quality.answers import Answer, visual_cosine
from ipcv.bench.variants import Variant
from ipcv.settings.methods import named

MEDIANS = ("encoder_ms", "prefill_ms", "decode_ms", "total_ms")
DECODING = "ms per new token"
REPORT_ROWS = {
    "answer": "{answer}",
    "patches kept": "{patches_kept:,} of {patches:,}",
    "encoder GFLOPs": "{encoder_gflops:.2f}",
    "encoder ms": "{encoder_ms:.1f}",
    "LLM tokens": "{llm_tokens:,}",
    "KV cache MB": "{kv_megabytes:.2f}",
    "prefill ms": "{prefill_ms:.1f}",
    DECODING: "{decode_ms:.1f}",
    "total ms": "{total_ms:.1f}",
}


@dataclass(frozen=True)
class RunReport:
    """Runs of one prompt, by name."""

    model: str
    question: str
    settings: Variant
    runs: dict[str, Answer]
    costs: dict[str, Cost]

    def to_dict(self) -> dict[str, Any]:
        """All numbers as JSON types; of times the medians."""
        summaries = {name: _summary(run, self.costs[name]) for name, run in self.runs.items()}
        result: dict[str, Any] = {
            "model": self.model,
            "question": self.question,
            "vision": named(self.settings.vision),
            "language": named(self.settings.language),
            **summaries,
        }
        if len(self.runs) == 2:
            before, after = summaries["uncompressed"], summaries["compressed"]
            result["encoder_speedup"] = before["encoder_ms"] / after["encoder_ms"]
            result["total_speedup"] = before["total_ms"] / after["total_ms"]
            result["encoder_flops_ratio"] = before["encoder_gflops"] / after["encoder_gflops"]
            result["visual_token_cosine"] = visual_cosine(
                self.runs["compressed"], self.runs["uncompressed"]
            )
            result["conclusion"] = conclusion(result)
        return result

    def to_table(self) -> Table:
        """The same, for people."""
        report = self.to_dict()
        sides = (self.settings.vision, self.settings.language)
        lines = [report.get("conclusion"), *sides]
        table = Table(
            title=self.question,
            caption="\n".join(str(line) for line in lines if line),
        )
        table.add_column("")
        for name in self.runs:
            table.add_column(name, justify="right")
        measured, compared = self.rows()
        for label, cells in measured.items():
            table.add_row(label, *cells)
        if compared:
            table.add_section()
        for label, cells in compared.items():
            table.add_row(label, *cells)
        return table

    def rows(self) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
        """Cells by label, one for each run: what was measured, and where there are two, ratios."""
        report = self.to_dict()
        templates = dict(REPORT_ROWS)
        if any(report[name]["decode_ms"] is None for name in self.runs):
            del templates[DECODING]
        measured = {
            label: [template.format(**report[name]) for name in self.runs]
            for label, template in templates.items()
        }
        if len(self.runs) < 2:
            return measured, {}
        return measured, {
            "encoder speed-up": ["1.00x", f"{report['encoder_speedup']:.2f}x"],
            "bound by FLOPs": ["1.00x", f"{report['encoder_flops_ratio']:.2f}x"],
            "cosine of visual tokens": ["1.0000", f"{report['visual_token_cosine']:.4f}"],
        }


def conclusion(report: dict[str, Any]) -> str:
    """What to conclude from the two runs, in a line."""
    before, after = report["uncompressed"], report["compressed"]
    answers = "same answer" if before["answer"] == after["answer"] else "another answer"
    speedup = report["encoder_speedup"]
    faster = f"encoder {speedup:.1f}x faster" if speedup >= 1.05 else "encoder no faster"
    bound = report["encoder_flops_ratio"]
    return f"{answers}, {faster}; at this size the FLOPs would allow {bound:.1f}x"


def _summary(run: Answer, cost: Cost) -> dict[str, Any]:
    return {
        "answer": run.answer,
        "new_tokens": run.new_tokens,
        "patches": cost.patches,
        "patches_kept": cost.patches_kept,
        **{name: cost.median(name) for name in MEDIANS},
        "encoder_gflops": cost.encoder_gflops,
        "llm_tokens": cost.llm_tokens,
        "kv_megabytes": cost.kv_bytes / 1e6,
    }
