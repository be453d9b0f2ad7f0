"""Training for robustness: wrappers of any task."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deeplab.core import lazy

if TYPE_CHECKING:
    from deeplab.robust.training.certified import Certified, Noise

__getattr__, __dir__, __all__ = lazy.attach(
    __name__,
    {
        "Certified": "certified:Certified",
        "Noise": "certified:Noise",
    },
)
