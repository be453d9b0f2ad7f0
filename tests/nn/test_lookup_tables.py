"""Embedding tables divide over devices; encoders and decoders of ratings equal sums by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from deeplab import scale
from deeplab.models.recsys import factorization
from deeplab.nn.embedding import MULTIPLE, Embedding, padded_size
from deeplab.nn.ratings import History, ItemRatings, UserVector


@pytest.mark.parametrize("size", [1, 63, 64, 65, 1683])
def test_rows_are_padded_to_the_next_multiple(size):
    assert padded_size(size) % MULTIPLE == 0
    assert 0 <= padded_size(size) - size < MULTIPLE


def test_a_table_is_sharded_by_rule_and_gives_the_same():
    """Four devices hold a quarter of the rows each, although 70 items do not divide by four."""
    table = Embedding(size=70, width=3)
    params = table.init(jax.random.key(0), jnp.arange(2))["params"]
    mesh = scale.make_mesh("model=4")
    shardings = scale.state_shardings(params, factorization.RULES, mesh)
    placed = jax.device_put(params, shardings)
    assert {shard.data.shape for shard in placed["embedding"].addressable_shards} == {(32, 3)}
    ids = jnp.array([0, 69, 31, 32])
    read = jax.jit(lambda p: (table.apply({"params": p}, ids), table.apply({"params": p}, method="vectors")))
    jax.tree.map(np.testing.assert_array_equal, read(placed), read(params))


def test_padding_rows_are_never_learned():
    table = Embedding(size=5, width=3)
    params = table.init(jax.random.key(0), jnp.arange(2))["params"]
    grads = jax.grad(lambda p: table.apply({"params": p}, method="vectors").sum())(params)
    assert grads["embedding"][:5].all()
    assert not grads["embedding"][5:].any()


def test_a_history_is_its_sum():
    known = jnp.array([[0.0, 5, 0, 2], [0, 0, 0, 0]])
    out, variables = History(num_items=4, width=3).init_with_output(jax.random.key(0), known)
    chosen, judged = (np.asarray(variables["params"][name]["embedding"]) for name in ("chosen", "judged"))
    expected = (chosen[1] + 1.0 * judged[1] + chosen[3] - 0.5 * judged[3]) / np.sqrt(2)
    np.testing.assert_allclose(out[0], expected, rtol=1e-5)
    assert not out[1].any()


def test_a_user_who_is_none_has_their_features_alone():
    user, profile = jnp.array([0, 2]), jnp.ones((2, 3))
    out, variables = UserVector(num_users=4, width=2).init_with_output(jax.random.key(0), user, profile)
    shared = variables["params"]["profile"]["kernel"].sum(0)
    np.testing.assert_allclose(out[0], shared, rtol=1e-5)
    np.testing.assert_allclose(out[1], shared + variables["params"]["own"]["embedding"][2], rtol=1e-5)


def test_an_item_without_a_vector_is_judged_by_its_features():
    h, features = jax.random.normal(jax.random.key(1), (1, 4)), jax.random.normal(jax.random.key(2), (6, 3))
    out, variables = ItemRatings(num_items=6).init_with_output(jax.random.key(0), h, features)
    params = variables["params"]
    own = params["item"]["embedding"][:6] + features @ params["feature"]["kernel"]
    level = h @ params["level"]["kernel"] + params["level"]["bias"][None]
    np.testing.assert_allclose(out, level + h @ own.T, rtol=1e-4)
    params = params | {"item": {"embedding": jnp.zeros_like(params["item"]["embedding"])}}
    twin = features.at[5].set(features[2])
    cold = ItemRatings(num_items=6).apply({"params": params}, h, twin)
    assert float(cold[0, 5]) == pytest.approx(float(cold[0, 2]), rel=1e-6)
