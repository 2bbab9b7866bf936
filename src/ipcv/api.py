"""The one entry point: compress a model, and undo it."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from weakref import WeakSet

from torch import Tensor, nn

from ipcv.core.config import IPCV
from ipcv.families import adapter_for, find_decoder, patches_per_token
from ipcv.language.checks import check_method
from ipcv.language.engine import DecoderEngine
from ipcv.language.method import LanguageMethod
from ipcv.stats import Stats
from ipcv.vision.adapters.base import EncoderAdapter
from ipcv.vision.adapters.observer import Observer
from ipcv.vision.every_block import ProgressiveEngine
from ipcv.vision.one_step import Engine
from ipcv.vision.tokens import ProgressiveMethod

VisionMethod = IPCV | ProgressiveMethod
"""What the vision encoder can be compressed by."""

Attached = Engine | ProgressiveEngine | DecoderEngine | Observer

_compressed: WeakSet[nn.Module] = WeakSet()


class CompressionHandle:
    """Undoes a compression, by `remove()` or at the end of a `with` block.

    Attributes:
        stats: what was pruned, per encoder call and item, and per prefill; see `ipcv.stats`.
    """

    def __init__(self, engines: Sequence[Attached], stats: Stats) -> None:
        self._engines, self.stats = engines, stats
        self._has_vision = any(isinstance(engine, Engine | ProgressiveEngine) for engine in engines)

    @property
    def kept_indices(self) -> list[Tensor]:
        """Per item of the latest encoder call, its kept patches in the encoder's input order.

        The images and the videos of one prompt are two calls, of which this is the later one;
        `stats` has them all.

        Int64 `(kept,)` on the CPU. Reading it waits for the device. Raises `RuntimeError` before
        the first call, and where only the language model is compressed: `kept_indices` of
        `stats.prefills` are the tokens that it kept.
        """
        if not self._has_vision:
            raise RuntimeError(
                "the vision encoder is not compressed: see stats.prefills for the kept tokens"
            )
        if not self.stats.calls:
            raise RuntimeError("no image or video has gone through the compressed encoder yet")
        return self.stats.calls[-1].kept_indices

    def remove(self) -> None:
        """Restore the untouched model. Removing again does nothing."""
        engines, self._engines = self._engines, ()
        for engine in reversed(engines):
            engine.detach()
            _compressed.discard(_target(engine))

    def __enter__(self) -> CompressionHandle:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.remove()


def compress(
    model: nn.Module, vision: VisionMethod | None = None, language: LanguageMethod | None = None
) -> CompressionHandle:
    """Make `model` run on fewer image tokens, in its vision encoder, its language model or both.

    The model object itself is changed (by hooks; weights and code stay) until the handle is
    removed. The vision encoder returns as many tokens as before. The language model runs its first
    layers (with methods at the encoder's output, none) on all tokens, the others on those that are
    left; decoding works as ever.

    What is asked for besides the answer shows the pruning. Attention maps (`output_attentions`) of
    pruned blocks have the rows and columns of the tokens that queried and were attended there. With
    `language`, `output_hidden_states` are shorter between the pruning and the last layer, and the
    states and logits at positions of dropped tokens mean nothing.

    Args:
        model: a supported `transformers` model: the full one or, with `vision` alone, also its
            inner model or a bare encoder.
        vision: settings for the vision encoder; `ipcv.preset(model).vision` are the published ones.
            Or a rival from `ipcv.baselines`.
        language: a method for the language model: `ipcv.DART`, `ipcv.FastV`, `ipcv.V2Drop` or
            `ipcv.RandomDrop`; or one at the encoder's output, `ipcv.baselines.VisionZip` or
            `ipcv.baselines.CDPruner`.

    Raises:
        TypeError: an argument is of the wrong type, or neither side is given.
        ValueError: the model type is not supported, or the settings cannot work for it.
        RuntimeError: the model is compressed already.
    """
    if vision is None and language is None:
        raise TypeError("nothing to do: give vision, language or both")
    if vision is not None and not isinstance(vision, VisionMethod):
        raise TypeError(
            f"vision must be an ipcv.IPCV or one of ipcv.baselines, got {type(vision).__name__}"
        )
    if language is not None and not isinstance(language, LanguageMethod):
        raise TypeError(
            f"language must be a method such as ipcv.DART or ipcv.FastV, "
            f"got {type(language).__name__}"
        )
    stats, engines, encoder = Stats(), list[Attached](), None
    if vision is not None:
        encoder = _vision_engine(adapter_for(model), vision, stats)
        engines.append(encoder)
    if language is not None:
        engines += _language_engines(model, language, encoder, stats)
    if any(_target(engine) in _compressed for engine in engines):
        raise RuntimeError(
            "this model is compressed already: call remove() on its handle before compressing again"
        )
    for engine in engines:
        engine.attach()
        _compressed.add(_target(engine))
    return CompressionHandle(engines, stats)


def _vision_engine(
    adapter: EncoderAdapter, vision: VisionMethod, stats: Stats
) -> Engine | ProgressiveEngine:
    if isinstance(vision, IPCV):
        check_vision(vision, len(adapter.blocks), adapter.max_patches)
        return Engine(adapter, vision, stats)
    if not adapter.can_merge:
        raise ValueError(
            f"{type(vision).__name__} does not work in a {type(adapter.encoder).__name__}: "
            "padding, windows and rotary positions with CLS are not supported"
        )
    return ProgressiveEngine(adapter, vision, stats)


def _language_engines(
    model: nn.Module,
    method: LanguageMethod,
    encoder: Engine | ProgressiveEngine | None,
    stats: Stats,
) -> list[Attached]:
    """For the language side; `encoder` is that of the vision side, where there is one."""
    decoder = find_decoder(model)
    check_method(method, decoder)
    if not method.needs_encoder:
        return [DecoderEngine(decoder, method, stats)]
    if isinstance(encoder, ProgressiveEngine):
        raise ValueError(
            f"{type(method).__name__} ranks patches by their attention in the encoder, where ToMe "
            "has merged them: use one of the two"
        )
    adapter = adapter_for(decoder.generator) if encoder is None else encoder.adapter
    count = patches_per_token(decoder.owner.config)
    observer = Observer(adapter, decoder.calls, count)
    return [observer, DecoderEngine(decoder, method, stats, observer)]


def _target(engine: Attached) -> nn.Module:
    return engine.decoder.model if isinstance(engine, DecoderEngine) else engine.adapter.encoder


def check_vision(vision: IPCV, depth: int, max_patches: int = EncoderAdapter.max_patches) -> None:
    """Raise `ValueError` for settings that cannot work for an encoder of `depth` blocks."""
    if vision.prune_layer >= depth:
        raise ValueError(
            f"prune_layer {vision.prune_layer} is beyond the encoder's {depth} blocks: "
            f"it must be between 1 and {depth - 1}"
        )
    if int(max_patches * (1 - vision.reduction_ratio)) < 1:
        raise ValueError(
            f"reduction_ratio {vision.reduction_ratio} keeps no patch: even of "
            f"{max_patches:,} patches none is left; it must be at most {1 - 1 / max_patches:.4f}"
        )
