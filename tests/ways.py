"""Ways in which people run models. Printed, a table of them.

A way takes a tiny model, its inputs and a method, compresses, runs, and returns the output and what
it must be. Or it is refused, by an error with these words. The first way is compared to plain loops
over the model's own blocks, all others to the first.
"""

import copy
import pickle
import threading
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import accelerate
import peft
import pytest
import torch
import torch.distributed as dist
from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import checkpoint_wrapper
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

import ipcv
from ipcv.baselines import ToMe
from ipcv.families import adapter_for
from tests.vision.adapters.families import FAMILIES, build
from tests.vision.plain import plain_loops

METHODS = {
    "IPCV": ipcv.IPCV(1, 0.5, 2, 3),
    "Adaptive": ipcv.Adaptive(0.5),
    "ToMe": ToMe(0.1),
}


@dataclass(frozen=True)
class Way:
    """A way to run a model.

    Attributes:
        run: `(model, inputs, method) -> (output, expected)`.
        says: for people, what happens.
        refused: words of the error, where it is refused.
        refuses: which methods are refused; the others are right.
        tolerance: how far output and expected may be apart, of which values are about 1.
    """

    run: Callable
    says: str = "right"
    refused: str = ""
    refuses: Callable = lambda method: True
    tolerance: float = 1e-5

    def is_refused(self, method) -> bool:
        return bool(self.refused) and self.refuses(method)


WAYS: dict[str, Way] = {}


def way(name, *args, **options):
    def register(run):
        WAYS[name] = Way(run, *args, **options)
        return run

    return register


def states(model, inputs):
    return model(**inputs)[0]


def plain(model, inputs, method):
    with ipcv.compress(model, method):
        return states(model, inputs)


@way("eval, no_grad", "right: equal to plain loops over the model's own blocks")
def _(model, inputs, method):
    before = states(model, inputs)
    output = plain(model, inputs, method)
    assert torch.equal(states(model, inputs), before)
    return output, plain_loops(model, inputs, method)


@way("inference_mode")
def _(model, inputs, method):
    expected = plain(model, inputs, method)
    with torch.inference_mode():
        return plain(model, inputs, method).clone(), expected


def set_attention(name, model, inputs, method):
    expected = plain(model, inputs, method)
    model.set_attn_implementation(name)
    return plain(model, inputs, method), expected


WAYS["attention sdpa"] = Way(partial(set_attention, "sdpa"))
WAYS["attention eager"] = Way(partial(set_attention, "eager"))
WAYS["attention flex_attention"] = Way(
    partial(set_attention, "flex_attention"), "refused", "flex_attention"
)


@way(
    "output_attentions",
    "right; refused with ToMe",
    "attends ahead of the blocks",
    lambda method: isinstance(method, ToMe),
)
def _(model, inputs, method):
    expected = plain(model, inputs, method)
    model.set_attn_implementation("eager")
    with ipcv.compress(model, method):
        output = model(**inputs, output_attentions=True)
    assert len(output.attentions) == len(adapter_for(model).blocks)
    return output[0], expected


@way("float64 weights", tolerance=1e-4)
def _(model, inputs, method):
    expected = plain(model, inputs, method)
    return plain(model.double(), {n: x.double() for n, x in inputs.items()}, method), expected


def half(dtype, model, inputs, method):
    """Other patches may win than in fp32: no further away than compression itself."""
    before, expected = states(model, inputs), plain(model, inputs, method)
    inputs = {name: x.to(dtype) for name, x in inputs.items()}
    output = plain(model.to(dtype), inputs, method)
    assert output.dtype == dtype
    assert (output.float() - expected).norm() < (before - expected).norm()
    return expected, expected


def autocast(dtype, model, inputs, method):
    before, expected = states(model, inputs), plain(model, inputs, method)
    with torch.autocast("cpu", dtype):
        output = plain(model, inputs, method)
    assert (output.float() - expected).norm() < (before - expected).norm()
    return expected, expected


for dtype in (torch.bfloat16, torch.float16):
    name = str(dtype).removeprefix("torch.")
    WAYS[f"{name} weights"] = Way(partial(half, dtype), "right, to the precision of the dtype")
    WAYS[f"autocast {name}"] = Way(partial(autocast, dtype), "right, to the precision of the dtype")


def gradients(model, inputs, method):
    model.train()
    model.zero_grad()
    with torch.enable_grad(), ipcv.compress(model, method):
        states(model, inputs).square().mean().backward()
    return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


