"""Learning without labels: a task for each way, of which the model is the encoder, and all that is kept."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deeplab.core import lazy

if TYPE_CHECKING:
    from deeplab.tasks.unlabeled import collapse, moments, objectives
    from deeplab.tasks.unlabeled.autoencoding import Autoencoder, MaskedAutoencoder
    from deeplab.tasks.unlabeled.bootstrap import BYOL, DINO
    from deeplab.tasks.unlabeled.contrast import SigmoidPairs, SimCLR, SupervisedContrast
    from deeplab.tasks.unlabeled.decorrelation import BarlowTwins, VICReg
    from deeplab.tasks.unlabeled.masking import MaskedFrames, MaskedTokens
    from deeplab.tasks.unlabeled.pairs import TwoViews, View
    from deeplab.tasks.unlabeled.restoring import Restoring
    from deeplab.tasks.unlabeled.words import SkipGram

__getattr__, __dir__, __all__ = lazy.attach(
    __name__,
    {
        "Autoencoder": "autoencoding:Autoencoder",
        "BarlowTwins": "decorrelation:BarlowTwins",
        "BYOL": "bootstrap:BYOL",
        "collapse": "collapse",
        "DINO": "bootstrap:DINO",
        "MaskedAutoencoder": "autoencoding:MaskedAutoencoder",
        "MaskedFrames": "masking:MaskedFrames",
        "MaskedTokens": "masking:MaskedTokens",
        "moments": "moments",
        "objectives": "objectives",
        "Restoring": "restoring:Restoring",
        "SigmoidPairs": "contrast:SigmoidPairs",
        "SimCLR": "contrast:SimCLR",
        "SkipGram": "words:SkipGram",
        "SupervisedContrast": "contrast:SupervisedContrast",
        "TwoViews": "pairs:TwoViews",
        "VICReg": "decorrelation:VICReg",
        "View": "pairs:View",
    },
)
