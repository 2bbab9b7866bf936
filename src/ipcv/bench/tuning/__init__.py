"""Finding the settings that suit a model and images."""
