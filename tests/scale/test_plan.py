"""Plans: arguments to the byte, residuals by hand, the warning and the advice."""

import dataclasses
import functools
import importlib

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from deeplab import scale
from deeplab.core.errors import UserError
from deeplab.core.runtime import Runtime
from deeplab.scale.plan.accelerators import ACCELERATORS, accelerator
from deeplab.scale.plan.collectives import Collective
from deeplab.scale.plan.memory import device_nbytes
from deeplab.scale.plan.residuals import residuals
from deeplab.verbs.plan import abstract_step, plan_experiment
from tests import toys

MESH = "data=2,fsdp=4"
FIVE = {
    "image_digits": {"width": 8, "batch_size": 16},
    "text_shakespeare": {"num_layers": 1, "width": 32, "context": 16, "batch_size": 16},
    "text_llama": {"variant": "test", "vocabulary": "byte"},
    "recsys_ratings": {"width": 8, "batch_size": 16},
    "series_ett": {"context": 96, "horizon": 24, "batch_size": 16},
}
DAILY, SLOW = ("image_digits", "text_llama"), pytest.mark.slow


@functools.cache
def plan():
    return plan_experiment(toys.experiment(), Runtime(MESH), "h100")


@pytest.mark.parametrize("name", [*DAILY, *(pytest.param(name, marks=SLOW) for name in FIVE if name not in DAILY)])
def test_arguments_are_those_of_the_compiled_program(name):
    experiment = importlib.import_module(f"experiments.{name}").experiment(**FIVE[name])
    grid = scale.make_mesh(MESH)
    step, state, batch = abstract_step(experiment, grid)
    where = jax.tree.map(lambda s: s.sharding, state)
    with jax.set_mesh(grid):
        jitted = jax.jit(step, donate_argnums=0, out_shardings=(where, None), keep_unused=True)
        compiled = jitted.lower(state, batch).compile({"xla_backend_optimization_level": 0})
    assert device_nbytes(state) + device_nbytes(batch) == compiled.memory_analysis().argument_size_in_bytes


def test_a_plan_adds_up():
    memory = plan().memory
    assert memory.arguments == memory.params + memory.optimizer_state + memory.variables + memory.batch
    weights = 2 * 8 + 8 + 2 * 8 + 8 * 4 + 4
    assert plan().num_params == weights
    assert (memory.params, memory.optimizer_state, memory.gradients) == (
        4 * weights,
        8 * weights + 4,
        4 * weights,
    )  # + a count
    assert memory.variables == 4 * 2 * 8 + 4 + 8  # batch statistics, the step, a key
    assert memory.batch == (2 * 4 + 4 + 4 + 4) * 16 // 8
    assert plan().fits
    assert plan().advice == []
    products = 2 * 16 * (2 * 2 * 8 + 3 * 8 * 4)  # the first layer's input needs no gradient
    assert plan().model_flops == products
    assert plan().seconds == plan().compute_seconds + plan().network_seconds > 0
    assert 0 < plan().mfu < 1


def test_residuals_by_hand():
    grid = scale.make_mesh(MESH)
    place = functools.partial(NamedSharding, grid)
    w = jax.ShapeDtypeStruct((8, 4), jnp.float32, sharding=place(P("fsdp")))
    x = jax.ShapeDtypeStruct((16, 8), jnp.float32, sharding=place(P(("data", "fsdp"))))

    def loss(w, x):
        mask = jnp.arange(16)[:, None] < 9  # depends on no argument: recomputed
        y = jnp.where(mask, jnp.sin(x @ w), 0.0)
        return y.sum(), None

    kept = residuals(loss, w, x)
    assert [(r.shape, r.dtype) for r in kept] == [((16, 4), "float32")]  # cos(x w); x itself is an argument
    assert kept[0].nbytes == 4 * 16 * 4 // 8


