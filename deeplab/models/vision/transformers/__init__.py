"""Transformers that read images."""
