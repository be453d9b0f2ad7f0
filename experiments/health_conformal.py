"""Heartbeats with a guarantee: sets of classes that hold the true one for 90 % of the beats of other patients.

Run:     python -m experiments.health_conformal --data-dir DIR    (DIR holds PhysioNet's zip; --fold 1 to 4: validation)
Result:  DS2 at alpha 0.1, each patient's sets calibrated on the 21 others; percent covered, mean (s.d.) of 3 seeds:
                     all    N     S           V           F            least patient  classes a set
           LAC       89.7   96.4   0.0 (0.1)  59.8 (5.5)   0.0         22.3           0.91
           APS       90.0   90.9  82.4 (0.6)  91.6 (0.3)   7.9 (2.3)   80.1           0.96
           by class  89.4   89.5  84.6 (0.1)  90.0 (0.1)  88.8 (15.4)  40.1           1.68
         The whole is covered as promised, and nothing else is: LAC's sets hold no S at all. Patients are not
         exchangeable: 4 to 7 of 22 are below 90 %. Of 388 F 362 are one patient's, so few calibrate his.
         31 s of CPU time a seed on a shared core (commit 816b246)
Source:  de Chazal et al. 2004, https://doi.org/10.1109/TBME.2004.827359; sets: Sadinle et al. 2019,
         https://arxiv.org/abs/1609.00451; Romano et al. 2020, https://arxiv.org/abs/2006.02544
"""

from typing import Any, Literal

import jax
import optax

import deeplab as dl
from deeplab.data.features import ecg
from deeplab.data.sets.health.mitbih import FREQUENCIES, MitBihBeats
from deeplab.robust import conformal


def experiment(
    fold: Literal[0, 1, 2, 3, 4] = 0,
    alpha: dl.StaticFloat = 0.1,
    width: int = 256,
    epochs: int = 10,
    batch_size: int = 512,
    learning_rate: float = 3e-3,
    weight_decay: float = 1e-2,
    dropout: float = 0.5,
    noise: float = 1.2,
) -> dl.Experiment:
    """The network of `health_ecg`, trained on 22 patients; the sets of each of 22 others are calibrated on the rest.

    Args:
      fold: Fold; 0 trains on all of DS1 and tests on DS2, 1 to 4 hold out a part of DS1's records for validation.
      alpha: Largest share of beats whose set may miss their class.
      width: Number of units of each of two hidden layers.
      epochs: Number of passes over the training beats, some 99 steps each.
      batch_size: Number of beats per step.
      learning_rate: Peak learning rate of the cosine schedule.
      weight_decay: Weight decay of the kernels, multiplied by the learning rate.
      dropout: Dropout probability of the hidden layers.
      noise: Standard deviation of the noise added to the features in training.
    """

    def prepare(example: dict[str, Any], key: jax.Array | None) -> dict[str, Any]:
        x = ecg.features(example)
        x = x if key is None else x + noise * jax.random.normal(key, x.shape)
        return {"x": x} | {name: example[name] for name in ("label", "record", "weight", "id") if name in example}

    split = "validation" if fold else "test"
    beats = MitBihBeats(fold)
    data = dl.data.Examples(beats, batch_size, epochs, prepare=prepare, eval_split=split, column_names=ecg.FEATURES)
    rate = dl.optim.warmup_cosine(learning_rate, data.num_steps)
    sets = conformal.summary(alpha, data.class_names, folds=len(beats.records(split)))  # one patient left out at a time
    return dl.Experiment(
        data=data,
        model=dl.models.MLP(num_classes=4, features=(width, width), dropout=dropout),
        task=dl.tasks.Clinical(data.class_names, FREQUENCIES, calibrate=sets),
        optimizer=optax.adamw(rate, weight_decay=weight_decay, mask=dl.optim.matrices_only),
        eval_every=data.num_steps // 2,
        monitor=dl.Monitor("macro_f1", "max"),
    )


if __name__ == "__main__":
    dl.main(experiment)
