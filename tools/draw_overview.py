"""Draw the README's picture: what IPCV keeps of the example, and accuracy against encoder cost."""

from __future__ import annotations

import json
from typing import Any

import matplotlib.pyplot as plt
import torch
from matplotlib.axes import Axes
from PIL import Image

import ipcv
from ipcv.loading import load
from ipcv.models import EXAMPLE, TINY
from ipcv.overlay import draw_overlay
from ipcv.prompt import EXAMPLE_QUESTION, Media, build_inputs
from write_card import RESULTS, ROOT

INK, ACCENT, MUTED = "#1b1f24", "#0a7d5a", "#9aa3ad"


def kept_patches() -> tuple[Image.Image, str]:
    """The example with its removed patches dimmed, and the compressed model's answer."""
    model, processor = load(TINY)
    media = [Media((Image.open(EXAMPLE).convert("RGB"),))]
    inputs = build_inputs(model, processor, media, EXAMPLE_QUESTION)
    with torch.inference_mode(), ipcv.compress(model, ipcv.preset(model).vision) as handle:
        output = model.generate(**inputs)
    answer = processor.decode(output[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
    return draw_overlay(media, inputs, list(handle.stats)), answer.strip()


def plot_scores(axes: Axes, results: dict[str, Any]) -> None:
    """Accuracy over encoder GFLOPs, one line per way to save."""
    start = results["rows"]["uncompressed"]
    ways = (("IPCV 0", "IPCV", ACCENT), ("downsampled", "smaller image", MUTED))
    for prefix, label, colour in ways:
        rows = [
            row
            for name, row in results["rows"].items()
            if name.startswith(prefix) and "," not in name
        ]
        rows = sorted([start, *rows], key=lambda row: -row["encoder_gflops"])
        cost = [row["encoder_gflops"] for row in rows]
        accuracy = [100 * row["overall"] for row in rows]
        axes.plot(cost, accuracy, "o-", color=colour, label=label, linewidth=2)
    prior = 100 * results["prior"]["overall"]
    axes.axhline(prior, color=MUTED, linestyle=":", label="answer prior")
    axes.set(xlabel="encoder GFLOPs per image", ylabel="right answers, %", ylim=(0, 100))
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="lower right")


def main() -> None:
    """Write ``docs/overview.png``."""
    results = json.loads(RESULTS.read_text())
    ratio = results["settings"]["reduction_ratio"]
    overlay, answer = kept_patches()
    figure, (left, middle, right) = plt.subplots(
        1, 3, figsize=(12, 4), width_ratios=(1, 1, 1.15), layout="constrained"
    )
    left.imshow(Image.open(EXAMPLE))
    left.set_title("the image", color=INK)
    middle.imshow(overlay)
    middle.set_title(f"patches that all blocks see ({1 - ratio:.0%})", color=INK)
    middle.text(0.5, -0.04, f"{EXAMPLE_QUESTION}  {answer}", color=INK, ha="center", va="top",
                transform=middle.transAxes)  # fmt: skip
    for axes in (left, middle):
        axes.axis("off")
    plot_scores(right, results)
    right.set_title(f"{results['questions']:,} held-out questions", color=INK)
    figure.savefig(ROOT / "docs" / "overview.png", dpi=110)


if __name__ == "__main__":
    main()
