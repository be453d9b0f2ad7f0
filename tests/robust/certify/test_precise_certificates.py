"""What is proved is proved in float32, on a GPU, too: no product of a certificate has the precision of the device."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import deeplab as dl
from deeplab.core.precision import PRECISIONS
from deeplab.robust.certify import bounds, certified_signs, linear_bounds, margins, verified
from deeplab.train.bind import BoundApply
from tests.precision import inexact_products


class Net(nn.Module):
    @nn.compact
    def __call__(self, x, train=False):
        x = nn.relu(nn.Conv(2, (3, 3))(x))
        return nn.Dense(3)(nn.relu(nn.Dense(4)(x.reshape(len(x), -1))))


X, Y = jnp.asarray(np.random.default_rng(0).uniform(0.3, 0.7, (2, 3, 3, 1)), jnp.float32), jnp.array([0, 1])
PARAMS = Net().init(jax.random.key(0), X)["params"]
jitted = jax.jit(lambda x: Net().apply({"params": PARAMS}, x))
BATCH = {"image": X, "label": Y, "weight": jnp.ones(2), "id": jnp.arange(2)}


def task_of(precision):
    apply = BoundApply(Net(), PARAMS, {}, jnp.arange(2), PRECISIONS[precision], task_state={"step": 0, "inner": ()})
    return dl.robust.training.Certified(dl.tasks.Classification(), 0.01), apply


def metric(precision):
    task, apply = task_of(precision)
    return lambda x: task.metrics(apply, BATCH | {"image": x}, jax.random.key(0))["verified_accuracy"].total


CERTIFICATES = {
    "bounds": lambda x: bounds(jitted, x - 0.1, x),
    "linear bounds": lambda x: linear_bounds(jitted, x - 0.1, x),
    "interval margins": lambda x: margins(jitted, x, Y, 0.1),
    "mixed margins": lambda x: margins(jitted, x, Y, 0.1, method="crown-ibp"),
    "linear margins": lambda x: margins(jitted, x, Y, 0.1, method="crown"),
    "margins of a constant": lambda x: margins(lambda _: jnp.ones((1, 3)), x, Y, 0.1),
    "gradient of margins": jax.grad(lambda x: margins(jitted, x, Y, 0.1).sum()),
    "signs": lambda x: certified_signs(jitted, x, 0.1, 1, method="interval"),
    "linear signs": lambda x: certified_signs(jitted, x, 0.1, 1),
}


@pytest.mark.parametrize("name", CERTIFICATES)
def test_a_certificate_has_no_product_of_the_device_s_precision(name):
    jitted.lower(X)  # a trace of its own, at the usual precision, which must not be taken
    assert not inexact_products(CERTIFICATES[name], X)


@pytest.mark.parametrize("precision", ["f32", "bf16"])
def test_verified_accuracy_is_of_products_of_float32(precision):
    """The bounds, that is: other metrics are of the task, and dropped here as the program's dead code."""
    program = jax.jit(metric(precision)).lower(X).compile().as_text()
    assert "bf16" not in program
    narrow = inexact_products(metric(precision), X)
    task, apply = task_of(precision)
    plain = inexact_products(lambda x: task.inner.metrics(apply, BATCH | {"image": x}, jax.random.key(0)), X)
    assert len(narrow) == len(plain)


def test_training_keeps_the_products_of_the_device():
    task, apply = task_of("f32")
    assert inexact_products(lambda x: task.loss(apply, BATCH | {"image": x}, jax.random.key(0)).loss.total, X)


@pytest.mark.parametrize("precision", ["f32", "bf16"])
def test_right_and_verified_answers_are_of_one_network(precision):
    """In float32 throughout, and the same numbers whatever the run was trained in."""
    seen = []

    class Looks(nn.Module):
        @nn.compact
        def __call__(self, x, train=False):
            seen.append((x.dtype, jax.config.jax_default_matmul_precision))
            return nn.Dense(3)(x.reshape(len(x), -1))

    params = Looks().init(jax.random.key(0), X)["params"]
    apply = BoundApply(Looks(), params, {}, jnp.arange(2), PRECISIONS[precision])
    seen.clear()
    verified(apply, [BATCH], 0.01)
    assert seen.count((jnp.float32, "highest")) == 2  # the bounds and the answers
    assert {dtype for dtype, name in seen if name == "highest"} == {jnp.dtype("float32")}
