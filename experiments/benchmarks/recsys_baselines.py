"""Popularity and item-kNN for next-film recommendation: the baselines of `experiments.recsys_ranking`.

Run:     python -m experiments.benchmarks.recsys_baselines DIR            (DIR holds ml-100k.zip)
Result:  full ranking of the test films, HR@10 and NDCG@10 (beside 100 sampled ones): popularity 0.0838, 0.0432 (0.4008,
         0.2194); item-kNN, 10 neighbors, the best NDCG@10 on validation, 0.1315, 0.0692 (0.6172, 0.3488)
Source:  Sarwar et al. 2001, "Item-based collaborative filtering recommendation algorithms",
         https://doi.org/10.1145/371920.372071
"""

import sys
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import deeplab as dl
from deeplab.tasks.ranking import Ranking

NEIGHBORS = (10, 20, 50, 100, 200, 1683)


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


def main(data_dir: str) -> None:
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
    main(sys.argv[1])
