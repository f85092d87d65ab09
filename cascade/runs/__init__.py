"""The run directory: the one place where making and reading meet."""
