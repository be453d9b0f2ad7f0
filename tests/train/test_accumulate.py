"""Microbatches add up to the batch."""

import dataclasses
import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from deeplab import models, tasks
from deeplab.core.errors import UserError
from deeplab.core.jaxpr import walk
from deeplab.core.runtime import Runtime
from deeplab.metrics.base import Mean
from deeplab.train.gradient import gradient
from deeplab.train.initialize import init
from deeplab.train.step import make_step
from tests import toys

ROWS = 16
UNOPTIMISED = {"xla_backend_optimization_level": 0}  # the programs run but once


def tokens(ids):
    rows = jax.vmap(lambda i: jax.random.randint(jax.random.fold_in(jax.random.key(5), i), (9,), 0, 7))(ids)
    return {"tokens": rows[:, :-1], "targets": rows[:, 1:]}


def images(ids):
    draw = jax.vmap(lambda i: jax.random.normal(jax.random.fold_in(jax.random.key(5), i), (8, 8, 1)))
    return {"image": draw(ids), "label": ids % 4}


def points(ids):
    return {"image": images(ids)["image"][:, 0, :2, 0], "label": ids % 4}


SETTINGS = {
    "mlp": (points, toys.Net(dropout=0.5, norm=False), tasks.Classification(0.1)),
    "cnn": (images, models.CNN(4, (3, 5), hidden=8, dropout=0.5), tasks.Classification()),
    "gpt": (
        tokens,
        models.GPT(7, num_layers=1, num_heads=2, width=8, context=8, dropout=0.5),
        tasks.LanguageModeling(),
    ),
}


def setting(name):
    make, model, task = SETTINGS[name]
    ids = jnp.arange(ROWS)
    # Ragged: the last five rows are padding, and the others do not weigh the same.
    batch = make(ids) | {"id": ids, "weight": jnp.where(ids < 11, 0.5 + ids % 3, 0).astype(jnp.float32)}
    experiment = dataclasses.replace(toys.experiment(), data=toys.Given(batch), model=model, task=task)
    return experiment, init(experiment, jax.random.key(0)), batch


@pytest.mark.parametrize(
    ("name", "counts"),
    [
        ("mlp", (2, 4, 8)),
        ("gpt", (2, 4, 8)),
        ("cnn", (2, 4)),
        pytest.param("cnn", (8,), marks=pytest.mark.slow),  # unrolled: eight parts are compiled eight times
    ],
)
def test_gradients_are_those_of_the_whole_batch(name, counts):
    experiment, state, batch = setting(name)

    def of(count):
        function = functools.partial(gradient, experiment, runtime=Runtime(accumulate=count))
        return jax.jit(function, compiler_options=UNOPTIMISED)(state, batch, jax.random.key(1))

    grads, whole = of(1)
    assert max(float(jnp.abs(g).max()) for g in jax.tree.leaves(grads)) > 1e-2
    for count in counts:
        others, out = of(count)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=1e-6), grads, others)
        assert float(out.loss.count) == float(whole.loss.count)
        np.testing.assert_allclose(out.metrics["accuracy"].compute(), whole.metrics["accuracy"].compute(), rtol=1e-6)


def test_microbatches_are_a_loop_whose_convolutions_a_cpu_is_fast_with():
    experiment, state, batch = setting("cnn")
    program = jax.make_jaxpr(make_step(experiment, Runtime(accumulate=2)))(state, batch)
    inside = [
        v.eqn.params["dimension_numbers"] for v in walk(program) if v.eqn.primitive.name == "conv_general_dilated"
    ]
    assert len(inside) > 2
    assert {(n.lhs_spec, n.rhs_spec, n.out_spec) for n in inside} == {((0, 3, 1, 2), (3, 2, 0, 1), (0, 3, 1, 2))}
    assert "scan[" in str(program)


@pytest.mark.slow
def test_batch_norms_see_a_microbatch():
    """Their running means move once for each; that is said in the documentation."""
    experiment, state, batch = setting("mlp")
    experiment = dataclasses.replace(experiment, model=toys.Net(), optimizer=optax.sgd(0.0))
    state = init(experiment, jax.random.key(0))
    new, _ = jax.jit(make_step(experiment, Runtime(accumulate=4)))(state, batch)
    moved = state
    for j in range(4):
        part = {name: x[j::4] for name, x in batch.items()}
        moved, _ = jax.jit(make_step(experiment))(moved, part)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), new.variables, moved.variables)


def test_microbatches_draw_other_numbers():
    """From an RNG collection of the model's own, which draws for a batch as a whole."""

    class Noise(nn.Module):
        @nn.compact
        def __call__(self, x, train=False):
            noise = jax.random.normal(self.make_rng("noise"), (len(x), 4))
            return nn.Dense(4)(x) + noise

    @dataclasses.dataclass(frozen=True)
    class FirstOutput(tasks.Task):
        def loss(self, apply, batch, key):
            outputs, variables = apply(batch["image"], train=True, key=key)
            drawn = jax.lax.stop_gradient(outputs[0, 0])
            return tasks.Loss(Mean.of(outputs[:, 0], batch["weight"]), {"square": Mean.of(drawn[None] ** 2)}, variables)

    ids = jnp.arange(4)
    batch = {"image": jnp.zeros((4, 2)), "id": ids, "weight": jnp.ones(4)}
    experiment = dataclasses.replace(toys.experiment(), data=toys.Given(batch), model=Noise(), task=FirstOutput())
    state, key = init(experiment, jax.random.key(0)), jax.random.key(1)
    _, both = gradient(experiment, state, batch, key, Runtime(accumulate=2))
    halves = [{name: x[i::2] for name, x in batch.items()} for i in range(2)]
    squares = [gradient(experiment, state, half, key)[1].metrics["square"].total for half in halves]
    assert squares[0] != squares[1]
    np.testing.assert_allclose(both.metrics["square"].total, squares[0] + squares[1], rtol=1e-6)


def test_microbatches_that_do_not_divide():
    experiment, state, batch = setting("mlp")
    with pytest.raises(
        UserError, match=r"--accumulate 3 does not divide the 16 examples of a batch; use one of 1, 2, 4"
    ):
        make_step(experiment, Runtime(accumulate=3))(state, batch)
