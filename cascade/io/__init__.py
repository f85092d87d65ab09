"""Bytes and text, in and out: audio, digests, JSON lines, files, tables; nothing here knows an audio question."""
