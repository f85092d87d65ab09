"""Rules that decide whether a prediction answers an item, one a file."""
