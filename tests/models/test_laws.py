"""Laws that every model keeps; each is a test over the tables of members."""

import functools
import re
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.models.members import FAMILIES, MEMBERS

each = pytest.mark.parametrize("name", MEMBERS)


def train(model: nn.Module, variables: Any, x: jax.Array) -> tuple[jax.Array, Any]:
    """Logits in training, and the collections it changes."""
    mutable = [name for name in variables if name != "params"]
    return model.apply(variables, x, train=True, mutable=mutable, rngs={"dropout": jax.random.key(2)})


@functools.cache
def init(name: str) -> Any:
    """Variables of a member; compiled, and made once."""
    member = MEMBERS[name]
    return jax.jit(member.make().init)(jax.random.key(0), member.inputs(2))


@functools.cache
def evaluate(name: str) -> Callable[[Any, jax.Array], jax.Array]:
    return jax.jit(MEMBERS[name].make().apply)


def paths(tree: Any) -> list[str]:
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return [jax.tree_util.keystr(path, simple=True, separator="/") for path, _ in leaves]


@each
def test_training_has_the_shape_and_finite_gradients(name):
    """Most parameters get some gradient; none is NaN."""
    member, variables = MEMBERS[name], init(name)
    target = jax.random.normal(jax.random.key(3), (4, *member.output))

    @jax.jit
    def gradient(params, x):
        def loss(params):
            logits, _ = train(member.make(), {**variables, "params": params}, x)
            assert logits.shape == target.shape
            return jnp.mean((logits - target) ** 2)

        return jax.grad(loss)(params)

    grads = gradient(variables["params"], member.inputs(4))
    assert all(bool(jnp.isfinite(g).all()) for g in jax.tree.leaves(grads))
    # A residual branch that starts as nothing passes no gradient in the first step; its last scale gets one.
    silent = [p for p, g in zip(paths(grads), jax.tree.leaves(grads), strict=True) if not jnp.any(g)]
    assert all(re.search(r"block\d+/(conv|norm)\d", path) for path in silent)


@each
def test_jit_changes_nothing(name):
    member, variables, x = MEMBERS[name], init(name), MEMBERS[name].inputs(6)
    logits = evaluate(name)(variables, x)
    assert logits.shape == (6, *member.output)
    np.testing.assert_allclose(logits, member.make().apply(variables, x), rtol=1e-4, atol=1e-5)


@each
def test_evaluation_is_deterministic_and_needs_no_randomness(name):
    variables, x = init(name), MEMBERS[name].inputs(6)
    np.testing.assert_array_equal(evaluate(name)(variables, x), evaluate(name)(variables, x))


@each
def test_evaluation_treats_each_example_by_itself(name):
    """So whatever pads the last batch changes nothing."""
    variables, x = init(name), MEMBERS[name].inputs(6)
    mixed = jnp.concatenate([x[:2], jnp.flip(x[2:], axis=0) * 0])
    whole, part = evaluate(name)(variables, x), evaluate(name)(variables, mixed)
    np.testing.assert_allclose(whole[:2], part[:2], rtol=1e-4, atol=1e-5)


@each
def test_evaluation_changes_no_variable(name):
    member, variables = MEMBERS[name], init(name)
    mutable = [collection for collection in variables if collection != "params"]
    apply = jax.jit(functools.partial(member.make().apply, mutable=mutable))
    _, after = apply(variables, member.inputs(6))
    jax.tree.map(np.testing.assert_array_equal, dict(after), {c: variables[c] for c in mutable})


@each
def test_every_leaf_has_a_name_of_its_own(name):
    """Linen's own names, such as Dense_0, move when a layer is added, and old checkpoints no longer fit."""
    named = paths(init(name))
    assert len(set(named)) == len(named)
    assert not [path for path in named if re.search(r"[A-Z]\w*_\d+", path)]


@each
def test_every_rule_matches_and_fits(name):
    params, rules = init(name)["params"], MEMBERS[name].rules
    for path, leaf in zip(paths(params), jax.tree.leaves(params), strict=True):
        spec = next((spec for pattern, spec in rules if re.search(pattern, path)), ())
        assert len(spec) <= leaf.ndim, f"{path}: {spec} for {leaf.shape}"
    for pattern, _ in rules:
        assert any(re.search(pattern, path) for path in paths(params)), f"{pattern} matches no parameter"


@pytest.mark.parametrize("family", FAMILIES)
def test_every_variant_has_its_shape(family):
    make, variants, inputs, output = FAMILIES[family]
    assert "test" in variants
    for variant in variants.values():
        logits, _ = jax.eval_shape(make(**variant).init_with_output, jax.random.key(0), inputs(2))
        assert logits.shape == (2, *output)