@way("training", "right; the gradient is that of small changes of the weights", tolerance=2e-2)
def _(model, inputs, method):
    found = gradients(model, inputs, method)
    weight = adapter_for(model).blocks[-1].get_submodule("mlp").get_parameter("fc2.weight")
    step, place = 1e-3, (0, 0)
    ends = []
    for sign in (1, -1):
        weight.data[place] += sign * step
        ends.append(plain(model, inputs, method).double().square().mean())
        weight.data[place] -= sign * step
    assert found.isfinite().all()
    return weight.grad[place], ((ends[0] - ends[1]) / (2 * step)).float()


CHECKPOINTING = "cannot be trained with"


def checkpointed(reentrant, model, inputs, method):
    expected = gradients(model, inputs, method)
    model.gradient_checkpointing_enable({"use_reentrant": reentrant})
    return gradients(model, inputs, method), expected


for reentrant in (True, False):
    kind = "reentrant" if reentrant else "non-reentrant"
    WAYS[f"gradient checkpointing, {kind}, training"] = Way(
        partial(checkpointed, reentrant), "refused", CHECKPOINTING
    )


@way("gradient checkpointing, eval")
def _(model, inputs, method):
    expected = plain(model, inputs, method)
    model.gradient_checkpointing_enable()
    return plain(model, inputs, method), expected


def wrap_blocks(model):
    layers = adapter_for(model).encoder.get_submodule(adapter_for(model).blocks_path)
    for name, block in list(layers.named_children()):
        layers.register_module(name, checkpoint_wrapper(block))


def wrap_children(model):
    for block in adapter_for(model).blocks:
        for name, child in list(block.named_children()):
            block.register_module(name, checkpoint_wrapper(child))


def wrapped_training(wrap, before, model, inputs, method):
    expected = gradients(model, inputs, method)
    if before:
        wrap(model)
        return gradients(model, inputs, method), expected
    model.zero_grad()
    model.train()
    with torch.enable_grad(), ipcv.compress(model, method):
        wrap(model)
        states(model, inputs).square().mean().backward()
    return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None]), expected


for what, wrap in (("blocks", wrap_blocks), ("their parts", wrap_children)):
    for before in (True, False):
        when = "before" if before else "after"
        WAYS[f"checkpoint_wrapper on {what} {when} compress, training"] = Way(
            partial(wrapped_training, wrap, before),
            "refused",
            CHECKPOINTING,
        )


@way("checkpoint_wrapper on blocks, eval")
def _(model, inputs, method):
    expected = plain(model, inputs, method)
    wrap_blocks(model)
    return plain(model, inputs, method), expected


@way("dropout in training", "as in the model: two runs differ")
def _(model, inputs, method):
    for block in adapter_for(model).blocks:
        adapter_for(model).attention(block).dropout = 0.5
    outputs = [plain(model.train(), inputs, method) for _ in range(2)]
    assert not torch.equal(*outputs)
    return outputs[0], outputs[0]


@way("copy.deepcopy of a compressed model", "the copy is plain, and runs on its own weights")
def _(model, inputs, method):
    expected = states(model, inputs)
    with ipcv.compress(model, method) as handle:
        copied = copy.deepcopy(model)
        output = states(copied, inputs)
        assert len(handle.stats) == 0
        assert not any("forward" in vars(module) for module in copied.modules())
        for parameter in copied.parameters():
            parameter.zero_()
        assert not torch.allclose(states(copied, inputs), expected)
        assert len(handle.stats) == 0
    return output, expected


@way("pickle of a compressed model", "refused", "cannot be pickled")
def _(model, inputs, method):
    with ipcv.compress(model, method):
        pickle.dumps(model)


@way("state_dict and load_state_dict while compressed")
def _(model, inputs, method):
    expected = plain(model, inputs, method)
    with ipcv.compress(model, method):
        model.load_state_dict({name: x.clone() for name, x in model.state_dict().items()})
        return states(model, inputs), expected


LORA = peft.LoraConfig(r=2, target_modules=["q_proj", "v_proj"], init_lora_weights=False)


@way("LoRA before compress")
def _(model, inputs, method):
    before = plain(model, inputs, method)
    wrapped = peft.get_peft_model(model, LORA).eval()
    output = plain(wrapped, inputs, method)
    assert not torch.allclose(output, before)
    return output, plain(wrapped.merge_and_unload(), inputs, method)


