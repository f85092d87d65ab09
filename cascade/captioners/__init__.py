"""Engines: a clip → a caption."""
