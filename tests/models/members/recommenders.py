"""Models of ratings, and of what comes next."""

import functools
from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp

from deeplab.models.recsys import autorec, dlrm, factorization, neumf, sasrec, two_tower
from tests.models.members.base import Family, member, normal, tokens


class Rated(nn.Module):
    """A model of ratings as a function of what is known: [B, 7] of 0 to 5."""

    model: nn.Module

    def __call__(self, known: jax.Array, train: bool = False) -> jax.Array:
        user, profile = jnp.arange(len(known)), jnp.ones((len(known), 2), int)
        return self.model(user, known, profile, jnp.ones((len(known), 7, 3), int), train=train)


class Ranked(nn.Module):
    """A model that ranks 7 items, as a function of histories, [B, 6]; scored at the second and the last position."""

    model: nn.Module
    by_number: bool = False  # of the user, whom the history then stands for
    features: bool = False

    def __call__(self, history: jax.Array, train: bool = False) -> jax.Array:
        size, positions = len(history), jnp.tile(jnp.array([[1, 5]]), (len(history), 1))
        given = (history[:, 0],) if self.by_number else (history, positions)
        given += (jnp.ones((size, 2), int), jnp.ones((size, 7, 3), int)) if self.features else ()
        scores, _ = self.model(*given, jnp.arange(7), jnp.zeros((size, 3), jnp.int32), train=train)
        return scores


class Clicked(nn.Module):
    """A model of clicks as a function of five numbers: their signs are a field of one id, and one of up to two."""

    model: nn.Module

    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        ids = jnp.stack([x[:, 0] > 0, jnp.ones(len(x)), jnp.where(x[:, 1] > 0, 2, -1)], axis=1).astype(jnp.int32)
        return self.model(x, ids, train=train)


def ratings(batch: int) -> jax.Array:
    return jax.random.randint(jax.random.key(1), (batch, 7), 0, 6).astype(jnp.float32)


def histories(batch: int) -> jax.Array:
    return tokens(batch)[:, :6]


def rated(make: type[nn.Module]) -> Callable[..., nn.Module]:
    return lambda **arguments: Rated(make(num_users=9, num_items=7, **arguments))


factors, autoencoder = rated(factorization.Factorization), rated(autorec.AutoRec)


def attention(**arguments) -> Ranked:
    return Ranked(sasrec.SASRec(num_items=7, **arguments))


def towers(**arguments) -> Ranked:
    return Ranked(two_tower.TwoTower(num_items=7, **arguments), features=True)


def neural(**arguments) -> Ranked:
    return Ranked(neumf.NeuMF(num_users=9, num_items=7, **arguments), by_number=True)


def clicks(**arguments) -> Clicked:
    return Clicked(dlrm.DLRM(cardinalities=(2, 3), slots=(1, 2), **arguments))


dropout = functools.partial(member, dropout=0.5)
MEMBERS = {
    "factorization_dropout": dropout(factorization, factors, ratings, (7,)),
    "autorec_dropout": dropout(autorec, autoencoder, ratings, (7,)),
    "sasrec_dropout": dropout(sasrec, attention, histories, (2, 7)),
    "two_tower_dropout": dropout(two_tower, towers, histories, (2, 7)),
    "neumf_dropout": dropout(neumf, neural, histories, (1, 7)),
    "dlrm_dropout": dropout(dlrm, clicks, normal(5), (1,)),
}
FAMILIES = {
    "factorization": Family(factors, factorization.VARIANTS, ratings, (7,)),
    "autorec": Family(autoencoder, autorec.VARIANTS, ratings, (7,)),
    "sasrec": Family(attention, sasrec.VARIANTS, histories, (2, 7)),
    "two_tower": Family(towers, two_tower.VARIANTS, histories, (2, 7)),
    "neumf": Family(neural, neumf.VARIANTS, histories, (1, 7)),
    "dlrm": Family(clicks, dlrm.VARIANTS, normal(5), (1,)),
}