@way("LoRA after compress")
def _(model, inputs, method):
    with ipcv.compress(model, method):
        wrapped = peft.get_peft_model(model, LORA).eval()
        output = states(wrapped, inputs)
    return output, plain(wrapped.merge_and_unload(), inputs, method)


@way("norms tuned after compress")
def _(model, inputs, method):
    with ipcv.compress(model, method):
        config = peft.LNTuningConfig(target_modules=["layer_norm1"])
        wrapped = peft.get_peft_model(model, config).eval()
        for name, parameter in wrapped.named_parameters():
            if "ln_tuning_layers" in name:
                parameter.mul_(2)
        output = states(wrapped, inputs)
    return output, plain(wrapped, inputs, method)


def saved(before, model, inputs, method):
    """The model around an encoder, of which PEFT trains a copy, and the original stays."""
    family = FAMILIES["llava-clip"]
    model = copy.deepcopy(build("llava-clip"))
    inputs = family.inputs(model, [["small"], ["large"]])
    config = peft.LoraConfig(r=2, target_modules=["q_proj"], modules_to_save=["vision_tower"])
    uncompressed, expected = states(model, inputs), plain(model, inputs, method)
    assert not torch.allclose(uncompressed, expected)
    if before:
        return plain(peft.get_peft_model(model, config).eval(), inputs, method), expected
    with ipcv.compress(model, method):
        wrapped = peft.get_peft_model(model, config).eval()
        with pytest.warns(UserWarning, match="not through the encoder that is compressed"):
            return states(wrapped, inputs), uncompressed


WAYS["PEFT's modules_to_save before compress"] = Way(partial(saved, True))
WAYS["PEFT's modules_to_save after compress"] = Way(
    partial(saved, False), "a warning: the copy that PEFT trains is not compressed"
)


COMPILED = "compress first, then compile"
EXPORTED = "got GraphModule"
compiled = partial(torch.compile, backend="eager")


def quick_to_trace(model, method):
    """The model of two blocks, and Adaptive in two steps: tracing an operation takes long."""
    shorten(model, 2)
    return ipcv.Adaptive(0.05) if isinstance(method, ipcv.Adaptive) else method


def shorten(model, depth):
    del adapter_for(model).encoder.get_submodule(adapter_for(model).blocks_path)[depth:]


@way("torch.compile of the model after compress")
def _(model, inputs, method):
    method = quick_to_trace(model, method)
    expected = plain(model, inputs, method)
    with ipcv.compress(model, method):
        return states(compiled(model), inputs), expected


@way("torch.compile of each block after compress")
def _(model, inputs, method):
    method = quick_to_trace(model, method)
    expected = plain(model, inputs, method)
    with ipcv.compress(model, method):
        for block in adapter_for(model).blocks:
            block.compile(backend="eager")
        return states(model, inputs), expected


@way("torch.compile of each block before compress", "refused", COMPILED)
def _(model, inputs, method):
    for block in adapter_for(model).blocks:
        block.compile(backend="eager")
    return plain(model, inputs, method), None


@way("torch.compile of the model before compress", "refused", COMPILED)
def _(model, inputs, method):
    return plain(compiled(model), inputs, method), None


@way("accelerate's compile_regions before compress", "refused", COMPILED)
def _(model, inputs, method):
    return plain(accelerate.utils.compile_regions(model, backend="eager"), inputs, method), None


@way("accelerate's compile_regions after compress", "refused", "shallow copy")
def _(model, inputs, method):
    with ipcv.compress(model, method):
        return states(accelerate.utils.compile_regions(model, backend="eager"), inputs), None


@way("torch.export after compress", "right, also for other pixels than it was exported with")
def _(model, inputs, method):
    method = quick_to_trace(model, method)
    with ipcv.compress(model, method):
        exported = torch.export.export(model, (), inputs).module()
        others = {name: x.flip(0) + 1 for name, x in inputs.items()}
        expected = states(model, others)
    assert not torch.equal(states(model, others), expected)
    return exported(**others)[0], expected


@way("torch.export before compress", "refused", EXPORTED)
def _(model, inputs, method):
    shorten(model, 1)
    return plain(torch.export.export(model, (), inputs).module(), inputs, method), None


