"""The model and the image that ship with the package."""

from pathlib import Path

__all__ = ["EXAMPLE", "TINY"]

TINY: Path = Path(__file__).parent / "tiny"
"""Folder of a small trained model of the Qwen2-VL architecture; see its README."""

EXAMPLE: Path = Path(__file__).parent / "example.png"
"""A drawn scene of 448 x 448 pixels that the model has not been trained on."""
