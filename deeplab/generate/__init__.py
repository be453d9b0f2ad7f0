"""Generative models: tasks on the one loop, samplers and densities that know no network, and measures of samples."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deeplab.core import lazy

if TYPE_CHECKING:
    from deeplab.generate import processes
    from deeplab.generate.couplings import coupled, sinkhorn
    from deeplab.generate.diffusion import Diffusion, along, ancestral, deterministic, second_order
    from deeplab.generate.flow_matching import FlowMatching
    from deeplab.generate.likelihoods import divergence, log_likelihood, normal_log_prob
    from deeplab.generate.mean_flow import MeanFlow
    from deeplab.generate.processes import (
        Process,
        cosine,
        edm,
        even,
        exploding,
        flow,
        karras,
        linear,
        noise_prediction,
        score_of,
        straight,
        v_prediction,
        velocity_of,
    )
    from deeplab.generate.record import Generative
    from deeplab.generate.samplers import (
        ddim,
        ddpm,
        edm_heun,
        euler_step,
        guided,
        heun_step,
        integrate,
        runge_kutta_step,
    )
    from deeplab.generate.variational import IWAE, VAE, binarized, importance_log_prob

__getattr__, __dir__, __all__ = lazy.attach(
    __name__,
    {
        "along": "diffusion:along",
        "ancestral": "diffusion:ancestral",
        "binarized": "variational:binarized",
        "cosine": "processes:cosine",
        "coupled": "couplings:coupled",
        "ddim": "samplers:ddim",
        "ddpm": "samplers:ddpm",
        "deterministic": "diffusion:deterministic",
        "Diffusion": "diffusion:Diffusion",
        "divergence": "likelihoods:divergence",
        "edm": "processes:edm",
        "edm_heun": "samplers:edm_heun",
        "euler_step": "samplers:euler_step",
        "even": "processes:even",
        "exploding": "processes:exploding",
        "flow": "processes:flow",
        "FlowMatching": "flow_matching:FlowMatching",
        "Generative": "record:Generative",
        "guided": "samplers:guided",
        "heun_step": "samplers:heun_step",
        "importance_log_prob": "variational:importance_log_prob",
        "integrate": "samplers:integrate",
        "IWAE": "variational:IWAE",
        "karras": "processes:karras",
        "linear": "processes:linear",
        "log_likelihood": "likelihoods:log_likelihood",
        "MeanFlow": "mean_flow:MeanFlow",
        "noise_prediction": "processes:noise_prediction",
        "normal_log_prob": "likelihoods:normal_log_prob",
        "Process": "processes:Process",
        "processes": "processes",
        "runge_kutta_step": "samplers:runge_kutta_step",
        "score_of": "processes:score_of",
        "second_order": "diffusion:second_order",
        "sinkhorn": "couplings:sinkhorn",
        "straight": "processes:straight",
        "v_prediction": "processes:v_prediction",
        "VAE": "variational:VAE",
        "velocity_of": "processes:velocity_of",
    },
)
