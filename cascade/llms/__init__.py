"""One request → one completion, within limits and a budget."""
