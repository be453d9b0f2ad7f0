"""Explanations: what a score is made of, for any function of arrays."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deeplab.core import lazy

if TYPE_CHECKING:
    from deeplab.explain.attribution import Attribution, scored
    from deeplab.explain.compiler.layers import AlphaBeta, Epsilon, Flat, Gamma, WSquare, ZBox, ZPlus
    from deeplab.explain.compiler.relevance import Place
    from deeplab.explain.propagation import deeplift
    from deeplab.explain.rectified import bounds, deconvolution, guided_backpropagation, softened
    from deeplab.explain.relevance import attn_lrp, lrp
    from deeplab.explain.taps import edited, mark, read, split, taps

__getattr__, __dir__, __all__ = lazy.attach(
    __name__,
    {
        "AlphaBeta": "compiler.layers:AlphaBeta",
        "Attribution": "attribution:Attribution",
        "Epsilon": "compiler.layers:Epsilon",
        "Flat": "compiler.layers:Flat",
        "Gamma": "compiler.layers:Gamma",
        "Place": "compiler.relevance:Place",
        "WSquare": "compiler.layers:WSquare",
        "ZBox": "compiler.layers:ZBox",
        "ZPlus": "compiler.layers:ZPlus",
        "attn_lrp": "relevance:attn_lrp",
        "bounds": "rectified:bounds",
        "deconvolution": "rectified:deconvolution",
        "deeplift": "propagation:deeplift",
        "edited": "taps:edited",
        "guided_backpropagation": "rectified:guided_backpropagation",
        "lrp": "relevance:lrp",
        "mark": "taps:mark",
        "read": "taps:read",
        "scored": "attribution:scored",
        "softened": "rectified:softened",
        "split": "taps:split",
        "taps": "taps:taps",
    },
)
