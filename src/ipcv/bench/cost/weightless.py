"""Models without weights: what a configuration alone says of their FLOPs."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter, tree_map

from ipcv.bench.cost.flops import count_flops
from ipcv.bench.cost.workload import Workload
from ipcv.bench.variants import Variant
from ipcv.families import find_encoder

LARGE = 1 << 18
"""Elements from which floats are taken for states and weights; what patches score is computed."""


class _Uncomputed(TorchDispatchMode):
    """Gives zeros that take no memory for large floats; all else is computed."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func._schema.is_mutable:
            return args[0] if 0 in args[0].stride() else func(*args, **kwargs)
        if func.is_view or not any(map(_is_large, tree_iter((args, kwargs)))):
            return func(*args, **kwargs)
        try:
            shapes = func(*tree_map(_shape, args), **tree_map(_shape, kwargs))
        except NotImplementedError:  # it depends on the values
            return func(*args, **kwargs)
        is_state = any(map(_is_large, tree_iter(shapes)))
        return tree_map(_zeros, shapes) if is_state else func(*args, **kwargs)


def _is_large(value: Any) -> bool:
    return isinstance(value, Tensor) and value.is_floating_point() and value.numel() >= LARGE


def _shape(value: Any) -> Any:
    """A tensor without values; all else as it is."""
    return value.to("meta") if isinstance(value, Tensor) else value


def _zeros(value: Any) -> Any:
    """Zeros on the CPU in the shape of a tensor, with one element in memory; all else as it is."""
    if not isinstance(value, Tensor):
        return value
    return torch.zeros((), dtype=value.dtype, device="cpu").expand(value.shape)


def without_weights(model: nn.Module) -> nn.Module:
    """A model of the `meta` device, now on the CPU and in eval mode, all zeros."""
    for module in model.modules():
        for name, parameter in module.named_parameters(recurse=False):
            setattr(module, name, nn.Parameter(_zeros(parameter), requires_grad=False))
        for name, buffer in module.named_buffers(recurse=False):
            setattr(module, name, _zeros(buffer))
    return model.eval()


def expected_gflops(model: nn.Module, variant: Variant, workload: Workload) -> float:
    """GFLOPs of the vision encoder with its projector; they are counted and not done.

    Args:
        model: of `without_weights`.
        variant: how it runs.
        workload: what it is shown.

    Raises:
        ValueError: the model does not take the variant.
    """
    encoder = find_encoder(model)[1]
    arguments = workload.shrunk(variant.downsample).for_encoder(encoder)
    with variant.applied(encoder), _Uncomputed():
        return count_flops(lambda: encoder(**arguments)) / 1e9
