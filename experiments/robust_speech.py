"""Spoken digits (FSDD) for the speaker who is understood worst: group DRO over the speakers, and flat minima.

Run:     python -m experiments.robust_speech              (downloads 10 MB, or: --data-dir FOLDER)
         python -m experiments.robust_speech --rate 0 --rho 0     (each speaker counts the same, and no more)
         python -m experiments.robust_speech sweep --rate 1e-2..1e-1:3 --seeds 3
Result:  none yet (once measured: accuracy and that of the worst speaker; hardware, seconds, commit)
Source:  group DRO: Sagawa et al. 2020, https://arxiv.org/abs/1911.08731; SAM: Foret et al. 2021,
         https://arxiv.org/abs/2010.01412; network and data: see `experiments.speech_digits`
"""

import optax

import deeplab as dl
from deeplab.data.augment import audio as augment_audio
from deeplab.data.features import audio, speech
from deeplab.data.sets.speech.fsdd import FSDD, SPEAKERS
from deeplab.models.speech import keyword_cnn

MEL = audio.LogMel(rate=8000, window=200, hop=80, num_mels=40)


def experiment(
    rate: float = 0.05,
    rho: float = 0.05,
    epochs: int = 20,
    batch_size: int = 48,
    learning_rate: float = 3e-3,
    weight_decay: float = 5e-2,
    dropout: float = 0.3,
    noise: float = 20.0,
) -> dl.Experiment:
    """Digits of six speakers: takes 5 to 49 of each for training, 0 to 4 for the test; tells "worst_accuracy".

    Args:
      rate: Step of the weights of the speakers, which grow with their losses.
      rho: Length of the move of the parameters to where the loss is larger.
      epochs: Number of passes over the recordings, some 56 steps each.
      batch_size: Number of recordings per step.
      learning_rate: Peak learning rate of the cosine schedule.
      weight_decay: Weight decay of the kernels, multiplied by the learning rate.
      dropout: Dropout probability of the hidden layer.
      noise: Smallest signal-to-noise ratio of the added white noise, in dB; the largest is 30 dB higher.
    """
    waveform = augment_audio.chain(augment_audio.speed(0.1), augment_audio.noise(noise, noise + 30))
    prepare = speech.log_mels(MEL, waveform, augment_audio.spec_augment(6.0, 8.0))
    data = dl.data.Examples(FSDD(""), batch_size, epochs=epochs, prepare=prepare)
    training = dl.robust.training
    groups = training.GroupDRO(dl.tasks.Classification(fields=("features",)), len(SPEAKERS), "speaker", rate)
    rates = dl.optim.warmup_cosine(learning_rate, data.num_steps, warmup_fraction=0.1)
    return dl.Experiment(
        data=data,
        model=dl.models.KeywordCNN(data.num_classes, **keyword_cnn.VARIANTS["small"], dropout=dropout),
        task=training.SAM(groups, rho),
        optimizer=optax.adamw(rates, weight_decay=weight_decay, mask=dl.optim.matrices_only),
        monitor=dl.Monitor("worst_accuracy", "max"),
    )


if __name__ == "__main__":
    dl.main(experiment)
