"""Sets of medicine."""
