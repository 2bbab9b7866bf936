"""Parts that every wing stands on: settings, hooks, tensor operations, files."""
