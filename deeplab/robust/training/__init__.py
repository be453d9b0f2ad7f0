"""Training for predictions that hold under attack, corruption and shift: each method wraps a task."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deeplab.core import lazy

if TYPE_CHECKING:
    from deeplab.robust.training.augmentations import AugMix, mixed
    from deeplab.robust.training.certified import Certified
    from deeplab.robust.training.groups import GroupDRO, Worst
    from deeplab.robust.training.madry import Adversarial, Fast, uphill
    from deeplab.robust.training.noisy import Noise
    from deeplab.robust.training.replayed import Free
    from deeplab.robust.training.sharpness import SAM
    from deeplab.robust.training.tradeoff import TRADES
    from deeplab.robust.training.wrapper import Attack, Wrapper

__getattr__, __dir__, __all__ = lazy.attach(
    __name__,
    {
        "Adversarial": "madry:Adversarial",
        "Attack": "wrapper:Attack",
        "AugMix": "augmentations:AugMix",
        "Certified": "certified:Certified",
        "Fast": "madry:Fast",
        "Free": "replayed:Free",
        "GroupDRO": "groups:GroupDRO",
        "mixed": "augmentations:mixed",
        "Noise": "noisy:Noise",
        "SAM": "sharpness:SAM",
        "TRADES": "tradeoff:TRADES",
        "uphill": "madry:uphill",
        "Worst": "groups:Worst",
        "Wrapper": "wrapper:Wrapper",
    },
)
