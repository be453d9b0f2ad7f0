"""Explanations: what a score is made of, for any function of arrays."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deeplab.core import lazy
from deeplab.explain.taps import taps as taps  # now: its module, imported later, would take the place of its name

if TYPE_CHECKING:
    from deeplab.explain import targets
    from deeplab.explain.attribution import Attribution, scored
    from deeplab.explain.gradients.cam import grad_cam, grad_cam_plus_plus, hires_cam, layer_cam
    from deeplab.explain.gradients.gradients import fullgrad, gradient, input_x_gradient, smoothgrad
    from deeplab.explain.gradients.layers import conductance, integrated_hessians, internal_influence
    from deeplab.explain.gradients.paths import blurred, expected_gradients, integrated_gradients, straight
    from deeplab.explain.mechanism.circuits import eap_ig
    from deeplab.explain.mechanism.detectors import head_scores, repeated_tokens
    from deeplab.explain.mechanism.dictionary import SparseAutoencoder, loss_recovered, mmcs, sae, top_k
    from deeplab.explain.mechanism.lens import logit_attribution, logit_lens
    from deeplab.explain.mechanism.patching import attribution_patching, patching, path_patching, steer
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
    from deeplab.explain.taps import edited, mark, read, split
    from deeplab.explain.text.attention import attention, attention_gradients, attention_relevance, rollout
    from deeplab.explain.text.colors import token_html
    from deeplab.explain.text.tokens import by_step, by_token, embedding_tap

__getattr__, __dir__, __all__ = lazy.attach(
    __name__,
    {
        "Attribution": "attribution:Attribution",
        "SparseAutoencoder": "mechanism.dictionary:SparseAutoencoder",
        "ablation": "perturbation.groups:ablation",
        "attention": "text.attention:attention",
        "attention_gradients": "text.attention:attention_gradients",
        "attention_relevance": "text.attention:attention_relevance",
        "attribution_patching": "mechanism.patching:attribution_patching",
        "blurred": "gradients.paths:blurred",
        "by_step": "text.tokens:by_step",
        "by_token": "text.tokens:by_token",
        "conductance": "gradients.layers:conductance",
        "deeplift": "propagation:deeplift",
        "eap_ig": "mechanism.circuits:eap_ig",
        "edited": "taps:edited",
        "embedding_tap": "text.tokens:embedding_tap",
        "expected_gradients": "gradients.paths:expected_gradients",
        "fullgrad": "gradients.gradients:fullgrad",
        "grad_cam": "gradients.cam:grad_cam",
        "grad_cam_plus_plus": "gradients.cam:grad_cam_plus_plus",
        "gradient": "gradients.gradients:gradient",
        "head_scores": "mechanism.detectors:head_scores",
        "hires_cam": "gradients.cam:hires_cam",
        "individual_expectation": "perturbation.dependence:individual_expectation",
        "input_x_gradient": "gradients.gradients:input_x_gradient",
        "integrated_gradients": "gradients.paths:integrated_gradients",
        "integrated_hessians": "gradients.layers:integrated_hessians",
        "internal_influence": "gradients.layers:internal_influence",
        "kernel_shap": "perturbation.shapley:kernel_shap",
        "layer_cam": "gradients.cam:layer_cam",
        "lime": "perturbation.lime:lime",
        "logit_attribution": "mechanism.lens:logit_attribution",
        "logit_lens": "mechanism.lens:logit_lens",
        "loss_recovered": "mechanism.dictionary:loss_recovered",
        "mark": "taps:mark",
        "mmcs": "mechanism.dictionary:mmcs",
        "occlusion": "perturbation.occlusion:occlusion",
        "partial_dependence": "perturbation.dependence:partial_dependence",
        "patching": "mechanism.patching:patching",
        "path_patching": "mechanism.patching:path_patching",
        "permutation_importance": "perturbation.dependence:permutation_importance",
        "permutation_shapley": "perturbation.shapley:permutation_shapley",
        "read": "taps:read",
        "repeated_tokens": "mechanism.detectors:repeated_tokens",
        "rise": "perturbation.occlusion:rise",
        "rollout": "text.attention:rollout",
        "sae": "mechanism.dictionary:sae",
        "scored": "attribution:scored",
        "shapley": "perturbation.shapley:shapley",
        "smoothgrad": "gradients.gradients:smoothgrad",
        "split": "taps:split",
        "spread": "perturbation.groups:spread",
        "steer": "mechanism.patching:steer",
        "straight": "gradients.paths:straight",
        "superpixels": "perturbation.groups:superpixels",
        "taps": "taps:taps",
        "targets": "targets",
        "token_html": "text.colors:token_html",
        "top_k": "mechanism.dictionary:top_k",
    },
)
