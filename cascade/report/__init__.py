"""Runs → one page."""
