"""Embeddings: an encoder without a language model; all patches come back."""

from __future__ import annotations

import torch
from PIL import Image
from torch.nn import functional as F
from transformers import Dinov2Config, Dinov2Model

import ipcv
from ipcv.models import EXAMPLE


def main() -> None:
    """Compare the embedding of a picture, from random weights: take a checkpoint of your own."""
    torch.manual_seed(0)
    # or Dinov2Model.from_pretrained("facebook/dinov2-small")
    model = Dinov2Model(
        Dinov2Config(hidden_size=96, num_hidden_layers=6, num_attention_heads=6)
    ).eval()
    picture = Image.open(EXAMPLE).convert("RGB").resize((448, 448))
    pixels = torch.frombuffer(bytearray(picture.tobytes()), dtype=torch.uint8)
    pixel_values = pixels.view(1, 448, 448, 3).permute(0, 3, 1, 2) / 127.5 - 1
    with torch.inference_mode():
        plain = model(pixel_values=pixel_values)
        with ipcv.compress(model, ipcv.Adaptive(0.65)) as handle:
            compressed = model(pixel_values=pixel_values)
    cosine = F.cosine_similarity(plain.pooler_output, compressed.pooler_output).item()
    patches = compressed.last_hidden_state.shape[1]
    print(f"{patches} tokens as before, cosine of the embedding {cosine:.3f}")
    print(handle.stats)


if __name__ == "__main__":
    main()
