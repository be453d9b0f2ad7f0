"""Baselines of `experiments.recsys_ranking` (popularity, item-kNN) and of `experiments.recsys_ctr` (scikit-learn's).

Run:     python -m experiments.benchmarks.recsys_baselines ranking DIR    (DIR holds ml-100k.zip; or: clicks DIR)
Result:  clicks of the test part, AUC, log loss, calibration error: logistic regression (C = 0.003, the best on
         validation) 0.7418, 0.5911, 0.016; gradient boosting 0.7426, 0.5913, 0.016; film's mean alone: AUC 0.7089
         ranking of the test films, HR@10 and NDCG@10 (beside 100 sampled ones): popularity 0.0838, 0.0432 (0.4008,
         0.2194); item-kNN, 10 neighbors, the best NDCG@10 on validation, 0.1315, 0.0692 (0.6172, 0.3488)
Source:  Sarwar et al. 2001, "Item-based collaborative filtering recommendation algorithms",
         https://doi.org/10.1145/371920.372071
"""

import sys
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from scipy import sparse
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss, roc_auc_score

import deeplab as dl
from deeplab.data.sets.recsys.movielens_clicks import NUMBERS, MovieLensClicks
from deeplab.tasks.ranking import Ranking
from experiments.recsys_ctr import calibration_error

NEIGHBORS = (10, 20, 50, 100, 200, 1683)
STRENGTHS = (0.001, 0.003, 0.01, 0.1)


def histories(sequence: np.ndarray, num_films: int) -> np.ndarray:
    """The seen items of each user, [U, V] of zeros and ones, from item numbers [U, S] padded with zeros."""
    seen = np.zeros((len(sequence), num_films), np.float32)
    np.put_along_axis(seen, sequence.astype(np.int64), 1.0, axis=1)
    seen[:, 0] = 0.0
    return seen


def similarities(seen: np.ndarray, num_neighbors: int) -> np.ndarray:
    """Cosine similarities [V, V] of films by their users, zero except for the nearest neighbors of each film."""
    norm = np.linalg.norm(seen, axis=0)
    cosine = seen.T @ seen / np.maximum(norm[:, None] * norm[None, :], 1e-9)
    np.fill_diagonal(cosine, 0.0)
    least = -np.sort(-cosine, axis=1)[:, [min(num_neighbors, len(cosine)) - 1]]
    return np.where(cosine >= least, cosine, 0.0)


def evaluate(scores: np.ndarray, arrays: dict[str, np.ndarray], seen: np.ndarray) -> dict[str, float]:
    """The metrics of the task for scores [U, V]."""
    batch = {
        "seen": jnp.asarray(seen > 0).at[:, 0].set(True),
        "targets": jnp.asarray(arrays["target"])[:, None],
        "weight": jnp.ones(len(scores)),
        "id": jnp.arange(len(scores)),
    }
    task = Ranking(dl.tasks.Softmax(), fields=())
    table: Any = lambda *_, **__: ((jnp.asarray(scores)[:, None],), {})  # noqa: E731 (a model with given scores)
    metrics = task.metrics(table, batch, jax.random.key(0))
    return {name: metric.compute() for name, metric in metrics.items() if name != "loss"}


def columns(arrays: Mapping[str, np.ndarray], dataset: MovieLensClicks) -> sparse.csr_array:
    """The numbers of each rating, and its categories one-hot (genres: several-hot), [N, 8 + 2761]."""
    owner = np.repeat(np.arange(len(dataset.slots)), dataset.slots)
    first = np.cumsum([0, *dataset.cardinalities])
    row, slot = np.nonzero(arrays["categories"] >= 0)
    at = first[owner[slot]] + arrays["categories"][row, slot]
    shape = len(arrays["categories"]), first[-1]
    hot = sparse.csr_array((np.ones(len(row), np.float32), (row, at)), shape)
    return sparse.csr_array(sparse.hstack([sparse.csr_array(arrays["numbers"]), hot]))


def clicks(data_dir: str) -> None:
    """Logistic regression of all features, with the C that is best on the validation part, and two features alone."""
    dataset = MovieLensClicks()
    parts = {split: dataset.open(split, data_dir).arrays for split in dataset.splits}
    x = {split: columns(arrays, dataset) for split, arrays in parts.items()}
    y = {split: arrays["label"][:, 0] for split, arrays in parts.items()}
    fitted = [LogisticRegression(C=c, max_iter=300).fit(x["train"], y["train"]) for c in STRENGTHS]
    # Trees read no numbers of users and films one by one: the numbers and the other categories.
    few = np.r_[
        : len(NUMBERS), len(NUMBERS) + sum(dataset.cardinalities[:2]) : len(NUMBERS) + sum(dataset.cardinalities)
    ]
    dense = {split: found[:, few].toarray() for split, found in x.items()}
    trees = HistGradientBoostingClassifier(learning_rate=0.05, max_iter=200, random_state=0)
    trees = trees.fit(dense["train"], y["train"])
    for split in ("validation", "test"):
        for name in ("film_count", "film_mean"):
            area = roc_auc_score(y[split], parts[split]["numbers"][:, NUMBERS.index(name)])
            print(f"{split}, {name} alone: AUC {area:.4f}")
        told = {
            f"logistic regression, C={c}": m.predict_proba(x[split]) for c, m in zip(STRENGTHS, fitted, strict=True)
        }
        told["gradient boosting"] = trees.predict_proba(dense[split])
        for name, p in told.items():
            area, loss = roc_auc_score(y[split], p[:, 1]), log_loss(y[split], p[:, 1])
            error = calibration_error(p[:, 1:], y[split][:, None], np.ones(len(p)))
            print(f"{split}, {name}: AUC {area:.4f}, log loss {loss:.4f}, calibration error {error:.4f}")


def ranking(data_dir: str) -> None:
    """Popularity and item-kNN of the films that come next."""
    data = dl.data.Examples("movielens_100k_sequences", epochs=1)
    train = data.open("train", data_dir).arrays
    num_films = train["count"].shape[1]
    train_histories = histories(np.concatenate([train["sequence"], train["target"][:, None]], axis=1), num_films)
    tables = {f"item-kNN, {k} neighbors": similarities(train_histories, k) for k in NEIGHBORS}
    for split in ("validation", "test"):
        arrays = dict(data.open(split, data_dir).arrays)
        seen = histories(arrays["sequence"], num_films)
        rows = {"popularity": np.repeat(train["count"], len(seen), axis=0)}
        rows |= {name: seen @ table.T for name, table in tables.items()}
        for name, scores in rows.items():
            told = ", ".join(f"{key} {value:.4f}" for key, value in evaluate(scores, arrays, seen).items())
            print(f"{split}, {name}: {told}")


if __name__ == "__main__":
    {"ranking": ranking, "clicks": clicks}[sys.argv[1]](sys.argv[2])
