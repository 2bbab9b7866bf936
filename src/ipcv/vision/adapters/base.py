"""Adapters: where the parts of a vision encoder are, and what its blocks take and return."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, ClassVar

from torch import Tensor, nn

from ipcv.core.arguments import Arguments
from ipcv.vision.adapters.noise import Noise
from ipcv.vision.layout import Layout
from ipcv.vision.selection import Selection

TilesReader = Callable[[Arguments], Sequence[int]]
AttentionFunction = Callable[..., tuple[Tensor, Tensor | None]]


class EncoderAdapter(ABC):
    """Where the parts of one shape of vision encoder are, and how to slice what its blocks take.

    The engine works on rows: all `(N, C)`, by `rows` and back by `like`, or the kept ones `(K, C)`,
    by `unpack` and back by `pack`.

    Attributes:
        encoder: the module whose `entries` start and end a compressed call.
        blocks: its transformer blocks.
        tile_sources: methods of the models around it whose arguments tell which tiles make up an
            image: the model, the method's name, and what reads the tiles per image.
        taps: blocks whose output somebody beside the model reads.
    """

    blocks_path: str
    norm_name: str
    attention_name: str
    states_name: str = "hidden_states"
    """The argument of a block that holds the hidden states."""
    entries: ClassVar[Mapping[str, Arguments]] = {"forward": {}}
    """The encoder's methods that run its blocks, and arguments that each has by default."""
    max_patches: int = 16_384
    """The most patches an item is expected to have; settings that would keep none are refused."""

    def __init__(self, encoder: nn.Module) -> None:
        self.encoder = encoder
        blocks = encoder.get_submodule(self.blocks_path).children()
        self.blocks: list[nn.Module] = [unwrapped(block) for block in blocks]
        self.tile_sources: list[tuple[nn.Module, str, TilesReader]] = []
        self.taps: set[int] = set()

    def norm(self, block: nn.Module) -> nn.Module:
        """The norm in front of the block's attention."""
        return block.get_submodule(self.norm_name)

    def attention(self, block: nn.Module) -> nn.Module:
        """The block's attention module."""
        return unwrapped(block.get_submodule(self.attention_name))

    def check_call(self, arguments: Arguments) -> None:
        """Raise `ValueError` or `RuntimeError` for a call of the encoder that cannot be right."""
        config = getattr(self.encoder, "config", None)
        if getattr(config, "_attn_implementation", None) == "flex_attention":
            raise ValueError(
                "a compressed encoder cannot slice the masks of flex_attention: load the model "
                'with attn_implementation="sdpa", "eager" or a flash one'
            )
        if self.encoder.training and any(
            getattr(block, "gradient_checkpointing", False) for block in self.blocks
        ):
            raise RuntimeError(
                "a compressed encoder cannot be trained with gradient checkpointing, which runs "
                "single blocks again: call eval(), or disable one of the two"
            )

    @abstractmethod
    def open(self, arguments: Arguments, tiles: Sequence[int]) -> Any:
        """Read, before the first block, what `layout` needs from the encoder's own arguments.

        `tiles`: tiles per image of this call, empty if not known.
        """

    @abstractmethod
    def layout(self, context: Any, hidden_states: Tensor) -> Layout:
        """The layout of one call. `context` is what `open` returned."""

    @abstractmethod
    def rows(self, hidden_states: Tensor) -> Tensor:
        """Hidden states as rows `(N, C)`."""

    @abstractmethod
    def like(self, rows: Tensor, hidden_states: Tensor) -> Tensor:
        """All rows `(N, C)` in the shape in which this encoder carries hidden states."""

    def unpack(self, hidden_states: Tensor, selection: Selection) -> Tensor:
        """The kept rows `(K, C)` of the hidden states that the pruned blocks carry."""
        return self.rows(hidden_states)

    def pack(self, kept: Tensor, hidden_states: Tensor, selection: Selection) -> Tensor:
        """The inverse of `unpack`, like `hidden_states` before or after pruning."""
        return self.like(kept, hidden_states)

    @abstractmethod
    def prune_arguments(self, arguments: Arguments, selection: Selection) -> Arguments:
        """The block's other arguments for the kept rows alone."""

    @abstractmethod
    def keys(self, attention: Any, normed: Tensor) -> Tensor:
        """Keys `(T, heads, D)` of normed rows `(T, C)`, before rotary position embedding."""

    @abstractmethod
    def attend(
        self,
        attention: Any,
        queries: Tensor,
        keys: Tensor | None,
        arguments: Arguments,
        selection: Selection,
    ) -> Any:
        """What `attention` returns for normed kept rows that attend all normed rows.

        Both are in the encoder's own shape; `arguments` are the block's, for all rows. No keys mean
        that kept rows attend each other, and count by their sizes where the selection has any; it
        happens with `attends_kept` or sizes alone.
        """

    @abstractmethod
    def noise(self, side: int, images: int, frames: int) -> Noise:
        """Random pixels of square images, or with `frames` of one video, of about `side` pixels."""

    can_repeat = False
    """Whether copies of an image give the `pooler_output` of one, repeated, and nothing besides."""

    attends_kept = False
    """Whether `attend` also serves the blocks where kept rows attend each other."""

    def full_length_outputs(self, arguments: Arguments) -> set[int]:
        """Blocks but the last whose output somebody reads, and that must hence have all rows."""
        requested = arguments.get("output_hidden_states")
        if requested is None:
            requested = getattr(self.encoder.config, "output_hidden_states", False)
        depth = len(self.blocks)
        if isinstance(requested, bool) or requested is None:
            return set(range(depth)) if requested else set(self.taps)
        # hidden_states[i] is the input of block i: the output of block i - 1.
        indices = [requested] if isinstance(requested, int) else requested
        return {index % (depth + 1) - 1 for index in indices} | self.taps


