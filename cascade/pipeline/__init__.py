"""A request → a finished run."""
