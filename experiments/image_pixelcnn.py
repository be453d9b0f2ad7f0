"""Handwritten digits of 256 grays, pixel by pixel.

Run:     python -m experiments.image_pixelcnn             (downloads 11 MB, or: --data-dir FOLDER)
Result:  0.896 bits per dimension of the test images by --width 64 --depth 8 --epochs 14 --batch-size 128 --precision
         bf16, 85 s of an H200 that three other trainings shared, and still falling (commit d298e25)
Source:  van den Oord et al. 2016, https://arxiv.org/abs/1606.05328; over pixels: Chen et al. 2020, "Generative
         pretraining from pixels"
"""

from typing import Literal

import optax

import deeplab as dl


def experiment(
    network: Literal["pixelcnn", "transformer"] = "pixelcnn",
    levels: int = 256,
    width: int = 32,
    depth: int = 6,
    epochs: int = 5,
    batch_size: int = 64,
    learning_rate: float = 3e-3,
) -> dl.Experiment:
    """MNIST, 60,000 training and 10,000 test images.

    Args:
      network: Convolutions of two stacks, or a transformer.
      levels: Number of levels of a pixel.
      width: Number of channels.
      depth: Number of blocks.
      epochs: Number of passes over the training images, some 937 steps each.
      batch_size: Number of images per step.
      learning_rate: Peak learning rate of the cosine schedule.
    """
    data = dl.data.Images("mnist", batch_size=batch_size, epochs=epochs, normalize=None)
    rate = dl.optim.warmup_cosine(learning_rate, data.num_steps, warmup_fraction=0.0)
    if network == "pixelcnn":
        model = dl.models.PixelCNN(levels, width, depth)
    else:
        model = dl.models.PixelTransformer(levels, depth, 4, width)
    return dl.Experiment(
        data=data,
        model=model,
        task=dl.generate.AutoregressiveImages(data.image_shape, levels),
        optimizer=optax.chain(dl.optim.clip(1.0), optax.adam(rate)),
    )


if __name__ == "__main__":
    dl.main(experiment)
