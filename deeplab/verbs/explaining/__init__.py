"""Explanations of a run's predictions: what is explained, and the page."""
