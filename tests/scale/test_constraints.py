"""Activations stay on the devices of their examples, and no device holds an unsharded array."""

import contextlib
import functools
import re

import jax
import jax.numpy as jnp
import optax
import pytest

from deeplab import models, scale, tasks
from deeplab.experiment import Experiment
from deeplab.models.text.decoders import gpt
from deeplab.scale import activations
from deeplab.train.initialize import init
from deeplab.train.step import make_step
from tests import toys

T = 16  # With heads of size 32, no other product has the shape of the attention scores.
COLLECTIVE = re.compile(r"= (.*?) (?:all-gather|all-reduce|all-to-all|collective-permute|reduce-scatter)(?:-start)?\(")
BYTES = {"f32": 4, "s32": 4, "u32": 4, "pred": 1, "bf16": 2}


@functools.cache
def experiment():
    tokens = jnp.zeros((16, T), jnp.int32)
    batch = {"tokens": tokens, "targets": tokens, "id": jnp.arange(16), "weight": jnp.ones(16)}
    model = models.GPT(vocab_size=64, num_layers=2, num_heads=2, width=64, context=T)
    return Experiment(toys.Given(batch), model, tasks.LanguageModeling(), optax.adam(1e-3), rules=gpt.RULES)


def compiled(shape):
    """The compiled step on a mesh, as text."""
    exp, mesh = experiment(), scale.make_mesh(shape)
    state = jax.eval_shape(functools.partial(init, exp), jax.random.key(0))
    where = scale.state_shardings(state, exp.sharding_rules, mesh)
    put = lambda s, w: jax.ShapeDtypeStruct(s.shape, s.dtype, sharding=w)  # noqa: E731
    state = jax.tree.map(put, state, where)
    batch = jax.tree.map(lambda s: put(s, scale.batch_sharding(mesh)), exp.data.spec())
    with jax.set_mesh(mesh):
        lowered = jax.jit(make_step(exp), donate_argnums=0, out_shardings=(where, None)).lower(state, batch)
    return lowered.compile(compiler_options={"xla_backend_optimization_level": 0}).as_text()


def moved(program):
    """Bytes that a device receives by collectives."""
    shapes = re.findall(r"(\w+)\[([\d,]*)\]", " ".join(COLLECTIVE.findall(program)))
    return sum(BYTES[kind] * eval("*".join(dims.split(",")) or "1") for kind, dims in shapes)


@pytest.mark.slow
def test_constraints_reduce_communication(monkeypatch):
    """With `fsdp`, only parameters are sent: gathered for both passes, and their gradients summed."""
    params = sum(
        x.size * 4
        for x in jax.tree.leaves(jax.eval_shape(functools.partial(init, experiment()), jax.random.key(0)).params)
    )
    constrained = moved(compiled("fsdp=8"))
    for name in ("by_example", "with_examples"):
        free = (lambda size: contextlib.nullcontext()) if name == "by_example" else (lambda tree, size: tree)
        monkeypatch.setattr(activations, name, free)
    free = moved(compiled("fsdp=8"))
    assert constrained < 2.5 * params
    assert constrained < free / 2


@pytest.mark.slow
def test_queries_are_split_over_time():
    program = compiled("data=2,sequence=4")
    scores = set(re.findall(r"f32\[([\d,]+)\]\S* dot\(", program))
    assert f"8,2,{T // 4},{T}" in scores  # B/2 H T/4 S
    assert f"8,2,{T},{T}" not in scores


def test_no_device_holds_an_unsharded_array():
    """Neither in the state, nor in the program that initializes it."""
    exp, mesh = experiment(), scale.make_mesh("fsdp=8")
    make = functools.partial(init, exp)
    shardings = scale.state_shardings(jax.eval_shape(make, jax.random.key(0)), exp.sharding_rules, mesh)
    program = jax.jit(make, out_shardings=shardings).lower(jax.random.key(0)).compile()
    assert "f32[64,256]" not in program.as_text()  # The kernel of `up` in the block.
    state = program(jax.random.key(0))
    for leaf, where in zip(jax.tree.leaves(state), jax.tree.leaves(shardings), strict=True):
        if leaf.size >= 1024:
            assert not where.is_fully_replicated
            assert all(shard.data.nbytes * 8 == leaf.nbytes for shard in leaf.addressable_shards)