class TokenAdapter(EncoderAdapter):
    """An adapter that gets at the heads of attention: for tokens that get fewer in every block.

    Attributes:
        obstacle: why the tokens of this encoder must stay as many all the same; empty if they need
            not.
    """

    obstacle = ""

    @abstractmethod
    def segment_lengths(self, hidden_states: Tensor, arguments: Arguments) -> list[int]:
        """Rows per attention segment, from what the first block takes. May wait for the device."""

    @abstractmethod
    def heads(
        self, attention: Any, normed: Tensor, arguments: Arguments, positions: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Query, key, value and the key before rotary embedding, each `(T, heads, D)`.

        Of normed tokens `(T, C)` that have the positions of the rows `positions (T,)`.
        """

    @abstractmethod
    def project_output(self, attention: Any, attended: Tensor, hidden_states: Tensor) -> Any:
        """What `attention` returns, from `(T, heads * D)`; `hidden_states` have its shape."""


WRAPPERS = ("_checkpoint_wrapped_module", "_fsdp_wrapped_module")
"""Where activation checkpointing and FSDP keep the module that they wrap."""


def unwrapped(module: nn.Module) -> nn.Module:
    """The module that does the work."""
    for name in WRAPPERS:
        if isinstance(inner := getattr(module, "_modules", {}).get(name), nn.Module):
            return unwrapped(inner)
    return module


def is_plain_linear(module: nn.Module) -> bool:
    """Whether slicing the module's weight gives what calling it would give, sliced.

    False for LoRA, quantized, offloaded, sharded or hooked layers, which must be called.
    """
    return (
        type(module) is nn.Linear
        and type(module.weight.data) is Tensor
        and module.weight.device.type != "meta"
        and "forward" not in vars(module)
        and not (module._forward_hooks or module._forward_pre_hooks)
    )


def attention_function(attention: Any) -> AttentionFunction:
    """The attention implementation (eager, sdpa, flash, …) that the module is configured to use."""
    from sys import modules

    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    eager = modules[type(attention).__module__].eager_attention_forward
    function: AttentionFunction = ALL_ATTENTION_FUNCTIONS.get_interface(
        attention.config._attn_implementation, eager
    )
    return function


def is_flash(attention: Any) -> bool:
    """Whether the module is configured to use flash attention."""
    config = getattr(attention, "config", None)
    return "flash" in (getattr(config, "_attn_implementation", None) or "")


def configured_attention(attention: Any) -> AttentionFunction:
    """The same as the module itself would call it: `(query, key, value, mask, …)`."""
    return partial(
        attention_function(attention),
        attention,
        scaling=scaling(attention),
        dropout=attention_dropout(attention),
        is_causal=False,
    )


def scaling(attention: Any) -> float:
    """The factor on the products of queries and keys."""
    factor: float = attention.scaling if hasattr(attention, "scaling") else attention.scale
    return factor


def attention_dropout(attention: Any) -> float:
    """The probability with which attention is dropped: 0 but in training."""
    if not attention.training:
        return 0.0
    names = ("attention_dropout", "dropout", "attn_drop")
    found: Any = next(getattr(attention, name) for name in names if hasattr(attention, name))
    return float(found.p if isinstance(found, nn.Dropout) else found)
