"""DART: keep what resembles a few pivot tokens least."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from ipcv.core import ops
from ipcv.language.layout import ImageRun, PromptLayout
from ipcv.language.method import LanguageMethod, Prompt


@dataclass(frozen=True)
class DART(LanguageMethod):
    """Duplication-Aware Reduction of Tokens (arXiv 2502.11494).

    Pivots of an image are the tokens of it, and of the text after it, whose keys in layer
    `prune_layer - 1` have the largest L1 norms. Each pivot in turn keeps, of the tokens not kept
    yet, those whose hidden states are least cosine-similar to its own. Image pivots are kept too.

    Attributes:
        prune_layer: 0-based index of the first layer that runs without the dropped tokens.
        reduction_ratio: fraction of the tokens of each image that is dropped, in [0, 1). Kept are
            `int(tokens * (1 - reduction_ratio) / pivots)` per pivot, and the image pivots.
        image_pivots, text_pivots: pivots per image, and in the text after it.
        normalize: compare hidden states behind the decoder's final norm, as DART's authors do.
            `False` is the variant in IPCV's published code: states as they are, and pivots in the
            order of a CPython set of their positions (for which it waits for the device once)
            instead of the strongest first, those of the image before those of the text.

    Raises:
        ValueError: a setting is out of range or of the wrong type.
    """

    prune_layer: int = 2
    reduction_ratio: float = 0.65
    image_pivots: int = 4
    text_pivots: int = 4
    normalize: bool = True

    needs_keys = True

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require_integer("image_pivots", minimum=1)
        self._require_integer("text_pivots", minimum=0)
        if not isinstance(self.normalize, bool):
            raise ValueError(f"normalize must be True or False, got {self.normalize!r}")

    def keep_count(self, run: ImageRun, layer: int) -> int:
        """The image pivots and every pivot's share; all tokens at ratio 0."""
        if not self.reduction_ratio:
            return run.length
        image, text = self._num_pivots(run)
        return min(run.length, image + (image + text) * self._share(run))

    def _share(self, run: ImageRun) -> int:
        pivots = self.image_pivots + self.text_pivots
        return int(run.length * (1 - self.reduction_ratio) / pivots)

    def _num_pivots(self, run: ImageRun) -> tuple[int, int]:
        return min(self.image_pivots, run.length), min(self.text_pivots, run.text_after)

    def scores(self, prompt: Prompt) -> Tensor:
        """1 for the tokens to keep, 0 for the others."""
        lengths, device = prompt.lengths, prompt.hidden_states.device
        states = prompt.norm(prompt.hidden_states) if self.normalize else prompt.hidden_states
        images = ops.pad_groups(prompt.of_images(states), lengths)
        image_pivots, text_pivots = self._pivots(prompt)
        rows = ops.upload([[run.row] for run in prompt.layout.runs], device)
        chosen = image_pivots[..., None].expand(-1, -1, images.shape[2])
        pivots = torch.cat([images.gather(1, chosen), states[rows, text_pivots]], dim=1)
        shares = [self._shares(run, image_pivots, text_pivots) for run in prompt.layout.runs]
        if not self.normalize:
            orders = self._published_orders(prompt.layout, image_pivots, text_pivots)
            order = ops.upload(orders, device)
            pivots = pivots.gather(1, order[..., None].expand_as(pivots))
            shares = [[share[i] for i in o] for share, o in zip(shares, orders, strict=True)]
        is_kept = least_similar(pivots, images, image_pivots, shares, lengths)
        return ops.unpad_groups(is_kept, lengths).float()

    def _pivots(self, prompt: Prompt) -> tuple[Tensor, Tensor]:
        """Of image `r` the pivots `(R, I)`, counted from its first token, and the text's columns.

        `(R, T)`; both by descending norm. Where there are fewer, those beyond `_num_pivots` are
        arbitrary.
        """
        runs, device = prompt.layout.runs, prompt.hidden_states.device
        norms = prompt.keys.abs().sum(dim=(1, 3), dtype=torch.float32).to(device)
        image_norms = ops.pad_groups(prompt.of_images(norms), prompt.lengths, -torch.inf)
        rows = ops.upload([run.row for run in runs], device)
        ends = ops.upload([run.start + run.length for run in runs], device)
        columns = torch.arange(norms.shape[1], device=device)
        is_after = prompt.is_text[rows] & (columns >= ends[:, None])
        text_norms = norms[rows].masked_fill(~is_after, -torch.inf)
        return (
            image_norms.topk(min(self.image_pivots, image_norms.shape[1])).indices,
            text_norms.topk(min(self.text_pivots, text_norms.shape[1])).indices,
        )

    def _shares(self, run: ImageRun, image_pivots: Tensor, text_pivots: Tensor) -> list[int]:
        """How many tokens each pivot keeps: none for those that are no pivots."""
        image, text = self._num_pivots(run)
        is_pivot = [i < image for i in range(image_pivots.shape[1])]
        is_pivot += [i < text for i in range(text_pivots.shape[1])]
        return [self._share(run) * pivot for pivot in is_pivot]

    def _published_orders(
        self, layout: PromptLayout, image_pivots: Tensor, text_pivots: Tensor
    ) -> list[list[int]]:
        """Per image the order of its pivots: that of a `set` of their positions in CPython."""
        orders = []
        chosen = zip(layout.runs, image_pivots.tolist(), text_pivots.tolist(), strict=True)
        for run, image, text in chosen:
            first = layout.first(run.row)
            positions = [run.start - first + i for i in image] + [i - first for i in text]
            num_image, num_text = self._num_pivots(run)
            valid = [*range(num_image), *range(len(image), len(image) + num_text)]
            pivots = [positions[i] for i in valid]
            ordered = [valid[pivots.index(position)] for position in set(pivots)]
            orders.append(ordered + [i for i in range(len(positions)) if i not in ordered])
        return orders


def least_similar(
    pivots: Tensor,
    images: Tensor,
    image_pivots: Tensor,
    shares: list[list[int]],
    lengths: list[int],
) -> Tensor:
    """Let each pivot in turn keep the unkept tokens that are least similar to it.

    Args:
        pivots: `(R, P, C)` hidden states.
        images: `(R, N, C)`, image `r` padded behind its `lengths[r]` tokens.
        image_pivots: `(R, I)` tokens that are kept from the start; beyond an image, they are none.
        shares: `(R, P)` how many tokens a pivot keeps.
        lengths: tokens per image.

    Returns:
        `(R, N)` bool.
    """
    device, most = images.device, max(map(max, shares))
    share = ops.upload(shares, device)
    length = ops.upload(lengths, device)
    is_token = torch.arange(images.shape[1], device=device) < length[:, None]
    pivots, images = (F.normalize(x.float(), dim=-1) for x in (pivots, images))
    similarity = pivots @ images.transpose(1, 2)
    is_kept = torch.zeros_like(is_token).scatter(1, image_pivots, True) | ~is_token
    rank = torch.arange(most, device=device)
    for index in range(pivots.shape[1]):
        unkept = similarity[:, index].masked_fill(is_kept, torch.inf)
        order = unkept.topk(most, largest=False).indices
        is_share = rank < share[:, index, None]
        is_kept = is_kept.scatter(1, order, is_kept.gather(1, order) | is_share)
    return is_kept & is_token
