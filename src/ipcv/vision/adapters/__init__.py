"""Adapters for kinds of vision encoders."""
