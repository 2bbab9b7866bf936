"""Costs on tiny models, and the numbers derived from them."""

from functools import partial
from io import StringIO

import pytest
import torch
from rich.console import Console

import ipcv
from ipcv.bench.clock import Elapsed, timed
from ipcv.bench.cost.flops import count_flops
from ipcv.bench.cost.jobs import make_jobs
from ipcv.bench.cost.measure import Cost, Job, measure
from ipcv.bench.cost.memory import peak_bytes, require_memory
from ipcv.bench.cost.table import rows, tables
from ipcv.bench.cost.workload import TEXT_TOKENS, Workload
from ipcv.bench.variants import Variant, make_variants
from tests.vision.adapters.families import FAMILIES, build

METHOD = ipcv.IPCV(prune_layer=1, reduction_ratio=0.5, stabilization_layers=1)
CPU = torch.device("cpu")


def test_a_call_is_timed_by_the_clock_that_it_is_given():
    now, calls = iter([1.0, 3.5]), []
    elapsed = timed(lambda: calls.append(None), CPU, lambda: next(now))
    assert elapsed == Elapsed(total=2500, host=2500)
    assert len(calls) == 1


def test_variants_take_turns_after_a_warm_up_each():
    model, calls = build("dinov2"), []
    inputs = FAMILIES["dinov2"].inputs(model, [["small"]])

    def call(name):
        calls.append(name)
        return model(**inputs)

    jobs = {name: Job(Variant(), partial(call, name)) for name in "ab"}
    costs = measure(model, jobs, repetitions=3)
    assert calls == list("ab" * 4)
    assert [len(cost.encoder_ms) for cost in costs.values()] == [3, 3]
    assert all(
        0 < t <= total for t, total in zip(costs["a"].encoder_ms, costs["a"].total_ms, strict=True)
    )


@pytest.mark.parametrize("name", ["qwen2_vl", "internvl", "dinov2"])
def test_encoder_alone(name):
    model = build(name)
    variants = {"uncompressed": Variant(), "ipcv": Variant(METHOD)}
    jobs = make_jobs(model, variants, Workload(64, images=2))
    costs = measure(model, jobs, repetitions=1)
    whole, half = costs.values()
    assert whole.patches == whole.patches_kept == half.patches == 2 * half.patches_kept
    assert whole.encoder_gflops > half.encoder_gflops
    with ipcv.compress(model, METHOD):
        total = count_flops(jobs["ipcv"].call)
    assert half.encoder_gflops + half.projector_gflops == pytest.approx(total / 1e9)
    assert whole.prefill_ms == whole.decode_ms == []


def test_whole_model():
    model = build("qwen2_vl")
    variants = {"uncompressed": Variant(), "fastv": Variant(language=ipcv.FastV(1, 0.5))}
    jobs = make_jobs(model, variants, Workload(64), new_tokens=4)
    whole, pruned = measure(model, jobs, repetitions=2).values()
    images, text, config = 64, TEXT_TOKENS + 1, model.config.text_config
    assert whole.llm_tokens == images + text
    assert pruned.llm_tokens == images // 2 + text
    per_token = 2 * config.num_key_value_heads * config.head_dim * 4
    assert whole.kv_bytes == (images + text + 3) * config.num_hidden_layers * per_token
    assert (
        pruned.kv_bytes == whole.kv_bytes - images // 2 * per_token
    )  # in the second of two layers
    assert pruned.prefill_gflops < whole.prefill_gflops
    for cost in (whole, pruned):
        lengths = {
            len(getattr(cost, f"{part}_ms"))
            for part in ("encoder", "projector", "prefill", "decode")
        }
        assert lengths == {2}


def test_downsampling_shrinks_the_workload():
    model = build("qwen2_vl")
    jobs = make_jobs(model, make_variants(model, ["downsample"], [0.75]), Workload(64))
    whole, shrunk = measure(model, jobs, repetitions=1).values()
    assert shrunk.patches == whole.patches // 4


def test_a_vision_encoder_has_no_language_model_to_measure():
    with pytest.raises(ValueError, match="no language model"):
        make_jobs(build("dinov2"), {}, Workload(64), new_tokens=4)


def test_peak_is_the_most_alive_at_a_time():
    x = torch.ones(256, 256)  # 262,144 bytes

    def chain():
        y = x * 2
        z = y + 1
        del y
        return (z * 3).sum()

    assert peak_bytes(chain, CPU) == 2 * x.nbytes + 4
    assert peak_bytes(lambda: x.view(-1).add_(0), CPU) == 0
    assert peak_bytes(lambda: [x * 2 for _ in range(3)], CPU) == 3 * x.nbytes


def test_memory_is_checked_before_it_is_taken():
    with torch.device("meta"):
        model = torch.nn.Linear(1_000_000, 1_000_000, bias=False)
    with pytest.raises(ValueError, match=r"need 3725\.3 GiB in float32"):
        require_memory(model, torch.float32, CPU)
    require_memory(torch.nn.Linear(2, 2), torch.float32, CPU)


def cost(encoder, gflops, prefill=()):
    return Cost(100, 40, encoder_ms=list(encoder), prefill_ms=list(prefill), encoder_gflops=gflops)


def test_derived_columns():
    base, own = cost([10, 12, 11], 4, [2, 2, 2]), cost([5, 4, 5.5], 2, [2, 1, 2])
    _, row = rows("work", {"uncompressed": base, "ipcv 0.6": own})
    assert row["encoder_speedup"] == 2  # of 2, 3 and 2
    assert row["encoder_speedup_max"] == 3
    assert row["encoder_bound"] == 2
    assert row["speedup_over_bound"] == 1
    assert row["first_token_ms"] == 7
    assert row["first_token_speedup"] == pytest.approx(13 / 7.5)  # of 12/7, 14/5, 13/7.5


def printed(measured):
    console = Console(width=200, record=True, file=StringIO())
    console.print(*tables(measured))
    return console.export_text()


def test_a_difference_within_noise_is_said_to_be():
    base = cost([10, 10, 10], 4)
    noisy, clear = cost([9, 11, 9.5], 4), cost([5, 5, 5], 4)
    text = printed(rows("work", {"uncompressed": base, "a 0.5": noisy, "b 0.5": clear}))
    (a,) = [line for line in text.splitlines() if "a 0.5" in line]
    (b,) = [line for line in text.splitlines() if "b 0.5" in line]
    assert "~1.05x" in a
    assert "~" not in b
    assert "disagree" in text
    assert "disagree" not in printed(rows("work", {"uncompressed": base, "b 0.5": clear}))
