"""The search for settings that suit a model and images."""
