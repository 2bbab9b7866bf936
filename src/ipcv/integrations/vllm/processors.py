"""vLLM's multimodal processors with as many placeholders as tokens stay, and settings in keys."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache, cached_property, partial
from hashlib import blake2b
from itertools import groupby, repeat
from operator import itemgetter
from typing import Any, TypeVar

from vllm.multimodal import MULTIMODAL_REGISTRY
from vllm.multimodal.parse import DictEmbeddingItems, EmbeddingItems
from vllm.multimodal.processing import PromptUpdateDetails

import ipcv
from ipcv.integrations.vllm.settings import KEY, ONE_DIMENSIONAL, Settings

ModelClass = TypeVar("ModelClass", bound=type)


def remember(model_config: Any, given: object) -> None:
    """Leave an engine's settings where its processors find them, in whatever process they run."""
    setattr(model_config.hf_config, KEY, given)


def remembered(info: Any) -> Settings | None:
    """The settings left there; `None` where IPCV is off."""
    hf_config = info.ctx.model_config.hf_config
    given = getattr(hf_config, KEY, None)
    return None if given is None else Settings.from_config(given, hf_config)


class Info:
    """Mixed into what tells how large items can be."""

    def get_mm_max_tokens_per_item(self, *args: Any, **kwargs: Any) -> Mapping[str, int] | None:
        """Per kind of item, after dropping: as many items fit an encoder call as are scheduled."""
        most: Mapping[str, int] | None
        most = super().get_mm_max_tokens_per_item(*args, **kwargs)  # type: ignore[misc]
        settings = remembered(self)
        if settings is None or most is None:
            return most
        return {kind: settings.kept(tokens) for kind, tokens in most.items()}


class Processor:
    """Mixed into what turns a request into tokens and pixels.

    Placeholders are as many as visual tokens stay. Items have keys, of encoder outputs and of
    blocks in the prefix cache, that differ where settings do.
    """

    @cached_property
    def _settings(self) -> Settings | None:
        return remembered(self.info)  # type: ignore[attr-defined]

    def _get_mm_hashes(self, inputs: Any) -> dict[str, list[str]]:
        hashes: dict[str, list[str]] = super()._get_mm_hashes(inputs)  # type: ignore[misc]
        if self._settings is None:
            return hashes
        mark = mark_of(self._settings)
        return {kind: [f"{one}-{mark}" for one in ones] for kind, ones in hashes.items()}

    def _get_prompt_updates(self, mm_items: Any, *args: Any, **kwargs: Any) -> Sequence[Any]:
        updates: Sequence[Any]
        updates = super()._get_prompt_updates(mm_items, *args, **kwargs)  # type: ignore[misc]
        settings = self._settings
        if settings is None or settings.tokens is None:
            return updates
        model_type = self.info.ctx.model_config.hf_config.model_type  # type: ignore[attr-defined]
        encoded = any(isinstance(x, EmbeddingItems | DictEmbeddingItems) for x in mm_items.values())
        if encoded and model_type in ONE_DIMENSIONAL:
            raise ValueError(
                "ipcv keep_tokens needs images themselves, not their embeddings: of these it is "
                "not known how many tiles they are of"
            )
        return [replace(one, replacement=_fewer(settings, one.replacement)) for one in updates]


def _fewer(settings: Settings, placeholders: Any) -> Any:
    """The same of an item, with less of each run of visual tokens."""

    def of_item(item: int) -> PromptUpdateDetails:
        given = placeholders(item)
        if not isinstance(given, PromptUpdateDetails):
            given = PromptUpdateDetails.from_seq(given)
        tokens = given.full
        is_visual = repeat(True) if given.is_embed is None else given.is_embed(tokens).tolist()
        fewer = list[int]()
        for visual, run in groupby(zip(is_visual, tokens, strict=False), key=itemgetter(0)):
            everything = [token for _, token in run]
            fewer += everything[: settings.kept(len(everything)) if visual else None]
        return replace(given, full=fewer)

    return of_item


def mark_of(settings: Settings) -> str:
    """A few letters that differ where encoder outputs may."""
    return blake2b(f"{ipcv.__version__} {settings}".encode(), digest_size=6).hexdigest()


def with_processor(model: ModelClass) -> ModelClass:
    """Register for a model class its parent's processor with our part in it.

    It gets its parent's name, too, which vLLM asks for where there is a draft model.
    """
    stock: Any = model._processor_factory  # type: ignore[attr-defined]
    register = MULTIMODAL_REGISTRY.register_processor(
        partial(_made_with, Processor, stock.processor),
        info=partial(_made_with, Info, stock.info),
        dummy_inputs=stock.dummy_inputs,
    )
    model.__name__ = model.__bases__[-1].__name__
    registered: ModelClass = register(model)
    return registered


def _made_with(part: type, factory: Callable[..., Any], *args: Any) -> Any:
    """What a class or a function makes, with our part in it."""
    made = factory(*args)
    ours: Any = object.__new__(_with(part, type(made)))  # type: ignore[arg-type]
    vars(ours).update(vars(made))
    return ours


@cache
def _with(part: type, kind: type) -> type:
    return type(kind.__name__, (part, kind), {})
