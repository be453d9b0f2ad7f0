"""Recognition of strings of spoken digits, without alignments, by connectionist temporal classification (CTC).

Run:     python -m experiments.speech_digit_strings       (downloads 10 MB, or: --data-dir FOLDER)
         python -m experiments.speech_digit_strings --model conformer
Result:  gru, seed 0, held-out takes: word error rate 0.24 %, 246 s of CPU time (968a473); conformer 0.85 % (c7f5149)
Source:  CTC: Graves et al. 2006, https://doi.org/10.1145/1143844.1143891; models: Amodei et al. 2016,
         https://arxiv.org/abs/1512.02595, Gulati et al. 2020, https://arxiv.org/abs/2005.08100; data:
         https://doi.org/10.5281/zenodo.1342401
"""

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import optax

import deeplab as dl
from deeplab.data.augment import audio as augment_audio
from deeplab.data.features import audio, speech
from deeplab.data.sets.speech.digit_strings import DigitStrings
from deeplab.data.sets.speech.fsdd import DIGITS, FSDD, Speaker
from deeplab.models.speech import conformer, deep_speech
from deeplab.report import cards
from deeplab.tasks.ctc import transcript

MEL = audio.LogMel(rate=8000, window=200, hop=80, num_mels=40)


def experiment(
    model: Literal["gru", "conformer"] = "gru",
    variant: Literal["test", "tiny"] = "tiny",
    held_out: Speaker = "",
    evaluate_on: Literal["test", "validation"] = "test",
    num_steps: int = 1200,
    batch_size: int = 16,
    learning_rate: float = 2e-3,
    weight_decay: float = 1e-2,
    dropout: float = 0.1,
    speed: float = 0.1,
    masked_bands: float = 6.0,
    masked_frames: float = 20.0,
) -> dl.Experiment:
    """Strings of 3 to 7 digits, drawn anew in training; the test set is 500 fixed strings of held-out recordings.

    Args:
      model: Network: convolutions and a bidirectional GRU (Deep Speech 2), or a Conformer.
      variant: Size of the network.
      held_out: Speaker whose recordings are all test data, and none training data.
      evaluate_on: Split to evaluate on; "validation" holds out takes 5 to 9, to choose a recipe by.
      num_steps: Number of training steps.
      batch_size: Number of strings per step, each padded to 5 s.
      learning_rate: Peak learning rate of the cosine schedule.
      weight_decay: Weight decay of matrices, multiplied by the learning rate.
      dropout: Dropout probability of the model's layers.
      speed: Largest change of speed, as a logarithm.
      masked_bands: Largest number of adjacent mel bands in each of the two SpecAugment masks.
      masked_frames: Largest number of adjacent frames in each of the two SpecAugment masks.
    """
    strings = DigitStrings(FSDD(held_out, validation=evaluate_on == "validation"))
    masks = augment_audio.spec_augment(masked_bands, masked_frames)
    prepare = speech.log_mels(MEL, augment_audio.speed(speed), masks)
    data = dl.data.Examples(strings, batch_size, num_steps=num_steps, prepare=prepare, eval_split=evaluate_on)
    family, network = (deep_speech, dl.models.DeepSpeech2) if model == "gru" else (conformer, dl.models.Conformer)
    rate = dl.optim.warmup_cosine(learning_rate, num_steps, warmup_fraction=0.1)
    adamw = optax.adamw(rate, weight_decay=weight_decay, mask=dl.optim.matrices_only)
    return dl.Experiment(
        data=data,
        model=network(len(DIGITS) + 1, **family.VARIANTS[variant], dropout=dropout),
        task=dl.tasks.CTC(DIGITS),
        optimizer=optax.chain(dl.optim.clip(5.0), adamw),
        eval_every=max(1, num_steps // 4),
        show=show,
    )


def show(batch: Mapping[str, np.ndarray], predictions: Mapping[str, np.ndarray]) -> list[dict[str, Any]]:
    """The spectrogram of each string, with the predicted and the true transcript."""
    made = []
    for i, (sound, length) in enumerate(zip(batch["audio"], batch["length"], strict=True)):
        names = ("prediction", "prediction_length"), ("label", "label_length")
        predicted, actual = (transcript(predictions[x][i][: predictions[n][i]], DIGITS) for x, n in names)
        picture = cards.picture(speech.image(MEL, sound, length))
        texts = cards.text(predicted, "predicted:"), cards.text(actual, "actual:")
        verdict, caption = "right" if predicted == actual else "wrong", f"{length / 8000:.2f} s"
        made.append(cards.card(verdict, picture, *texts, caption=caption))
    return made


if __name__ == "__main__":
    dl.main(experiment)
