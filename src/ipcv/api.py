"""The one entry point: compress a model, and undo it."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from types import TracebackType
from typing import Any
from weakref import WeakKeyDictionary, ref

from torch import Tensor, nn

from ipcv.core.config import require_instance
from ipcv.core.hooks import Hooked
from ipcv.families import adapter_for, find_decoder, patches_per_token
from ipcv.language.checks import check_method
from ipcv.language.engine import DecoderEngine
from ipcv.language.method import LanguageMethod
from ipcv.stats import Stats
from ipcv.vision.adapters.observer import Observer
from ipcv.vision.adaptive import Adaptive
from ipcv.vision.engine import VisionEngine
from ipcv.vision.method import VisionMethod
from ipcv.vision.watch import Watch

_attaching = threading.Lock()
_attached: WeakKeyDictionary[nn.Module, list[ref[Hooked[Any]]]] = WeakKeyDictionary()
"""What is hooked into a module, whose hooks keep it alive."""


class CompressionHandle:
    """Undoes a compression, by `remove()` or at the end of a `with` block.

    Attributes:
        stats: what was pruned, per encoder call and item, and per prefill; see `ipcv.stats`.
    """

    def __init__(self, engines: Sequence[Hooked[Any]], stats: Stats, has_vision: bool) -> None:
        self._engines, self.stats, self._has_vision = engines, stats, has_vision

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
        """Restore the untouched model, once calls in other threads have ended.

        Removing again does nothing. Raises `RuntimeError` while the model runs in this thread.
        """
        _detach(self._engines)
        self._engines = ()

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
    pruned blocks have the rows and columns of the tokens that queried and were attended there;
    Token Merging has none to show, and refuses. With `language`, `output_hidden_states` are shorter
    between the pruning and the last layer, but for the layers behind which DeepStack adds features,
    and the states and logits at positions of dropped tokens mean nothing.

    Args:
        model: a supported `transformers` model: the full one or, with `vision` alone, also its
            inner model or a bare encoder.
        vision: a method for the vision encoder: `ipcv.Adaptive`, `ipcv.IPCV`, a rival
            from `ipcv.baselines`, or one of your own. Where neither side is given it is
            `ipcv.Adaptive()`. `ipcv.preset(model).vision` is what is known to be good for a model.
        language: a method for the language model: `ipcv.DART`, `ipcv.FastV`, `ipcv.V2Drop` or
            `ipcv.RandomDrop`; or one at the encoder's output, `ipcv.baselines.VisionZip`,
            `ipcv.baselines.CDPruner` or `ipcv.baselines.DivPrune`.

    Raises:
        TypeError: an argument is of the wrong type.
        ValueError: the model type is not supported, or the settings cannot work for it.
        RuntimeError: the model is compressed already.
    """
    if vision is None and language is None:
        vision = Adaptive()
    require_instance("vision", vision, VisionMethod, "such as ipcv.Adaptive() or ipcv.IPCV()")
    require_instance("language", language, LanguageMethod, "such as ipcv.DART() or ipcv.FastV()")
    stats, engines, encoder = Stats(), list[Hooked[Any]](), None
    if vision is not None:
        encoder = vision.engine(adapter_for(model), stats.add)
        engines.append(encoder)
        if model is not encoder.target:
            engines.append(Watch(model, encoder))
    if language is not None:
        engines += _language_engines(model, language, encoder, stats)
    _attach(engines)
    return CompressionHandle(engines, stats, vision is not None)


def remove(model: nn.Module) -> None:
    """Undo what compresses a model, for whoever did not keep the handle.

    Args:
        model: the model, or one around or inside it; untouched ones stay as they are.

    Raises:
        RuntimeError: the model runs in this thread.
    """
    found = [engine() for module in model.modules() for engine in _attached.get(module, ())]
    _detach([engine for engine in found if engine is not None])


def _language_engines(
    model: nn.Module,
    method: LanguageMethod,
    encoder: VisionEngine[Any] | None,
    stats: Stats,
) -> list[Hooked[Any]]:
    """For the language side; `encoder` is that of the vision side, where there is one."""
    decoder = find_decoder(model)
    check_method(method, decoder)
    if not method.needs_encoder:
        return [DecoderEngine(decoder, method, stats.add_prefill)]
    if encoder is not None and not encoder.is_observable:
        raise ValueError(
            f"{type(method).__name__} ranks patches by their attention in the encoder, where every "
            "block has other ones by the vision side's method: use one of the two"
        )
    adapter = adapter_for(decoder.generator) if encoder is None else encoder.adapter
    observer = Observer(adapter, decoder.calls, patches_per_token(decoder.owner.config))
    return [observer, DecoderEngine(decoder, method, stats.add_prefill, observer)]


def _attach(engines: Sequence[Hooked[Any]]) -> None:
    """All of them, or none."""
    with _attaching:
        if any(engine.target in _attached for engine in engines):
            raise RuntimeError(
                "this model is compressed already: call remove() on its handle, or "
                "ipcv.remove(model), before compressing again"
            )
        try:
            for engine in engines:
                engine.attach()
                _attached.setdefault(engine.target, []).append(ref(engine))
        except BaseException:
            _detach(engines)
            raise


def _detach(engines: Sequence[Hooked[Any]]) -> None:
    for engine in reversed(engines):
        engine.detach()
        _attached.pop(engine.target, None)
