"""Runs against each other, and a run against its own claims."""
