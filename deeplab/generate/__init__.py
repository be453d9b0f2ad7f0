"""Generative models: tasks on the one loop, samplers and densities that know no network, and measures of samples."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deeplab.core import lazy

if TYPE_CHECKING:
    from deeplab.generate import measures
    from deeplab.generate.adversarial import R3GAN
    from deeplab.generate.autoregressive import AutoregressiveImages
    from deeplab.generate.diffusion import Diffusion, along, ancestral, deterministic, second_order
    from deeplab.generate.flow_matching import FlowMatching
    from deeplab.generate.masked_text import MaskedDiffusion
    from deeplab.generate.mean_flow import MeanFlow
    from deeplab.generate.measures import classifier_features, fid, fid_infinity, kid, nearest, precision_recall
    from deeplab.generate.normalizing import NormalizingFlow, bits_per_dimension
    from deeplab.generate.paths.couplings import coupled, sinkhorn
    from deeplab.generate.paths.inpainting import inpainted
    from deeplab.generate.paths.likelihoods import divergence, log_likelihood, normal_log_prob
    from deeplab.generate.paths.processes import (
        Process,
        edm,
        flow,
        noise_prediction,
        score_of,
        v_prediction,
        velocity_of,
    )
    from deeplab.generate.paths.samplers import (
        ddim,
        ddpm,
        edm_heun,
        euler_step,
        guided,
        heun_step,
        integrate,
        runge_kutta_step,
    )
    from deeplab.generate.paths.schedules import cosine, even, exploding, karras, linear, straight
    from deeplab.generate.quantized import VQVAE
    from deeplab.generate.record import Generative, interpolated
    from deeplab.generate.variational import IWAE, VAE, binarized

__getattr__, __dir__, __all__ = lazy.attach(
    __name__,
    {
        "along": "diffusion:along",
        "ancestral": "diffusion:ancestral",
        "AutoregressiveImages": "autoregressive:AutoregressiveImages",
        "binarized": "variational:binarized",
        "bits_per_dimension": "normalizing:bits_per_dimension",
        "classifier_features": "measures:classifier_features",
        "cosine": "paths.schedules:cosine",
        "coupled": "paths.couplings:coupled",
        "ddim": "paths.samplers:ddim",
        "ddpm": "paths.samplers:ddpm",
        "deterministic": "diffusion:deterministic",
        "Diffusion": "diffusion:Diffusion",
        "divergence": "paths.likelihoods:divergence",
        "edm": "paths.processes:edm",
        "edm_heun": "paths.samplers:edm_heun",
        "euler_step": "paths.samplers:euler_step",
        "even": "paths.schedules:even",
        "exploding": "paths.schedules:exploding",
        "fid": "measures:fid",
        "fid_infinity": "measures:fid_infinity",
        "flow": "paths.processes:flow",
        "FlowMatching": "flow_matching:FlowMatching",
        "Generative": "record:Generative",
        "guided": "paths.samplers:guided",
        "heun_step": "paths.samplers:heun_step",
        "inpainted": "paths.inpainting:inpainted",
        "integrate": "paths.samplers:integrate",
        "interpolated": "record:interpolated",
        "IWAE": "variational:IWAE",
        "karras": "paths.schedules:karras",
        "kid": "measures:kid",
        "linear": "paths.schedules:linear",
        "log_likelihood": "paths.likelihoods:log_likelihood",
        "MaskedDiffusion": "masked_text:MaskedDiffusion",
        "MeanFlow": "mean_flow:MeanFlow",
        "measures": "measures",
        "nearest": "measures:nearest",
        "noise_prediction": "paths.processes:noise_prediction",
        "normal_log_prob": "paths.likelihoods:normal_log_prob",
        "NormalizingFlow": "normalizing:NormalizingFlow",
        "precision_recall": "measures:precision_recall",
        "Process": "paths.processes:Process",
        "R3GAN": "adversarial:R3GAN",
        "runge_kutta_step": "paths.samplers:runge_kutta_step",
        "score_of": "paths.processes:score_of",
        "second_order": "diffusion:second_order",
        "sinkhorn": "paths.couplings:sinkhorn",
        "straight": "paths.schedules:straight",
        "v_prediction": "paths.processes:v_prediction",
        "VAE": "variational:VAE",
        "velocity_of": "paths.processes:velocity_of",
        "VQVAE": "quantized:VQVAE",
    },
)
