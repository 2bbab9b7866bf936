"""Every vision method in plain loops over the own blocks of a CLIP encoder, image by image."""

from functools import partial

import torch
from torch import Tensor

import ipcv
from ipcv.families import adapter_for
from tests.vision.adapters.families import FAMILIES
from tests.vision.adapters.reference import PlainItem, batched_runner
from tests.vision.adapters.test_families import captured, flat
from tests.vision.test_adaptive import PlainGroup, plain_keys, plain_likeness, plain_steps
from tests.vision.test_tome import plain_tome

PROTECTED = 1
SIDE = 8
PLACES = torch.cat(
    [torch.zeros(PROTECTED, 3).long(), torch.cartesian_prod(*map(torch.arange, (1, SIDE, SIDE)))]
)
"""Frames, rows and columns."""


def plain_loops(model, inputs: dict[str, Tensor], method) -> Tensor:
    """`(B, N, C)`: what the compressed encoder must give for a batch of images."""
    with captured(model) as call:
        model(**inputs)
    start, blocks = call["arguments"]["hidden_states"], adapter_for(model).blocks
    return torch.stack([LOOPS[type(method)](states, blocks, method) for states in start])


def ipcv_loops(states, blocks, method):
    item, *_ = FAMILIES["clip_vision_model"].items(None, [["small"]])
    arguments = {"hidden_states": states[None], "attention_mask": None}
    plain = PlainItem(item, method, batched_runner(blocks, arguments))
    return plain.outputs(states, len(blocks))[-1]


def tome_loops(states, blocks, method):
    counts = method.removed_per_block(len(states) - PROTECTED, len(blocks))
    rows = torch.arange(len(states))
    return plain_tome("clip_vision_model", blocks, states, rows, counts, PROTECTED, {})


def adaptive_loops(states, blocks, method):
    group = PlainGroup(states, torch.arange(len(states)), PLACES, PROTECTED, plain_likeness)

    def weighed(index):
        bias = torch.tensor(group.sizes).log().expand(1, 1, len(group.sizes), len(group.sizes))
        group.states = through(blocks[index], group.states, attention_mask=bias)

    plain_steps([group], method, [partial(plain_keys, block) for block in blocks], weighed)
    return group.restored()


def through(block, states, **arguments):
    output = block(states[None], **{"attention_mask": None} | arguments)
    return flat(output[0] if isinstance(output, tuple) else output)


LOOPS = {
    ipcv.IPCV: ipcv_loops,
    ipcv.baselines.ToMe: tome_loops,
    ipcv.Adaptive: adaptive_loops,
}
