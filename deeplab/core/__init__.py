"""Shared basics that every package may import: errors, precision, runtime settings, lazy names."""
