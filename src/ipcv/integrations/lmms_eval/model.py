"""A compressed model as lmms-eval runs it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from itertools import groupby
from typing import Any, Self

import torch
from accelerate import Accelerator  # type: ignore[import-untyped]
from lmms_eval.api.model import lmms
from lmms_eval.utils import Collator, simple_parse_args_string
from loguru import logger
from tqdm import tqdm

from ipcv.inputs.downsampling import Downsample
from ipcv.inputs.loading import load
from ipcv.inputs.prompt import video_options
from ipcv.integrations.lmms_eval.arguments import ModelArguments
from ipcv.integrations.lmms_eval.chat import (
    Conversation,
    cut,
    generation_settings,
    read_messages,
    stop_strings,
)


class Model(lmms):  # type: ignore[misc]
    """Any model that ipcv supports; the names of `ModelArguments.parse` are its arguments.

    Images go through the checkpoint's own processor with its own limits, so that no small image is
    enlarged beyond what the model's authors do.

    Raises:
        ValueError: an argument is unknown or wrong, or the model cannot be loaded.
    """

    is_simple = False

    def __init__(self, **arguments: Any) -> None:
        super().__init__()
        self.arguments = ModelArguments.parse(arguments)
        self.accelerator = Accelerator()
        self._rank = self.accelerator.process_index
        self._world_size = self.accelerator.num_processes
        self.model, self.processor = load(
            self.arguments.pretrained,
            dtype=self.arguments.dtype,
            device=str(self.accelerator.device) if self.world_size > 1 else self.arguments.device,
            trust_remote_code=self.arguments.trust_remote_code,
        )
        self.device = self.model.device
        if self.processor.chat_template is None:
            raise ValueError(f"{self.arguments.pretrained} has no chat template to ask it with")
        self._handle = self.arguments.apply(self.model)

    @classmethod
    def create_from_arg_string(
        cls, arg_string: str, additional_config: dict[str, Any] | None = None
    ) -> Self:
        """The model of a command line, which ends in one line where that is wrong."""
        beside = {name: value for name, value in (additional_config or {}).items() if value}
        try:
            return cls(**beside | _pairs(arg_string))
        except (ValueError, OSError, ImportError) as error:
            # lmms-eval would print a traceback and end with status 0
            sys.exit(f"ipcv: {' '.join(str(error).split())}")

    def clean(self) -> None:
        """Free the memory of the model; lmms-eval is done with it."""
        if self._handle is not None:
            self._handle.remove()
        super().clean()

    def generate_until(self, requests: list[Any]) -> list[str]:
        """An answer per request, in batches of requests with the same generation settings."""
        order = Collator(
            [request.args for request in requests],
            lambda args: (*args[4:], args[3]),  # task, split, document: alike ones together
            group_fn=lambda args: args[2],
            grouping=True,
        )
        answers: list[str] = []
        ignored: set[str] = set()
        with tqdm(total=len(requests), disable=self.rank != 0, desc="answers") as progress:
            for batch in order.get_batched(n=self.arguments.batch_size):
                given = batch[0][2]
                settings, unknown = generation_settings(given)
                ignored.update(unknown)
                for _, alike in groupby(map(self._read, batch), lambda chat: chat.kinds):
                    texts = self._answer(list(alike), settings)
                    answers += [cut(text, stop_strings(given)) for text in texts]
                progress.update(len(batch))
        if ignored:
            logger.warning(f"no setting of this model, ignored: {', '.join(sorted(ignored))}")
        return order.get_original(answers)  # type: ignore[no-any-return]

    def _read(self, args: tuple[Any, ...]) -> Conversation:
        _, to_messages, _, document, task, split = args
        return read_messages(
            to_messages(self.task_dict[task][split][document]),
            self.processor,
            self.arguments.num_frames,
            Downsample(self.arguments.downsample),
        )

    def _answer(self, chats: Sequence[Conversation], settings: dict[str, Any]) -> list[str]:
        """Answers to prompts with media of the same kinds, as one batch."""
        media = [item for chat in chats for item in chat.media]
        inputs = self.processor.apply_chat_template(
            [chat.messages for chat in chats],
            add_generation_prompt=True,
            tokenize=True,
            return_dict=True,
            return_tensors="pt",
            processor_kwargs={"padding": True, "padding_side": "left"}
            | video_options(self.processor, media),
        ).to(device=self.model.device, dtype=self.model.dtype)
        with torch.inference_mode():
            output = self.model.generate(**inputs, **settings)
        new_tokens = output[:, inputs["input_ids"].shape[1] :]
        return self.processor.batch_decode(new_tokens, skip_special_tokens=True)  # type: ignore[no-any-return]

    def loglikelihood(self, requests: list[Any]) -> list[tuple[float, bool]]:
        """Not offered."""
        raise NotImplementedError("ipcv answers generate_until tasks, not those that score choices")

    def generate_until_multi_round(self, requests: list[Any]) -> list[str]:
        """Not offered."""
        raise NotImplementedError("ipcv answers generate_until tasks, not those of several rounds")


def _pairs(arg_string: str) -> dict[str, Any]:
    try:
        return dict(simple_parse_args_string(arg_string))
    except ValueError:
        raise ValueError(
            f"write model_args like pretrained=X,prune_layer=3, not {arg_string!r}"
        ) from None
