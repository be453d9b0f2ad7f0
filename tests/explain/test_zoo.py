"""DeepLIFT is complete, and relevance conserved, on every model of the tables, none of which knows of it."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from deeplab import explain
from tests.contracts.diffusion import Diffusion
from tests.contracts.networks import Denoiser, MixtureOfExperts
from tests.models.members import MEMBERS
from tests.precision import float64

DAILY = ("cnn_norm_dropout", "diffusion")
GAINS = {
    **dict.fromkeys(("autorec_dropout", "efficientnet", "mobilenet2", "mobilenet3"), 2.0),
    **dict.fromkeys(("efficientnet_squeeze_dropout", "wav2vec2_dropout", "wav2vec2_normed"), 3.0),
    "marian": 8.0,
}
"""What initial weights are multiplied by where they let through of a difference of inputs little more than rounding."""


def variables_of(model, *inputs, gain=1.0):
    """Initial values with noise, so that no part of a model is silent; weights of layers times a gain."""
    leaves, structure = jax.tree.flatten(jax.jit(model.init)(jax.random.key(0), *inputs))
    keys = jax.random.split(jax.random.key(3), len(leaves))
    noise = [0.05 * jax.random.normal(k, p.shape, p.dtype) for p, k in zip(leaves, keys, strict=True)]
    louder = [p * (gain if p.ndim > 1 else 1) + eps for p, eps in zip(leaves, noise, strict=True)]
    return jax.tree.unflatten(structure, louder)


def scored(model, variables, x):
    """A curved function of all outputs, each of the size of one."""
    first = jax.tree.leaves(model.apply(variables, x))[0]
    scale = 1 / jnp.std(first)
    return lambda x: jnp.sum(jnp.sin(scale * _rows(jax.tree.leaves(model.apply(variables, x))[0])), axis=1)


def _rows(x):
    return x.reshape(len(x), -1)


def explained(f, x):
    """What is explained: the input, or the first tap that holds numbers where the input is of tokens."""
    if all(jnp.issubdtype(leaf.dtype, jnp.floating) for leaf in jax.tree.leaves(x)):
        return f, x, ()
    shapes = explain.taps(f, x).items()
    name = next(name for name, tap in shapes if jnp.issubdtype(tap.dtype, jnp.floating) and tap.shape[:1] == (2,))
    upto, rest = explain.split(f, name)
    return rest, upto(x), (x,)


def of_member(name):
    model, x = MEMBERS[name].make(), MEMBERS[name].inputs(2)
    variables = variables_of(model, x, gain=GAINS.get(name, 1.0))
    return explained(scored(model, variables, x), x)


def diffusion():
    """Images that the steps back make of noise."""
    model, noise = Denoiser(features=16), jax.random.normal(jax.random.key(1), (2, 4, 4, 1))
    variables = variables_of(model, noise, jnp.ones(2))
    sample = lambda noise: Diffusion().sample(lambda *x: (model.apply(variables, *x), {}), noise)  # noqa: E731
    return lambda noise: jnp.sum(jnp.sin(4 * sample(noise)), axis=(1, 2, 3)), noise, ()


def mixture_of_experts():
    model, x = MixtureOfExperts(), jax.random.normal(jax.random.key(1), (2, 8, 8, 1))
    return scored(model, variables_of(model, x), x), x, ()


PROGRAMS = {name: functools.partial(of_member, name) for name in MEMBERS} | {
    "diffusion": diffusion,
    "mixture of experts": mixture_of_experts,
}


@pytest.mark.parametrize(
    "name", [name if name in DAILY else pytest.param(name, marks=pytest.mark.slow) for name in PROGRAMS]
)
def test_the_values_add_up_to_the_difference(name):
    f, at, args = PROGRAMS[name]()
    base = jax.tree.map(lambda leaf: leaf[::-1] / 2, at)
    found = jax.jit(lambda at, base, args: explain.deeplift(f, at, base, args=args))(at, base, args)
    size = sum(jnp.sum(jnp.abs(_rows(leaf)), axis=1) for leaf in jax.tree.leaves(found.values))
    assert np.all(np.abs(found.gap) <= 1e-5 * size)
    assert np.all(size > 1e-3)


@pytest.mark.parametrize("name", [pytest.param(name, marks=pytest.mark.slow) for name in PROGRAMS])
def test_relevance_is_conserved(name):
    f, at, args = PROGRAMS[name]()
    found = jax.jit(lambda at, args: explain.lrp(f, at, explain.Epsilon(0.0), args=args))(at, args)
    size = sum(jnp.sum(jnp.abs(_rows(leaf)), axis=1) for leaf in jax.tree.leaves(found.values))
    assert np.all(np.abs(found.gap) <= 1e-5 * size)


@pytest.mark.parametrize("name", ["vit", pytest.param("swin", marks=pytest.mark.slow)])
def test_in_double_precision_they_do_so_exactly(name):
    """No part of a model computes in a lower precision than it is given."""
    with float64():
        model, x = MEMBERS[name].make(), MEMBERS[name].inputs(1).astype(jnp.float64)
        variables = jax.tree.map(lambda p: p.astype(jnp.float64), variables_of(model, x))
        f = lambda x: jnp.sum(jnp.sin(_rows(model.apply(variables, x))), axis=1)  # noqa: E731
        found = jax.jit(lambda x: explain.deeplift(f, x, x / 2))(x)
        assert np.all(np.abs(found.gap) <= 1e-10 * np.abs(f(x) - f(x / 2)))
