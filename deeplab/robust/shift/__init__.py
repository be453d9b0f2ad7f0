"""Examples that are unlike those of training, one by one (out of distribution) or as a set (drift)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deeplab.core import lazy

if TYPE_CHECKING:
    from deeplab.robust.shift.detection import Detection, Score, detect, detections, feature_scores, fpr_at_tpr
    from deeplab.robust.shift.drift import Tested, c2st, logistic, mmd, power
    from deeplab.robust.shift.features import Mahalanobis, Vim, ash, knn_score, mahalanobis, react, vim
    from deeplab.robust.shift.logits import energy, gen, max_logit, msp
    from deeplab.robust.shift.perturbed import odin

__getattr__, __dir__, __all__ = lazy.attach(
    __name__,
    {
        "ash": "features:ash",
        "c2st": "drift:c2st",
        "detect": "detection:detect",
        "Detection": "detection:Detection",
        "detections": "detection:detections",
        "energy": "logits:energy",
        "feature_scores": "detection:feature_scores",
        "fpr_at_tpr": "detection:fpr_at_tpr",
        "gen": "logits:gen",
        "knn_score": "features:knn_score",
        "logistic": "drift:logistic",
        "Mahalanobis": "features:Mahalanobis",
        "mahalanobis": "features:mahalanobis",
        "max_logit": "logits:max_logit",
        "mmd": "drift:mmd",
        "msp": "logits:msp",
        "odin": "perturbed:odin",
        "power": "drift:power",
        "react": "features:react",
        "Score": "detection:Score",
        "Tested": "drift:Tested",
        "Vim": "features:Vim",
        "vim": "features:vim",
    },
)