def sharded(before, model, inputs, method):
    """By FSDP2 over a single process: the output, and the gradient behind it."""
    expected = [plain(model, inputs, method).flatten(), gradients(model, inputs, method)]
    with one_process() as mesh:
        shard = partial(fully_shard, mesh=mesh)
        wrap = lambda: [shard(module) for module in (*adapter_for(model).blocks, model)]  # noqa: E731
        if before:
            wrap()
        with ipcv.compress(model.eval(), method):
            if not before:
                wrap()
            output = states(model, inputs).flatten()
            with torch.enable_grad():
                states(model.train(), inputs).square().mean().backward()
        found = [p.grad.full_tensor().flatten() for p in model.parameters() if p.grad is not None]
    return torch.cat([output, *found]), torch.cat(expected)


@contextmanager
def one_process():
    dist.init_process_group("gloo", rank=0, world_size=1, store=dist.HashStore())
    try:
        yield init_device_mesh("cpu", (1,))
    finally:
        dist.destroy_process_group()


for before in (True, False):
    WAYS[f"FSDP2 {'before' if before else 'after'} compress, training"] = Way(
        partial(sharded, before),
        "right; torch warns that blocks return a view, which only in-place operations on it spoil",
    )


@way("accelerate's offloading before compress")
def _(model, inputs, method):
    expected = plain(model, inputs, method)
    accelerate.cpu_offload(model, execution_device=torch.device("cpu"))
    return plain(model, inputs, method), expected


@way("accelerate's offloading after compress")
def _(model, inputs, method):
    expected = plain(model, inputs, method)
    with ipcv.compress(model, method):
        accelerate.cpu_offload(model, execution_device=torch.device("cpu"))
        return states(model, inputs), expected


@way("threads", "right, each with a state of its own")
def _(model, inputs, method):
    prompts = [{n: x + number for n, x in inputs.items()} for number in range(4)]
    expected = [plain(model, prompt, method) for prompt in prompts]
    found = [None] * len(prompts)

    def request(number):
        with torch.no_grad():
            found[number] = states(model, prompts[number])

    with ipcv.compress(model, method):
        threads = [threading.Thread(target=request, args=(n,)) for n in range(len(prompts))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    return torch.stack(found), torch.stack(expected)


@way("remove() while another thread is inside", "waits for it")
def _(model, inputs, method):
    expected, found = plain(model, inputs, method), []
    inside, go_on, gone = threading.Event(), threading.Event(), threading.Event()
    handle = ipcv.compress(model, method)
    block = adapter_for(model).blocks[1]
    hook = block.register_forward_hook(lambda *_: (inside.set(), go_on.wait(20))[:0] or None)

    def request():
        with torch.no_grad():
            found.append(states(model, inputs))

    def removal():
        handle.remove()
        gone.set()

    threads = [threading.Thread(target=target) for target in (request, removal)]
    threads[0].start()
    assert inside.wait(20)
    threads[1].start()
    assert not gone.wait(0.1)
    go_on.set()
    for thread in threads:
        thread.join()
    hook.remove()
    return found[0], expected


@way("remove() inside a call, in the same thread", "refused", "remove the handle when it has ended")
def _(model, inputs, method):
    handle = ipcv.compress(model, method)
    hook = adapter_for(model).blocks[1].register_forward_hook(lambda *_: handle.remove())
    try:
        states(model, inputs)
    finally:
        hook.remove()
        handle.remove()


@way("an exception on the way", "leaves the model usable, and compressed")
def _(model, inputs, method):
    expected = plain(model, inputs, method)

    def fail(*_):
        raise KeyboardInterrupt

    with ipcv.compress(model, method):
        hook = adapter_for(model).blocks[2].register_forward_hook(fail)
        try:
            states(model, inputs)
        except KeyboardInterrupt:
            hook.remove()
        return states(model, inputs), expected


@way("NaN or infinity in one image of a batch", "stays in it")
def _(model, inputs, method):
    (name, pixels) = next(iter(inputs.items()))
    outputs = []
    for value in (0.0, torch.nan, torch.inf, 1e30):
        other = torch.cat([pixels[:1], torch.full_like(pixels[:1], value), pixels[1:]])
        outputs.append(plain(model, {name: other}, method)[[0, 2]])
    for output in outputs[1:]:
        assert torch.equal(output, outputs[0])
    return outputs[0], plain(model, inputs, method)


def table() -> str:
    """What happens, in Markdown."""
    rows = [f"| {name} | {way.says} |" for name, way in WAYS.items()]
    return "\n".join(["| way | what happens |", "|---|---|", *rows])


if __name__ == "__main__":
    print(table())
