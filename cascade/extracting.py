"""Extraction for other code: `cascade.scoring.extraction.extract`, under the name that it imports."""

from cascade.scoring.extraction.extract import extract

__all__ = ["extract"]
