"""What the path of a parameter says: whether layers are stacked in it, and whether a pattern means anything."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import jax

from deeplab.core.errors import UserError, nearest

STACK = r"(?:^|/)blocks\d*/"
"""Layers whose parameters are stacked, [L, ...], as `deeplab.nn.parts.stack` names them."""


def name(path: Any) -> str:
    """A key path as text, such as "block1/attention/qkv/kernel"."""
    return jax.tree_util.keystr(path, simple=True, separator="/")


def names(tree: Any) -> list[str]:
    """The paths of all leaves."""
    return [name(path) for path, _ in jax.tree_util.tree_leaves_with_path(tree)]


def check_found(patterns: Iterable[str], known: Iterable[str]) -> None:
    """Checks that each regular expression is found in a path.

    Raises:
      UserError: One is none, or is found in no path: it would leave parameters as they are without a word.

    Example:
      >>> try:
      ...     check_found(["embbed"], ["embed/tokens", "head/kernel"])
      ... except UserError as error:
      ...     print(error)
      the pattern 'embbed' matches no parameter; did you mean 'embed/tokens'?
    """
    known = list(known)
    for pattern in patterns:
        try:
            re.compile(pattern)
        except re.error as error:
            raise UserError(f"the pattern {pattern!r} is no regular expression: {error}") from error
        if not any(re.search(pattern, name) for name in known):
            raise UserError(f"the pattern {pattern!r} matches no parameter; {nearest(pattern, known)}")


def several(patterns: str | Iterable[str]) -> tuple[str, ...]:
    """Regular expressions of which one may be given alone: the letters of a string are not meant.

    Example:
      >>> several("head/"), several(["head/", "norm/"])
      (('head/',), ('head/', 'norm/'))
    """
    return (patterns,) if isinstance(patterns, str) else tuple(patterns)


def stacked_axes(path: str) -> int:
    """Number of leading axes of a parameter along which it holds several: layers of a stack, experts of a layer.

    Example:
      >>> [stacked_axes(path) for path in ("head/kernel", "blocks/norm1/scale", "blocks2/mlp/experts/up_kernel")]
      [0, 1, 2]
    """
    return bool(re.search(STACK, path)) + bool(re.search("(?:^|/)experts/", path))
