"""Training: state, gradient and step are pure; program, feed, loop and evaluation run them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deeplab.core import lazy

if TYPE_CHECKING:
    from deeplab.train import bind, evaluate, feed, gradient, initialize, loop, probes, program, state, step

__getattr__, __dir__, __all__ = lazy.attach(
    __name__,
    {
        name: name
        for name in ("bind", "evaluate", "feed", "gradient", "initialize", "loop", "probes", "program", "state", "step")
    },
)
