"""The one entry point: compress a model, and undo it."""

from __future__ import annotations

from types import TracebackType
from weakref import WeakSet

from torch import Tensor, nn

from ipcv.config import IPCV
from ipcv.encoders.base import EncoderAdapter
from ipcv.encoders.registry import adapter_for
from ipcv.engine import Engine
from ipcv.stats import Stats

_compressed: WeakSet[nn.Module] = WeakSet()


class CompressionHandle:
    """Undoes a compression, by `remove()` or at the end of a `with` block.

    Attributes:
        stats: what was pruned, per encoder call and item; see `ipcv.stats`.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.stats: Stats = engine.stats

    @property
    def kept_indices(self) -> list[Tensor]:
        """Per item of the latest encoder call, its kept patches in the encoder's input order.

        Int64 `(kept,)` on the CPU. Reading it waits for the device. Raises `RuntimeError` before
        the first call.
        """
        if not len(self.stats):
            raise RuntimeError("no image or video has gone through the compressed encoder yet")
        return self.stats.calls[-1].kept_indices

    def remove(self) -> None:
        """Restore the untouched model. Removing again does nothing."""
        self._engine.detach()
        _compressed.discard(self._engine.adapter.encoder)

    def __enter__(self) -> CompressionHandle:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.remove()


def compress(model: nn.Module, vision: IPCV, language: None = None) -> CompressionHandle:
    """Make the vision encoder of `model` run most of its blocks on few patches.

    The model object itself is changed (by hooks; weights and code stay) until the handle is
    removed. The encoder returns as many tokens as before.

    Args:
        model: a supported `transformers` model: the full one, its inner model, or a bare encoder.
        vision: the settings; `ipcv.preset(model).vision` are the published ones.
        language: compression inside the language model; none exists in this version.

    Raises:
        TypeError: `model` or `vision` is of the wrong type.
        ValueError: the model type is not supported, or the settings cannot work for its encoder.
        RuntimeError: the model is compressed already.
    """
    if not isinstance(vision, IPCV):
        raise TypeError(f"vision must be an ipcv.IPCV, got {type(vision).__name__}")
    if language is not None:
        raise TypeError("language-side compression does not exist yet: language must be None")
    adapter = adapter_for(model)
    _check(vision, adapter)
    if adapter.encoder in _compressed:
        raise RuntimeError(
            "this model is compressed already: call remove() on its handle before compressing again"
        )
    engine = Engine(adapter, vision, Stats())
    engine.attach()
    _compressed.add(adapter.encoder)
    return CompressionHandle(engine)


def _check(vision: IPCV, adapter: EncoderAdapter) -> None:
    depth = len(adapter.blocks)
    if vision.prune_layer >= depth:
        raise ValueError(
            f"prune_layer {vision.prune_layer} is beyond the encoder's {depth} blocks: "
            f"it must be between 1 and {depth - 1}"
        )
    most = adapter.max_patches
    if int(most * (1 - vision.reduction_ratio)) < 1:
        raise ValueError(
            f"reduction_ratio {vision.reduction_ratio} keeps no patch: even of {most:,} patches "
            f"none is left; it must be at most {1 - 1 / most:.4f}"
        )
