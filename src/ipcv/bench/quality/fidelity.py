"""Fidelity to the uncompressed model: no labels needed, any images."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from PIL.Image import Image
from torch import Tensor
from torch.nn import functional as F

from ipcv.bench.quality.features import recall_at_1, segment_agreement, segment_centres
from ipcv.bench.quality.identity import file_identity, variant_identity
from ipcv.bench.quality.records import Records, Row
from ipcv.bench.variants import UNCOMPRESSED, Variant
from ipcv.inputs.media import IMAGE_SUFFIXES, load_image


@dataclass(frozen=True)
class Observation:
    """What came of one image.

    Attributes:
        tokens: `(T, C)` fp32 on the CPU: the visual tokens, as handed to the language model.
        grid: rows and columns of these, where they are a grid.
        encoder_ms: milliseconds in the vision encoder, measured once.
        logits: `(V,)` fp32 on the CPU, of the first new token; `None` for a vision encoder.
        answer: the greedy answer; `None` for a vision encoder.
    """

    tokens: Tensor
    grid: tuple[int, int] | None
    encoder_ms: float
    logits: Tensor | None = None
    answer: str | None = None

    @cached_property
    def centres(self) -> Tensor:
        """`(K, C)` of the segments that its visual tokens fall into."""
        return segment_centres(self.tokens)


Observe = Callable[[Image, Variant], Observation]


def find_images(folder: Path) -> list[Path]:
    """The image files in a folder and those inside it. Raises `ValueError` where there is none."""
    if not folder.is_dir():
        raise ValueError(f"{folder} is not a folder")
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES)
    if not paths:
        raise ValueError(f"folder {folder} holds no image")
    return paths


def evaluate_images(
    folder: Path,
    variants: Mapping[str, Variant],
    observe: Observe,
    records: Records,
    on_step: Callable[[], None] = lambda: None,
    images: Sequence[Path] | None = None,
) -> None:
    """Add a row per image and variant to the records, for those that they lack.

    A row has the path of the `image` in the folder, the `variant`, the identities of `content` and
    `settings`, and what `compare` says. An image that cannot be read gets one row with its `error`
    and none per variant.

    Args:
        folder: of images; those in a folder inside it are of that kind.
        variants: by name, "uncompressed" among them.
        observe: shows an image to the model run as a variant.
        records: where rows go.
        on_step: called after each image.
        images: those in the folder to show; all by default.

    Raises:
        ValueError: the records hold results of other images or settings by these names.
    """
    settings = {name: variant_identity(variant) for name, variant in variants.items()}
    paths = find_images(folder) if images is None else images
    units = [
        {"image": path.relative_to(folder).as_posix(), "content": file_identity(path)}
        for path in paths
    ]
    missing = [records.missing(unit, settings) for unit in units]
    for path, unit, names in zip(paths, units, missing, strict=True):
        if names:
            lacking = {name: settings[name] for name in names}
            _evaluate_image(path, unit, lacking, variants, observe, records)
        on_step()


def _evaluate_image(
    path: Path,
    unit: Row,
    missing: Mapping[str, str],
    variants: Mapping[str, Variant],
    observe: Observe,
    records: Records,
) -> None:
    try:
        image = load_image(path)
        reference = observe(image, variants[UNCOMPRESSED])
    except ValueError as error:
        records.add({**unit, "error": " ".join(str(error).split())})
        return
    for variant, settings in missing.items():
        seen = reference if variant == UNCOMPRESSED else observe(image, variants[variant])
        row = {**unit, "variant": variant, "settings": settings}
        records.add(row | compare(seen, reference))


def compare(seen: Observation, reference: Observation) -> dict[str, Any]:
    """How close an observation is to the uncompressed one.

    Visual tokens: mean `cosine` similarity; `relative_error`, the norm of the difference over the
    norm of the reference; `recall`, how many are nearest to their own among all of the reference;
    and `segments`, how many stay in the segment of their own. Tokens on a smaller grid, of a
    downsampled image, are interpolated to the reference's bilinearly first. Without a common grid,
    these are `None`. With a language model: `kl`, the divergence of the next token's distribution
    from the reference's in nats, `agreement`, which is `exp(-kl)`, `same_token` (its most likely
    one) and `same_answer`.
    """
    row: dict[str, Any] = dict.fromkeys(("cosine", "relative_error", "recall", "segments"))
    tokens = _on_grid(seen, reference)
    if tokens is not None:
        expected = reference.tokens
        row["cosine"] = float(F.cosine_similarity(tokens, expected, dim=-1).mean())
        row["relative_error"] = float((tokens - expected).norm() / expected.norm())
        row["recall"] = recall_at_1(tokens, expected)
        row["segments"] = segment_agreement(tokens, expected, reference.centres)
    if seen.logits is not None and reference.logits is not None:
        log_p, log_q = (x.logits.log_softmax(-1) for x in (reference, seen))  # type: ignore[union-attr]
        row["kl"] = float(F.kl_div(log_q, log_p, reduction="sum", log_target=True))
        row["agreement"] = math.exp(-row["kl"])
        row["same_token"] = bool(log_p.argmax() == log_q.argmax())
        row["same_answer"] = seen.answer == reference.answer
    return row


def _on_grid(seen: Observation, reference: Observation) -> Tensor | None:
    """The tokens `(T, C)` at the places of the reference's."""
    if seen.tokens.shape == reference.tokens.shape:
        return seen.tokens
    if seen.grid is None or reference.grid is None:
        return None
    grid = seen.tokens.T.unflatten(1, seen.grid)[None]
    resized = F.interpolate(grid, reference.grid, mode="bilinear", align_corners=False)
    return resized[0].flatten(1).T


def patch_errors(seen: Observation, reference: Observation) -> Tensor:
    """`(T,)` relative error of each visual token, over the mean norm of the reference's.

    Raises:
        ValueError: the tokens have no common grid.
    """
    tokens = _on_grid(seen, reference)
    if tokens is None:
        raise ValueError("the tokens of this variant are at other places than the reference's")
    scale = float(reference.tokens.norm(dim=-1).mean())
    return torch.linalg.vector_norm(tokens - reference.tokens, dim=-1) / scale  # type: ignore[no-any-return]
