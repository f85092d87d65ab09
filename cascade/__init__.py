"""Audio question answering without an audio model: caption, ask, score."""

from __future__ import annotations

__version__ = "0.1.0"
