"""How sure a prediction is: dropout, ensembles and Laplace; and which part of it more data would take away."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deeplab.core import lazy

if TYPE_CHECKING:
    from deeplab.robust.uncertainty.decomposition import Uncertainty, decompose, decompose_normal
    from deeplab.robust.uncertainty.last_layer import Laplace, gauss_newton, laplace
    from deeplab.robust.uncertainty.sampling import ensemble, mc_dropout, stack, train_ensemble

__getattr__, __dir__, __all__ = lazy.attach(
    __name__,
    {
        "decompose": "decomposition:decompose",
        "decompose_normal": "decomposition:decompose_normal",
        "ensemble": "sampling:ensemble",
        "gauss_newton": "last_layer:gauss_newton",
        "Laplace": "last_layer:Laplace",
        "laplace": "last_layer:laplace",
        "mc_dropout": "sampling:mc_dropout",
        "stack": "sampling:stack",
        "train_ensemble": "sampling:train_ensemble",
        "Uncertainty": "decomposition:Uncertainty",
    },
)
