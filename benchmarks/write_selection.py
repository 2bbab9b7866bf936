"""The measured tables of ``selection.md``.

python benchmarks/write_selection.py
"""

from __future__ import annotations

from typing import Any

from write_tables import ROOT, equal_time, fill, plus_minus, read, table

PAGE = ROOT / "benchmarks" / "selection.md"
KINDS = ("photo", "science", "text", "texture")


def screening(results: dict[str, Any]) -> str:
    """One row per variant: FLOPs, cosine overall and by kind, and right answers in percent."""
    photos, scenes = (results[name]["variants"] for name in ("photos", "scenes"))
    header = ["", "FLOPs", "cosine", *KINDS, "FLOPs", "right, %"]
    rows = []
    for name, row in photos.items():
        other = scenes.get(name)
        answers = ["", ""]
        if other is not None:
            answers = [f"{other['time']:.2f}", plus_minus(other["overall"], scale=100, digits=1)]
        kinds = [f"{row[kind][0]:.3f}" for kind in KINDS]
        rows.append([name, f"{row['time']:.2f}", plus_minus(row["cosine"]), *kinds, *answers])
    return table(header, rows)


def write() -> None:
    """Fill the page with what there is."""
    results = read("selection-screening")
    counts = results["photos"]["images"], results["scenes"]["scenes"]
    fill(PAGE, "screening", screening(results))
    fill(PAGE, "counts", f"Measured on {counts[0]} calibration crops and {counts[1]} scenes.")
    rival = "tome-decreasing"
    fill(PAGE, "photos-time", equal_time(read("dinov2"), rival))
    fill(PAGE, "scenes-time", equal_time(read("suite"), rival, scale=100, digits=1))


if __name__ == "__main__":
    write()
