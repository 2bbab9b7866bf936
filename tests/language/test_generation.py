"""Ways to generate: chats with a reused cache, beams, sampling, drafts; and what is refused."""

import copy
from functools import partial

import pytest
import torch
from accelerate import cpu_offload
from transformers import AttentionInterface, DynamicCache, GenerationConfig, StaticCache
from transformers.masking_utils import AttentionMaskInterface, flash_attention_mask

import ipcv
from ipcv.baselines import CDPruner, VisionZip
from ipcv.language.cache import PrunedLayer
from tests.language.masked import dropped_columns, masked
from tests.language.test_matrix import CASES, FIRST, METHODS, STEPS, close, generate, supports
from tests.language.tiny import DEPTH, NAMES, build, inputs

LANGUAGE = METHODS["fastv"]
TOKEN_WISE = {"input_ids": 0, "attention_mask": 1, "mm_token_type_ids": 0, "token_type_ids": 0}


def followed_by(prompt, sequences, turn):
    """The second turn of a chat: the ids of everything so far, the media of the new turn."""
    mask = torch.cat([torch.ones_like(sequences), turn["attention_mask"]], dim=1)
    mask[:, : prompt["attention_mask"].shape[1]] = prompt["attention_mask"]
    if "mm_token_type_ids" in turn:  # Qwen looks for the grids of all images in the ids it is given
        new = torch.cat([sequences[:, -1:], turn["input_ids"]], dim=1)
        types = torch.nn.functional.pad(turn["mm_token_type_ids"], (1, 0))
        return turn | {"input_ids": new, "attention_mask": mask, "mm_token_type_ids": types}
    given = turn | {"attention_mask": mask}
    for key in ("input_ids", "token_type_ids"):
        if key in turn:
            old = sequences if key == "input_ids" else torch.zeros_like(sequences)
            given[key] = torch.cat([old, turn[key].long()], dim=1)
    return given


def chat(model, turns, before_second=lambda length: None):
    """The logits of both answers; `before_second` gets the length of the cache in between."""
    first, second = turns
    cache = DynamicCache(config=model.config.get_text_config())
    answer, logits = generate(model, first, past_key_values=cache)
    before_second(cache.get_seq_length())
    prompt = followed_by(first, answer.sequences, second)
    _, more = generate(model, prompt, past_key_values=cache)
    return torch.stack([logits, more])


TURNS = {
    "image-then-image": ([["large"]], [["small"]]),
    "image-then-text": ([["small"]], [[]]),
    "text-then-image": ([[]], [["large"]]),
    "batch": ([["small"], []], [["small"], ["small"]]),
}


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("case", TURNS)
@pytest.mark.parametrize(
    "name", ["qwen2_vl", "qwen3_vl", "internvl", "llava-clip", "gemma3", "paligemma"]
)
def test_chat_with_reused_cache(name, case, attention):
    check_chat(build(name, attention), name, case, LANGUAGE)


@pytest.mark.parametrize("case", TURNS)
@pytest.mark.parametrize("method", FIRST)
@pytest.mark.parametrize("name", ["qwen2_vl", "gemma3"])
def test_chat_pruned_at_the_first_layer(name, method, case):
    check_chat(build(name), name, case, METHODS[method])


