"""Experiments, one screen each, by application."""
