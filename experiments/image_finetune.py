"""Fine-tuning of EfficientNet-lite on CIFAR-10, or on a folder of your own images: all of it, or its head.

Run:     python -m experiments.image_finetune --weights DIR          (a folder in timm's layout, or a name at the hub)
         --image-folder PATH --size 224 --enlarged 1 reads your own photos, a folder or an archive of CLASS/*
Result:  81.76 % on the JPEG copy of CIFAR-10 after one epoch at 64 x 64 pixels, some 3,000 s of CPU; from scratch,
         experiments/image_cifar10.py has 88.83 % (2,520 s): weights of 224 x 224 pixels are no shortcut at this size
Source:  Tan and Le 2019, https://arxiv.org/abs/1905.11946; Kornblith et al. 2018, https://arxiv.org/abs/1805.08974
"""

from typing import Literal

import jax
import optax

import deeplab as dl
from deeplab.data import augment
from deeplab.models.vision.convolutional import efficientnet
from deeplab.models.vision.convolutional.network import Frozen


def experiment(
    weights: str = "timm/tf_efficientnet_lite0.in1k",
    variant: Literal["test", "lite0", "lite1", "lite2", "lite3", "lite4"] = "lite0",
    train: Literal["all", "head"] = "all",
    image_folder: str = "",
    size: int = 32,
    enlarged: int = 2,
    epochs: int = 1,
    batch_size: int = 64,
    learning_rate: float = 1e-3,
    trunk_rate: float = 0.5,
    weight_decay: float = 1e-2,
    dropout: float = 0.2,
    label_smoothing: float = 0.1,
    average: float = 0.99,
) -> dl.Experiment:
    """CIFAR-10, or images by class.

    Args:
      weights: Folder of the network, or its name at the hub.
      variant: Size of the network, a key of `efficientnet.VARIANTS`.
      train: What is trained, everything or the head; the trunk then keeps its statistics, too.
      image_folder: Folder or archive of images by class to read instead of CIFAR-10; see `dl.data.image_folder`.
      size: Height and width of the images of a folder, in pixels.
      enlarged: Factor by which the network's images are larger: it was trained on images of 224 x 224.
      epochs: Number of passes over the training images.
      batch_size: Number of images per step.
      learning_rate: Peak learning rate of the head.
      trunk_rate: Learning rate of the trunk, as a multiple of the head's.
      weight_decay: Weight decay of kernels, multiplied by the learning rate.
      dropout: Dropout probability of the pooled features.
      label_smoothing: Probability spread uniformly over the classes.
      average: Decay of the moving average of the parameters, which is evaluated.
    """
    standardize = dl.data.Standardize(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))  # as the weights have been trained

    def normalize(x: jax.Array) -> jax.Array:
        *batch, height, width, channels = x.shape
        return standardize(jax.image.resize(x, (*batch, enlarged * height, enlarged * width, channels), "cubic"))

    data = dl.data.Images(
        dl.data.image_folder(image_folder, size=size) if image_folder else "cifar10",
        batch_size=batch_size,
        epochs=epochs,
        augment=augment.chain(augment.flip(), augment.crop(max(1, size // 16), "reflect")),
        normalize=normalize,
    )
    rate = dl.optim.warmup_cosine(learning_rate, data.num_steps, warmup_fraction=0.1)

    def adam(factor: float) -> optax.GradientTransformation:
        return optax.adamw(lambda step: factor * rate(step), weight_decay=weight_decay, mask=dl.optim.matrices_only)

    optimizer = dl.optim.groups({"^trunk/": adam(trunk_rate), ".*": adam(1.0)}) if train == "all" else adam(1.0)
    sizes = {**efficientnet.VARIANTS[variant], "dropout": dropout, "drop_path": 0.0}
    model = efficientnet.EfficientNet(num_classes=data.num_classes, **sizes)
    whole = dl.Experiment(
        data=data,
        model=model if train == "all" else model.clone(trunk=Frozen(model.trunk)),
        task=dl.tasks.Classification(label_smoothing, views=(dl.tasks.views.mirrored,)),
        optimizer=dl.optim.with_ema(optimizer, average),
        weights=[
            dl.hub.weights(weights, skip=["^head/classes/"]),
            dl.hub.weights(weights, path="variables/batch_stats"),
        ],
    )
    return whole if train == "all" else dl.tuning.frozen(whole, "^trunk/")


if __name__ == "__main__":
    dl.main(experiment)
