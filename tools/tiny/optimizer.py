"""Muon for the hidden matrices: momentum, made orthogonal by Newton-Schulz iterations.

``torch.optim.Muon`` iterates in bfloat16, which CPUs without such units emulate slowly, and one
matrix at a time. This one iterates in float32 and takes all matrices of one shape together.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

_COEFFICIENTS = (3.4445, -4.7750, 2.0315)


def orthogonalize(matrices: Tensor, steps: int = 5) -> Tensor:
    """Push the singular values of a stack of matrices (S, M, N) towards one."""
    a, b, c = _COEFFICIENTS
    tall = matrices.shape[-2] > matrices.shape[-1]
    x = matrices.mT if tall else matrices
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(steps):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    result: Tensor = x.mT if tall else x
    return result


class Muon(torch.optim.Optimizer):
    """Muon with Nesterov momentum, decoupled weight decay and steps of AdamW's usual size."""

    def __init__(
        self,
        params: Iterable[Tensor],
        lr: float = 2e-3,
        momentum: float = 0.95,
        weight_decay: float = 0.01,
    ) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:  # type: ignore[override]
        """Update all parameters that have a gradient."""
        for group in self.param_groups:
            by_shape: dict[torch.Size, list[Tensor]] = defaultdict(list)
            for param in group["params"]:
                if param.grad is not None:
                    by_shape[param.shape].append(param)
            for params in by_shape.values():
                self._step_together(params, **{k: v for k, v in group.items() if k != "params"})

    def _step_together(
        self, params: list[Tensor], *, lr: float, momentum: float, weight_decay: float
    ) -> None:
        updates = []
        for param in params:
            state = self.state[param]
            if "momentum" not in state:
                state["momentum"] = torch.zeros_like(param)
            assert param.grad is not None
            state["momentum"].lerp_(param.grad, 1 - momentum)
            updates.append(param.grad.lerp(state["momentum"], momentum))
        stack = torch.stack(updates)  # (S, rows, columns)
        rows, columns = stack.shape[-2:]
        parts = rows // columns if rows % columns == 0 and rows == 3 * columns else 1  # fused qkv
        direction = orthogonalize(stack.view(-1, rows // parts, columns)).view_as(stack)
        size = 0.2 * max(rows // parts, columns) ** 0.5
        for param, step in zip(params, direction.unbind(), strict=True):
            param.mul_(1 - lr * weight_decay).add_(step, alpha=-lr * size)
