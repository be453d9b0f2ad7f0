"""Sets of ratings and interactions."""
