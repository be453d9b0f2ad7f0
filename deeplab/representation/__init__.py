"""What was learned: features of a network, measured by neighbors, linear probes, similarity and dimension."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deeplab.core import lazy

if TYPE_CHECKING:
    from deeplab.representation.dimension import two_nn
    from deeplab.representation.few import FewShot, few_shot
    from deeplab.representation.knn import Metric, Neighbors, knn_predict, neighbors
    from deeplab.representation.linear import Examples, Linear, Probed, linear_probe, ridge, softmax
    from deeplab.representation.similarity import cka

__getattr__, __dir__, __all__ = lazy.attach(
    __name__,
    {
        "cka": "similarity:cka",
        "Examples": "linear:Examples",
        "few_shot": "few:few_shot",
        "FewShot": "few:FewShot",
        "knn_predict": "knn:knn_predict",
        "Linear": "linear:Linear",
        "linear_probe": "linear:linear_probe",
        "Metric": "knn:Metric",
        "Neighbors": "knn:Neighbors",
        "neighbors": "knn:neighbors",
        "Probed": "linear:Probed",
        "ridge": "linear:ridge",
        "softmax": "linear:softmax",
        "two_nn": "dimension:two_nn",
    },
)
