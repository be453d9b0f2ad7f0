"""The command line: `python -m experiments.NAME [VERB] [--FLAGS]`, and `deeplab list|runs|report`."""

from deeplab.cli.main import deeplab, main

__all__ = ["deeplab", "main"]