def check_chat(model, name, case, language):
    turns = [inputs(name, prompts) for prompts in TURNS[case]]
    with ipcv.compress(model, language=language) as handle:
        logits = chat(model, turns)
    prefills = list(handle.stats.prefills)
    dropped = [[set() for _ in turns[0]["input_ids"]] for _ in range(DEPTH)]

    def drop(length, turn=1):
        if any(TURNS[case][turn]):
            new = dropped_columns(prefills.pop(0), length)
            for mine, more in zip(dropped, new, strict=True):
                mine[:] = map(set.union, mine, more)

    drop(0, turn=0)
    with masked(model, dropped):
        close(logits, chat(model, turns, before_second=drop))
    assert not prefills


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", ["qwen2_vl", "gemma3"])
@pytest.mark.parametrize(
    "options",
    [
        {"num_beams": 3},
        {"num_beams": 2, "num_return_sequences": 2, "do_sample": True},
        {"do_sample": True, "num_return_sequences": 2},
    ],
    ids=["beams", "sampled-beams", "samples"],
)
def test_search(name, options, method):
    model, prompt = build(name), inputs(name, [["small"], ["large"]])
    with ipcv.compress(model, language=METHODS[method]) as handle:
        torch.manual_seed(1)
        output, _ = generate(model, prompt, **options)
    (prefill,) = handle.stats.prefills
    with masked(model, dropped_columns(prefill)):
        torch.manual_seed(1)
        expected, _ = generate(model, prompt, **options)
    assert output.sequences.tolist() == expected.sequences.tolist()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", ["qwen2_vl", "internvl", "gemma3"])
def test_assisted_decoding_is_greedy_decoding(name, method):
    model, prompt = build(name), inputs(name, CASES["two-images"])
    prompt = repetitive(prompt)
    asked = []
    hook = model.register_forward_pre_hook(
        lambda model, args, kwargs: asked.append(kwargs["logits_to_keep"]), with_kwargs=True
    )
    with ipcv.compress(model, language=METHODS[method]) as handle:
        expected, _ = generate(model, prompt)
        output, _ = generate(model, prompt, prompt_lookup_num_tokens=3, max_matching_ngram_size=1)
    hook.remove()
    assert asked[STEPS] == 4  # the prefill verifies three drafted tokens
    kept, kept_with_drafts = (prefill.kept_indices for prefill in handle.stats.prefills)
    assert all(map(torch.equal, kept_with_drafts, kept))
    assert output.sequences.tolist() == expected.sequences.tolist()


def repetitive(prompt):
    """Let the text behind the images end like "13 14 15 16 13", which invites drafts."""
    more = torch.tensor([[15, 16, 13]])
    return prompt | {
        key: torch.cat([value, more if key == "input_ids" else torch.full_like(more, fill)], dim=1)
        for key, fill in TOKEN_WISE.items()
        if (value := prompt.get(key)) is not None
    }


@pytest.mark.parametrize(
    ("name", "method"),
    [(name, key) for name in NAMES for key, method in METHODS.items() if supports(name, method)],
)
def test_text_alone_and_removed_handle_are_untouched(name, method):
    model = build(name)
    text, prompt = inputs(name, [[], []]), inputs(name, CASES["one-image"])
    with torch.no_grad():
        expected = model(**text).logits, model(**prompt).logits
        state = {key: list(vars(module)) for key, module in model.named_modules()}
        with ipcv.compress(model, language=METHODS[method]) as handle:
            assert torch.equal(model(**text).logits, expected[0])
            assert not handle.stats.prefills
            assert not torch.allclose(model(**prompt).logits[:, -1], expected[1][:, -1])
        assert torch.equal(model(**prompt).logits, expected[1])
    assert {key: list(vars(module)) for key, module in model.named_modules()} == state
    handle.remove()


@pytest.mark.parametrize(
    "method",
    [
        ipcv.DART(reduction_ratio=0),
        ipcv.FastV(reduction_ratio=0),
        ipcv.RandomDrop(reduction_ratio=0),
        ipcv.RandomDrop(prune_layer=0, reduction_ratio=0),
        ipcv.V2Drop(stages=((2, 1.0),)),
        CDPruner(reduction_ratio=0),
        VisionZip(reduction_ratio=0),
    ],
    ids=lambda method: type(method).__name__,
)
@pytest.mark.parametrize("name", NAMES)
def test_ratio_zero_changes_nothing(name, method):
    if not supports(name, method):
        return
    model, prompt = build(name), inputs(name, CASES["mixed-batch"])
    with torch.no_grad():
        expected = model(**prompt).logits
        with ipcv.compress(model, language=method) as handle:
            assert torch.equal(model(**prompt).logits, expected)
    (prefill,) = handle.stats.prefills
    assert len(set(prefill.tokens_per_layer)) == 1
    assert prefill.kv_bytes_saved == 0


