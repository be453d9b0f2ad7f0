"""Dtypes by a policy beside the model; the factor of the loss is part of the state."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from deeplab.core.errors import UserError
from deeplab.core.jaxpr import walk
from deeplab.core.precision import PRECISIONS, Precision, named
from deeplab.core.runtime import Runtime
from deeplab.runs.checkpoint import Checkpoints
from deeplab.train.bind import bind
from deeplab.train.initialize import init
from deeplab.train.loop import NonFinite, fit
from deeplab.train.state import State
from deeplab.train.step import make_step
from tests import toys
from tests.models.members import MEMBERS, SLOW

PRODUCTS = ("dot_general", "conv_general_dilated")


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow if name in SLOW else ()) for name in MEMBERS]
)
def test_every_model_computes_in_bfloat16_and_reduces_in_float32(name):
    """A constant of float32 anywhere in a model would silently make all that follows float32."""
    member = MEMBERS[name]
    model, x = member.make(), member.inputs(4)
    variables = jax.eval_shape(model.init, jax.random.key(0), x)
    params = variables.pop("params")
    experiment = dataclasses.replace(toys.experiment(), model=model)

    def forward(params, variables, x):
        state = State(jnp.zeros((), jnp.int32), params, variables, (), jax.random.key(0))
        apply = bind(experiment, state, {"id": jnp.arange(4)}, Runtime(precision=PRECISIONS["bf16"]))
        return apply(x, train=True, key=jax.random.key(0))

    closed, (outputs, updated) = jax.make_jaxpr(forward, return_shape=True)(params, variables, x)
    assert outputs.dtype == jnp.float32
    assert jax.tree.map(lambda v: v.dtype, updated) == jax.tree.map(lambda v: v.dtype, variables)
    found = [visit.eqn for visit in walk(closed)]
    products = [e for e in found if e.primitive.name in PRODUCTS]
    wide = [e for e in products if any(v.aval.dtype == jnp.float32 for v in e.invars)]
    # The choice of an expert is not continuous, so that routers compute in float32 by intent.
    wide = [e for e in wide if not str(e.source_info.name_stack).endswith("router/gate")]
    if getattr(model, "recurrent", False):  # A state adds up over time, in float32 by intent; layers have a path.
        wide = [e for e in wide if "/" in str(e.source_info.name_stack)]
    assert products
    assert not wide, "\n".join(f"{e.source_info.name_stack}: {e}" for e in wide)
    narrow = [e for e in found if e.primitive.name in ("reduce_sum", "exp", "log", "rsqrt")]
    narrow = [e for e in narrow if any(v.aval.dtype == jnp.bfloat16 for v in e.invars)]
    assert not narrow, "\n".join(f"{e.source_info.name_stack}: {e}" for e in narrow)


def losses(experiment, precision, steps=20, state=None):
    runtime = Runtime(precision=precision)
    step = jax.jit(make_step(experiment, runtime))
    state, out = state or init(experiment, jax.random.key(0), runtime), []
    source = experiment.data.open("train")
    for i in range(int(state.step), steps):
        state, metrics = step(state, experiment.data.fetch(source, experiment.data.train_ids(i, 0)[0]))
        out.append({name: metric.compute() for name, metric in metrics.items()})
    return state, out


@functools.cache
def of(name):
    return losses(toys.experiment(), PRECISIONS[name])


@pytest.mark.parametrize("name", [name for name in PRECISIONS if name != "f32"])
def test_it_learns_as_float32_does(name):
    exact, near = ([row["loss"] for row in of(which)[1]] for which in ("f32", name))
    np.testing.assert_allclose(near, exact, rtol=0.05)
    assert near != exact


def test_what_is_kept_has_the_dtype_of_the_parameters():
    kept = {name: {x.dtype.name for x in jax.tree.leaves(of(name)[0].params)} for name in PRECISIONS}
    assert kept == {"f32": {"float32"}, "bf16": {"float32"}, "bf16_params": {"bfloat16"}, "f16": {"float32"}}
    moments = of("bf16_params")[0].opt_state[0]
    assert {x.dtype.name for x in jax.tree.leaves((moments.mu, moments.nu))} == {"bfloat16"}


def test_an_overflow_is_skipped_and_halves_the_scale(tmp_path):
    """And a run that is saved and loaded in the middle of it goes on bit by bit."""
    precision = Precision(computation="float16", loss_scale=2.0**24)
    experiment = toys.experiment()
    state, rows = losses(experiment, precision)
    skipped = [row["skipped"] for row in rows]
    count = int(sum(skipped))
    assert 0 < count < 15
    assert [row["loss_scale"] for row in rows] == [2.0 ** (24 - sum(skipped[:i])) for i in range(20)]
    assert float(state.opt_state.scale) == 2.0 ** (24 - count)
    assert np.isnan(rows[0]["loss"])  # it counts nowhere

    first, _ = losses(experiment, precision, 3)
    assert toys.same(first.params, init(experiment, jax.random.key(0)).params)
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(3, first, force=True)
        checkpoints.wait()
        loaded, _ = checkpoints.latest(first)
    assert toys.same(losses(experiment, precision, 20, loaded)[0], state)


def test_the_scale_grows_after_many_finite_steps():
    state, _ = of("f16")
    scaled = state.opt_state._replace(finite_steps=jnp.int32(1999))
    after, _ = losses(toys.experiment(), PRECISIONS["f16"], 21, dataclasses.replace(state, opt_state=scaled))
    assert float(after.opt_state.scale) == 2 * float(scaled.scale)
    assert int(after.opt_state.finite_steps) == 0


def test_what_no_scale_mends_still_ends_the_run():
    experiment, runtime = toys.experiment(steps=40), Runtime(precision=PRECISIONS["f16"])
    state, feed, _ = toys.start(experiment, runtime=runtime)
    bad = dataclasses.replace(state, params=jax.tree.map(lambda x: x * jnp.nan, state.params))
    with pytest.raises(NonFinite) as failure:
        fit(experiment, bad, feed, runtime=runtime)
    assert int(failure.value.state.step) == 15  # 2^15 is halved as often before


def test_an_unknown_policy():
    with pytest.raises(UserError, match="--precision bf61: did you mean 'bf16'"):
        named("bf61")
