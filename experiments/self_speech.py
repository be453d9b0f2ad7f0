"""Spoken digits (FSDD) without labels: a small convolutional network tells recordings apart, or restores frames.

Run:     python -m experiments.self_speech --method simclr        (downloads 10 MB, or: --data-dir FOLDER)
Judge:   python -m experiments.benchmarks.features RUN --data-dir FOLDER          (neighbors and linear probes)
Result:  seed 0, 3 neighbors of 64 features: 95.3 %; random network 72.3, spectrograms 93.7, their 50 components 92.3 %
         (each +- 2.4 or more: 300 recordings); 171 s of CPU time (commit 9249872)
Source:  Chen et al. 2020, https://arxiv.org/abs/2002.05709; views: Park et al. 2019, https://arxiv.org/abs/1904.08779;
         for other methods see the tasks of `dl.tasks.unlabeled`; data: https://doi.org/10.5281/zenodo.1342401
"""

import functools
from typing import Literal

import jax
import optax

import deeplab as dl
from deeplab.data.augment import audio as augment_audio
from deeplab.data.features import audio, speech
from deeplab.data.sets.speech.fsdd import FSDD
from deeplab.models.speech import frame_cnn, keyword_cnn
from deeplab.nn.norm import batch_norm
from deeplab.tasks import unlabeled

MEL = audio.LogMel(rate=8000, window=200, hop=80, num_mels=40)


def experiment(
    method: Literal["simclr", "supervised", "byol", "barlow_twins", "vicreg", "masked"] = "simclr",
    variant: Literal["small", "test"] = "small",
    epochs: int = 20,
    batch_size: int = 128,
    learning_rate: float = 3e-3,
    weight_decay: float = 5e-2,
    temperature: float = 0.2,
    decay: float = 0.99,
    masked_bands: float = 10.0,
    masked_frames: float = 15.0,
    warp: float = 5.0,
) -> dl.Experiment:
    """Digits of six speakers: takes 5 to 49 of each for training, 0 to 4 for the test.

    Args:
      method: Name of the method; labels are not looked at, but by "supervised".
      variant: Size of the network, a key of `keyword_cnn.VARIANTS`, or of `frame_cnn.VARIANTS` for "masked".
      epochs: Number of passes over the recordings, some 21 steps each.
      batch_size: Number of recordings per step, each in two views.
      learning_rate: Peak learning rate of the cosine schedule.
      weight_decay: Weight decay of the kernels, multiplied by the learning rate.
      temperature: Temperature of the contrast.
      decay: Decay of the teacher.
      masked_bands: Largest number of adjacent mel bands in each of the two masks of a view.
      masked_frames: Largest number of adjacent frames in each of the two masks of a view.
      warp: Largest displacement of a point in time, in frames.
    """
    data = dl.data.Examples(FSDD(), batch_size, epochs=epochs, prepare=speech.log_mels(MEL))
    masks = augment_audio.spec_augment(masked_bands, masked_frames, share=0.5, warp=warp)

    def view(key: jax.Array, x: jax.Array) -> jax.Array:
        return masks(key, x, jax.numpy.int32(x.shape[0]))

    def head() -> dl.models.MLP:
        return dl.models.MLP(64, features=(128,), norm=batch_norm)

    field = ("features",)
    tasks = {
        "simclr": lambda: unlabeled.SimCLR(view, head(), temperature, fields=field),
        "supervised": lambda: unlabeled.SupervisedContrast(view, head(), temperature, fields=field),
        "byol": lambda: unlabeled.BYOL(view, head(), decay, predictor=head(), fields=field),
        "barlow_twins": lambda: unlabeled.BarlowTwins(view, head(), fields=field),
        "vicreg": lambda: unlabeled.VICReg(view, head(), fields=field),
        "masked": lambda: unlabeled.MaskedFrames(dl.models.FrameCNN(MEL.num_mels, 1)),
    }
    frames = functools.partial(dl.models.FrameCNN, **frame_cnn.VARIANTS[variant])
    rate = dl.optim.warmup_cosine(learning_rate, data.num_steps, warmup_fraction=0.1)
    return dl.Experiment(
        data=data,
        model=frames() if method == "masked" else dl.models.KeywordCNN(64, **keyword_cnn.VARIANTS[variant]),
        task=tasks[method](),
        optimizer=optax.adamw(rate, weight_decay=weight_decay, mask=dl.optim.matrices_only),
    )


if __name__ == "__main__":
    dl.main(experiment)