def test_cache_holds_what_the_stats_say():
    model, prompt = build("qwen2_vl"), inputs("qwen2_vl", CASES["mixed-batch"])
    with torch.no_grad(), ipcv.compress(model, language=METHODS["v2drop"]) as handle:
        cache = model(**prompt).past_key_values
    (prefill,) = handle.stats.prefills
    held = sum(layer.keys.nbytes + layer.values.nbytes for layer in cache.layers)
    assert held == prefill.kv_bytes
    assert [layer.keys.shape[2] for layer in cache.layers] == [x.width for x in prefill.layouts]
    assert cache.get_seq_length(3) == prompt["input_ids"].shape[1]
    assert prefill.tokens_per_layer[0] == prompt["attention_mask"].sum()
    images = 12 + 4 + 12
    kept = [6 + 2 + 6, 2 + 0 + 2]
    assert prefill.image_tokens_per_layer == (images, images, *kept)
    text = prefill.tokens_per_layer[0] - images
    assert prefill.tokens_per_layer[2:] == (text + kept[0], text + kept[1])
    assert [len(indices) for indices in prefill.kept_indices] == [2, 0, 2]
    assert "saved" in str(handle.stats)


def test_every_layer_saves_where_the_first_prunes():
    model, prompt = build("qwen2_vl"), inputs("qwen2_vl", CASES["mixed-batch"])
    with torch.no_grad(), ipcv.compress(model, language=METHODS["cdpruner"]) as handle:
        cache = model(**prompt).past_key_values
    (prefill,) = handle.stats.prefills
    assert prefill.image_tokens_per_layer == (6 + 2 + 6,) * DEPTH
    held = sum(layer.keys.nbytes + layer.values.nbytes for layer in cache.layers)
    assert held == prefill.kv_bytes
    rows, width = prompt["input_ids"].shape
    dropped = width - prefill.layouts[0].width
    assert prefill.kv_bytes_saved == rows * dropped * prefill.token_bytes * DEPTH
    assert cache.get_seq_length() == width
    assert [len(indices) for indices in prefill.kept_indices] == [6, 2, 6]


def test_sliding_layers_forget():
    model, prompt = build("gemma3"), inputs("gemma3", CASES["one-image"])
    with ipcv.compress(model, language=METHODS["fastv"]):
        output, _ = generate(model, prompt)
    layer = output.past_key_values.layers[2]
    assert isinstance(layer, PrunedLayer)
    assert layer.is_sliding
    assert layer.keys.shape[2] == model.config.get_text_config().sliding_window - 1


def test_labels_of_the_text_work():
    model, prompt = build("qwen2_vl"), inputs("qwen2_vl", CASES["two-images"])
    ids = prompt["input_ids"]
    labels = ids.masked_fill(ids == model.config.image_token_id, -100)
    with torch.no_grad(), ipcv.compress(model, language=LANGUAGE):
        assert model(**prompt, labels=labels).loss.isfinite()


def test_hidden_states_are_shorter_behind_the_pruning():
    model, prompt = build("qwen2_vl"), inputs("qwen2_vl", CASES["one-image"])
    with torch.no_grad(), ipcv.compress(model, language=LANGUAGE) as handle:
        states = model(**prompt, output_hidden_states=True).hidden_states
    (prefill,) = handle.stats.prefills
    widths = [layout.width for layout in prefill.layouts]
    assert [state.shape[1] for state in states] == [widths[0], *widths[:2], widths[2], widths[0]]


def test_hidden_states_are_of_all_tokens_where_deepstack_adds_features():
    model, prompt = build("qwen3_vl"), inputs("qwen3_vl", CASES["one-image"])
    with torch.no_grad(), ipcv.compress(model, language=ipcv.RandomDrop(0)) as handle:
        states = model(**prompt, output_hidden_states=True).hidden_states
    (prefill,) = handle.stats.prefills
    full, fewer = prefill.prompt.width, prefill.layouts[-1].width
    assert [state.shape[1] for state in states] == [fewer, full, full, fewer, full]


