"""Fashion-MNIST as maps of codes: VQ-VAE.

Run:     python -m experiments.image_vq                   (downloads 31 MB, or: --data-dir FOLDER)
Result:  none yet (once measured: squared error of a test image, codes in use, seconds, commit)
Source:  van den Oord et al. 2017, https://arxiv.org/abs/1711.00937
"""

import optax

import deeplab as dl


def experiment(
    width: int = 32,
    code_size: int = 16,
    num_codes: int = 128,
    epochs: int = 10,
    batch_size: int = 128,
    learning_rate: float = 1e-3,
    decay: float = 0.99,
    commitment: float = 0.25,
) -> dl.Experiment:
    """Fashion-MNIST: 60,000 training and 10,000 test images, each as 7 x 7 codes.

    Args:
      width: Number of channels at half of the size; twice as many at a quarter.
      code_size: Number of components of a code.
      num_codes: Number of codes.
      epochs: Number of passes over the training images, some 468 steps each.
      batch_size: Number of images per step.
      learning_rate: Peak learning rate of the cosine schedule.
      decay: Decay of the moving averages that the codes are.
      commitment: Weight of the distance of a feature from its code.
    """
    data = dl.data.Images("fashion_mnist", batch_size=batch_size, epochs=epochs, normalize=None)
    channels = data.image_shape[-1]
    return dl.Experiment(
        data=data,
        model=dl.models.ConvEncoder(code_size, (width, 2 * width)),
        task=dl.generate.VQVAE(dl.models.ConvDecoder(channels, (2 * width, width)), num_codes, decay, commitment),
        optimizer=optax.adam(dl.optim.warmup_cosine(learning_rate, data.num_steps, warmup_fraction=0.0)),
    )


if __name__ == "__main__":
    dl.main(experiment)
