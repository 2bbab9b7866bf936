"""One training step, the averaged weights, checkpoints and validation."""

from __future__ import annotations

import copy
import os
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import PreTrainedTokenizerBase, Qwen2VLForConditionalGeneration

from ipcv.bench.scenes import HELD_OUT
from ipcv.bench.scenes.pictures import DRAWN, draw_picture
from tiny.data import Batch, image_patches, normalize
from tiny.forward import answer, encode
from tiny.optimizer import Muon
from tiny.prompts import Packed, Prompter
from tiny.targets import IGNORE, CellHeads

VALIDATION = HELD_OUT + 5_000_000  # not the seeds of the reported score
_EMA = 0.998
_QUICKER = 3  # times the learning rate, for what the first layer looks for
_SPOT_LAYERS = (1, 2)  # after these layers a token that names an object should know where it is


class Heads(nn.Module):
    """What training adds to the model and throws away: dense targets and object positions."""

    def __init__(self, width: int, patch_width: int) -> None:
        super().__init__()
        self.cells = CellHeads(width, patch_width)
        self.spots = nn.ModuleList(nn.Linear(width, 2) for _ in _SPOT_LAYERS)

    def spot_loss(self, states: tuple[Tensor, ...], packed: Packed) -> Tensor:
        """How far the positions of the named objects are off, in cells (smooth L1)."""
        known = packed.named >= 0  # (B, Q, 3)
        if not known.any():
            return states[0].new_zeros(())
        index = packed.named.clamp(min=0)[..., None]
        total = states[0].new_zeros(())
        for layer, head in zip(_SPOT_LAYERS, self.spots, strict=True):
            state = F.rms_norm(states[layer], states[layer].shape[-1:])
            named = state.gather(2, index.expand(-1, -1, -1, state.shape[-1]))
            total = total + F.smooth_l1_loss(4 * head(named)[known], packed.spots[known])
        return total / len(_SPOT_LAYERS)


