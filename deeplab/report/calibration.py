"""What a classifier's decisions and probabilities are worth: class by class, and as a reliability diagram."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from deeplab.report import classification, figures
from deeplab.report.text import Html, join, table, tag

NUM_BINS = 15


def sections(predictions: Mapping[str, np.ndarray], class_names: Sequence[str] | None) -> Html:
    """The classes, where they are few, and how far `probability`, [N], of the predictions is to be believed."""
    if not classification.right(predictions)[1]:
        return Html("")
    label, prediction = predictions["label"].astype(int), predictions["prediction"].astype(int)
    num_classes = max(len(class_names or ()), label.max() + 1, prediction.max() + 1)
    names = [str(name) for name in class_names or ()] + [str(k) for k in range(len(class_names or ()), num_classes)]
    few = _classes(label, prediction, names) if num_classes <= classification.MAX_CLASSES else Html("")
    probability = predictions.get("probability", np.empty((0, 0)))
    return join(few, _diagram(probability, label == prediction) if probability.shape == label.shape else "")


def _classes(label: np.ndarray, prediction: np.ndarray, names: Sequence[str]) -> Html:
    K = len(names)
    counts = np.bincount(label * K + prediction, minlength=K * K).reshape(K, K)
    rows = []
    for k, name in enumerate(names):
        hits, there, taken = int(counts[k, k]), int(counts[k].sum()), int(counts[:, k].sum())
        others = int(counts.sum()) - there
        clean = others - (taken - hits)
        shares = (_share(hits, there), _share(clean, others), _share(hits, taken), _share(2 * hits, there + taken))
        rows.append([name, f"{there:,}", *shares])
    head = ["class", "examples", "sensitivity", "specificity", "predictive value", "F1"]
    return join(tag("h2", "Class by class"), table(head, rows, class_="numbers"))


def _share(part: int, whole: int) -> str:
    return f"{100 * part / whole:.2f} %" if whole else "none"


def _diagram(probability: np.ndarray, right: np.ndarray) -> Html:
    """Accuracy over mean probability, in bins of equal width; on the diagonal a probability is what it says."""
    place = np.clip(np.ceil(probability * NUM_BINS).astype(int) - 1, 0, NUM_BINS - 1)
    count = np.bincount(place, minlength=NUM_BINS)
    held = count > 0
    sums = (np.bincount(place, weights=x, minlength=NUM_BINS)[held] for x in (probability, right))
    confidence, accuracy = (x / count[held] for x in sums)
    error = float(np.sum(count[held] * np.abs(accuracy - confidence)) / len(probability))
    diagonal = figures.Line("as it says", np.array([0.0, 100.0]), np.array([0.0, 1.0]), figures.TRAIN, faint=True)
    lines = [diagonal, figures.Line("model", 100 * confidence, accuracy, figures.SERIES[0])]
    svg = figures.curves(lines, share=True, log=False, span="all", x_label="probability of the decision, %")
    drawn = tag("figure", tag("figcaption", tag("b", "accuracy")), figures.inline(svg, "reliability", "reliability"))
    rows = [
        [f"{low:.3f} to {low + 1 / NUM_BINS:.3f}", f"{n:,}", f"{c:.3f}", f"{100 * a:.2f} %"]
        for low, n, c, a in zip(np.flatnonzero(held) / NUM_BINS, count[held], confidence, accuracy, strict=True)
    ]
    beside = table(["probability", "examples", "mean", "right"], rows, class_="numbers")
    note = f"Expected calibration error {error:.4f} over {NUM_BINS} bins (Guo et al. 2017)."
    return join(tag("h2", "Reliability"), tag("p", note, class_="muted"), tag("div", drawn, beside, class_="grid"))
