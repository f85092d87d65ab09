"""The engine `signal`: measurements of a clip in words."""
