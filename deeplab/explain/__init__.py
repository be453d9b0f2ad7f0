"""Explanations: what a score is made of, for any function of arrays."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deeplab.core import lazy

if TYPE_CHECKING:
    from deeplab.explain.attribution import Attribution, scored
    from deeplab.explain.gradients.cam import grad_cam, grad_cam_plus_plus, hires_cam, layer_cam
    from deeplab.explain.gradients.gradients import fullgrad, gradient, input_x_gradient, smoothgrad
    from deeplab.explain.gradients.layers import conductance, integrated_hessians, internal_influence
    from deeplab.explain.gradients.paths import blurred, expected_gradients, integrated_gradients, straight
    from deeplab.explain.perturbation.dependence import (
        individual_expectation,
        partial_dependence,
        permutation_importance,
    )
    from deeplab.explain.perturbation.groups import ablation, spread, superpixels
    from deeplab.explain.perturbation.lime import lime
    from deeplab.explain.perturbation.occlusion import occlusion, rise
    from deeplab.explain.perturbation.shapley import kernel_shap, permutation_shapley, shapley
    from deeplab.explain.propagation import deeplift
    from deeplab.explain.taps import edited, mark, read, split, taps

__getattr__, __dir__, __all__ = lazy.attach(
    __name__,
    {
        "Attribution": "attribution:Attribution",
        "ablation": "perturbation.groups:ablation",
        "blurred": "gradients.paths:blurred",
        "conductance": "gradients.layers:conductance",
        "deeplift": "propagation:deeplift",
        "edited": "taps:edited",
        "expected_gradients": "gradients.paths:expected_gradients",
        "fullgrad": "gradients.gradients:fullgrad",
        "grad_cam": "gradients.cam:grad_cam",
        "grad_cam_plus_plus": "gradients.cam:grad_cam_plus_plus",
        "gradient": "gradients.gradients:gradient",
        "hires_cam": "gradients.cam:hires_cam",
        "individual_expectation": "perturbation.dependence:individual_expectation",
        "input_x_gradient": "gradients.gradients:input_x_gradient",
        "integrated_gradients": "gradients.paths:integrated_gradients",
        "integrated_hessians": "gradients.layers:integrated_hessians",
        "internal_influence": "gradients.layers:internal_influence",
        "kernel_shap": "perturbation.shapley:kernel_shap",
        "layer_cam": "gradients.cam:layer_cam",
        "lime": "perturbation.lime:lime",
        "mark": "taps:mark",
        "occlusion": "perturbation.occlusion:occlusion",
        "partial_dependence": "perturbation.dependence:partial_dependence",
        "permutation_importance": "perturbation.dependence:permutation_importance",
        "permutation_shapley": "perturbation.shapley:permutation_shapley",
        "read": "taps:read",
        "rise": "perturbation.occlusion:rise",
        "scored": "attribution:scored",
        "shapley": "perturbation.shapley:shapley",
        "smoothgrad": "gradients.gradients:smoothgrad",
        "split": "taps:split",
        "spread": "perturbation.groups:spread",
        "straight": "gradients.paths:straight",
        "superpixels": "perturbation.groups:superpixels",
        "taps": "taps:taps",
    },
)
