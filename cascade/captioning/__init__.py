"""Which captions are missing, where they are made, and where they are kept."""
