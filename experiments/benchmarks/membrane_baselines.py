"""Membrane segmentation without a network: a threshold, and a random forest over each pixel's neighborhood.

Run:     python -m experiments.benchmarks.membrane_baselines --data-dir DIR
Result:  slices 25 to 29, mean IoU and pixel error: threshold 0.629, 17.22 %; forest of 100 trees 0.729, 9.99 %
         (commit 5ab16ac; `experiments.health_membrane`: 0.787, 7.74 %)
Source:  the forest's features are those of Arganda-Carreras et al. 2017 (Trainable Weka Segmentation),
         https://doi.org/10.1093/bioinformatics/btx180
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping

import numpy as np
from scipy import ndimage
from sklearn.ensemble import RandomForestClassifier

from deeplab.data.sets.health.membrane import MEMBRANE
from deeplab.tasks.segmentation import MeanIoU, ious

SCALES = (0.7, 1.6, 3.5, 5.0)  # pixels


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data-dir")
    parser.add_argument("--pixels", type=int, default=5_000, help="training pixels of each slice")
    parser.add_argument("--trees", type=int, default=100)
    flags = parser.parse_args()
    train, test = (MEMBRANE.open(split, flags.data_dir).arrays for split in ("train", "test"))

    smooth, darkness = _best_threshold(train)
    found = [ndimage.gaussian_filter(image, smooth) < darkness for image in _standardized(test["image"])]
    _say(f"threshold {darkness:.2f} after smoothing by {smooth} pixels", test["mask"], np.stack(found))

    rng = np.random.default_rng(0)
    rows, labels = [], []
    for image, mask in zip(_standardized(train["image"]), train["mask"], strict=True):
        chosen = rng.choice(mask.size, flags.pixels, replace=False)
        rows.append(features(image)[chosen])
        labels.append(mask.reshape(-1)[chosen])
    forest = RandomForestClassifier(flags.trees, min_samples_leaf=5, n_jobs=-1, random_state=0)
    forest.fit(np.concatenate(rows), np.concatenate(labels))
    found = [forest.predict(features(image)).reshape(image.shape) for image in _standardized(test["image"])]
    _say(f"random forest of {flags.trees} trees, {len(train['mask']) * flags.pixels:,} pixels", test["mask"], found)


def features(image: np.ndarray) -> np.ndarray:
    """[H, W] -> [H * W, F]: at each scale the smoothed value, gradient magnitude, curvatures and local contrast."""
    columns = [image]
    for scale in SCALES:
        smooth = ndimage.gaussian_filter(image, scale)
        down, right = (_derivative(image, scale, *orders) for orders in ((1, 0), (0, 1)))
        a, b, c = (_derivative(image, scale, *orders) for orders in ((2, 0), (1, 1), (0, 2)))
        middle, spread = (a + c) / 2, np.hypot((a - c) / 2, b)
        deviation = np.sqrt(np.maximum(ndimage.gaussian_filter(image**2, scale) - smooth**2, 0))
        columns += [smooth, np.hypot(down, right), middle + spread, middle - spread, deviation]
        columns += [ndimage.minimum_filter(smooth, int(3 * scale)), ndimage.maximum_filter(smooth, int(3 * scale))]
    return np.stack(columns, axis=-1).reshape(image.size, -1).astype(np.float32)


def _derivative(image: np.ndarray, scale: float, down: int, right: int) -> np.ndarray:
    once = ndimage.gaussian_filter1d(image, scale, axis=0, order=down)
    return ndimage.gaussian_filter1d(once, scale, axis=1, order=right)


def _standardized(images: np.ndarray) -> np.ndarray:
    images = images[..., 0].astype(np.float32)
    return (images - images.mean((1, 2), keepdims=True)) / images.std((1, 2), keepdims=True)


def _best_threshold(arrays: Mapping[str, np.ndarray]) -> tuple[float, float]:
    """Smoothing and threshold of the highest mean IoU on the training slices."""
    best = (-1.0, 0.0, 0.0)
    for smooth in (0.0, 1.0, 2.0, 3.0):
        images = np.stack([ndimage.gaussian_filter(image, smooth) for image in _standardized(arrays["image"])])
        for darkness in np.linspace(-2, 0.5, 26):
            score = MeanIoU(_confusion(arrays["mask"], images < darkness)).compute()
            best = max(best, (score, smooth, float(darkness)))
    return best[1:]


def _confusion(label: np.ndarray, prediction: np.ndarray) -> np.ndarray:
    return np.bincount((2 * label.astype(int) + prediction).reshape(-1), minlength=4).reshape(2, 2)


def _say(name: str, label: np.ndarray, prediction: np.ndarray | list[np.ndarray]) -> None:
    confusion = _confusion(label, np.stack(list(prediction)))
    wrong = 1 - np.trace(confusion) / confusion.sum()
    each = ", ".join(f"{c} {x:.3f}" for c, x in zip(MEMBRANE.class_names, ious(confusion), strict=True))
    print(f"{name}: mean IoU {MeanIoU(confusion).compute():.3f} ({each}), pixel error {100 * wrong:.2f} %")


if __name__ == "__main__":
    main()
