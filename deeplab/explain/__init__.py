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
    from deeplab.explain.trust.attack import attack_explanation
    from deeplab.explain.trust.compare import faithfulness
    from deeplab.explain.trust.faithfulness import infidelity, insertion_deletion, max_sensitivity, sensitivity_n
    from deeplab.explain.trust.imputation import road
    from deeplab.explain.trust.randomization import randomization, shuffled
    from deeplab.explain.trust.shape import effective_complexity, entropy, gini, localization
    from deeplab.explain.view.overlay import overlay
    from deeplab.explain.view.show import show

__getattr__, __dir__, __all__ = lazy.attach(
    __name__,
    {
        "ablation": "perturbation.groups:ablation",
        "attack_explanation": "trust.attack:attack_explanation",
        "Attribution": "attribution:Attribution",
        "blurred": "gradients.paths:blurred",
        "conductance": "gradients.layers:conductance",
        "deeplift": "propagation:deeplift",
        "edited": "taps:edited",
        "effective_complexity": "trust.shape:effective_complexity",
        "entropy": "trust.shape:entropy",
        "expected_gradients": "gradients.paths:expected_gradients",
        "faithfulness": "trust.compare:faithfulness",
        "fullgrad": "gradients.gradients:fullgrad",
        "gini": "trust.shape:gini",
        "grad_cam": "gradients.cam:grad_cam",
        "grad_cam_plus_plus": "gradients.cam:grad_cam_plus_plus",
        "gradient": "gradients.gradients:gradient",
        "hires_cam": "gradients.cam:hires_cam",
        "individual_expectation": "perturbation.dependence:individual_expectation",
        "infidelity": "trust.faithfulness:infidelity",
        "input_x_gradient": "gradients.gradients:input_x_gradient",
        "insertion_deletion": "trust.faithfulness:insertion_deletion",
        "integrated_gradients": "gradients.paths:integrated_gradients",
        "integrated_hessians": "gradients.layers:integrated_hessians",
        "internal_influence": "gradients.layers:internal_influence",
        "kernel_shap": "perturbation.shapley:kernel_shap",
        "layer_cam": "gradients.cam:layer_cam",
        "lime": "perturbation.lime:lime",
        "localization": "trust.shape:localization",
        "mark": "taps:mark",
        "max_sensitivity": "trust.faithfulness:max_sensitivity",
        "occlusion": "perturbation.occlusion:occlusion",
        "overlay": "view.overlay:overlay",
        "partial_dependence": "perturbation.dependence:partial_dependence",
        "permutation_importance": "perturbation.dependence:permutation_importance",
        "permutation_shapley": "perturbation.shapley:permutation_shapley",
        "randomization": "trust.randomization:randomization",
        "read": "taps:read",
        "rise": "perturbation.occlusion:rise",
        "road": "trust.imputation:road",
        "scored": "attribution:scored",
        "sensitivity_n": "trust.faithfulness:sensitivity_n",
        "shapley": "perturbation.shapley:shapley",
        "show": "view.show:show",
        "shuffled": "trust.randomization:shuffled",
        "smoothgrad": "gradients.gradients:smoothgrad",
        "split": "taps:split",
        "spread": "perturbation.groups:spread",
        "straight": "gradients.paths:straight",
        "superpixels": "perturbation.groups:superpixels",
        "taps": "taps:taps",
    },
)
