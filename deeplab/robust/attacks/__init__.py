"""Attacks: inputs that look the same and are predicted otherwise."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deeplab.core import lazy

if TYPE_CHECKING:
    from deeplab.robust.attacks.adaptive import apgd, apgd_targeted
    from deeplab.robust.attacks.boundary import fab
    from deeplab.robust.attacks.evaluation.masking import Figures, Gate, figures_of, gates
    from deeplab.robust.attacks.evaluation.measure import RobustAccuracy, accuracy_by_radius, robust_accuracy
    from deeplab.robust.attacks.evaluation.standard import AutoAttack, auto_attack
    from deeplab.robust.attacks.flips import hotflip
    from deeplab.robust.attacks.minimal import carlini_wagner, deepfool
    from deeplab.robust.attacks.norms import L1, L2, LINF, Norm
    from deeplab.robust.attacks.objectives import CROSS_ENTROPY, DLR, MARGIN, Objective, lowered, misclassified, towards
    from deeplab.robust.attacks.seam import Attack, Seam
    from deeplab.robust.attacks.squares import square
    from deeplab.robust.attacks.steps import fgsm, pgd

__getattr__, __dir__, __all__ = lazy.attach(
    __name__,
    {
        "accuracy_by_radius": "evaluation.measure:accuracy_by_radius",
        "apgd": "adaptive:apgd",
        "apgd_targeted": "adaptive:apgd_targeted",
        "Attack": "seam:Attack",
        "auto_attack": "evaluation.standard:auto_attack",
        "AutoAttack": "evaluation.standard:AutoAttack",
        "carlini_wagner": "minimal:carlini_wagner",
        "CROSS_ENTROPY": "objectives:CROSS_ENTROPY",
        "deepfool": "minimal:deepfool",
        "DLR": "objectives:DLR",
        "fab": "boundary:fab",
        "fgsm": "steps:fgsm",
        "Figures": "evaluation.masking:Figures",
        "figures_of": "evaluation.masking:figures_of",
        "Gate": "evaluation.masking:Gate",
        "gates": "evaluation.masking:gates",
        "hotflip": "flips:hotflip",
        "L1": "norms:L1",
        "L2": "norms:L2",
        "LINF": "norms:LINF",
        "lowered": "objectives:lowered",
        "MARGIN": "objectives:MARGIN",
        "misclassified": "objectives:misclassified",
        "Norm": "norms:Norm",
        "Objective": "objectives:Objective",
        "pgd": "steps:pgd",
        "robust_accuracy": "evaluation.measure:robust_accuracy",
        "RobustAccuracy": "evaluation.measure:RobustAccuracy",
        "Seam": "seam:Seam",
        "square": "squares:square",
        "towards": "objectives:towards",
    },
)
