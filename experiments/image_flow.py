"""Handwritten digits of 256 grays by a normalizing flow.

Run:     python -m experiments.image_flow                 (downloads 11 MB, or: --data-dir FOLDER)
Result:  1.704 bits per dimension of the test images by --width 16 --epochs 1, 740 s of CPU time (commit 6d70ea3), and
         still falling. With an edge of 0.05 1.916 by --width 64 --epochs 16 (d298e25)
Source:  RealNVP: Dinh et al. 2017, https://arxiv.org/abs/1605.08803; MAF: Papamakarios et al. 2017,
         https://arxiv.org/abs/1705.07057
"""

from typing import Literal

import optax

import deeplab as dl
from deeplab.models.generative import flows


def experiment(
    method: Literal["real_nvp", "maf"] = "real_nvp",
    num_layers: int = 4,
    width: int = 32,
    epochs: int = 10,
    batch_size: int = 128,
    learning_rate: float = 1e-3,
) -> dl.Experiment:
    """MNIST, 60,000 training and 10,000 test images, each gray a number by uniform noise.

    Args:
      method: Couplings of images, or autoregressive layers over pixels in the order of reading, of `32 width` units.
      num_layers: Number of layers; couplings are as many at each of two sizes.
      width: Number of channels of the couplings' convolutions.
      epochs: Number of passes over the training images, some 468 steps each.
      batch_size: Number of images per step.
      learning_rate: Peak learning rate of the cosine schedule.
    """
    data = dl.data.Images("mnist", batch_size=batch_size, epochs=epochs, normalize=None)
    model = flows.image_real_nvp(num_layers, width)
    if method == "maf":
        model = flows.Flow((flows.Flattened(tuple(data.image_shape)), *flows.maf(num_layers, 32 * width).layers))
    rate = dl.optim.warmup_cosine(learning_rate, data.num_steps, warmup_fraction=0.0)
    return dl.Experiment(
        data=data,
        model=model,
        # Four of five pixels are black; with an edge as wide as a photo's their logits would be in a thin layer.
        task=dl.generate.NormalizingFlow(data.image_shape, edge=1e-6),
        optimizer=optax.adam(rate),
    )


if __name__ == "__main__":
    dl.main(experiment)
