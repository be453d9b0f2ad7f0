"""Computed again or kept: the same values and gradients, and fewer bytes between the passes."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from deeplab.models.vision.convolutional import resnet
from deeplab.nn.remat import POLICIES, remat
from tests.models.members import MEMBERS

SLOW = pytest.mark.slow
TRANSFORMERS = ("gpt_dropout", "encoder", "sasrec_dropout", "conformer", "patchtst", "transformer_dropout")
UNOPTIMISED = {"xla_backend_optimization_level": 0}  # the programs run but once


def with_policy(model, policy):
    """The model, or the model within it, with a remat policy."""
    if hasattr(model, "remat"):
        return model.clone(remat=policy)
    if isinstance(model, resnet.ResNet):
        return model.clone(block=remat(model.block, policy))
    field = next(name for name in ("model", "network") if hasattr(model, name))
    return model.clone(**{field: with_policy(getattr(model, field), policy)})


def keeps_less(name):
    """Whether the model, or the model within it, has a remat policy."""
    model = MEMBERS[name].make()
    parts = (model, getattr(model, "model", None), getattr(model, "network", None))
    return any(hasattr(part, "remat") for part in parts)


@functools.cache
def start(name):
    member = MEMBERS[name]
    return jax.jit(member.make().init, compiler_options=UNOPTIMISED)(jax.random.key(0), member.inputs(2))


def objective(name, policy):
    """A scalar function of the parameters, and parameters."""
    member = MEMBERS[name]
    model, x = with_policy(member.make(), policy), member.inputs(2)
    variables = dict(start(name))
    params = variables.pop("params")

    def loss(params):
        mutable = list(variables)
        out = model.apply(
            {"params": params, **variables}, x, train=True, rngs={"dropout": jax.random.key(1)}, mutable=mutable
        )
        return jnp.mean(out[0] ** 2)

    return loss, params


@functools.cache
def grads(name, policy):
    loss, params = objective(name, policy)
    return jax.jit(jax.value_and_grad(loss), compiler_options=UNOPTIMISED)(params)


def residual_bytes(name, policy):
    """What the forward pass hands to the backward pass, besides the parameters."""
    loss, params = objective(name, policy)
    kept = jax.eval_shape(lambda params: jax.vjp(loss, params)[1], params)
    return sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(kept))


def assert_near(grads, expected):
    """Beside the largest gradient: a bias before a batch norm has none but rounding."""
    largest = max(float(jnp.abs(g).max()) for g in jax.tree.leaves(expected))
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6 * largest), grads, expected)


@pytest.mark.parametrize(
    "name", [*(pytest.param(name, marks=pytest.mark.slow) for name in TRANSFORMERS[1:]), TRANSFORMERS[0], "resnet"]
)
def test_less_is_kept(name):
    assert residual_bytes(name, "full") < 0.7 * residual_bytes(name, "none")


CASES = [("gpt_dropout", policy) for policy in POLICIES if policy != "none"] + [
    *(pytest.param(name, "full", marks=SLOW) for name in MEMBERS if name != "gpt_dropout" and keeps_less(name)),
    ("resnet", "full"),
]


@pytest.mark.parametrize(("name", "policy"), CASES)
def test_gradients_are_the_same(name, policy):
    assert_near(grads(name, policy), grads(name, "none"))


def test_policies_keep_what_they_say():
    kept = {policy: residual_bytes("gpt_dropout", policy) for policy in POLICIES}
    assert kept["full"] < kept["dots_no_batch"] < kept["dots"] < kept["none"]


@pytest.mark.parametrize("name", ["gpt", "resnet"])
def test_parameters_keep_their_names(name):
    plain = MEMBERS[name].make()
    again = with_policy(plain, "full")
    shapes = [jax.eval_shape(model.init, jax.random.key(0), MEMBERS[name].inputs(2)) for model in (plain, again)]
    assert again != plain
    assert shapes[0] == shapes[1]


def test_an_unknown_policy():
    with pytest.raises(ValueError, match="no remat policy is called 'half'; known are none, full, dots"):
        remat(resnet.BasicBlock, "half")
