"""What goes into a model: checkpoints, pictures, videos, prompts."""