def test_right_padding():
    """As it is used for scoring: rows of a batch give the same logits as alone."""
    model = build("qwen2_vl")
    batch = inputs("qwen2_vl", [["large"], ["small"]])
    is_real = batch["attention_mask"][1].bool()
    shift = int((~is_real).sum())
    for key in ("input_ids", "attention_mask", "mm_token_type_ids"):
        batch[key][1] = batch[key][1].roll(-shift)
    alone = inputs("qwen2_vl", [["small"]])
    with torch.no_grad(), ipcv.compress(model, language=LANGUAGE):
        logits = model(**batch).logits[1, :-shift]
        expected = model(**alone).logits[0]
    text = alone["input_ids"][0] != model.config.image_token_id
    close(logits[text], expected[text])


def test_images_side_by_side_keep_their_own_shares():
    model = build("llava-clip")
    prompt = inputs("llava-clip", [["small", "large"]])
    ids = prompt["input_ids"][0].tolist()
    gap = slice(ids.index(60) + 64, ids.index(60) + 64 + 3)
    del ids[gap]
    prompt |= {"input_ids": torch.tensor([ids]), "attention_mask": torch.ones(1, len(ids)).long()}
    with torch.no_grad(), ipcv.compress(model, language=ipcv.RandomDrop(2, 0.75)) as handle:
        model(**prompt)
        generate(model, prompt)
        generate(model, prompt, num_beams=2)
    shares = [[len(kept) for kept in prefill.kept_indices] for prefill in handle.stats.prefills]
    assert shares == [[16, 16], [16, 16], [16, 16, 16, 16]]


def test_both_sides():
    model, prompt = build("qwen2_vl"), inputs("qwen2_vl", CASES["mixed-batch"])
    with ipcv.compress(model, ipcv.IPCV(prune_layer=1), LANGUAGE) as handle:
        _, logits = generate(model, prompt)
    assert len(handle.stats.calls) == len(handle.stats.prefills) == 1
    with ipcv.compress(model, ipcv.IPCV(prune_layer=1)):
        dropped = dropped_columns(handle.stats.prefills[0])
        with masked(model, dropped):
            _, expected = generate(model, prompt)
    close(logits, expected)


class Interrupted(Exception):  # noqa: N818
    pass


def interrupt(*args, error=Interrupted):
    raise error


@pytest.mark.parametrize("error", [Interrupted, KeyboardInterrupt])
def test_state_does_not_survive_an_exception(error):
    model, prompt = build("qwen2_vl"), inputs("qwen2_vl", CASES["one-image"])
    vision, decoder = ipcv.IPCV(prune_layer=1), model.model.language_model
    embeddings = torch.randn(*prompt["input_ids"].shape, decoder.config.hidden_size)
    with torch.no_grad():
        untouched = decoder(inputs_embeds=embeddings).last_hidden_state
        with ipcv.compress(model, vision, language=LANGUAGE):
            expected = model(**prompt).logits
            for block in (decoder.layers[3], model.model.visual.blocks[3]):
                hook = block.register_forward_pre_hook(partial(interrupt, error=error))
                with pytest.raises(error):
                    model.generate(**prompt, max_new_tokens=1)
                hook.remove()
                inner = decoder(inputs_embeds=embeddings).last_hidden_state
                assert torch.equal(inner, untouched)
                assert torch.equal(model(**prompt).logits, expected)


def test_logits_that_are_asked_for_do_not_matter():
    model, prompt = build("qwen2_vl"), inputs("qwen2_vl", CASES["two-images"])
    with torch.no_grad(), ipcv.compress(model, language=LANGUAGE):
        expected = model(**prompt).logits[:, -3:]
        close(model(**prompt, logits_to_keep=3).logits, expected)


