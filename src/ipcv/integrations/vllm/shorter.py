"""Shorter prompts: vLLM's models whose language model gets some of the visual tokens."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from vllm.distributed.parallel_state import get_tp_group

from ipcv.integrations.vllm.settings import Settings
from ipcv.language.divprune import farthest

_OFFSET_BYTES = 3 * 4
"""Three int32."""


class _Places(NamedTuple):
    """Where the visual tokens of a step are.

    Attributes:
        is_visual: `(T,)` bool, of the step's tokens.
        offsets: `(3, V)` int64, from the first place of their item.
    """

    is_visual: Tensor
    offsets: Tensor


class _Grid(NamedTuple):
    """Frames, rows and columns of tokens, and the time between two frames."""

    t: int
    h: int
    w: int
    speed: float = 1.0


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

    def _shortened(self, tokens: Tensor, grid: _Grid) -> Tensor:
        """Of an item's tokens `(N, C)` those that stay, and columns of their offsets.

        `C` has the states, then DeepStack's features, where a model has them.
        """
        settings: Any = self.ipcv_settings
        width = self.config.get_text_config().hidden_size  # type: ignore[attr-defined]
        kept = farthest(tokens[:, :width], settings.kept(len(tokens)))
        group = get_tp_group()
        if group.world_size > 1:  # states need not be bitwise the same on each
            kept = group.broadcast(kept)
        offsets = offsets_of(grid).to(kept.device)[kept]
        columns = offsets.int().view(tokens.dtype)  # bits: half floats hold no large integers
        return torch.cat([tokens[kept], columns], dim=1)

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
        for first, grid in self._grids(mm_features):
            text, visual = first - done, settings.kept(grid.t * grid.h * grid.w)
            positions.append(torch.arange(following, following + text))
            following += text
            positions.append(torch.full((visual,), following))
            following += 1 + max(int((grid.t - 1) * grid.speed), grid.h - 1, grid.w - 1)
            done = first + visual
        rest = len(input_tokens) - done
        positions.append(torch.arange(following, following + rest))
        return torch.cat(positions).expand(3, -1).clone(), following - done

    def _grids(self, mm_features: list[Any]) -> Iterator[tuple[int, _Grid]]:
        """Of each run of visual tokens in a prompt, where it starts and what it was of."""
        raise NotImplementedError

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
            columns = _OFFSET_BYTES // multimodal_embeddings[0].element_size()
            bits = torch.cat([x[:, -columns:] for x in multimodal_embeddings])
            self._places = _Places(is_multimodal, bits.view(torch.int32).long().T)
            multimodal_embeddings = [x[:, :-columns] for x in multimodal_embeddings]
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


class ShorterVideos(Shorter):
    """The same for models whose images and videos are grids of tokens."""

    def _process_image_input(self, image_input: Any) -> Sequence[Tensor]:
        tokens: Sequence[Tensor] = super()._process_image_input(image_input)  # type: ignore[misc]
        if self.ipcv_settings is None:
            return tokens
        grids = self._in_tokens(image_input["image_grid_thw"])
        return [self._item(*one) for one in zip(tokens, grids, strict=True)]

    def _process_video_input(self, video_input: Any) -> Sequence[Tensor]:
        tokens: Sequence[Tensor] = super()._process_video_input(video_input)  # type: ignore[misc]
        if self.ipcv_settings is None:
            return tokens
        grids = self._in_tokens(video_input["video_grid_thw"])
        if (seconds := video_input.get("second_per_grid_ts")) is not None:
            vision: Any = self.config.vision_config  # type: ignore[attr-defined]
            speed = getattr(vision, "tokens_per_second", 1.0)
            speeds = [speed * second for second in seconds.tolist()]
            grids = [grid._replace(speed=x) for grid, x in zip(grids, speeds, strict=True)]
        return [self._item(*one) for one in zip(tokens, grids, strict=True)]

    def _in_tokens(self, grids: Tensor) -> list[_Grid]:
        side = self.config.vision_config.spatial_merge_size  # type: ignore[attr-defined]
        return [_Grid(t, h // side, w // side) for t, h, w in grids.tolist()]

    def _item(self, tokens: Tensor, grid: _Grid) -> Tensor:
        """What stays of an image or a video."""
        return self._shortened(tokens, grid)

    def _grids(self, mm_features: list[Any]) -> Iterator[tuple[int, _Grid]]:
        for first, *grid in self.iter_mm_grid_thw(mm_features):  # type: ignore[attr-defined]
            yield first, _Grid(*grid)


class ShorterFrames(ShorterVideos):
    """The same for models in whose prompts the frames of a video are apart."""

    def _item(self, tokens: Tensor, grid: _Grid) -> Tensor:
        frame = grid._replace(t=1, speed=1.0)
        return torch.cat([self._shortened(x, frame) for x in tokens.chunk(grid.t)])

    def _grids(self, mm_features: list[Any]) -> Iterator[tuple[int, _Grid]]:
        for feature in sorted(mm_features, key=lambda feature: feature.mm_position.offset):
            (grid,) = self._in_tokens(feature.data[f"{feature.modality}_grid_thw"].data[None])
            for first, _ in feature.mm_position.extract_embeds_range():
                yield first, grid._replace(t=1)


class ShorterTiles(Shorter):
    """The same for InternVL, in which visual tokens are a line, as words are.

    Its language model has one position per token, and is given M-RoPE by `settings.give_mrope`.
    """

    supports_mrope = True
    num_image_token: int

    def _process_vision_input(self, image_input: Any) -> Sequence[Tensor]:
        items: Sequence[Tensor] = super()._process_vision_input(image_input)  # type: ignore[misc]
        if self.ipcv_settings is None:
            return items
        counts = [int(count) for count in image_input["num_patches"]]
        runs = counts if image_input["type"] == "pixel_values_videos" else [1] * len(counts)
        return [
            torch.cat([self._shortened(run, _Grid(1, 1, len(run))) for run in item.chunk(number)])
            for item, number in zip(items, runs, strict=True)
        ]

    def _grids(self, mm_features: list[Any]) -> Iterator[tuple[int, _Grid]]:
        for feature in sorted(mm_features, key=lambda feature: feature.mm_position.offset):
            tiles = int(feature.data[f"{feature.modality}_num_patches"].data)
            runs = feature.mm_position.extract_embeds_range()
            for first, _ in runs:
                yield first, _Grid(1, 1, tiles * self.num_image_token // len(runs))


def offsets_of(grid: _Grid) -> Tensor:
    """`(N, 3)` int64: places of tokens, from the first one's, in time, rows and columns."""
    frames = (torch.arange(grid.t) * grid.speed).long()
    return torch.cartesian_prod(frames, torch.arange(grid.h), torch.arange(grid.w))