def test_residuals_trace_the_objective_twice_however_many_they_are():
    traced = []

    def objective(w, x):
        traced.append(w)
        for _ in range(5):
            x = jnp.sin(w * x)
        return x.sum(), None

    x = jax.ShapeDtypeStruct((4, 8), jnp.float32)
    assert len(residuals(objective, x, x)) > 3
    assert len(traced) == 2


def test_a_residual_of_every_layer_is_stacked_by_a_scan():
    w, x = jax.ShapeDtypeStruct((3, 8, 8), jnp.float32), jax.ShapeDtypeStruct((2, 8), jnp.float32)

    def loss(w, x):
        return jax.lax.scan(lambda x, w: (jnp.sin(x @ w), None), x, w)[0].sum(), None

    shapes = sorted(r.shape for r in residuals(loss, w, x))
    assert shapes == [(3, 2, 8), (3, 2, 8)]  # the input of each layer, and its cosine


def test_what_does_not_fit_comes_with_advice():
    small = dataclasses.replace(accelerator("h100"), memory=100.0)
    tight = dataclasses.replace(plan(), accelerator=small)
    assert not tight.fits
    saved = [suggestion.saved_bytes for suggestion in tight.advice]
    assert saved == sorted(saved, reverse=True)
    assert "data=1,fsdp=8" in " ".join(suggestion.change for suggestion in tight.advice)


@pytest.mark.parametrize(
    ("name", "accumulate"),
    [
        pytest.param("recsys_ratings", 1, marks=SLOW),
        pytest.param("series_ett", 1, marks=SLOW),
        ("series_ett", 2),
        ("text_shakespeare", 1),
    ],
)
def test_the_models_flops_are_a_part_of_the_whole(name, accumulate):
    """Small models are mostly a first layer, whose input needs no gradient: a third of three times its products.

    One of them has a batch as large as its context.
    """
    experiment = importlib.import_module(f"experiments.{name}").experiment(**FIVE[name])
    made = plan_experiment(experiment, Runtime("data=2", accumulate=accumulate), "h100")
    assert 0 < made.model_flops <= made.flops


@pytest.mark.parametrize("remat", [pytest.param("none", marks=SLOW), "full"])
def test_attention_that_is_computed_again_is_not_the_blocks(remat):
    """So the largest saving is still named."""
    llama = importlib.import_module("experiments.text_llama").experiment
    experiment = llama(**FIVE["text_llama"], remat=remat, attention_block=4)
    tight = dataclasses.replace(accelerator("h100"), memory=100.0)
    made = dataclasses.replace(plan_experiment(experiment, Runtime(MESH), "h100"), accelerator=tight)
    assert made.remat == (remat == "full")
    assert ("remat='full'" in " ".join(suggestion.change for suggestion in made.advice)) == (remat == "none")


def test_a_collective_larger_than_the_parameters_warns():
    heavy = Collective("all-gather", 8, tuple(range(8)), 100, "blocks/attention/out")
    warned = dataclasses.replace(plan(), collectives=[heavy, *plan().collectives], params_bytes=799)
    assert "blocks/attention/out" in warned.warnings[0]
    assert dataclasses.replace(warned, params_bytes=800, collectives=[heavy]).warnings == []


def test_rings_are_as_fast_as_their_slowest_part():
    h100 = accelerator("h100")
    assert h100.ring_bandwidth(8, 1) == 450e9
    assert h100.ring_bandwidth(8, 2) == 400e9
    assert h100.ring_bandwidth(1, 16) == 50e9


@pytest.mark.parametrize("name", ACCELERATORS)
def test_accelerators_are_plausible(name):
    """FLOPs a byte of 100 to 1,000: a figure in other units would stand out."""
    one = accelerator(name)
    assert 100 < one.half_peak / one.memory_bandwidth < 1000
    assert one.single_peak <= one.half_peak
    assert one.network_bandwidth < one.link_bandwidth < one.memory_bandwidth


def test_an_unknown_accelerator_names_the_nearest():
    with pytest.raises(UserError, match="did you mean 'h100'"):
        accelerator("h10")
