"""Laws that every model keeps; each is a test over the tables of members."""

import dataclasses
import functools
import re
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.models.members import CAUSAL, FAMILIES, MEMBERS, SLOW, SLOW_SIZES
from tests.models.members.base import Member


@dataclasses.dataclass(frozen=True)
class Made:
    """A member with what the laws share: its variables, and one program for all that is said of evaluation."""

    member: Member

    @functools.cached_property
    def shapes(self) -> Any:
        """Of the variables, which compiles nothing."""
        return jax.eval_shape(self.member.make().init, jax.random.key(0), self.member.inputs(2))

    @functools.cached_property
    def variables(self) -> Any:
        return jax.jit(self.member.make().init)(jax.random.key(0), self.member.inputs(2))

    @property
    def params(self) -> Any:
        return self.variables["params"]

    @property
    def changing(self) -> list[str]:
        return [collection for collection in self.variables if collection != "params"]

    @functools.cached_property
    def _apply(self) -> Callable[..., tuple[jax.Array, Any]]:
        return jax.jit(functools.partial(self.member.make().apply, mutable=self.changing))

    def evaluate(self, x: Any) -> tuple[jax.Array, Any]:
        """Logits, and the collections that it could have changed."""
        return self._apply(self.variables, x)


ALL = [pytest.param(name, marks=pytest.mark.slow if name in SLOW else ()) for name in MEMBERS]


@pytest.fixture(scope="module", params=ALL)  # so that all laws of a member come one after another, in one process
def made(request) -> Made:
    return Made(MEMBERS[request.param])


# Without `jit` each operation is compiled by itself, and in bfloat16 anew: a family of each kind is enough every day.
KINDS = ("cnn_norm_dropout", "lstm_forecaster", "gpt_dropout", "two_tower_dropout")
EAGER = [pytest.param(name, marks=() if name in KINDS else pytest.mark.slow) for name in MEMBERS]


# Their other laws compile them, which takes a second or two for each: of each field some every day. Of
# the others the names and rules of parameters, and the precision of products, are looked at every day.
BY_HAND = (
    "autorec_dropout", "bert", "conformer", "deep_speech", "dit", "dlrm_dropout", "factorization_dropout", "fcos",
    "ft_transformer_dropout", "mamba", "mixtral", "neumf_dropout", "patchtst", "sasrec_dropout", "t5_dropout", "tcn",
    "text_cnn", "unet",
)  # fmt: skip
COMPILED = [pytest.param(name, marks=pytest.mark.slow if name in SLOW or name in BY_HAND else ()) for name in MEMBERS]


def paths(tree: Any) -> list[str]:
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return [jax.tree_util.keystr(path, simple=True, separator="/") for path, _ in leaves]


def test_training_has_the_shape_and_finite_gradients(made):
    """Most parameters get some gradient; none is NaN."""
    target = np.random.default_rng(3).normal(size=(4, *made.member.output)).astype(np.float32)

    @jax.jit
    def gradient(params, x):
        def loss(params):
            given, rngs = {**made.variables, "params": params}, {"dropout": jax.random.key(2)}
            logits, _ = made.member.make().apply(given, x, train=True, mutable=made.changing, rngs=rngs)
            assert logits.shape == target.shape
            return jnp.mean((logits - target) ** 2)

        return jax.grad(loss)(params)

    # NumPy looks at the leaves: it compiles no program for the shape of each.
    grads = jax.device_get(gradient(made.params, made.member.inputs(4)))
    assert all(np.isfinite(g).all() for g in jax.tree.leaves(grads))
    # A residual branch that starts as nothing passes no gradient in the first step; its last scale gets one. The
    # balance of a router is no part of the loss, and no patch is hidden here.
    silent = [p for p, g in zip(paths(grads), jax.tree.leaves(grads), strict=True) if not np.any(g)]
    assert all(re.search(r"block\d+/(conv|norm)\d|router/balance|embed/mask", path) for path in silent)


