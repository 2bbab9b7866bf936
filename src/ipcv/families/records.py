"""Records of a family of models, its vision encoders and its language models."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from ipcv.core.arguments import Arguments
from ipcv.language import LanguageMethod
from ipcv.vision.adapters.base import EncoderAdapter
from ipcv.vision.adapters.tiles import Tiles
from ipcv.vision.ipcv import IPCV
from ipcv.vision.method import VisionMethod


class Size(NamedTuple):
    """Channels and blocks of a vision encoder."""

    width: int
    depth: int


class Tuned(NamedTuple):
    """Settings, and what says how good they are: a file in the repository, a variant in it."""

    vision: VisionMethod
    evidence: str
    variant: str


@dataclass(frozen=True, eq=False)
class EncoderKind:
    """A kind of vision encoder and how to compress it.

    Attributes:
        class_name: its class in `transformers`, or `timm.` and its class there.
        adapter: what the engine works through.
        shape: the encoder in a few words.
        settings: the reference settings, for an encoder of `depth` blocks.
        depth: blocks of the encoder that `settings` are for.
        published: whether `settings` are the paper's, or scaled from the nearest encoder's.
        tuned: for some sizes, what is better than `settings` on held-out images.
    """

    class_name: str
    adapter: type[EncoderAdapter]
    shape: str
    settings: IPCV
    depth: int
    published: bool = False
    tuned: Mapping[Size, Tuned] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class DecoderKind:
    """The language models inside a family, and how to drop image tokens in them.

    Attributes:
        class_names: their classes in `transformers`: those with full or sliding-window attention
            and rotary embeddings.
        settings: the reference settings, for `LanguageMethod.reference_depth` layers.
        deepstack_layers: from the configuration of the model around it, behind how many of the
            first layers features of all image tokens are added; `None` for none.
    """

    class_names: tuple[str, ...]
    settings: LanguageMethod
    deepstack_layers: Callable[[Any], int] | None = None


@dataclass(frozen=True, eq=False)
class Family:
    """A family of models: all that is known of it.

    Attributes:
        name: as people call it.
        model_types: `config.model_type`, first that of whole models, then of encoders alone; for
            models of timm, `timm.` and the class.
        encoders: those that may be inside; the first is the usual one.
        checkpoint: an example on the hub.
        item: what patches compete and rebuild each other in.
        tiles: how to read which tiles make up an image; `None` where that is not needed.
        decoder: the language models inside; `None` where there is none that can be pruned.
        patches_per_token: from the configuration, how many patches, which form a square, make up a
            visual token; `None` where that differs or is not known.
        fixed_image_length: whether every image has equally many tokens, and several may be side by
            side in a prompt.
        image_arguments: what a model takes for square images of noise, from what its encoder
            takes, the pixels per side and the number of images; `None` where that is not known.
        served: what vLLM can serve compressed: by `config.model_type`, the architecture that the
            configuration of a checkpoint names.
        remote_code: model types of checkpoints that bring their own code, and the stock class to
            load instead.
    """

    name: str
    model_types: tuple[str, ...]
    encoders: tuple[EncoderKind, ...]
    checkpoint: str
    item: str = "image"
    tiles: Tiles | None = None
    decoder: DecoderKind | None = None
    patches_per_token: Callable[[Any], int] | None = None
    fixed_image_length: bool = False
    image_arguments: Callable[[Arguments, int, int], Arguments] | None = None
    served: Mapping[str, str] = field(default_factory=dict)
    remote_code: Mapping[str, str] = field(default_factory=dict)
