"""Reading the choice from a reply."""
