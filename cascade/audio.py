"""Audio for plug-ins: `cascade.io.audio`, under the name that plug-ins import."""

from cascade.io.audio import Clip, blocks, opus, probe, read

__all__ = ["Clip", "blocks", "opus", "probe", "read"]
