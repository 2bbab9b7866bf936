"""Adapters: what differs per kind of vision encoder."""
