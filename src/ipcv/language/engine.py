"""The engine for any method on any language model: prune before a layer, mask, cache, restore."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from ipcv.core import ops
from ipcv.core.arguments import Arguments, bind
from ipcv.core.hooks import Hooked, states_of, with_states
from ipcv.language import checks
from ipcv.language.attention import last_token_attention
from ipcv.language.cache import Held, KeyRecorder, is_pruned, pruned_layer
from ipcv.language.call import ModelCall
from ipcv.language.decoder import Decoder
from ipcv.language.layout import PADDING, TEXT, PromptLayout
from ipcv.language.masks import causal_mask, pick_mask
from ipcv.language.method import LanguageMethod, Prompt
from ipcv.language.prefill import Prefill
from ipcv.language.tokens import pick_tokens
from ipcv.vision.adapters.observer import Observer


class DecoderEngine(Hooked[ModelCall]):
    """Drops image tokens in one language model. State is per call and per thread.

    Layers below the first pruning one are left alone. Those from it on carry the tokens that are
    left, at their original positions, and cache only those. The output of the last layer, and of
    those behind which DeepStack adds features, is full length again: dropped tokens have the state
    with which they were dropped, and their logits mean nothing.

    Args:
        decoder: the language model and the model around it.
        method: the settings, already checked against the decoder.
        record: gets a record of every prefill with images.
        observer: watches the vision encoder, for a method with `needs_encoder`.
    """

    def __init__(
        self,
        decoder: Decoder,
        method: LanguageMethod,
        record: Callable[[Prefill], None],
        observer: Observer | None = None,
    ) -> None:
        super().__init__()
        self.decoder, self.method, self.record = decoder, method, record
        self.observer = observer
        self.layers = decoder.layers
        self.first = method.prune_layers[0]
        deep = min(decoder.deepstack_layers, len(self.layers) - 1)
        self._restored = range(self.first, deep)
        self._signatures = [inspect.signature(layer.forward) for layer in self.layers]

    @property
    def target(self) -> nn.Module:
        """The language model."""
        return self.decoder.model

    def attach(self) -> None:
        """Install the hooks."""
        generator = self.decoder.generator
        self._hooks.surround(self.decoder.owner, "forward", self._opened)
        self._hooks.surround(generator, "forward", self._drafts_counted)
        self._hooks.surround(generator, "generate", self._generating)
        for index in range(max(0, self.first - 1), len(self.layers)):
            hook = partial(self._before_layer, index)
            self._hooks.before(self.layers[index], hook, prepend=True)
        for index in self._restored:
            self._hooks.after(self.layers[index], self._after_deepstack_layer, prepend=True)
        # Ahead of the hooks that capture outputs: those must see what this one returns.
        self._hooks.after(self.layers[-1], self._after_last, prepend=True)

    @property
    def _is_generating(self) -> bool:
        return getattr(self._local, "is_generating", False)

    @contextmanager
    def _generating(self, arguments: Arguments) -> Iterator[None]:
        """Know that `generate` runs."""
        checks.check_generate(self.decoder.generator, arguments)
        before, self._local.is_generating = self._is_generating, True
        try:
            with self._in_use():  # what is in the cache needs us to the end
                yield
        finally:
            self._local.is_generating = before

    @contextmanager
    def _drafts_counted(self, arguments: Arguments) -> Iterator[None]:
        """Where `generate` asks for logits of several tokens, all but the first are no prompt."""
        asked, is_generating = arguments.get("logits_to_keep"), self._is_generating
        self._local.drafts = max(0, asked - 1) if is_generating and isinstance(asked, int) else 0
        try:
            yield
        finally:
            self._local.drafts = 0

    @contextmanager
    def _opened(self, arguments: Arguments) -> Iterator[None]:
        """The state of one forward of the multimodal model, while it runs."""
        checks.check_call(self.decoder, self.first, arguments)
        tokens = arguments.get("input_ids")
        if tokens is None:
            tokens = arguments["inputs_embeds"]
        call = ModelCall(length=tokens.shape[1])
        if (cache := arguments.get("past_key_values")) is not None:
            call.past = cache.get_seq_length()
        if call.length > 1:
            self._find_images(call, tokens, arguments)
        with self._running(call):
            yield

    def _find_images(self, call: ModelCall, input_ids: Tensor, arguments: Arguments) -> None:
        """Waits for the device once: the shapes behind the pruning depend on the images."""
        kinds = torch.full_like(input_ids, TEXT)
        for number, visual_id in enumerate(self.decoder.visual_ids, start=1):
            kinds = kinds.masked_fill(input_ids == visual_id, number)
        mask = arguments.get("attention_mask")
        if isinstance(mask, Tensor) and mask.ndim == 2:
            kinds = kinds.masked_fill(mask[:, -call.length :] == 0, PADDING)
        on_host = kinds.cpu()
        share = self.decoder.tokens_per_image(arguments, int((on_host > 0).sum()))
        layout = PromptLayout.of(on_host, getattr(self._local, "drafts", 0), share)
        if not layout.runs:
            return
        checks.check_images(layout)
        if layout.drafts:
            kinds[:, -layout.drafts :] = PADDING - 1
        call.layout, call.kinds, call.stages = layout, kinds, {-1: (layout, None)}

    def _before_layer(
        self, index: int, layer: nn.Module, args: Any, kwargs: Arguments
    ) -> tuple[tuple[Tensor], Arguments] | None:
        call = self._call
        if call is None:
            return None
        given = arguments = bind(self._signatures[index], args, kwargs)
        call.is_cached = arguments.get("past_key_values") is not None
        if call.columns is not None and index - 1 in self._restored:
            carried = pick_tokens(arguments["hidden_states"], call.columns)
            arguments = arguments | {"hidden_states": carried}
        if index in self.method.prune_layers:
            arguments = self._prune(call, index, arguments)
        if index >= self.first:
            arguments = self._follow(call, index, arguments)
        if call.layout is not None and index + 1 in self.method.prune_layers:
            call.previous = arguments
            if self.method.needs_keys:
                call.recorder = KeyRecorder(arguments.get("past_key_values"))
                arguments = arguments | {"past_key_values": call.recorder}
        if arguments is given:
            return None
        hidden_states = arguments["hidden_states"]
        return (hidden_states,), {k: v for k, v in arguments.items() if k != "hidden_states"}

    def _prune(self, call: ModelCall, index: int, arguments: Arguments) -> Arguments:
        """Choose the image tokens that go on, and drop the others."""
        layout, hidden_states = call.layout, arguments["hidden_states"]
        if layout is None or call.kinds is None:
            return arguments
        counts = [min(run.length, self.method.keep_count(run, index)) for run in layout.runs]
        lengths = [run.length for run in layout.runs]
        if counts == lengths:
            return arguments
        kinds = call.kinds.to(hidden_states.device)
        if call.columns is None:
            columns = torch.arange(call.length, device=kinds.device).expand_as(kinds)
            columns = columns.masked_fill(kinds == PADDING, -1)
        else:
            columns = call.columns.to(kinds.device)
        prompt = self._prompt(call, index, hidden_states, pick_tokens(kinds, columns) == TEXT)
        scores = self.method.scores(prompt)
        _, removed = ops.select_top(scores, lengths, counts)
        goes_on = (columns >= 0).flatten().index_fill(0, prompt.positions[removed], False)
        layout = layout.pruned(counts)
        order = goes_on.view_as(columns).int().argsort(dim=1, stable=True)[:, -layout.width :]
        is_token = goes_on.view_as(columns).gather(1, order)
        call.full = call.restored(hidden_states)
        call.columns = columns.gather(1, order).masked_fill(~is_token, -1)
        call.layout, call.stages[index] = layout, (layout, call.columns)
        return arguments | {"hidden_states": pick_tokens(self.method.merge(prompt, scores), order)}

    def _prompt(
        self, call: ModelCall, index: int, hidden_states: Tensor, is_text: Tensor
    ) -> Prompt:
        assert call.layout is not None
        before = call.previous.get("hidden_states")
        return Prompt(
            layer=index,
            hidden_states=hidden_states,
            before=None if before is None else before.to(hidden_states.device),
            layout=call.layout,
            is_text=is_text,
            norm=lambda states: self.decoder.norm(states).to(states.device),
            all_keys=None if call.recorder is None else call.recorder.keys,
            attend=partial(
                last_token_attention, self.layers[index - 1], call.previous, call.layout.last
            ),
            observed=None if self.observer is None else self.observer.observed,
        )

    def _follow(self, call: ModelCall, index: int, arguments: Arguments) -> Arguments:
        """The layer's arguments for the tokens that it carries, and what its cache then holds."""
        cache = arguments.get("past_key_values")
        if call.columns is None and not is_pruned(cache, index):
            return arguments
        hidden_states, mask = arguments["hidden_states"], arguments.get("attention_mask")
        if cache is None:
            held = call.once("held", call.columns, compute=lambda: self._hold(call, Held()))
        else:
            layer = pruned_layer(cache, index)
            before = layer.held
            held = call.once(
                "held", call.columns, before.picked, before.recent,
                compute=lambda: self._hold(call, before),
            )  # fmt: skip
            layer.expect(held, call.past + call.length)
        mask = call.once(
            "mask", mask, held, compute=lambda: self._mask(call, mask, held, hidden_states)
        )
        arguments = arguments | {"attention_mask": mask}
        if (columns := call.columns) is not None:
            rotary = arguments["position_embeddings"]
            arguments["position_embeddings"] = call.once(
                "rotary",
                rotary,
                columns,
                compute=lambda: tuple(pick_tokens(x, columns) for x in rotary),
            )
            # Flash attention would take the gaps for the start of another sequence.
            arguments["position_ids"] = None
        return arguments

    def _hold(self, call: ModelCall, before: Held) -> Held:
        """What a cache layer holds after this call."""
        if call.columns is None:
            return Held(before.picked, before.recent + call.length, before.is_ragged)
        assert call.layout is not None
        columns, tail = call.columns, call.layout.tail
        new = torch.where(columns < 0, columns, columns + call.past)
        old = before.columns(call.past, len(new), new.device)
        picked = torch.cat([old, new[:, : new.shape[1] - tail]], dim=1)
        return Held(picked, tail, before.is_ragged or call.layout.is_ragged)

    def _mask(
        self, call: ModelCall, mask: Tensor | None, held: Held, hidden_states: Tensor
    ) -> Tensor | None:
        """The mask for the tokens carried, from the one for all tokens."""
        if mask is None and not held.is_ragged:
            return None
        total, device = call.past + call.length, hidden_states.device
        keys = held.columns(total, len(hidden_states), device)
        queries = call.columns
        if queries is None:
            queries = torch.arange(call.length, device=device).expand(len(keys), -1)
        queries = queries.to(device)
        if mask is not None:
            offset = total - mask.shape[-1]
            return pick_mask(mask.to(device), queries, keys.where(keys < 0, keys - offset))
        if "flash" in self.decoder.config._attn_implementation:
            return keys >= 0
        return causal_mask(queries.where(queries < 0, queries + call.past), keys)

    def _after_deepstack_layer(self, layer: nn.Module, args: Any, output: Any) -> Any:
        """All tokens, as the model adds features to those of all images."""
        call = self._call
        if call is None or call.columns is None:
            return None
        return with_states(output, call.restored(states_of(output)))

    def _after_last(self, layer: nn.Module, args: Any, output: Any) -> Any:
        call = self._call
        if call is None or call.layout is None:
            return None
        states = states_of(output)
        self.record(self._prefill(call, states.dtype))
        if call.columns is None:
            return None
        return with_states(output, call.restored(states))

    def _prefill(self, call: ModelCall, dtype: torch.dtype) -> Prefill:
        depth = len(self.layers)
        stages = [max(s for s in call.stages if s <= index) for index in range(depth)]
        layouts, columns = zip(*(call.stages[stage] for stage in stages), strict=True)
        windows = tuple(self.decoder.window(index) for index in range(depth))
        token_bytes = self.decoder.key_bytes(dtype) if call.is_cached else 0
        return Prefill(call.stages[-1][0], layouts, columns, windows, token_bytes)
