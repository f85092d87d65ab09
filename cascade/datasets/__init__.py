"""A benchmark or a file of questions → checked items."""
