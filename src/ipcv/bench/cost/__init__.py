"""Time, FLOPs and memory of variants of a model."""