@pytest.mark.parametrize("made", EAGER, indirect=True)
def test_jit_changes_nothing(made):
    x = made.member.inputs(6)
    logits, _ = made.evaluate(x)
    assert logits.shape == (6, *made.member.output)
    np.testing.assert_allclose(logits, made.member.make().apply(made.variables, x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("made", COMPILED, indirect=True)
def test_evaluation_is_deterministic_and_needs_no_randomness(made):
    x = made.member.inputs(6)
    np.testing.assert_array_equal(made.evaluate(x)[0], made.evaluate(x)[0])


@pytest.mark.parametrize("made", COMPILED, indirect=True)
def test_evaluation_treats_each_example_by_itself(made):
    """So whatever pads the last batch changes nothing."""
    x = np.asarray(made.member.inputs(6))
    mixed = np.concatenate([x[:2], np.zeros_like(x[2:])])
    (whole, _), (part, _) = made.evaluate(x), made.evaluate(mixed)
    np.testing.assert_allclose(whole[:2], part[:2], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("made", EAGER, indirect=True)
def test_half_the_bits_give_nearly_the_same(made):
    """bfloat16 has 8 bits: a hundredth, through all layers. A choice, of an expert say, may turn out otherwise."""
    x = made.member.inputs(6)
    half, halved = jax.tree.map(to_bf16, (made.variables, x))
    logits = jax.jit(made.member.make().apply)(half, halved)
    logits = np.asarray(logits, np.float32)
    expected = np.asarray(made.evaluate(x)[0])
    assert np.median(np.abs(logits - expected)) <= 0.03 * np.abs(expected).max()


def to_bf16(leaf: Any) -> Any:
    return leaf.astype(jnp.bfloat16) if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf


LANGUAGE = [pytest.param(name, marks=pytest.mark.slow if name in SLOW else ()) for name in CAUSAL]


@pytest.mark.parametrize("made", LANGUAGE, indirect=True)
def test_the_future_is_not_read(made):
    """The gradient by the embeddings of later tokens is exactly zero, by those up to its own is not."""
    x, cut = made.member.inputs(2), 5
    factor = np.random.default_rng(4).normal(size=(2, cut, 7)).astype(np.float32)

    def loss(moved):
        def intercept(call, args, kwargs, context):
            out = call(*args, **kwargs)
            return (
                out + moved if context.module.name == "token_embedding" and context.method_name == "__call__" else out
            )

        with nn.intercept_methods(intercept):
            return jnp.sum(made.member.make().apply(made.variables, x)[:, :cut] * factor)

    width = made.params["token_embedding"]["embedding"].shape[1]
    grads = np.asarray(jax.jit(jax.grad(loss))(jnp.zeros((*x.shape, width))))
    assert np.all(grads[:, cut:] == 0)
    assert np.all(np.any(grads[:, :cut] != 0, axis=-1))


@pytest.mark.parametrize("made", LANGUAGE, indirect=True)
def test_documents_in_a_row_do_not_see_each_other(made):
    tokens = np.asarray(made.member.inputs(1))
    segments = np.array([[1] * 5 + [2] * 4 + [0] * 3])
    apply = jax.jit(made.member.make().apply)
    packed = np.asarray(apply(made.variables, tokens, segments))
    for part in (slice(0, 5), slice(5, 9)):
        alone = apply(made.variables, tokens[:, part])
        np.testing.assert_allclose(packed[:, part], alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("made", COMPILED, indirect=True)
def test_evaluation_changes_no_variable(made):
    _, after = made.evaluate(made.member.inputs(6))
    jax.tree.map(np.testing.assert_array_equal, dict(after), {c: made.variables[c] for c in made.changing})


def test_every_leaf_has_a_name_of_its_own(made):
    """Linen's own names, such as Dense_0, move when a layer is added, and old checkpoints no longer fit."""
    named = paths(made.shapes)
    assert len(set(named)) == len(named)
    assert not [path for path in named if re.search(r"[A-Z]\w*_\d+", path)]


def test_every_rule_matches_and_fits(made):
    rules, params = made.member.rules, made.shapes["params"]
    for path, leaf in zip(paths(params), jax.tree.leaves(params), strict=True):
        spec = next((spec for pattern, spec in rules if re.search(pattern, path)), ())
        assert len(spec) <= leaf.ndim, f"{path}: {spec} for {leaf.shape}"
    for pattern, _ in rules:
        assert any(re.search(pattern, path) for path in paths(params)), f"{pattern} matches no parameter"


@pytest.mark.parametrize(
    "family", [pytest.param(name, marks=pytest.mark.slow if name in SLOW_SIZES else ()) for name in FAMILIES]
)
def test_every_variant_has_its_shape(family):
    make, variants, inputs, output = FAMILIES[family]
    assert "test" in variants
    for variant in variants.values():
        logits, _ = jax.eval_shape(make(**variant).init_with_output, jax.random.key(0), inputs(2))
        assert logits.shape == (2, *output)
