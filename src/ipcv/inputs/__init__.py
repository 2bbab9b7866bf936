"""Inputs of a model: checkpoints, pictures, videos, prompts."""
