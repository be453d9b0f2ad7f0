"""Sets of text."""
