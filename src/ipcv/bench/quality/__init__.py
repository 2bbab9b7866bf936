"""Answers and features of variants of a model, against the uncompressed one."""
