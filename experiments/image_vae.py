"""Binary images by a variational autoencoder: handwritten digits, each pixel drawn once from its gray value.

Run:     python -m experiments.image_vae                  (downloads 11 MB, or: --data-dir FOLDER)
         python -m experiments.image_vae --samples 50 --epochs 20        (the importance-weighted one)
Result:  88.4 nats, seed 0: the test images' bound, 93.01, minus what 5,000 importance samples take from it on the first
         500 of them, 4.61 +- 0.09; 1,142 s on a busy machine of 2 CPU cores (commit f14548c).
         --samples 50 --epochs 20: 89.0, 90.98 minus 1.94 +- 0.20; some 4,600 s of CPU time (commit 0836349)
Source:  Kingma and Welling 2014, https://arxiv.org/abs/1312.6114; Burda et al. 2016, https://arxiv.org/abs/1509.00519
"""

from typing import Literal

import optax

import deeplab as dl


def experiment(
    dataset: Literal["mnist", "fashion_mnist"] = "mnist",
    samples: int = 1,
    latents: int = 50,
    width: int = 400,
    epochs: int = 60,
    batch_size: int = 128,
    learning_rate: float = 1e-3,
    beta: float = 1.0,
    free_bits: float = 0.0,
) -> dl.Experiment:
    """60,000 training and 10,000 test images; the draw of the pixels is that of `dl.generate.binarized`.

    Args:
      dataset: Name of the images.
      samples: Number of codes for each image; with more than one, the bound is the importance-weighted one.
      latents: Number of components of a code.
      width: Number of units of the two hidden layers of encoder and decoder.
      epochs: Number of passes over the training images, some 468 steps each.
      batch_size: Number of images per step.
      learning_rate: Peak learning rate of the cosine schedule.
      beta: Weight of the divergence of the code's law from the prior; the importance-weighted bound has none.
      free_bits: Nats of each component that cost nothing; likewise.
    """
    data = dl.data.Images(dataset, batch_size=batch_size, epochs=epochs, normalize=None)
    vae = dl.generate.VAE(latents, beta=beta, free_bits=free_bits)
    return dl.Experiment(
        data=data,
        model=dl.models.GaussianAutoencoder(data.image_shape, latents, (width, width)),
        task=vae if samples == 1 else dl.generate.IWAE(latents, samples),
        optimizer=optax.adam(dl.optim.warmup_cosine(learning_rate, data.num_steps, warmup_fraction=0.0)),
    )


if __name__ == "__main__":
    dl.main(experiment)
