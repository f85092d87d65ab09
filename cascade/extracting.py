"""The reader of replies under its public name: `extract(reply, choices) -> Choice`."""

from cascade.scoring.extraction.extract import extract

__all__ = ["extract"]
