"""The parts of ``tools/train_tiny.py``: how the shipped model is built and trained."""
