"""Images without labels: every way behind one argument. The encoder is kept, and asked what it has learned.

Run:     python -m experiments.self_images --method simclr          (downloads 31 MB, or: --data-dir FOLDER)
         --dataset cifar10 reads photos; --image-folder PATH a folder or an archive of train/CLASS/* and test/CLASS/*
Judge:   python -m experiments.benchmarks.features RUN --layer stage3_block1 --data-dir FOLDER  (also linear probes)
Result:  --width 16 --epochs 16, within 20 minutes of two cores, 3 neighbors by the last map, place by place, +- 0.66:
         simclr 88.27 % (commit 1059d53), vicreg 87.43, byol 87.14 (d298e25); random 82.14, pixels 85.56, 50 components
         85.44. By the 64 features, means over places: 85.48, 83.48, 83.77
Source:  named by each task of `dl.tasks.unlabeled`, such as Chen et al. 2020, https://arxiv.org/abs/2002.05709
"""

from typing import Literal

import optax

import deeplab as dl
from deeplab.data import augment
from deeplab.models.vision.convolutional import resnet
from deeplab.nn.norm import batch_norm
from deeplab.nn.parts.patches import PatchDecoder
from deeplab.nn.parts.prototypes import Prototypes
from deeplab.tasks import unlabeled


def experiment(
    method: Literal[
        "simclr", "supervised", "byol", "dino", "barlow_twins", "vicreg", "autoencoder", "denoising", "masked"
    ] = "simclr",
    dataset: Literal["fashion_mnist", "cifar10"] = "fashion_mnist",
    width: int = 24,
    epochs: int = 8,
    batch_size: int = 256,
    learning_rate: float = 2e-3,
    weight_decay: float = 1e-2,
    temperature: float = 0.2,
    decay: float = 0.99,
    smallest_crop: float = 0.3,
    image_folder: str = "",
) -> dl.Experiment:
    """60,000 or 50,000 training images; their labels are not looked at, but by the method "supervised".

    Args:
      method: Name of the method; "masked" trains a vision transformer, the others a residual network.
      dataset: Name of the data set.
      width: Number of channels of the first of three stages; features have four times as many dimensions.
      epochs: Number of passes over the training images.
      batch_size: Number of images per step, each in two views.
      learning_rate: Peak learning rate of the cosine schedule.
      weight_decay: Weight decay of the kernels, multiplied by the learning rate.
      temperature: Temperature of the contrast.
      decay: Decay of the teacher.
      smallest_crop: Smallest share of an image that a view shows.
      image_folder: Folder or archive of train/CLASS/* and test/CLASS/* to read instead of the original files.
    """
    given = dl.data.sets.example_set(dataset)
    color = (augment.saturation(0.6), augment.grayscale()) if dataset == "cifar10" else ()
    side, channels = (32, 3) if color else (28, 1)
    folder = dl.data.image_folder(image_folder, size=side, normalize=given.normalize) if image_folder else given
    data = dl.data.Images(folder, batch_size=batch_size, epochs=epochs)
    moved = augment.resized_crop(side, side, area=(smallest_crop, 1.0)), augment.flip()
    view = augment.chain(*moved, augment.brightness(0.3), augment.contrast(0.4), *color)

    def head(size: int = 128) -> dl.models.MLP:
        return dl.models.MLP(size, features=(256,), norm=batch_norm)

    decoder = dl.models.MLP(side * side * channels, features=(512,))
    tasks = {
        "simclr": lambda: unlabeled.SimCLR(view, head(), temperature),
        "supervised": lambda: unlabeled.SupervisedContrast(view, head(), temperature),
        "byol": lambda: unlabeled.BYOL(view, head(), decay, predictor=head()),
        "dino": lambda: unlabeled.DINO(view, Prototypes(256), decay),
        "barlow_twins": lambda: unlabeled.BarlowTwins(view, head()),
        "vicreg": lambda: unlabeled.VICReg(view, head()),
        "autoencoder": lambda: unlabeled.Autoencoder(decoder),
        "denoising": lambda: unlabeled.Autoencoder(decoder, noise=0.2, hidden=0.3),
        "masked": lambda: unlabeled.MaskedAutoencoder(PatchDecoder((side // 4) ** 2, 16 * channels), patch=4),
    }
    convolutions = dl.models.ResNet(None, (1, 1, 1), width, stem=resnet.CifarStem if color else resnet.StridedStem)
    patches = dl.models.ViT(size=side, patch=4, num_layers=4, num_heads=4, width=4 * width, hidden=16 * width)
    rate = dl.optim.warmup_cosine(learning_rate, data.num_steps, warmup_fraction=0.1)
    return dl.Experiment(
        data=data,
        model=patches if method == "masked" else convolutions,
        task=tasks[method](),
        optimizer=optax.adamw(rate, weight_decay=weight_decay, mask=dl.optim.matrices_only),
    )


if __name__ == "__main__":
    dl.main(experiment)
