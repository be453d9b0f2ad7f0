"""Fashion-MNIST, drawn: diffusion, flow matching and MeanFlow with one network.

Run:     python -m experiments.image_diffusion --method flow     (downloads 31 MB, or: --data-dir FOLDER)
Result:  --method flow --epochs 4, FID of 2,000 samples by `experiments.benchmarks.generating`: 0.258 of 50 evaluations,
         0.262 of 10, 1.86 of 2, 4.61 of 1; `image_vae` 0.818, training images 0.027 (seed 0; 1,750 s of CPU time
         beside other work; commit 3a83c92). --method mean_flow --epochs 6: 0.181, 0.170, 0.179 and 0.205 (seed 0;
         2,970 s of CPU time; commit 99426bb); other methods: none yet
Source:  DDPM: Ho et al. 2020, https://arxiv.org/abs/2006.11239; "v": Salimans and Ho 2022,
         https://arxiv.org/abs/2202.00512; EDM: Karras et al. 2022, https://arxiv.org/abs/2206.00364; flow matching:
         Lipman et al. 2023, https://arxiv.org/abs/2210.02747; MeanFlow: Geng et al. 2025,
         https://arxiv.org/abs/2505.13447
"""

from typing import Literal

import optax

import deeplab as dl
from deeplab.generate import diffusion
from deeplab.models import diffusion_unet, dit


def experiment(
    method: Literal["ddpm", "v", "edm", "flow", "coupled_flow", "mean_flow"] = "flow",
    network: Literal["unet", "dit"] = "unet",
    variant: str = "small",
    epochs: int = 10,
    batch_size: int = 128,
    learning_rate: float = 1e-3,
    guidance: float = 1.0,
    steps: int = 50,
    ema: float = 0.999,
) -> dl.Experiment:
    """Fashion-MNIST: 60,000 training images, each with its class.

    Args:
      method: What the network learns: the noise, "v", EDM's, the velocity, the same with pairs by optimal transport, or
        the mean velocity.
      network: Kind of network.
      variant: Its size, a key of `VARIANTS` of `models.generative.unet` or `models.generative.dit`.
      epochs: Number of passes over the training images, some 468 steps each.
      batch_size: Number of images per step.
      learning_rate: Peak learning rate of the cosine schedule.
      guidance: Scale of the guidance towards a class, in sampling; MeanFlow has none.
      steps: Number of steps of a sample; MeanFlow needs one.
      ema: Decay of the average of the weights that is evaluated and drawn from.
    """
    data = dl.data.Images("fashion_mnist", batch_size=batch_size, epochs=epochs, normalize=None)
    given = {"shape": data.image_shape, "num_classes": data.num_classes}
    drawn = {"guidance": guidance, "steps": steps}
    tasks = {
        "ddpm": lambda: dl.generate.Diffusion(**given, **drawn),
        "v": lambda: dl.generate.Diffusion(**given, **drawn, process=dl.generate.v_prediction()),
        "edm": lambda: dl.generate.Diffusion(
            **given, **drawn, process=dl.generate.edm(deviation=0.7), sampler=diffusion.second_order
        ),
        "flow": lambda: dl.generate.FlowMatching(**given, **drawn),
        "coupled_flow": lambda: dl.generate.FlowMatching(**given, **drawn, coupling=0.05),
        # A sample of one step asks for the pair (0, 1): its times are spread so widely that both ends are seen.
        "mean_flow": lambda: dl.generate.MeanFlow(**given, steps=1, apart=0.5, mean=0.0, spread=1.6),
    }
    told = {"num_classes": data.num_classes, "tempo": 4.0 if method == "mean_flow" else 1000.0}
    models = {
        "unet": lambda: dl.models.DiffusionUNet(**told, **diffusion_unet.VARIANTS[variant]),
        "dit": lambda: dl.models.DiT(**told, **dit.VARIANTS[variant]),
    }
    rate = dl.optim.warmup_cosine(learning_rate, data.num_steps, warmup_fraction=0.0)
    return dl.Experiment(
        data=data,
        model=models[network](),
        task=tasks[method](),
        optimizer=dl.optim.with_ema(optax.chain(dl.optim.clip(1.0), optax.adam(rate)), ema),
    )


if __name__ == "__main__":
    dl.main(experiment)
