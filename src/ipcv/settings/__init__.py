"""Settings: presets, files, methods by name, what a user typed."""
