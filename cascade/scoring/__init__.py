"""A log of replies → choices → scores → a summary."""
