"""Shorter prompts: vLLM's models with M-RoPE, of whose visual tokens some are dropped."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any, NamedTuple

import torch
from torch import Tensor
from vllm.distributed.parallel_state import get_tp_group

from ipcv.integrations.vllm.settings import Settings
from ipcv.language.divprune import farthest


class _Places(NamedTuple):
    """Where the visual tokens of a step are.

    Attributes:
        is_visual: `(T,)` bool, of the step's tokens.
        offsets: `(3, V)` int64, from the first place of their item.
    """

    is_visual: Tensor
    offsets: Tensor


class Shorter:
    """Mixed into a model: the language model gets the visual tokens that stay, where they were.

    Which tokens stay is known once an item is encoded, how many, and the positions of all text,
    once its size is. So requests get the positions of their text, with every visual token at the
    place of its item's first; encoder outputs carry, in columns behind the states, how far from
    there each token is, through the encoder cache and whatever chunks of a prompt a step takes; and
    these are added to the positions of the step.

    Attributes:
        ipcv_settings: with `tokens`, or `None` where nothing is dropped.
    """

    ipcv_settings: Settings | None = None
    _places: _Places | None = None

    def _process_image_input(self, image_input: Any) -> Sequence[Tensor]:
        tokens = super()._process_image_input(image_input)  # type: ignore[misc]
        return self._shortened(tokens, image_input["image_grid_thw"].tolist())

    def _process_video_input(self, video_input: Any) -> Sequence[Tensor]:
        tokens = super()._process_video_input(video_input)  # type: ignore[misc]
        grids, seconds = video_input["video_grid_thw"].tolist(), None
        if (given := video_input.get("second_per_grid_ts")) is not None:
            seconds = given.tolist()
        return self._shortened(tokens, grids, seconds)

    def _shortened(
        self,
        items: Sequence[Tensor],
        grids: Sequence[Sequence[int]],
        seconds: Sequence[float] | None = None,
    ) -> Sequence[Tensor]:
        """Of the tokens `(N, C)` of each item those that stay, `(K, C)`, and columns of offsets."""
        settings = self.ipcv_settings
        if settings is None:
            return items
        vision: Any = self.config.vision_config  # type: ignore[attr-defined]
        side, speed = vision.spatial_merge_size, getattr(vision, "tokens_per_second", 1.0)
        shortened = []
        for item, (tokens, (t, h, w)) in enumerate(zip(items, grids, strict=True)):
            factor = 1.0 if seconds is None else seconds[item] * speed
            kept = farthest(tokens, settings.kept(len(tokens)))
            group = get_tp_group()
            if group.world_size > 1:  # states need not be bitwise the same on each
                kept = group.broadcast(kept)
            offsets = offsets_of(t, h // side, w // side, factor).to(kept.device)[kept]
            columns = offsets.int().view(tokens.dtype)  # bits: half floats hold no large integers
            shortened.append(torch.cat([tokens[kept], columns], dim=1))
        return tuple(shortened)

    def get_mrope_input_positions(
        self, input_tokens: list[int], mm_features: list[Any]
    ) -> tuple[Tensor, int]:
        """`(3, T)` positions of a prompt, and what is to be added to an index behind it."""
        settings: Any = self.ipcv_settings
        if settings is None:
            return super().get_mrope_input_positions(  # type: ignore[misc,no-any-return]
                input_tokens, mm_features
            )
        positions, done, following = [], 0, 0
        for first, t, h, w, factor in self._token_grids(mm_features):
            text, visual = first - done, settings.kept(t * h * w)
            positions.append(torch.arange(following, following + text))
            following += text
            positions.append(torch.full((visual,), following))
            following += 1 + max(int((t - 1) * factor), h - 1, w - 1)
            done = first + visual
        rest = len(input_tokens) - done
        positions.append(torch.arange(following, following + rest))
        return torch.cat(positions).expand(3, -1).clone(), following - done

    def _token_grids(self, mm_features: list[Any]) -> Iterator[tuple[int, int, int, int, float]]:
        """Of each run of visual tokens where it starts, frames, rows, columns, time per frame."""
        grids: Iterator[tuple[int, int, int, int, float]]
        grids = self.iter_mm_grid_thw(mm_features)  # type: ignore[attr-defined]
        return grids

    def embed_input_ids(
        self,
        input_ids: Tensor,
        multimodal_embeddings: Any = None,
        *,
        is_multimodal: Tensor | None = None,
    ) -> Tensor:
        """Embeddings of a step's tokens; the offsets of visual ones are left for `forward`."""
        self._places = None
        if self.ipcv_settings is not None and multimodal_embeddings:
            assert is_multimodal is not None
            width = self.config.get_text_config().hidden_size  # type: ignore[attr-defined]
            offsets = [x[:, width:].contiguous().view(torch.int32) for x in multimodal_embeddings]
            self._places = _Places(is_multimodal, torch.cat(offsets).long().T)
            multimodal_embeddings = [x[:, :width] for x in multimodal_embeddings]
        embedded: Tensor = super().embed_input_ids(  # type: ignore[misc]
            input_ids, multimodal_embeddings, is_multimodal=is_multimodal
        )
        return embedded

    def forward(
        self, input_ids: Tensor | None, positions: Tensor, *args: Any, **kwargs: Any
    ) -> Any:
        """As ever, with visual tokens where they were."""
        if (places := self._places) is not None:
            self._places = None
            length = len(places.is_visual)
            added = torch.zeros_like(positions[:, :length])
            added.masked_scatter_(places.is_visual.to(added.device).expand(3, -1), places.offsets)
            positions[:, :length] += added  # in place: graphs read this memory
        return super().forward(input_ids, positions, *args, **kwargs)  # type: ignore[misc]


class ShorterFrames(Shorter):
    """The same for models in whose prompts the frames of a video are apart."""

    def _shortened(
        self,
        items: Sequence[Tensor],
        grids: Sequence[Sequence[int]],
        seconds: Sequence[float] | None = None,
    ) -> Sequence[Tensor]:
        if self.ipcv_settings is None:
            return items
        counts = [t for t, _, _ in grids]
        frames = [f for item, t in zip(items, counts, strict=True) for f in item.chunk(t)]
        sizes = [(1, h, w) for t, h, w in grids for _ in range(t)]
        shortened = iter(super()._shortened(frames, sizes))
        return tuple(torch.cat(list(islice(shortened, t))) for t in counts)

    def _token_grids(self, mm_features: list[Any]) -> Iterator[tuple[int, int, int, int, float]]:
        side = self.config.vision_config.spatial_merge_size  # type: ignore[attr-defined]
        for feature in sorted(mm_features, key=lambda feature: feature.mm_position.offset):
            _, h, w = feature.data[f"{feature.modality}_grid_thw"].data.tolist()
            for first, _ in feature.mm_position.extract_embeds_range():
                yield first, 1, h // side, w // side, 1.0


def offsets_of(t: int, h: int, w: int, factor: float) -> Tensor:
    """`(t * h * w, 3)` int64: places of tokens, from the first one's, in time, rows and columns."""
    frames = (torch.arange(t) * factor).long()
    return torch.cartesian_prod(frames, torch.arange(h), torch.arange(w))
