"""Memory: what a model needs before it is made, and the peak of a call."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import psutil
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter


class _LiveBytes(TorchDispatchMode):
    """Counts the bytes of all tensors made under it for as long as they live."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.now = self.peak = 0
        self._seen: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        output = func(*args, **(kwargs or {}))
        inputs = {x.untyped_storage()._cdata for x in tree_iter(args) if isinstance(x, Tensor)}
        for x in tree_iter(output):
            if isinstance(x, Tensor) and x.untyped_storage()._cdata not in inputs | self._seen:
                self._add(x.untyped_storage())
        return output

    def _add(self, storage: torch.UntypedStorage) -> None:
        key, size = storage._cdata, storage.nbytes()
        self._seen.add(key)
        self.now += size
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._freed, key, size)

    def _freed(self, key: int, size: int) -> None:
        self._seen.discard(key)
        self.now -= size


def peak_bytes(function: Callable[[], object], device: torch.device) -> int:
    """The most memory that a call holds at a time, beyond what is held before it.

    On CUDA as its allocator counts. Elsewhere the tensors that operators return, without what they
    use inside.
    """
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        function()
        return torch.cuda.max_memory_allocated(device) - before
    live = _LiveBytes()
    with live:
        function()
    return live.peak


def require_memory(model: nn.Module, dtype: torch.dtype, device: torch.device) -> None:
    """Raise `ValueError` where the weights of a model, which may be on "meta", do not fit."""
    needed = sum(p.numel() for p in model.parameters()) * dtype.itemsize
    if device.type == "cuda":
        free = torch.cuda.mem_get_info(device)[0]
    else:
        free = psutil.virtual_memory().available
    if needed > free:
        raise ValueError(
            f"the weights need {needed / 2**30:.1f} GiB in {str(dtype).removeprefix('torch.')}, "
            f"and {free / 2**30:.1f} GiB are free on {device}: choose a smaller shape or dtype, or "
            "the vision encoder alone"
        )
