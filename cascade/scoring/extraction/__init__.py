"""A reply → the choice that it names."""
