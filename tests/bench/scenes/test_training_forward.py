"""The training forward runs whole batches at once; it must give what the stock model gives."""

import random

import pytest
import torch

from ipcv.bench.scenes import draw_scene
from tiny.data import image_patches, normalize
from tiny.forward import answer, encode
from tiny.prompts import Prompter
from train_tiny import new_trainer

SIZE = (168, 112)


@torch.no_grad()
def test_equals_the_stock_model() -> None:
    trainer = new_trainer()
    model, prompter = trainer.model.eval(), Prompter(trainer.prompter.tokenizer)
    scenes = [draw_scene(seed, SIZE) for seed in (0, 1)]
    packs = [
        prompter.pack(s.objects, prompter.ask_many(s.objects, random.Random(0), 3)) for s in scenes
    ]
    packed = prompter.collate(packs)
    patches = normalize(
        torch.stack([torch.from_numpy(image_patches(s.image)) for s in scenes]).numpy()
    )
    rows, columns = SIZE[1] // 14, SIZE[0] // 14
    _, merged = encode(model.model.visual, patches, rows, columns)
    states = answer(model, merged, rows // 2, columns // 2, prompter.prefix, packed.ids)
    image_token = model.config.image_token_id
    for image, (pack, state) in enumerate(zip(packs, states[-1], strict=True)):
        for (ids, *_), ours in zip(pack, state, strict=True):
            prompt = [*prompter.prefix, *[image_token] * (rows * columns // 4), *ids]
            stock = model(
                input_ids=torch.tensor([prompt]),
                mm_token_type_ids=torch.tensor([[int(i == image_token) for i in prompt]]),
                pixel_values=patches[image]
                .view(-1, 3, 1, 14 * 14)
                .expand(-1, -1, 2, -1)
                .flatten(1),
                image_grid_thw=torch.tensor([[1, rows, columns]]),
            ).logits[0, -len(ids) :]
            torch.testing.assert_close(model.lm_head(ours)[: len(ids)], stock, atol=1e-4, rtol=1e-4)


def test_patches_are_those_of_the_processor() -> None:
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

    image = draw_scene(0, SIZE).image
    expected = Qwen2VLImageProcessorPil(min_pixels=784)(image, return_tensors="pt")
    ours = normalize(image_patches(image)).view(-1, 3, 1, 14 * 14).expand(-1, -1, 2, -1).flatten(1)
    assert expected["image_grid_thw"].tolist() == [[1, SIZE[1] // 14, SIZE[0] // 14]]
    assert ours == pytest.approx(expected["pixel_values"], abs=1e-5)
