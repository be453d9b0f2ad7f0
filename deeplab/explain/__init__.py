"""Explanations: what a score is made of, for any function of arrays."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deeplab.core import lazy
from deeplab.explain.taps import taps as taps  # now: its module, imported later, would take the place of its name

if TYPE_CHECKING:
    from deeplab.explain import targets
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
    from deeplab.explain.examples.kronecker import ekfac
    from deeplab.explain.examples.retraining import all_but, lds, random_subset
    from deeplab.explain.gradients.cam import grad_cam, grad_cam_plus_plus, hires_cam, layer_cam
    from deeplab.explain.gradients.gradients import fullgrad, gradient, input_x_gradient, smoothgrad
    from deeplab.explain.gradients.layers import conductance, integrated_hessians, internal_influence
    from deeplab.explain.gradients.paths import blurred, expected_gradients, integrated_gradients, straight
    from deeplab.explain.mechanism.circuits import eap_ig
    from deeplab.explain.mechanism.detectors import head_scores, repeated_tokens
    from deeplab.explain.mechanism.dictionary import SparseAutoencoder, loss_recovered, mmcs, sae, top_k
    from deeplab.explain.mechanism.lens import logit_attribution, logit_lens
    from deeplab.explain.mechanism.patching import attribution_patching, patching, path_patching, steer
    from deeplab.explain.mechanism.tuned import tuned_lens
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
    from deeplab.explain.rectified import bounds, deconvolution, guided_backpropagation, softened
    from deeplab.explain.relevance import attn_lrp, lrp
    from deeplab.explain.taps import edited, mark, read, split
    from deeplab.explain.text.attention import attention, attention_gradients, attention_relevance, rollout
    from deeplab.explain.text.colors import token_html
    from deeplab.explain.text.tokens import by_step, by_token, embedding_tap
    from deeplab.explain.trust.attack import attack_explanation
    from deeplab.explain.trust.compare import faithfulness
    from deeplab.explain.trust.faithfulness import infidelity, insertion_deletion, max_sensitivity, sensitivity_n
    from deeplab.explain.trust.imputation import road
    from deeplab.explain.trust.labels import randomized_labels
    from deeplab.explain.trust.randomization import randomization, shuffled
    from deeplab.explain.trust.removal import roar, without_top
    from deeplab.explain.trust.shape import effective_complexity, entropy, gini, localization
    from deeplab.explain.view.optimized import visualize
    from deeplab.explain.view.overlay import overlay
    from deeplab.explain.view.show import show

__getattr__, __dir__, __all__ = lazy.attach(
    __name__,
    {
        "ablation": "perturbation.groups:ablation",
        "all_but": "examples.retraining:all_but",
        "AlphaBeta": "compiler.layers:AlphaBeta",
        "attack_explanation": "trust.attack:attack_explanation",
        "attention": "text.attention:attention",
        "attention_gradients": "text.attention:attention_gradients",
        "attention_relevance": "text.attention:attention_relevance",
        "attn_lrp": "relevance:attn_lrp",
        "Attribution": "attribution:Attribution",
        "attribution_patching": "mechanism.patching:attribution_patching",
        "blurred": "gradients.paths:blurred",
        "bounds": "rectified:bounds",
        "by_step": "text.tokens:by_step",
        "by_token": "text.tokens:by_token",
        "concept_test": "concepts:concept_test",
        "concept_vector": "concepts:concept_vector",
        "conductance": "gradients.layers:conductance",
        "conjugate_gradients": "examples.influence:conjugate_gradients",
        "deconvolution": "rectified:deconvolution",
        "deeplift": "propagation:deeplift",
        "eap_ig": "mechanism.circuits:eap_ig",
        "edited": "taps:edited",
        "effective_complexity": "trust.shape:effective_complexity",
        "ekfac": "examples.kronecker:ekfac",
        "embedding_tap": "text.tokens:embedding_tap",
        "empirical_ntk": "examples.gradients:empirical_ntk",
        "entropy": "trust.shape:entropy",
        "Epsilon": "compiler.layers:Epsilon",
        "exact_solve": "examples.influence:exact_solve",
        "expected_gradients": "gradients.paths:expected_gradients",
        "faithfulness": "trust.compare:faithfulness",
        "Flat": "compiler.layers:Flat",
        "fullgrad": "gradients.gradients:fullgrad",
        "Gamma": "compiler.layers:Gamma",
        "gauss_newton_product": "curvature:gauss_newton_product",
        "gini": "trust.shape:gini",
        "grad_cam": "gradients.cam:grad_cam",
        "grad_cam_plus_plus": "gradients.cam:grad_cam_plus_plus",
        "gradient": "gradients.gradients:gradient",
        "gradient_noise_scale": "examples.gradients:gradient_noise_scale",
        "gradient_products": "examples.gradients:gradient_products",
        "gradient_similarity": "examples.influence:gradient_similarity",
        "guided_backpropagation": "rectified:guided_backpropagation",
        "head_scores": "mechanism.detectors:head_scores",
        "hessian_vector_product": "curvature:hessian_vector_product",
        "hires_cam": "gradients.cam:hires_cam",
        "individual_expectation": "perturbation.dependence:individual_expectation",
        "infidelity": "trust.faithfulness:infidelity",
        "influence": "examples.influence:influence",
        "input_x_gradient": "gradients.gradients:input_x_gradient",
        "insertion_deletion": "trust.faithfulness:insertion_deletion",
        "integrated_gradients": "gradients.paths:integrated_gradients",
        "integrated_hessians": "gradients.layers:integrated_hessians",
        "internal_influence": "gradients.layers:internal_influence",
        "kernel_shap": "perturbation.shapley:kernel_shap",
        "layer_cam": "gradients.cam:layer_cam",
        "lds": "examples.retraining:lds",
        "lime": "perturbation.lime:lime",
        "localization": "trust.shape:localization",
        "logit_attribution": "mechanism.lens:logit_attribution",
        "logit_lens": "mechanism.lens:logit_lens",
        "loss_recovered": "mechanism.dictionary:loss_recovered",
        "lrp": "relevance:lrp",
        "mark": "taps:mark",
        "max_sensitivity": "trust.faithfulness:max_sensitivity",
        "mmcs": "mechanism.dictionary:mmcs",
        "occlusion": "perturbation.occlusion:occlusion",
        "overlay": "view.overlay:overlay",
        "partial_dependence": "perturbation.dependence:partial_dependence",
        "patching": "mechanism.patching:patching",
        "path_patching": "mechanism.patching:path_patching",
        "per_example_gradients": "examples.gradients:per_example_gradients",
        "permutation_importance": "perturbation.dependence:permutation_importance",
        "permutation_shapley": "perturbation.shapley:permutation_shapley",
        "Place": "compiler.relevance:Place",
        "random_subset": "examples.retraining:random_subset",
        "randomization": "trust.randomization:randomization",
        "randomized_labels": "trust.labels:randomized_labels",
        "read": "taps:read",
        "repeated_tokens": "mechanism.detectors:repeated_tokens",
        "rise": "perturbation.occlusion:rise",
        "road": "trust.imputation:road",
        "roar": "trust.removal:roar",
        "rollout": "text.attention:rollout",
        "sae": "mechanism.dictionary:sae",
        "scored": "attribution:scored",
        "self_influence": "examples.influence:self_influence",
        "sensitivity": "concepts:sensitivity",
        "sensitivity_n": "trust.faithfulness:sensitivity_n",
        "shapley": "perturbation.shapley:shapley",
        "sharpness": "curvature:sharpness",
        "show": "view.show:show",
        "shuffled": "trust.randomization:shuffled",
        "smoothgrad": "gradients.gradients:smoothgrad",
        "softened": "rectified:softened",
        "SparseAutoencoder": "mechanism.dictionary:SparseAutoencoder",
        "spectrum": "curvature:spectrum",
        "split": "taps:split",
        "spread": "perturbation.groups:spread",
        "steer": "mechanism.patching:steer",
        "straight": "gradients.paths:straight",
        "superpixels": "perturbation.groups:superpixels",
        "targets": "targets",
        "taps": "taps:taps",
        "tcav": "concepts:tcav",
        "token_html": "text.colors:token_html",
        "top_k": "mechanism.dictionary:top_k",
        "trace": "curvature:trace",
        "tracin": "examples.influence:tracin",
        "trak": "examples.influence:trak",
        "tuned_lens": "mechanism.tuned:tuned_lens",
        "visualize": "view.optimized:visualize",
        "without_top": "trust.removal:without_top",
        "WSquare": "compiler.layers:WSquare",
        "ZBox": "compiler.layers:ZBox",
        "ZPlus": "compiler.layers:ZPlus",
    },
)
