"""Attention, its masks and its positions."""
