"""Models that rank: a candidate's score is the same in whatever set it comes, and depends on no later item."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from deeplab.models.recsys.factorization import VARIANTS, Factorization
from deeplab.models.recsys.neumf import NeuMF
from deeplab.models.recsys.sasrec import SASRec
from deeplab.models.recsys.two_tower import TwoTower

B, T, V = 3, 5, 9
HISTORY = jnp.array([[3, 1, 4, 0, 0], [2, 7, 8, 5, 6], [1, 0, 0, 0, 0]])
POSITIONS = jnp.array([[0, 2], [1, 4], [0, 0]])
FACTS = jnp.ones((B, 2)), jax.random.normal(jax.random.key(9), (B, V, 3))
MODELS = {
    "sasrec": (SASRec(V, num_layers=1, width=8, context=T), (HISTORY, POSITIONS)),
    "two_tower": (TwoTower(V, width=8, hidden=(8,), temperature=0.5), (HISTORY, POSITIONS, *FACTS)),
    "neumf": (NeuMF(num_users=B, num_items=V, factors=4), (jnp.arange(B),)),
}


@pytest.mark.parametrize("name", MODELS)
def test_a_candidate_scores_the_same_in_every_set(name):
    model, given = MODELS[name]
    each = jax.random.randint(jax.random.key(1), (B, 4), 0, V)
    placed = jax.random.randint(jax.random.key(2), (B, 2, 3), 0, V)
    sets = jnp.arange(V), each, placed
    (everything, of_examples, of_positions), _ = jax.jit(model.init_with_output)(jax.random.key(0), *given, *sets)
    everything, of_examples = (jnp.broadcast_to(x, (B, 2, x.shape[-1])) for x in (everything, of_examples))
    expected = jnp.take_along_axis(everything, jnp.broadcast_to(each[:, None], (B, 2, 4)), axis=-1)
    np.testing.assert_allclose(of_examples, expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(of_positions, jnp.take_along_axis(everything, placed, axis=-1), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["sasrec", "two_tower"])
def test_what_came_later_does_not_matter(name):
    model, (_, _, *facts) = MODELS[name]
    score = jax.jit(lambda variables, history: model.apply(variables, history, POSITIONS, *facts, jnp.arange(V))[0])
    variables = jax.jit(model.init)(jax.random.key(0), HISTORY, POSITIONS, *facts, jnp.arange(V))
    before = score(variables, HISTORY)
    after = score(variables, HISTORY.at[0, 3:].set(8).at[1, 2:].set(3))
    np.testing.assert_allclose(before[0], after[0], rtol=1e-5)
    np.testing.assert_allclose(before[1, 0], after[1, 0], rtol=1e-5)
    assert not np.allclose(before[1, 1], after[1, 1])


def test_towers_have_length_one():
    model, given = MODELS["two_tower"]
    (scores,), _ = jax.jit(model.init_with_output)(jax.random.key(0), *given, jnp.arange(V))
    assert float(jnp.abs(scores).max()) <= 1 / 0.5 + 1e-4


def test_sasrec_refuses_what_is_too_long():
    with pytest.raises(ValueError, match="sequences have 5 items, the model's context is 4"):
        SASRec(V, context=4).init(jax.random.key(0), HISTORY, POSITIONS, jnp.arange(V))


def test_a_network_of_pairs_is_one_of_concatenated_vectors():
    """NeuMF as its paper writes it, with the first layer's kernel put together from its two halves."""
    model, (user,) = MODELS["neumf"]
    (scores,), variables = jax.jit(model.init_with_output)(jax.random.key(0), user, jnp.arange(V))
    p = variables["params"]
    table = {name: p[name]["embedding"] for name in ("product_user", "product_item", "network_user", "network_item")}
    kernel = jnp.concatenate([p["hidden1"]["kernel"], p["hidden1_item"]["kernel"]])
    for u, i in ((0, 1), (2, 8)):
        x = jnp.concatenate([table["network_user"][u], table["network_item"][i]])
        x = jax.nn.relu(x @ kernel + p["hidden1"]["bias"])
        x = jax.nn.relu(x @ p["hidden2"]["kernel"] + p["hidden2"]["bias"])
        both = jnp.concatenate([table["product_user"][u] * table["product_item"][i], x])
        expected = (both @ p["out"]["kernel"] + p["out"]["bias"])[0]
        assert float(scores[u, 0, i]) == pytest.approx(float(expected), rel=1e-4, abs=1e-6)


def test_without_a_history_it_is_biased_factorization():
    model = Factorization(num_users=4, num_items=5, width=3, history=VARIANTS["biased"]["history"])
    user, profile, features = jnp.array([1, 3]), jnp.zeros((2, 2)), jnp.zeros((2, 5, 3))
    known = jax.random.randint(jax.random.key(1), (2, 5), 0, 6)
    out, variables = jax.jit(model.init_with_output)(jax.random.key(0), user, known, profile, features)
    p = variables["params"]
    assert "history" not in p
    vectors, rating = p["user"]["own"]["embedding"][user], p["rating"]
    level = vectors @ rating["level"]["kernel"] + rating["level"]["bias"][None]
    expected = (
        level
        + p["user_bias"]["own"]["embedding"][user]
        + rating["item_bias"][None, :5]
        + vectors @ rating["item"]["embedding"][:5].T
    )
    np.testing.assert_allclose(out, expected, rtol=1e-4)
