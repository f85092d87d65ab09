"""Engines that ask a model elsewhere: `asr-api`, `audio-llm`."""
