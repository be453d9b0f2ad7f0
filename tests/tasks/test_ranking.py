"""The ranking task: exact over padding, the same lists in every evaluation, and nothing offered that was seen."""

import functools
import operator

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from deeplab.tasks import Ranking, SampledSoftmax

KEY = jax.random.key(0)

V, B = 30, 8
TASK = Ranking(SampledSoftmax(4), fields=("user",), cutoff=5, num_sampled=10)
TABLE = jax.random.normal(jax.random.key(0), (B, V))


def apply(user, *candidates, train=False, key=None):
    """Scores that depend on user and item alone."""
    out = []
    for items in candidates:
        flat = (
            items.reshape(len(user), -1) if items.ndim > 1 else jnp.broadcast_to(items[None], (len(user), len(items)))
        )
        scores = jnp.take_along_axis(TABLE[user], flat, axis=1)
        out.append(scores.reshape(items.shape) if items.ndim == 3 else scores[:, None])
    return tuple(out), {}


metrics, predict = (jax.jit(functools.partial(f, apply, key=KEY)) for f in (TASK.metrics, TASK.predict))


def batch(rows, weight=None):
    rng = np.random.default_rng(1)
    seen = rng.random((B, V)) < 0.3
    seen[:, 0] = True
    targets = np.array([[np.flatnonzero(~row)[3]] for row in seen])
    rows = np.array(rows)
    weight = np.ones(len(rows)) if weight is None else np.array(weight)
    values = {"user": rows, "seen": seen[rows], "targets": targets[rows], "id": rows, "weight": weight}
    values["count"] = np.ones((len(rows), V), np.int32)
    return {name: jnp.asarray(value) for name, value in values.items()}


def computed(*parts):
    merged = functools.reduce(lambda a, b: {k: operator.add(a[k], b[k]) for k in a}, parts)
    return {name: metric.compute() for name, metric in merged.items()}


def test_metrics_are_exact_over_any_split_and_padding():
    whole = computed(metrics(batch(range(B))))
    first = metrics(batch([*range(5), 0, 0, 0], [1] * 5 + [0] * 3))
    parts = computed(first, metrics(batch([5, 6, 7, 0, 0, 0, 0, 0], [1] * 3 + [0] * 5)))
    assert whole == pytest.approx(parts, rel=1e-5)
    assert set(whole) == {"loss", "hr@5", "ndcg@5", "mrr", "auc", "hr@5 sampled", "ndcg@5 sampled"}


def test_metrics_by_hand():
    data = batch(range(B))
    expected_ranks = []
    for row in range(B):
        scores, target = np.asarray(TABLE[row]), int(data["targets"][row, 0])
        others = [i for i in range(V) if not data["seen"][row, i] and i != target]
        expected_ranks.append(1 + sum(scores[i] >= scores[target] for i in others))
    told = computed(metrics(data))
    assert told["hr@5"] == pytest.approx(np.mean([p <= 5 for p in expected_ranks]))
    assert told["mrr"] == pytest.approx(np.mean([1 / p for p in expected_ranks]), rel=1e-6)
    assert told["ndcg@5"] == pytest.approx(np.mean([(p <= 5) / np.log2(1 + p) for p in expected_ranks]), rel=1e-6)
    out = predict(data)
    assert out["rank"].tolist() == expected_ranks
    for row in range(B):
        assert not np.asarray(data["seen"])[row, out["top"][row]].any()
        best = sorted(np.flatnonzero(~np.asarray(data["seen"])[row]), key=lambda i: -TABLE[row, i])[:5]
        assert out["top"][row].tolist() == best


def test_the_short_list_is_a_part_of_the_long_one_and_the_same_each_time():
    data = batch(range(B))
    offered = ~data["seen"]
    short = TASK._sampled(data, offered)
    assert not (short & ~offered).any()
    assert short.sum(axis=1).tolist() == [10] * B
    assert not jnp.take_along_axis(short, data["targets"], axis=1).any()
    alone = batch([5])
    np.testing.assert_array_equal(TASK._sampled(alone, ~alone["seen"])[0], short[5])
    assert len({tuple(np.flatnonzero(row)) for row in np.asarray(short)}) == B


def test_of_all_items_the_short_list_is_the_long_one():
    task = Ranking(SampledSoftmax(4), ("user",), cutoff=5, num_sampled=V)
    told = computed(jax.jit(functools.partial(task.metrics, apply, key=KEY))(batch(range(B))))
    assert told["hr@5 sampled"] == told["hr@5"]
    assert told["ndcg@5 sampled"] == told["ndcg@5"]


def test_positions_without_a_target_teach_nothing():
    data = batch(range(B))
    padded = data | {"targets": jnp.concatenate([data["targets"], jnp.zeros_like(data["targets"])], axis=1)}
    loss = jax.jit(lambda data: TASK.loss(apply, data, jax.random.key(0)).loss)
    one, two = loss(data), loss(padded)
    assert (float(one.count), float(two.count)) == (B, B)
    assert float(one.total) == pytest.approx(float(two.total), rel=1e-5)


def test_a_user_of_whom_nothing_is_known_gets_a_list():
    data = batch(range(B))
    data |= {"seen": jnp.zeros((B, V), bool).at[:, 0].set(True), "targets": jnp.zeros((B, 1), jnp.int32)}
    out = predict(data)
    assert out["num_known"].tolist() == [0] * B
    assert out["top"][0].tolist() == (1 + np.argsort(-np.asarray(TABLE[0, 1:]))[:5]).tolist()
