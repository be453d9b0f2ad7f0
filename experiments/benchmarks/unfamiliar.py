"""Ten scores of unfamiliar inputs, and ODIN, of a network for Fashion-MNIST: against MNIST, digits and noise.

Run:     python -m experiments.image_fashion --width 16 --epochs 4 --run-dir runs/fashion --data-dir DIR
         python -m experiments.benchmarks.unfamiliar runs/fashion --data-dir DIR      (DIR holds both sets' files)
Prints:  for each score the AUROC, and the share of unfamiliar inputs that pass where 95 % of the familiar do (FPR95),
         each with its 95 % interval, of 2,000 examples that are spread over the sets' test parts. Digits are
         scikit-learn's 360 test images, enlarged from 8 x 8 pixels as the loader of image files does; noise is
         uniform in [0, 1]. The scores read 2,000 training examples, and have the settings of their papers; no setting
         was chosen on any of these inputs.
Result:  AUROC / FPR95 in percent, of a run of 89.7 % accuracy; within 2.5 and 16 points, mostly 1 and 5
                               MNIST         digits        noise
         vim                   98.7 /  6.5   97.4 / 16.9    99.7 /  0.1
         mahalanobis           98.4 /  6.9   94.7 / 33.1   100.0 /  0.0
         knn                   97.7 / 14.2   97.9 / 13.9    99.9 /  0.0
         relative_mahalanobis  96.9 / 14.9   97.7 / 11.4    96.5 / 18.1
         energy                96.1 / 23.6   97.7 / 13.1    80.8 / 94.2
         ash                   95.9 / 21.8   81.1 / 58.3    98.5 /  6.5
         gen                   95.9 / 25.4   98.3 /  9.4    75.3 / 98.6
         react                 95.6 / 25.8   96.9 / 14.7    94.9 / 38.6
         odin                  94.7 / 37.1   97.9 / 12.2    79.2 / 97.2
         max_logit             94.4 / 38.0   97.5 / 14.4    84.0 / 91.8
         msp                   89.2 / 62.2   96.1 / 23.1    85.7 / 89.3
         No score is best everywhere. Those of logits take noise for clothes; those of distances do not.
         Two CPU cores, 171 s of CPU time for the training (commit 34a31c2)
Source:  the table's form: Yang et al. 2022, OpenOOD, https://arxiv.org/abs/2210.07242
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from PIL import Image

import deeplab as dl
from deeplab.data.prepare.images import fit
from deeplab.robust import shift
from deeplab.robust.head import Head, tap_head
from deeplab.robust.resampling import interval_of, resampled
from deeplab.verbs.explaining.subject import preparer
from deeplab.verbs.probing.features import spread
from deeplab.verbs.robustness.examined import examined

SIZE, BATCH = 2000, 250
Batch = dict[str, Any]


def stored(name: str, data_dir: Path) -> np.ndarray:
    """Test images [N, H, W, 1] in [0, 1], spread over the split."""
    images = np.asarray(dl.data.Images(name, epochs=1).open("test", data_dir).arrays["image"])
    return images[np.linspace(0, len(images) - 1, min(SIZE, len(images))).astype(int)] / np.float32(255)


def enlarged(images: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Images of another size, as `predict` and folders of images read them."""
    each = [fit(Image.fromarray((x[..., 0] * 255).astype(np.uint8)), shape) for x in images]
    return np.stack(each).astype(np.float32) / 255


def batches(images: np.ndarray) -> Iterator[Batch]:
    """What the model reads of images; the labels are not looked at."""
    for start in range(0, len(images), BATCH):
        part = images[start : start + BATCH].astype(np.float32)
        ids = start + np.arange(len(part), dtype=np.int32)
        yield {"image": part, "label": 0 * ids, "weight": np.ones(len(part), np.float32), "id": ids}


def line(inside: np.ndarray, outside: np.ndarray) -> str:
    """AUROC and FPR95 with their intervals, in percent."""

    def both(score: np.ndarray, is_out: np.ndarray) -> np.ndarray:
        found = shift.detect(score[~is_out], score[is_out])
        return 100 * np.array([found.auroc, found.fpr95])

    arrays = [np.append(inside, outside), np.arange(len(inside) + len(outside)) >= len(inside)]
    told = [interval_of(*pair) for pair in zip(both(*arrays), resampled(both, arrays).T, strict=True)]
    return "  ".join(f"{x.value:5.1f} ({x.low:.1f} to {x.high:.1f})" for x in told)


def main(run_dir: tyro.conf.Positional[Path], data_dir: Path) -> None:
    """Prints the table.

    Args:
      run_dir: Directory of a finished run of `experiments.image_fashion`.
      data_dir: Folder of the files of MNIST and of Fashion-MNIST.
    """
    run = dl.load(run_dir)
    what = examined(run, "test", SIZE)
    shape = what.batches[0]["image"].shape[1:]
    head = tap_head(what.apply, *run.experiment.task.inputs(what.batches[0]))
    train = [*map(preparer(run.experiment), spread(run.experiment.data, "train", SIZE, data_dir)())]
    features, label, _ = what.over(lambda a, b: (tap_head(a, b["image"]).features, b["label"], b["id"]), train)
    scores = shift.feature_scores(features, label, Head(*map(np.asarray, head.head)))

    def read(given: Any) -> dict[str, np.ndarray]:
        x, odin = what.over(lambda a, b: (tap_head(a, b["image"]).features, shift.odin(a, b["image"])), given)
        return {name: score(x) for name, score in scores.items()} | {"odin": odin}

    noise = np.random.default_rng(0).random((SIZE, *shape), np.float32)
    others = {"MNIST": stored("mnist", data_dir), "digits": enlarged(stored("digits", data_dir), shape), "noise": noise}
    inside = read(what.batches)
    for name, images in others.items():
        outside = read(list(batches(images)))
        print(f"Fashion-MNIST against {name}: AUROC, FPR95", flush=True)
        for score in sorted(inside, key=lambda s: -shift.detect(inside[s], outside[s]).auroc):
            print(f"  {score:20} {line(inside[score], outside[score])}", flush=True)


if __name__ == "__main__":
    tyro.cli(main)
