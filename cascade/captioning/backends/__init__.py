"""Where captioners run: this process, or a Ray cluster."""
