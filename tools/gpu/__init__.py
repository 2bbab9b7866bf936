"""Parts of the GPU run."""
