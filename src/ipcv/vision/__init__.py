"""Compression inside the vision encoder."""
