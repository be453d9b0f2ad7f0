"""Verbs: what one does with an experiment or a run, each a function that returns a value."""
