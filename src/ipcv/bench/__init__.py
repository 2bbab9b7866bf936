"""Measuring: drawn scenes, the built-in task suite, timing, FLOPs and fidelity."""
