"""Captions and a question → the messages that a model is sent."""
