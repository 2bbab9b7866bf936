"""The cost of a scope in videos: neighbours from the whole item, or from frames around a patch.

    python benchmarks/neighbor_scope.py PHOTOS

Fidelity of the embedded model's encoder: mean cosine of its patch features, before the merger, to
the uncompressed ones. Each video has 16 frames of 224 x 224 pixels: the camera pans over a drawn
scene or over a photo (any folder of them), or cuts to another scene every four frames. Every frame
fills both places of a temporal patch, as for the images that the model was trained on.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL.Image import Image
from torch import Tensor
from torch.nn import functional as F

import ipcv
from ipcv.bench.quality.fidelity import find_images
from ipcv.bench.quality.intervals import mean
from ipcv.bench.scenes import HELD_OUT, draw_scene
from ipcv.families import adapter_for
from ipcv.inputs.loading import load
from ipcv.inputs.media import load_image
from ipcv.models import TINY

FRAMES, SIDE, STEP = 16, 224, 14
RATIOS = (0.35, 0.5, 0.65, 0.8)
SCOPES = ("item", "frames")
SEED = HELD_OUT + 200_000


def pan(image: Image) -> list[Image]:
    """Frames, from the left to the right."""
    width, height = SIDE + STEP * (FRAMES - 1), SIDE
    image = image.resize((width, max(height, round(image.height * width / image.width))))
    top = (image.height - SIDE) // 2
    return [image.crop((STEP * i, top, STEP * i + SIDE, top + SIDE)) for i in range(FRAMES)]


def videos(kind: str, count: int, photos: Path) -> Iterator[list[Image]]:
    """So many of a kind."""
    paths = random.Random(0).sample(find_images(photos), count)
    for number in range(count):
        if kind == "pan over a photo":
            yield pan(load_image(paths[number]))
        elif kind == "pan over a scene":
            yield pan(draw_scene(SEED + number, (SIDE + STEP * (FRAMES - 1), SIDE)).image)
        else:
            scenes = [draw_scene(SEED + 4 * number + i, (SIDE, SIDE)).image for i in range(4)]
            yield [scene for scene in scenes for _ in range(FRAMES // 4)]


def encoder_inputs(frames: list[Image], processor: Any, encoder: Any) -> dict[str, Tensor]:
    """Pixels in the order of Qwen2-VL."""
    settings, patch, merge = processor.image_processor, encoder.config.patch_size, 2
    pixels = torch.from_numpy(np.stack([np.asarray(x.convert("RGB")) for x in frames])) / 255
    pixels = (pixels - torch.tensor(settings.image_mean)) / torch.tensor(settings.image_std)
    cells, copies = SIDE // patch // merge, encoder.config.temporal_patch_size
    shape = len(frames), cells, merge, patch, cells, merge, patch, 3
    ordered = pixels.view(shape).permute(0, 1, 4, 2, 5, 7, 3, 6)
    doubled = ordered[:, :, :, :, :, :, None].expand(*[-1] * 6, copies, -1, -1)
    side = SIDE // patch
    return {
        "hidden_states": doubled.reshape(len(frames) * side * side, -1).contiguous(),
        "grid_thw": torch.tensor([[len(frames), side, side]]),
    }


def measure(kind: str, count: int, photos: Path) -> dict[tuple[float, str], list[float]]:
    """Cosine of every video, by ratio and scope."""
    model, processor = load(str(TINY))
    encoder = adapter_for(model).encoder
    found: dict[tuple[float, str], list[float]] = {(r, s): [] for r in RATIOS for s in SCOPES}
    for frames in videos(kind, count, photos):
        inputs = encoder_inputs(frames, processor, encoder)
        with torch.inference_mode():
            expected = encoder(**inputs).last_hidden_state
            for ratio, scope in found:
                method = ipcv.IPCV(2, ratio, 2, neighbor_scope=scope)  # type: ignore[arg-type]
                with ipcv.compress(encoder, method):
                    seen = encoder(**inputs).last_hidden_state
                cosine = F.cosine_similarity(seen, expected, dim=-1).mean()
                found[ratio, scope].append(float(cosine))
    return found


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--videos", type=int, default=40, help="of each kind")
    options = parser.parse_args()
    print("| video | ratio | item | frames | difference |\n| --- | --- | --- | --- | --- |")
    for kind in ("pan over a scene", "pan over a photo", "cuts"):
        found = measure(kind, options.videos, options.photos)
        for ratio in RATIOS:
            whole, near = (found[ratio, scope] for scope in SCOPES)
            gain = mean([b - a for a, b in zip(whole, near, strict=True)])
            cells = f"{np.mean(whole):.4f} | {np.mean(near):.4f}"
            cells += f" | {gain.mean:+.4f} ({gain.low:+.4f} to {gain.high:+.4f})"
            print(f"| {kind} | {ratio} | {cells} |", flush=True)


if __name__ == "__main__":
    main()
