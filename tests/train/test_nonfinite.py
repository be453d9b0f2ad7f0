"""The origin of a NaN, by layer and primitive, through every kind of inner program."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import pytest
from jax import lax

from deeplab.train.initialize import init
from deeplab.train.nonfinite import Origin, find_origin
from tests import toys


class Net(nn.Module):
    """A function that breaks between two layers."""

    function: object

    @nn.compact
    def __call__(self, x, train=False):
        x = nn.Dense(4, name="hidden")(x)
        with jax.named_scope("broken"):
            x = self.function(x)
        return nn.Dense(4, name="head")(x)


@jax.custom_vjp
def custom(x):
    return jnp.log(-jnp.abs(x))


custom.defvjp(lambda x: (jnp.log(-jnp.abs(x)), x), lambda x, g: (g * x,))


def in_scan(x):
    return lax.scan(lambda x, i: (jnp.log(2.5 - i + 0 * x), x), x, jnp.arange(4.0))[0]


def in_cond(x):
    return lax.cond(x.sum() < jnp.inf, lambda x: jnp.log(-jnp.abs(x)), jnp.sin, x)


def in_while(x):
    return lax.stop_gradient(lax.while_loop(lambda x: x[0, 0] == x[0, 0], lambda x: jnp.log(-jnp.abs(x)), x))


@jax.custom_vjp
def in_backward(x):
    return x


in_backward.defvjp(lambda x: (x, x), lambda x, g: (g * jnp.log(-jnp.abs(x)),))


def in_backward_of_scan(x):
    return lax.scan(lambda x, _: (in_backward(x), None), x, length=2)[0]


def infinite(x):
    return 1 / (0 * x)


CASES = {
    "jit": (jax.jit(lambda x: jnp.log(-jnp.abs(x))), Origin("Net/broken", "log", "nan")),
    "remat": (jax.checkpoint(lambda x: jnp.log(-jnp.abs(x))), Origin("Net/broken", "log", "nan")),
    "custom_vjp": (custom, Origin("Net/broken", "log", "nan")),
    "scan": (in_scan, Origin("Net/broken", "log", "nan")),
    "cond": (in_cond, Origin("Net/broken", "log", "nan")),
    "while": (in_while, Origin("Net/broken", "log", "nan")),
    "backward": (in_backward, Origin("Net/broken", "log", "nan", backward=True)),
    "backward of scan": (in_backward_of_scan, Origin("Net/broken", "log", "nan", backward=True)),
    "infinity": (infinite, Origin("Net/broken", "div", "inf")),
}


@pytest.mark.parametrize("name", CASES)
def test_the_layer_and_primitive_are_named(name):
    function, origin = CASES[name]
    exp = dataclasses.replace(toys.experiment(), model=Net(function))
    state, batch = init(exp, jax.random.key(0)), next(exp.data.batches("train"))
    assert find_origin(exp, state, batch) == origin


def test_a_parameter_and_an_input_are_named():
    exp = toys.experiment()
    state, batch = init(exp, jax.random.key(0)), next(exp.data.batches("train"))
    assert find_origin(exp, state, batch) is None
    broken = {**batch, "image": jnp.asarray(batch["image"]).at[3, 1].set(jnp.nan)}
    assert str(find_origin(exp, state, broken)) == "the input image of the step holds nan"
    params = jax.tree.map(lambda x: x, state.params)
    params["head"]["bias"] = params["head"]["bias"].at[0].set(jnp.inf)
    assert find_origin(exp, dataclasses.replace(state, params=params), batch) == Origin(
        "params/head/bias", "input", "inf"
    )
