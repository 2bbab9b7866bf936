"""A page in the browser: a model asked with and without compression, side by side."""
