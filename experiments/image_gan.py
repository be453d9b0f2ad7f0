"""Fashion-MNIST by two adversaries.

Run:     python -m experiments.image_gan                  (downloads 31 MB, or: --data-dir FOLDER)
Result:  FID of 2,000 samples by `experiments.benchmarks.generating`, seeds 0 to 2: 0.247, 0.288, 0.282, all ten
         classes; `image_vae` 0.818, training images 0.027 (some 1,100 s of CPU time each; commit 0836349)
Source:  R3GAN: Huang et al. 2024, https://arxiv.org/abs/2501.05441
"""

import optax

import deeplab as dl


def experiment(
    width: int = 16,
    latents: int = 64,
    epochs: int = 6,
    batch_size: int = 64,
    learning_rate: float = 1e-3,
    penalty: float = 0.5,
    spacing: int = 4,
    ema: float = 0.999,
) -> dl.Experiment:
    """Fashion-MNIST: 60,000 training images.

    Args:
      width: Number of channels at half of the size; twice as many at a quarter.
      latents: Number of components of what an image is drawn from.
      epochs: Number of passes over the training images, some 937 steps each.
      batch_size: Number of images per step.
      learning_rate: Peak learning rate of both networks' cosine schedules.
      penalty: Weight of the squared gradients of the critic.
      spacing: Number of images for each one at which the gradients are computed.
      ema: Decay of the average of the weights that draws.
    """
    data = dl.data.Images("fashion_mnist", batch_size=batch_size, epochs=epochs, normalize=None)
    rate = dl.optim.warmup_cosine(learning_rate, data.num_steps, warmup_fraction=0.0)
    adam = optax.adam(rate, b1=0.0, b2=0.99)
    return dl.Experiment(
        data=data,
        model=dl.models.Generator(data.image_shape, (2 * width, width)),
        task=dl.generate.R3GAN(dl.models.Critic((width, 2 * width)), latents, penalty, spacing),
        optimizer=dl.optim.with_ema(dl.optim.groups({"^task/critic/": adam, ".*": adam}), ema),
        monitor=dl.Monitor("mean_distance"),
    )


if __name__ == "__main__":
    dl.main(experiment)
