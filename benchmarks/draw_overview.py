"""The README's picture: what IPCV keeps of the example, and accuracy against encoder time."""

from __future__ import annotations

from typing import Any

import torch
from matplotlib.axes import Axes
from PIL import Image

import ipcv
from ipcv.bench.plots import INK, MUTED, draw_curves, pyplot
from ipcv.bench.variants import method_of
from ipcv.inputs.loading import load
from ipcv.inputs.overlay import draw_overlay
from ipcv.inputs.prompt import EXAMPLE_QUESTION, Media, build_inputs
from ipcv.models import EXAMPLE, TINY
from write_tables import ROOT, read

METHODS = ("ipcv", "published", "pixelprune", "tome-decreasing", "downsample")


def kept_patches() -> tuple[Image.Image, str, float]:
    """The example with its removed patches dimmed, the answer, and the fraction removed."""
    model, processor = load(TINY)
    media = [Media((Image.open(EXAMPLE).convert("RGB"),))]
    inputs = build_inputs(model, processor, media, EXAMPLE_QUESTION)
    vision = ipcv.preset(model).vision
    assert isinstance(vision, ipcv.Adaptive)
    with torch.inference_mode(), ipcv.compress(model, vision) as handle:
        output = model.generate(**inputs)
    answer = processor.decode(output[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
    return draw_overlay(media, inputs, list(handle.stats)), answer.strip(), vision.reduction_ratio


def plot_scores(axes: Axes, suite: dict[str, Any], prior: float) -> None:
    """Accuracy over encoder time, one line per method."""
    variants = suite["variants"]
    points = {name: (100 * v["time"], 100 * v["overall"][0]) for name, v in variants.items()}
    start = points["uncompressed"]
    curves = {
        method: [start, *(point for name, point in points.items() if method_of(name) == method)]
        for method in METHODS
    }
    draw_curves(axes, curves)
    axes.axhline(100 * prior, color=MUTED, linestyle=":", label="answer prior")
    axes.set(xlabel="encoder time, %", ylabel="right answers, %", ylim=(0, 100), xlim=(0, 105))
    axes.legend(frameon=False, loc="lower right")


def main() -> None:
    """Write ``docs/overview.png``."""
    suite, controls = read("suite"), read("controls-pictures")
    overlay, answer, ratio = kept_patches()
    figure, (left, middle, right) = pyplot().subplots(
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
    plot_scores(right, suite, controls["variants"]["answer prior"]["overall"][0])
    right.set_title(f"{suite['questions']:,} held-out questions", color=INK)
    figure.savefig(ROOT / "docs" / "overview.png", dpi=110)


if __name__ == "__main__":
    main()
