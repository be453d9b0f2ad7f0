"""Explanations: what a score is made of, for any function of arrays."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deeplab.core import lazy

if TYPE_CHECKING:
    from deeplab.explain.attribution import Attribution, scored
    from deeplab.explain.propagation import deeplift
    from deeplab.explain.taps import edited, mark, read, split, taps
    from deeplab.explain.trust.attack import attack_explanation
    from deeplab.explain.trust.compare import faithfulness
    from deeplab.explain.trust.faithfulness import infidelity, insertion_deletion, max_sensitivity, sensitivity_n
    from deeplab.explain.trust.imputation import road
    from deeplab.explain.trust.randomization import randomization, shuffled
    from deeplab.explain.trust.shape import effective_complexity, entropy, gini, localization

__getattr__, __dir__, __all__ = lazy.attach(
    __name__,
    {
        "attack_explanation": "trust.attack:attack_explanation",
        "Attribution": "attribution:Attribution",
        "deeplift": "propagation:deeplift",
        "edited": "taps:edited",
        "effective_complexity": "trust.shape:effective_complexity",
        "entropy": "trust.shape:entropy",
        "faithfulness": "trust.compare:faithfulness",
        "gini": "trust.shape:gini",
        "infidelity": "trust.faithfulness:infidelity",
        "insertion_deletion": "trust.faithfulness:insertion_deletion",
        "localization": "trust.shape:localization",
        "mark": "taps:mark",
        "max_sensitivity": "trust.faithfulness:max_sensitivity",
        "randomization": "trust.randomization:randomization",
        "read": "taps:read",
        "road": "trust.imputation:road",
        "scored": "attribution:scored",
        "sensitivity_n": "trust.faithfulness:sensitivity_n",
        "shuffled": "trust.randomization:shuffled",
        "split": "taps:split",
        "taps": "taps:taps",
    },
)