class Trainer:
    """The model with all that belongs to its training; ``save`` and ``load`` make it resumable."""

    def __init__(
        self,
        model: Qwen2VLForConditionalGeneration,
        tokenizer: PreTrainedTokenizerBase,
        device: torch.device,
    ) -> None:
        self.device = device
        self.model = model.to(device)
        self.averaged = copy.deepcopy(model).requires_grad_(False).eval()
        self.heads = Heads(
            model.config.text_config.hidden_size, model.config.vision_config.embed_dim
        ).to(device)
        self.prompter = Prompter(tokenizer)
        self.step = 0
        blocks = [
            *model.model.visual.named_parameters(),
            *model.model.language_model.layers.named_parameters(),
        ]
        first = model.model.language_model.layers[0].self_attn
        looking = [first.q_proj.weight, first.k_proj.weight]  # which word a token looks for
        taken = {id(p) for p in looking}
        matrices = [p for _, p in blocks if p.ndim == 2 and id(p) not in taken]
        taken |= {id(p) for p in matrices}
        rest = [p for p in (*model.parameters(), *self.heads.parameters()) if id(p) not in taken]
        groups: list[dict[str, Any]] = [{"params": rest}, {"params": looking, "times": _QUICKER}]
        self.optimizers: list[torch.optim.Optimizer] = [
            Muon(matrices),
            torch.optim.AdamW(groups, betas=(0.9, 0.98), weight_decay=0.01, fused=True),
        ]

    def update(self, batch: Batch, lr: float, encoder: bool = True) -> dict[str, float]:
        """One step of all optimizers; returns losses and accuracies by name.

        Without the ``encoder``, it stays as it is, and only the language model learns.
        """
        batch = batch.to(self.device)
        visual = self.model.model.visual.requires_grad_(encoder)
        middle, merged = encode(visual, batch.patches, batch.rows, batch.columns)
        loss, scores = merged.new_zeros(()), dict[str, float]()
        if encoder:
            loss, scores = self.heads.cells(middle, merged, batch.targets)
        if batch.packed is not None:
            states, looks = self._answer(self.model, merged, batch)
            told, right = answer_loss(self.model, states[-1], batch.packed)
            spot = self.heads.spot_loss(states, batch.packed)
            look = look_loss(looks, batch.packed, batch.columns // 2)
            scores |= {
                "spot": spot.item(),
                "look": look.item(),
                "answer": told.item(),
                "right": right.float().mean().item(),
            }
            loss = 0.5 * loss + 3.0 * told + 0.5 * spot + look
        loss.backward()
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                torch.nn.utils.clip_grad_norm_(group["params"], 5.0)
                group["lr"] = lr * group.get("times", 1)
            optimizer.step()
            optimizer.zero_grad()
        self.step += 1
        self._average()
        scores["loss"] = loss.item()
        return scores

    def _answer(
        self, model: Qwen2VLForConditionalGeneration, merged: Tensor, batch: Batch
    ) -> tuple[tuple[Tensor, ...], list[Tensor]]:
        assert batch.packed is not None
        rows, columns = batch.rows // 2, batch.columns // 2
        prompter = self.prompter
        return answer(
            model,
            merged[batch.frames],
            rows,
            columns,
            prompter.prefix,
            prompter.between,
            batch.packed.ids,
            batch.packed.named,
        )

    @torch.no_grad()
    def _average(self) -> None:
        weight = min(1.0, max(1 - _EMA, 10 / self.step))  # of a tenth of the steps at most
        torch._foreach_lerp_(
            list(self.averaged.parameters()), [p.detach() for p in self.model.parameters()], weight
        )

    @torch.no_grad()
    def validate(
        self, size: tuple[int, int], scenes: int, picture: str = DRAWN
    ) -> dict[str, float]:
        """Exact match of the averaged model by kind, on held-out scenes, answers fed in."""
        hits: dict[str, list[bool]] = defaultdict(list)
        for seed in range(VALIDATION, VALIDATION + scenes):
            scene = draw_picture(picture, seed, size)
            packed = self.prompter.collate([self.prompter.pack(scene.objects, scene.questions)])
            patches = normalize(np.stack([image_patches(frame) for frame in scene.frames]))
            frames = torch.arange(len(patches))[None]
            batch = Batch(patches, frames, size[1] // 14, size[0] // 14, {}, packed)
            batch = batch.to(self.device)
            _, merged = encode(self.averaged.model.visual, batch.patches, batch.rows, batch.columns)
            states, _ = self._answer(self.averaged, merged, batch)
            assert batch.packed is not None
            _, right = answer_loss(self.averaged, states[-1], batch.packed)
            for question, is_right in zip(scene.questions, right[0].tolist(), strict=True):
                hits[question.kind].append(is_right)
        scores = {kind: sum(column) / len(column) for kind, column in hits.items()}
        return {"all": sum(scores.values()) / len(scores)} | scores

    def save(self, path: Path) -> None:
        """Write a checkpoint; a crash while writing leaves the previous one whole."""
        partial = path.with_suffix(".partial")
        torch.save(self._state(), partial)
        os.replace(partial, path)

    def load(self, path: Path) -> None:
        """Go on from a checkpoint."""
        state = torch.load(path, map_location=self.device, weights_only=True)
        self.model.load_state_dict(state["model"])
        self.averaged.load_state_dict(state["averaged"])
        self.heads.load_state_dict(state["heads"])
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        self.step = state["step"]

    def _state(self) -> dict[str, Any]:
        return {
            "model": self.model.state_dict(),
            "averaged": self.averaged.state_dict(),
            "heads": self.heads.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "step": self.step,
        }


def answer_loss(
    model: Qwen2VLForConditionalGeneration, hidden: Tensor, packed: Packed
) -> tuple[Tensor, Tensor]:
    """Cross-entropy of the answer tokens, and (B, Q) whether every token of an answer is right."""
    told = packed.labels != IGNORE
    logits = model.lm_head(hidden[told])
    right = torch.ones_like(told)
    right[told] = logits.detach().argmax(-1) == packed.labels[told]
    return F.cross_entropy(logits, packed.labels[told]), right.all(-1)


def look_loss(looks: Sequence[Tensor], packed: Packed, columns: int) -> Tensor:
    """How little attention goes to what is named, and to what is asked for, in nats.

    ``looks`` is what :func:`tiny.forward.answer` returns: logarithms (B, Q, 3, cells), first of the
    layer in which the tokens that name should look, then of that in which the question mark should.
    """
    index = torch.arange(looks[0].shape[-1], device=packed.boxes.device)
    row, column = index // columns, index % columns
    top, bottom, left, right = packed.boxes[..., None].unbind(3)  # (B, Q, 3, 1) each
    inside = (top <= row) & (row < bottom) & (left <= column) & (column < right)
    total = looks[0].new_zeros(())
    for look, which in zip(looks, (slice(0, 2), slice(2, 3)), strict=True):
        known = packed.named[..., which] >= 0
        if known.any():
            paid = look[..., which, :].masked_fill(~inside[..., which, :], float("-inf"))
            total = total - paid[known].logsumexp(-1).mean()
    return total
