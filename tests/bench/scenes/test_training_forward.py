"""The training forward runs whole batches at once; it must give what the stock model gives."""

import random
from functools import partial

import numpy as np
import pytest
import torch

from ipcv.bench.scenes import draw_scene
from tiny.data import image_patches, normalize
from tiny.forward import LOOKS, answer, encode
from tiny.prompts import Prompter
from train_tiny import new_trainer

SIZE = (168, 112)
close = partial(torch.testing.assert_close, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("frames", [[[0], [1]], [[0, 1, 1], [1, 0, 1]]], ids=["pictures", "clips"])
@torch.no_grad()
def test_equals_the_stock_model(frames: list[list[int]]) -> None:
    trainer = new_trainer()
    model, prompter = trainer.model.eval(), Prompter(trainer.prompter.tokenizer)
    scenes = [draw_scene(seed, SIZE) for seed in (0, 1)]
    packs = [
        prompter.pack(s.objects, prompter.ask_many(s.objects, random.Random(0), 3)) for s in scenes
    ]
    packed = prompter.collate(packs)
    patches = normalize(np.stack([image_patches(s.image) for s in scenes]))
    rows, columns = SIZE[1] // 14, SIZE[0] // 14
    _, merged = encode(model.model.visual, patches, rows, columns)
    states, looks = answer(
        model,
        merged[torch.tensor(frames)],
        rows // 2,
        columns // 2,
        prompter.prefix,
        prompter.between,
        packed.ids,
        packed.named,
    )
    model.set_attn_implementation("eager")  # which tells its attention
    start, end = (model.config.vision_start_token_id, model.config.vision_end_token_id)
    image_token, cells = model.config.image_token_id, rows * columns // 4
    picture = [start, *[image_token] * cells, end]
    pixels = patches.view(2, -1, 3, 1, 14 * 14).expand(-1, -1, -1, 2, -1).flatten(2)
    for item, (shown, pack) in enumerate(zip(frames, packs, strict=True)):
        for question, (ids, _, named, *_) in enumerate(pack):
            before = [*prompter.prefix[:-1], *(len(shown) * picture)[:-1]]
            prompt = [*before, *ids]
            stock = model(
                input_ids=torch.tensor([prompt]),
                mm_token_type_ids=torch.tensor([[int(i == image_token) for i in prompt]]),
                pixel_values=pixels[shown].flatten(0, 1),
                image_grid_thw=torch.tensor(len(shown) * [[1, rows, columns]]),
                output_attentions=True,
            )
            logits = model.lm_head(states[-1][item, question])[: len(ids)]
            close(logits, stock.logits[0, -len(ids) :])
            for layer, look in zip(LOOKS, looks, strict=True):
                for token, ours in zip(named, look[item, question], strict=True):
                    if token >= 0:
                        theirs = stock.attentions[layer][0, 0, len(before) + token]
                        close(ours, theirs[len(prompter.prefix) :][:cells].log())


def test_patches_are_those_of_the_processor() -> None:
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

    image = draw_scene(0, SIZE).image
    expected = Qwen2VLImageProcessorPil(min_pixels=784)(image, return_tensors="pt")
    ours = normalize(image_patches(image)).view(-1, 3, 1, 14 * 14).expand(-1, -1, 2, -1).flatten(1)
    assert expected["image_grid_thw"].tolist() == [[1, SIZE[1] // 14, SIZE[0] // 14]]
    assert ours == pytest.approx(expected["pixel_values"], abs=1e-5)
