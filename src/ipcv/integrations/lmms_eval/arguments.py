"""What may stand in `--model_args`."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from torch import nn

from ipcv.api import CompressionHandle, compress
from ipcv.bench.variants import Variant
from ipcv.core.config import require_integer
from ipcv.inputs.downsampling import Downsample
from ipcv.settings.files import load
from ipcv.settings.methods import METHODS
from ipcv.settings.presets import Preset
from ipcv.settings.typed import check_settings, language_settings, vision_settings
from ipcv.vision.ipcv import IPCV

_LANGUAGE = "language_"


@dataclass(frozen=True)
class Arguments:
    """How to load and run the model.

    Attributes:
        pretrained: folder or hub id.
        compress: whether to compress at all.
        settings: a file that `ipcv tune` wrote, in place of the preset.
        language: method for the language model: "none" or one of `ipcv.settings.methods.METHODS`.
        downsample: new over old length of an image's side before the processor sees it, in (0, 1].
        num_frames: sampled from each video.
        batch_size: prompts per batch.
        dtype: as for `ipcv.inputs.loading.load`.
        device: as torch names it; the accelerator by default. With several processes each has its
            own.
        trust_remote_code: whether the checkpoint's own Python code may run.
        vision: settings of `ipcv.IPCV`; missing ones come from the model's preset.
        language_options: settings of the language method; likewise.

    Raises:
        ValueError: a value is out of range or of the wrong type.
    """

    pretrained: str = ""
    compress: bool = True
    settings: str | None = None
    language: str = "none"
    downsample: float = 1
    num_frames: int = 32
    batch_size: int = 1
    dtype: str = "auto"
    device: str | None = None
    trust_remote_code: bool = False
    vision: dict[str, Any] = field(default_factory=dict)
    language_options: dict[str, Any] = field(default_factory=dict)

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
        check_settings(self.vision, self.language, self.language_options, self.saved)
        if not self.compress and (self.vision or self.settings or self.language != "none"):
            raise ValueError("compress=false leaves nothing for settings to apply to")

    @property
    def saved(self) -> Preset | None:
        """What the file of settings holds. Raises `ValueError` where that is none."""
        return None if self.settings is None else load(self.settings)

    @classmethod
    def parse(cls, given: Mapping[str, Any]) -> Self:
        """From flat names: those above, the settings of `ipcv.IPCV`, and `language_<setting>`.

        A string that is JSON, as lmms-eval leaves lists and numbers in quotes, is read as such.

        Raises:
            ValueError: an unknown name, or a value out of range or of the wrong type.
        """
        own = {item.name for item in dataclasses.fields(cls)} - {"vision", "language_options"}
        vision = {item.name for item in dataclasses.fields(IPCV)}
        parts: dict[str, dict[str, Any]] = {"own": {}, "vision": {}, "language": {}}
        for name, text in given.items():
            value = _value(text)
            if name in own:
                parts["own"][name] = value
            elif name in vision:
                parts["vision"][name] = value
            elif name.startswith(_LANGUAGE):
                parts["language"][name.removeprefix(_LANGUAGE)] = value
            else:
                known = ", ".join(sorted(own | vision))
                raise ValueError(f"unknown setting {name}: use {known} or language_<setting>")
        return cls(**parts["own"], vision=parts["vision"], language_options=parts["language"])

    def apply(self, model: nn.Module) -> CompressionHandle | None:
        """Compress the model as asked. Raises `ValueError` where the settings do not fit it."""
        if not self.compress:
            return None
        saved = self.saved
        language = language_settings(model, self.language, self.language_options, saved)
        return compress(model, vision_settings(model, self.vision, saved), language)


def arguments_of(variant: Variant) -> dict[str, Any]:
    """What `Arguments.parse` makes the variant of.

    Raises:
        ValueError: its method is not one that lmms-eval can be told by settings.
    """
    if variant == Variant():
        return {"compress": False}
    vision, language, given = variant.vision, variant.language, dict[str, Any]()
    if isinstance(vision, IPCV):
        given |= vision.to_dict()
    elif vision is not None:
        raise ValueError(f"--tasks cannot run {type(vision).__name__}: use a method of ipcv.IPCV")
    elif language is not None:
        given["reduction_ratio"] = 0
    if language is not None:
        given["language"] = next(n for n, kind in METHODS.items() if kind is type(language))
        given |= {f"{_LANGUAGE}{name}": value for name, value in language.to_dict().items()}
    if variant.downsample is not None:
        given["downsample"] = variant.downsample.factor
        if vision is None and language is None:
            given["compress"] = False
    return given


def _value(text: Any) -> Any:
    if not isinstance(text, str):
        return text
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text
