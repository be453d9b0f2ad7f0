"""Benchmarks, each a ratio within one run: `python -m experiments.benchmarks.NAME`."""
