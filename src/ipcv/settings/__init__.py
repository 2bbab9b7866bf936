"""Settings: the defaults for a model, their files, methods by name, and what a user typed."""
