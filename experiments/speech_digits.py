"""Spoken digits (FSDD) with a small convolutional network on log-mel spectrograms.

Run:     python -m experiments.speech_digits              (downloads 10 MB, or: --data-dir FOLDER)
         python -m experiments.speech_digits --held-out george     (a speaker outside the training set)
Result:  takes 0 to 4, seeds 0 to 2: 99.33, 99.33, 98.67 %; 55 to 68 s of CPU time (commits 968a473, 73312f7)
         held-out speakers, --held-out george to yweweler: 75.4, 79.4, 72.0, 79.6, 91.6, 88.6 %, mean 81.1 (c7f5149)
Source:  Sainath and Parada 2015, https://www.isca-archive.org/interspeech_2015/sainath15b_interspeech.html;
         SpecAugment: Park et al. 2019, https://arxiv.org/abs/1904.08779; data: https://doi.org/10.5281/zenodo.1342401
"""

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import optax

import deeplab as dl
from deeplab.data.augment import audio as augment_audio
from deeplab.data.features import audio, speech
from deeplab.data.sets.speech.fsdd import DIGITS, FSDD, SPEAKERS, Speaker
from deeplab.models.speech import keyword_cnn
from deeplab.report import cards

MEL = audio.LogMel(rate=8000, window=200, hop=80, num_mels=40)


def experiment(
    held_out: Speaker = "",
    evaluate_on: Literal["test", "validation"] = "test",
    epochs: int = 20,
    batch_size: int = 32,
    learning_rate: float = 3e-3,
    weight_decay: float = 5e-2,
    label_smoothing: float = 0.1,
    dropout: float = 0.3,
    speed: float = 0.1,
    noise: float = 20.0,
    masked_bands: float = 6.0,
    masked_frames: float = 8.0,
) -> dl.Experiment:
    """Digits of six speakers: takes 5 to 49 of each for training, 0 to 4 for the test (the official split).

    Args:
      held_out: Speaker whose recordings are all test data, and none training data.
      evaluate_on: Split to evaluate on; "validation" holds out takes 5 to 9, to choose a recipe by.
      epochs: Number of passes over the recordings, some 84 steps each.
      batch_size: Number of recordings per step.
      learning_rate: Peak learning rate of the cosine schedule.
      weight_decay: Weight decay of the kernels, multiplied by the learning rate.
      label_smoothing: Probability spread uniformly over the classes.
      dropout: Dropout probability of the hidden layer.
      speed: Largest change of speed, as a logarithm.
      noise: Smallest signal-to-noise ratio of the added white noise, in dB; the largest is 30 dB higher.
      masked_bands: Largest number of adjacent mel bands in each of the two SpecAugment masks.
      masked_frames: Largest number of adjacent frames in each of the two SpecAugment masks.
    """
    waveform = augment_audio.chain(augment_audio.speed(speed), augment_audio.noise(noise, noise + 30))
    prepare = speech.log_mels(MEL, waveform, augment_audio.spec_augment(masked_bands, masked_frames))
    recordings = FSDD(held_out, validation=evaluate_on == "validation")
    data = dl.data.Examples(recordings, batch_size, epochs=epochs, prepare=prepare, eval_split=evaluate_on)
    rate = dl.optim.warmup_cosine(learning_rate, data.num_steps, warmup_fraction=0.1)
    return dl.Experiment(
        data=data,
        model=dl.models.KeywordCNN(data.num_classes, **keyword_cnn.VARIANTS["small"], dropout=dropout),
        task=dl.tasks.Classification(label_smoothing=label_smoothing, fields=("features",)),
        optimizer=optax.adamw(rate, weight_decay=weight_decay, mask=dl.optim.matrices_only),
        show=show,
    )


def show(batch: Mapping[str, np.ndarray], predictions: Mapping[str, np.ndarray]) -> list[dict[str, Any]]:
    """The spectrogram of each recording, with the predicted and the true digit."""
    rows = zip(
        batch["audio"], batch["length"], batch["speaker"], predictions["prediction"], batch["label"], strict=True
    )
    return [
        cards.card(
            f"{DIGITS[predicted]}, {'right' if predicted == actual else 'actually ' + DIGITS[actual]}",
            cards.picture(speech.image(MEL, sound, length)),
            caption=f"{SPEAKERS[speaker]}, {length / 8000:.2f} s",
        )
        for sound, length, speaker, predicted, actual in rows
    ]


if __name__ == "__main__":
    dl.main(experiment)