@pytest.mark.parametrize("method", METHODS)
def test_drafts_are_counted_inside_other_models(method):
    model, prompt = build("qwen2_vl"), repetitive(inputs("qwen2_vl", CASES["two-images"]))
    around = torch.nn.ModuleDict({"inner": model})
    with ipcv.compress(around, language=METHODS[method]) as handle:
        generate(model, prompt)
        generate(model, prompt, prompt_lookup_num_tokens=3, max_matching_ngram_size=1)
    kept, kept_with_drafts = (prefill.kept_indices for prefill in handle.stats.prefills)
    assert all(map(torch.equal, kept_with_drafts, kept))


def test_copied_cache_starts_several_answers():
    model, prompt = build("internvl"), inputs("internvl", CASES["one-image"])
    with ipcv.compress(model, language=LANGUAGE):
        output, _ = generate(model, prompt, max_new_tokens=1)
        turn = followed_by(prompt, output.sequences, inputs("internvl", [[]]))
        answers = [
            generate(model, turn, past_key_values=copy.deepcopy(output.past_key_values))[1]
            for _ in range(2)
        ]
    assert torch.equal(*answers)


class TestRefused:
    """What cannot be right raises before anything is computed."""

    @pytest.fixture
    def model(self):
        model = build("qwen2_vl")
        hook = model.model.language_model.register_forward_pre_hook(interrupt)
        with ipcv.compress(model, language=LANGUAGE):
            yield model
        hook.remove()

    @pytest.fixture
    def prompt(self):
        return inputs("qwen2_vl", CASES["one-image"])

    def test_training(self, model, prompt):
        model.train()
        with pytest.raises(RuntimeError, match="eval"):
            model(**prompt)
        model.eval()

    def test_static_cache(self, model, prompt):
        cache = StaticCache(config=model.config.get_text_config(), max_cache_len=64)
        with pytest.raises(ValueError, match="StaticLayer"):
            model(**prompt, past_key_values=cache)
        with pytest.raises(ValueError, match="StaticLayer"):
            model.generate(**prompt, cache_implementation="static", max_new_tokens=2)

    def test_other_cache(self, model, prompt):
        with pytest.raises(ValueError, match="this one has tuple"):
            model(**prompt, past_key_values=((torch.zeros(1, 2, 1, 8),) * 2,) * DEPTH)

    def test_compiled(self, model, prompt):
        compiled = torch.compile(model, backend="eager")
        with pytest.raises(RuntimeError, match=r"torch\.compile"):
            compiled(**prompt)
        layer = model.model.language_model.layers[0]
        layer.compile(backend="eager")
        with pytest.raises(RuntimeError, match=r"torch\.compile"):
            model(**prompt)
        layer._compiled_call_impl = None

    def test_chunked_prefill(self, model, prompt):
        with pytest.raises(RuntimeError, match="prefill_chunk_size"):
            model.generate(**prompt, prefill_chunk_size=4)
        config, media = GenerationConfig(prefill_chunk_size=4), dict(prompt)
        with pytest.raises(RuntimeError, match="prefill_chunk_size"):
            model.generate(media.pop("input_ids"), config, **media)
        model.generation_config.prefill_chunk_size = 4
        with pytest.raises(RuntimeError, match="prefill_chunk_size"):
            model.generate(**prompt)
        model.generation_config.prefill_chunk_size = None
        cut = {
            k: v[:, :6] if v.shape[0] == 1 and k[:5] != "image" else v for k, v in prompt.items()
        }
        with pytest.raises(RuntimeError, match="chunked prefill"):
            model(**cut)

    def test_embeddings_alone(self, model, prompt):
        embeddings = model.get_input_embeddings()(prompt.pop("input_ids"))
        with pytest.raises(ValueError, match="input_ids"):
            model(**prompt, inputs_embeds=embeddings)

    def test_packed_sequences(self, model, prompt):
        with pytest.raises(ValueError, match="packed"):
            model(**prompt, cu_seq_lens_q=torch.tensor([0, 4]))

    def test_flex_attention(self, model, prompt, monkeypatch):
        config = model.config.get_text_config()
        monkeypatch.setattr(config, "_attn_implementation_internal", "flex_attention")
        with pytest.raises(ValueError, match="flex_attention"):
            model(**prompt)

    def test_second_compression(self, model):
        with pytest.raises(RuntimeError, match="compressed already"):
            ipcv.compress(model, language=LANGUAGE)


