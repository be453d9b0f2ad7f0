"""Attacks of texts: exchanges of tokens, and steps at the embedding."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from deeplab.core.errors import UserError
from deeplab.robust import attacks
from tests.robust.attacks.models import bound

KEY = jax.random.key(0)
PAD = 0


class Words(nn.Module):
    """Logits of the mean of embeddings."""

    @nn.compact
    def __call__(self, tokens, train=False):
        e = nn.Embed(7, 4, name="embed")(tokens)
        return nn.Dense(3, name="head")(jnp.mean(e, axis=1))


def texts():
    rng = np.random.default_rng(0)
    tokens = jnp.asarray(rng.integers(1, 7, (6, 5)).astype(np.int32)).at[:, 3:].set(PAD)
    params = Words().init(jax.random.key(1), tokens)["params"]
    batch = {"tokens": tokens, "weight": jnp.asarray([1.0] * 5 + [0.0]), "id": jnp.arange(6)}
    apply = bound(Words(), params, batch)
    return apply, batch | {"label": jnp.argmax(apply(tokens)[0], axis=1)}


def margin(apply, batch):
    return np.asarray(attacks.MARGIN.value(apply(batch["tokens"])[0], batch))


def test_one_exchange_is_the_best_that_there_is_where_the_objective_is_linear():
    apply, batch = texts()
    lower = attacks.Objective(lambda z, batch: -jnp.take_along_axis(z, batch["label"][:, None], axis=1)[:, 0], _never)
    attack = attacks.hotflip(1, tap="embed", objective=lower, fixed=(PAD,))
    attacked = jax.jit(lambda batch: attack(apply, batch, KEY))(batch)
    every = {
        (t, v): lower.value(apply(batch["tokens"].at[:, t].set(v))[0], batch) for t in range(3) for v in range(1, 7)
    }
    best = np.max(np.stack([*every.values()]), axis=0)
    found = np.asarray(lower.value(apply(attacked["tokens"])[0], batch))
    np.testing.assert_allclose(found[:5], best[:5], rtol=1e-5)
    changed = np.asarray(attacked["tokens"] != batch["tokens"])
    assert changed.sum(axis=1).tolist() == [1, 1, 1, 1, 1, 0]  # the last has weight 0
    assert not changed[:, 3:].any()  # padding stays, and no other token becomes padding
    assert (attacked["tokens"][:, :3] != PAD).all()


def _never(outputs, batch):
    return jnp.zeros(len(outputs), bool)


@pytest.mark.slow
def test_more_exchanges_are_never_weaker_and_an_embedding_is_moved_within_its_ball():
    apply, batch = texts()
    one, three = (
        jax.jit(lambda batch, n=n: attacks.hotflip(n, tap="embed", objective=attacks.MARGIN)(apply, batch, KEY))(batch)
        for n in (1, 3)
    )
    assert (margin(apply, three) >= np.minimum(margin(apply, one), 0)).all()
    seam = attacks.Seam(fields=("tokens",), tap="embed")
    attack = attacks.pgd(0.5, 10, norm=attacks.L2, objective=attacks.MARGIN, seam=seam)
    attacked = jax.jit(lambda batch: attack(apply, batch, KEY))(batch)
    table = np.asarray(apply.params["embed"]["embedding"])
    moved = np.asarray(attacked[seam.name]) - table[np.asarray(batch["tokens"])]
    sizes = np.linalg.norm(moved.reshape(6, -1), axis=1)
    np.testing.assert_allclose(sizes, [0.5] * 5 + [0], atol=1e-3)
    after = np.asarray(attacks.MARGIN.value(seam.outputs(apply, attacked), batch))
    W = np.asarray(apply.params["head"]["kernel"]).T
    steep = np.linalg.norm(W[None] - W[np.asarray(batch["label"])][:, None], axis=2) / np.sqrt(5)
    z = np.asarray(apply(batch["tokens"])[0])
    gap = z - np.take_along_axis(z, np.asarray(batch["label"])[:, None], axis=1)
    gap[np.arange(6), batch["label"]] = -np.inf
    np.testing.assert_allclose(after[:5], np.max(gap + 0.5 * steep, axis=1)[:5], atol=0.01)


def test_an_embedding_that_is_not_found_is_told():
    apply, batch = texts()
    with pytest.raises(UserError, match="'head' has no parameter 'embedding'; give table="):
        attacks.hotflip(1, tap="head")(apply, batch, KEY)
    with pytest.raises(UserError, match=r"'tokens' is of int32, which has no direction"):
        attacks.pgd(0.1, seam=attacks.Seam(fields=("tokens",)))(apply, batch, KEY)
