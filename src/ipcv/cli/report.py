"""What `ipcv run` prints."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from rich.table import Table

from ipcv.bench.compare import Run, visual_cosine
from ipcv.config import IPCV


@dataclass(frozen=True)
class Report:
    """Runs of one prompt, by name."""

    model: str
    question: str
    settings: IPCV | None
    runs: dict[str, Run]

    def to_dict(self) -> dict[str, Any]:
        """All numbers as JSON types; of times the medians."""
        summaries = {name: run.summary() for name, run in self.runs.items()}
        result: dict[str, Any] = {
            "model": self.model,
            "question": self.question,
            "settings": None if self.settings is None else self.settings.to_dict(),
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
        return result

    def to_table(self) -> Table:
        """The same, for people."""
        report = self.to_dict()
        table = Table(title=self.question, caption=_settings_line(self.settings))
        table.add_column("")
        for name in self.runs:
            table.add_column(name, justify="right")
        rows = {
            "answer": "{answer}",
            "patches kept": "{patches_kept:,} of {patches:,}",
            "encoder GFLOPs": "{encoder_gflops:.2f}",
            "encoder ms": "{encoder_ms:.1f}",
            "prefill ms": "{prefill_ms:.1f}",
            "total ms": "{total_ms:.1f}",
        }
        for label, template in rows.items():
            table.add_row(label, *(template.format(**report[name]) for name in self.runs))
        if "encoder_speedup" in report:
            table.add_section()
            table.add_row("encoder speed-up", "1.00x", f"{report['encoder_speedup']:.2f}x")
            table.add_row("bound by FLOPs", "1.00x", f"{report['encoder_flops_ratio']:.2f}x")
            cosine = f"{report['visual_token_cosine']:.4f}"
            table.add_row("cosine of visual tokens", "1.0000", cosine)
        return table


def _settings_line(settings: IPCV | None) -> str | None:
    if settings is None:
        return None
    pairs = dataclasses.asdict(settings).items()
    return "IPCV: " + ", ".join(f"{name} {value}" for name, value in pairs)