def test_flash_attention_with_a_sliding_window(monkeypatch):
    model, prompt = build("gemma3"), inputs("gemma3", CASES["one-image"])
    config = model.config.get_text_config()
    monkeypatch.setattr(config, "_attn_implementation_internal", "flash_attention_2")
    with (
        ipcv.compress(model, language=LANGUAGE),
        pytest.raises(ValueError, match="sliding window"),
    ):
        model(**prompt)


def test_cache_of_a_removed_handle():
    model, prompt = build("qwen2_vl"), inputs("qwen2_vl", CASES["one-image"])
    with torch.no_grad():
        with ipcv.compress(model, language=LANGUAGE):
            cache = model(**prompt).past_key_values
        with pytest.raises(RuntimeError, match=r"handle.remove\(\)"):
            model(input_ids=torch.tensor([[3]]), past_key_values=cache)


def bottom_right_causal(module, query, key, value, attention_mask, scaling=None, **kwargs):
    """What flash attention computes from a padding mask `(B, K)` or none."""
    queries, keys = query.shape[2], key.shape[2]
    mask = torch.ones(queries, keys, dtype=torch.bool).tril(keys - queries)
    if attention_mask is not None:
        mask = mask & attention_mask[:, None, None].bool()
    key, value = (x.repeat_interleave(module.num_key_value_groups, dim=1) for x in (key, value))
    output = torch.nn.functional.scaled_dot_product_attention(
        query, key, value, attn_mask=mask, scale=scaling
    )
    return output.transpose(1, 2), None


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("case", ["two-images", "mixed-batch"])
def test_padding_masks_of_flash_attention(monkeypatch, case, method):
    AttentionInterface.register("mock_flash", bottom_right_causal)
    AttentionMaskInterface.register("mock_flash", flash_attention_mask)
    model, prompt = build("internvl"), inputs("internvl", CASES[case])
    with ipcv.compress(model, language=METHODS[method]):
        _, expected = generate(model, prompt)
        config = model.config.get_text_config()
        monkeypatch.setattr(config, "_attn_implementation_internal", "mock_flash")
        _, logits = generate(model, prompt)
    close(logits, expected)


@pytest.mark.parametrize("method", ["dart", "fastv", "cdpruner", "visionzip"])
def test_offloaded_weights(method):
    model, prompt = build("qwen2_vl"), inputs("qwen2_vl", CASES["mixed-batch"])
    with torch.no_grad():
        with ipcv.compress(model, language=METHODS[method]):
            expected = model(**prompt).logits
        offloaded = cpu_offload(copy.deepcopy(model), execution_device="cpu")
        with ipcv.compress(offloaded, language=METHODS[method]):
            close(offloaded(**prompt).logits, expected)


@pytest.mark.parametrize("method", METHODS)
def test_half_precision(method):
    model, prompt = build("qwen2_vl"), inputs("qwen2_vl", CASES["mixed-batch"])
    model = copy.deepcopy(model).to(torch.bfloat16)
    with ipcv.compress(model, language=METHODS[method]) as handle:
        _, logits = generate(model, prompt)
    with masked(model, dropped_columns(handle.stats.prefills[0])):
        _, expected = generate(model, prompt)
    assert torch.cosine_similarity(logits[0], expected[0], dim=-1).min() > 0.999


def test_gaps_are_not_taken_for_packed_sequences():
    model, prompt = build("internvl"), inputs("internvl", CASES["one-image"])
    length = prompt["input_ids"].shape[1]
    with torch.no_grad(), ipcv.compress(model, language=LANGUAGE):
        expected = model(**prompt, use_cache=False).logits
        given = model(**prompt, position_ids=torch.arange(length)[None], use_cache=False).logits
    assert torch.equal(given, expected)
