"""What decides a result has another identity when it changes."""

import dataclasses
import os

import torch

from ipcv.baselines import Downsample
from ipcv.bench.quality.identity import file_identity, model_identity, variant_identity
from ipcv.bench.variants import Variant
from ipcv.inputs.loading import load
from ipcv.language import DART
from ipcv.vision.ipcv import IPCV


def differing(model, processor, before):
    after = model_identity(model, processor)
    return {name for name in after if after[name] != before[name]}


def test_models(checkpoint):
    model, processor = load(checkpoint, device="cpu")
    before = model_identity(model, processor)
    assert before == model_identity(*load(checkpoint, device="cpu"))
    with torch.no_grad():
        next(model.parameters()).view(-1)[7] += 1e-3
    assert differing(model, processor, before) == {"weights"}
    model, _ = load(checkpoint, device="cpu")
    model.config.vision_config.spatial_merge_size = 1
    assert differing(model, processor, before) == {"config"}
    half, _ = load(checkpoint, device="cpu", dtype="bfloat16")
    assert {"dtype", "weights"} <= differing(half, processor, before)
    model, processor = load(checkpoint, device="cpu")
    processor.image_processor.size["longest_edge"] -= 1
    assert differing(model, processor, before) == {"processor"}


def test_variants():
    variants = [
        Variant(),
        Variant(IPCV()),
        Variant(dataclasses.replace(IPCV(), reduction_ratio=0.6500001)),
        Variant(language=DART()),
        Variant(downsample=Downsample(0.5)),
        Variant(IPCV(), DART()),
    ]
    assert len({variant_identity(variant) for variant in variants}) == len(variants)
    assert variant_identity(Variant(IPCV())) == variant_identity(Variant(IPCV()))


def test_files(tmp_path):
    path = tmp_path / "a.png"
    assert file_identity(path) == "unreadable"
    path.write_bytes(b"a")
    first = file_identity(path)
    path.write_bytes(b"bb")
    assert file_identity(path) != first
    path.write_bytes(b"a")
    assert file_identity(path) == first
    os.mkfifo(tmp_path / "pipe")
    assert file_identity(tmp_path / "pipe") == "unreadable"
