"""Explanations: what a score is made of, for any function of arrays."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deeplab.core import lazy

if TYPE_CHECKING:
    from deeplab.explain.attribution import Attribution, scored
    from deeplab.explain.compiler.layers import AlphaBeta, Epsilon, Flat, Gamma, WSquare, ZBox, ZPlus
    from deeplab.explain.compiler.relevance import Place
    from deeplab.explain.concepts import concept_test, concept_vector, sensitivity, tcav
    from deeplab.explain.curvature import gauss_newton_product, hessian_vector_product, sharpness, spectrum, trace
    from deeplab.explain.examples.gradients import (
        empirical_ntk,
        gradient_noise_scale,
        gradient_products,
        per_example_gradients,
    )
    from deeplab.explain.examples.influence import (
        conjugate_gradients,
        exact_solve,
        gradient_similarity,
        influence,
        self_influence,
        tracin,
        trak,
    )
    from deeplab.explain.examples.retraining import all_but, lds, random_subset
    from deeplab.explain.propagation import deeplift
    from deeplab.explain.rectified import bounds, deconvolution, guided_backpropagation, softened
    from deeplab.explain.relevance import attn_lrp, lrp
    from deeplab.explain.taps import edited, mark, read, split, taps

__getattr__, __dir__, __all__ = lazy.attach(
    __name__,
    {
        "all_but": "examples.retraining:all_but",
        "AlphaBeta": "compiler.layers:AlphaBeta",
        "attn_lrp": "relevance:attn_lrp",
        "Attribution": "attribution:Attribution",
        "bounds": "rectified:bounds",
        "concept_test": "concepts:concept_test",
        "concept_vector": "concepts:concept_vector",
        "conjugate_gradients": "examples.influence:conjugate_gradients",
        "deconvolution": "rectified:deconvolution",
        "deeplift": "propagation:deeplift",
        "edited": "taps:edited",
        "empirical_ntk": "examples.gradients:empirical_ntk",
        "Epsilon": "compiler.layers:Epsilon",
        "exact_solve": "examples.influence:exact_solve",
        "Flat": "compiler.layers:Flat",
        "Gamma": "compiler.layers:Gamma",
        "gauss_newton_product": "curvature:gauss_newton_product",
        "gradient_noise_scale": "examples.gradients:gradient_noise_scale",
        "gradient_products": "examples.gradients:gradient_products",
        "gradient_similarity": "examples.influence:gradient_similarity",
        "guided_backpropagation": "rectified:guided_backpropagation",
        "hessian_vector_product": "curvature:hessian_vector_product",
        "influence": "examples.influence:influence",
        "lds": "examples.retraining:lds",
        "lrp": "relevance:lrp",
        "mark": "taps:mark",
        "per_example_gradients": "examples.gradients:per_example_gradients",
        "Place": "compiler.relevance:Place",
        "random_subset": "examples.retraining:random_subset",
        "read": "taps:read",
        "scored": "attribution:scored",
        "self_influence": "examples.influence:self_influence",
        "sensitivity": "concepts:sensitivity",
        "sharpness": "curvature:sharpness",
        "softened": "rectified:softened",
        "spectrum": "curvature:spectrum",
        "split": "taps:split",
        "taps": "taps:taps",
        "tcav": "concepts:tcav",
        "trace": "curvature:trace",
        "tracin": "examples.influence:tracin",
        "trak": "examples.influence:trak",
        "WSquare": "compiler.layers:WSquare",
        "ZBox": "compiler.layers:ZBox",
        "ZPlus": "compiler.layers:ZPlus",
    },
)
