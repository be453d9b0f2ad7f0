"""A report in chunks of examples is that of the whole, and no program sees more of them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import deeplab as dl

KEY = jax.random.key(0)
X = jax.random.normal(KEY, (7, 4, 4, 2))
FACTORS = jnp.linspace(1, 2, 7)
LABELS = jnp.arange(7) % 3
EVERY = ("sensitivity_n", "gini", "infidelity", "max_sensitivity", "road", "attacked")


def network(key):
    weights = jax.random.normal(key, (32, 8)) / 4, jax.random.normal(jax.random.fold_in(key, 1), (8, 3))
    return lambda x, factor: (jnp.tanh(x.reshape(len(x), -1) @ weights[0]) * factor[:, None]) @ weights[1]


F, LOST = network(jax.random.key(1)), network(jax.random.key(2))


def times_input(f, x, target, args):
    score, args = dl.explain.scored(f, target, args)
    return x * jax.grad(lambda x: score(x, *args).sum())(x)


@pytest.mark.parametrize(
    ("target", "metrics"),
    [
        (LABELS, EVERY),
        (lambda logits: logits[:, 0] - logits[:, 1], ()),
        (dl.explain.targets.margin(LABELS), ()),
    ],
    ids=["numbers", "function", "data"],
)
def test_chunks_are_the_whole(target, metrics):
    sizes = set()

    def f(x, factor):
        sizes.add(len(x))
        return F(x, factor)

    given = {"args": (FACTORS,), "baseline": 0.1, "key": KEY, "metrics": metrics, "steps": 3}
    given |= {"masks": X[..., :1] > 0.5, "randomized": LOST, "seeds": [LOST]}
    methods = {"input x gradient": times_input}
    whole = dl.explain.faithfulness(f, X, target, methods, **given)
    sizes.clear()
    parts = dl.explain.faithfulness(f, X, target, methods, chunk=3, **given)
    assert max(sizes) == 3
    for name, told in whole.each.items():
        np.testing.assert_allclose(parts.maps[name], whole.maps[name], rtol=1e-6, atol=1e-6)
        assert told.keys() == parts.each[name].keys() >= {*metrics, "faithful", "pointing", "randomized", "seeds"}
        for metric in told.keys() - {"forwards"}:
            np.testing.assert_allclose(parts.each[name][metric], told[metric], rtol=1e-6, atol=1e-6, err_msg=metric)


def test_a_score_of_each_example_is_followed_in_units_of_its_difference():
    """And not through a softmax, whose logarithm would be that of a softmax of probabilities."""
    target = dl.explain.targets.logprob(LABELS)
    found = dl.explain.faithfulness(F, X, target, {"gradient": times_input}, args=(FACTORS,), key=KEY, steps=5)
    score, args = dl.explain.scored(F, target, (FACTORS,))
    start = score(X * 0, *args)
    curves = dl.explain.insertion_deletion(score, X, found.maps["gradient"], steps=5, args=args)
    unit = jnp.mean(jnp.abs(score(X, *args) - start))
    np.testing.assert_allclose(found.each["gradient"]["insertion"], (curves.insertion - start) / unit, rtol=1e-4)


def test_what_cannot_be_cut_is_refused():
    weights = jnp.ones((32, 3))
    f = lambda x, weights: x.reshape(len(x), -1) @ weights  # noqa: E731
    with pytest.raises(dl.UserError, match="leading axis of as many examples"):
        dl.explain.faithfulness(f, X, LABELS, {}, args=(weights,), key=KEY, chunk=3)
    with pytest.raises(dl.UserError, match="chunk=0"):
        dl.explain.faithfulness(F, X, LABELS, {}, args=(FACTORS,), key=KEY, chunk=0)


def test_a_batch_changes_no_metric():
    whole = dl.explain.sensitivity_n(F, X, X, LABELS, key=KEY, args=(FACTORS,))
    alone = dl.explain.sensitivity_n(F, X[5:], X[5:], LABELS[5:], key=KEY, args=(FACTORS[5:],))
    np.testing.assert_allclose(alone, whole[5:], atol=1e-5)
