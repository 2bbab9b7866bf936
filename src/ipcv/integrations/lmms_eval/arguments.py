"""The names that may stand in `--model_args`."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from torch import nn

from ipcv.api import CompressionHandle, compress
from ipcv.bench.variants import Variant
from ipcv.core.config import require_integer
from ipcv.inputs.downsampling import Downsample
from ipcv.settings.methods import LANGUAGE, VISION
from ipcv.settings.typed import NONE, Given, parse_value

_LANGUAGE = "language_"
FLAT = {"settings", "method", "language"}


@dataclass(frozen=True)
class ModelArguments:
    """How to load and run the model.

    Attributes:
        pretrained: folder or hub id.
        compress: whether to compress at all.
        downsample: new over old length of an image's side before the processor sees it, in (0, 1].
        num_frames: sampled from each video.
        batch_size: prompts per batch.
        dtype: as for `ipcv.inputs.loading.load`.
        device: as torch names it; the accelerator by default. With several processes each has its
            own.
        trust_remote_code: whether the checkpoint's own Python code may run.
        given: methods and their settings; what is missing comes from the model's preset.

    Raises:
        ValueError: a value is out of range or of the wrong type.
    """

    pretrained: str = ""
    compress: bool = True
    downsample: float = 1
    num_frames: int = 32
    batch_size: int = 1
    dtype: str = "auto"
    device: str | None = None
    trust_remote_code: bool = False
    given: Given = field(default_factory=Given)

    def __post_init__(self) -> None:
        if not self.pretrained:
            raise ValueError("pretrained is missing: give a folder or hub id")
        for name in ("compress", "trust_remote_code"):
            if not isinstance(getattr(self, name), bool):
                raise ValueError(f"{name} must be true or false, got {getattr(self, name)!r}")
        require_integer("num_frames", self.num_frames, 1)
        require_integer("batch_size", self.batch_size, 1)
        try:
            Downsample(self.downsample)
        except ValueError as error:
            raise ValueError(f"downsample: {error}") from None
        if not self.compress and self.given != Given():
            raise ValueError("compress=false leaves nothing for settings to apply to")

    @classmethod
    def parse(cls, given: Mapping[str, Any]) -> Self:
        """From flat names: those above and those of `Given`.

        These are `settings` (a file that `ipcv tune` wrote), `method` and settings of it,
        `language` and, as `language_<setting>`, those of that method. A string that is JSON, as
        lmms-eval leaves lists and numbers in quotes, is read as such.

        Raises:
            ValueError: an unknown name, or a value out of range or of the wrong type.
        """
        values = {n: parse_value(v) if isinstance(v, str) else v for n, v in given.items()}
        own = {item.name for item in dataclasses.fields(cls)} - {"given"}
        vision = {item.name for kind in VISION.values() for item in dataclasses.fields(kind)}  # type: ignore[arg-type]
        for name in values:
            if name not in own | vision | FLAT and not name.startswith(_LANGUAGE):
                known = ", ".join(sorted(own | vision | FLAT))
                raise ValueError(f"unknown setting {name}: use {known} or language_<setting>")
        return cls(
            **{name: value for name, value in values.items() if name in own},
            given=Given(
                values.get("method"),
                {name: value for name, value in values.items() if name in vision},
                values.get("language", NONE),
                {
                    name.removeprefix(_LANGUAGE): value
                    for name, value in values.items()
                    if name.startswith(_LANGUAGE)
                },
                values.get("settings"),
            ),
        )

    def apply(self, model: nn.Module) -> CompressionHandle | None:
        """Compress the model as asked. Raises `ValueError` where the settings do not fit it."""
        if not self.compress:
            return None
        return compress(model, *self.given.for_model(model))


def arguments_of(variant: Variant) -> dict[str, Any]:
    """What `ModelArguments.parse` makes the variant of."""
    if variant == Variant():
        return {"compress": False}
    vision, language, given = variant.vision, variant.language, dict[str, Any]()
    if vision is not None:
        given |= {"method": _name(vision, VISION), **vision.to_dict()}
    elif language is not None:
        given["reduction_ratio"] = 0
    if language is not None:
        given["language"] = _name(language, LANGUAGE)
        given |= {f"{_LANGUAGE}{name}": value for name, value in language.to_dict().items()}
    if variant.downsample is not None:
        given["downsample"] = variant.downsample.factor
        if vision is None and language is None:
            given["compress"] = False
    return given


def _name(method: object, known: Mapping[str, type]) -> str:
    return next(name for name, kind in known.items() if kind is type(method))
