"""Mechanisms: what the parts of a model do, read and changed at its taps."""
