"""Learning without labels: a task for each way, of which the model is the encoder, and all that is kept."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deeplab.core import lazy

if TYPE_CHECKING:
    from deeplab.tasks.unlabeled import collapse, moments, objectives
    from deeplab.tasks.unlabeled.bootstrap import BYOL, DINO
    from deeplab.tasks.unlabeled.contrast import SigmoidPairs, SimCLR, SupervisedContrast
    from deeplab.tasks.unlabeled.decorrelation import BarlowTwins, VICReg
    from deeplab.tasks.unlabeled.pairs import TwoViews, View

__getattr__, __dir__, __all__ = lazy.attach(
    __name__,
    {
        "BarlowTwins": "decorrelation:BarlowTwins",
        "BYOL": "bootstrap:BYOL",
        "collapse": "collapse",
        "DINO": "bootstrap:DINO",
        "moments": "moments",
        "objectives": "objectives",
        "SigmoidPairs": "contrast:SigmoidPairs",
        "SimCLR": "contrast:SimCLR",
        "SupervisedContrast": "contrast:SupervisedContrast",
        "TwoViews": "pairs:TwoViews",
        "VICReg": "decorrelation:VICReg",
        "View": "pairs:View",
    },
)
