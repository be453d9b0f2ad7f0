"""GPT-2: published sizes, causality, tied weights, its gradient against finite differences."""

from __future__ import annotations

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from deeplab.core.errors import UserError
from deeplab.models.text.decoders.gpt import GPT, RULES, VARIANTS

TEST = VARIANTS["test"]


def _init(model, tokens):
    return jax.jit(model.init)(jax.random.key(0), tokens)["params"]


@functools.partial(jax.jit, static_argnums=0)
def _logits(model, variables, tokens):
    return model.apply(variables, tokens)


@pytest.fixture(scope="module")
def trained():
    """A small model with weights large enough for its outputs to differ, and tokens."""
    model = GPT(vocab_size=11, **TEST)
    tokens = jax.random.randint(jax.random.key(1), (2, 16), 0, 11)
    params = _init(model, tokens)
    return model, {"params": jax.tree.map(lambda p: p * 6 if p.ndim > 1 else p, params)}, tokens


@pytest.mark.parametrize(
    ("variant", "vocab_size", "published"),
    [
        ("small", 50257, 124_439_808),
        pytest.param("medium", 50257, 354_823_168, marks=pytest.mark.slow),
        pytest.param("large", 50257, 774_030_080, marks=pytest.mark.slow),
        pytest.param("xl", 50257, 1_557_611_200, marks=pytest.mark.slow),
    ],
)
def test_parameters_are_as_many_as_published(variant, vocab_size, published):
    model = GPT(vocab_size, **VARIANTS[variant])
    shapes = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 1), jnp.int32))
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes)) == published


@pytest.mark.slow  # the laws look at later tokens every day, by one gradient instead of a Jacobian
def test_logits_depend_on_the_past_only(trained):
    model, variables, tokens = trained
    embedding = variables["params"]["token_embedding"]["embedding"][tokens[0]]

    def logits(offset):
        """Offsets enter where token embeddings do: through those of the positions."""
        params = variables["params"]
        table = params["token_embedding"]
        moved = table | {"positions": {"embedding": table["positions"]["embedding"] + offset}}
        return model.apply({"params": params | {"token_embedding": moved}}, tokens[:1])[0].sum(-1)

    influence = jnp.abs(jax.jit(jax.jacobian(logits))(jnp.zeros_like(embedding))).max(-1)  # [T, T]
    past = jnp.tril(jnp.ones((16, 16), bool))
    assert (influence[~past] == 0).all()
    assert (influence[past] > 0).all()


def _norm(x, p):
    x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5)
    return x * p["scale"] + p["bias"]


def _dense(x, p):
    return x @ p["kernel"] + p["bias"]


def _by_hand(params, tokens):
    """One sequence, head by head and position by position, in float64."""
    x = params["token_embedding"]["embedding"][tokens] + params["token_embedding"]["positions"]["embedding"]
    for name in ("block1", "block2"):
        p = params[name]
        normed = _norm(x, p["norm1"])
        roles = [_dense(normed, p["attention"][role]).reshape(16, 2, 16) for role in ("query", "key", "value")]  # T H d
        heads = np.zeros((16, 2, 16))
        for t, h in np.ndindex(16, 2):
            weights = np.exp(roles[1][: t + 1, h] @ roles[0][t, h] / 4)
            heads[t, h] = weights @ roles[2][: t + 1, h] / weights.sum()
        x = x + _dense(heads.reshape(16, 32), p["attention"]["out"])
        up = _dense(_norm(x, p["norm2"]), p["feed_forward"]["up"])
        x = x + _dense(up * (1 + np.tanh(np.sqrt(2 / np.pi) * (up + 0.044715 * up**3))) / 2, p["feed_forward"]["down"])
    return _norm(x, params["norm"]) @ params["token_embedding"]["embedding"].T


def test_forward_pass_is_the_one_written_out(trained):
    model, variables, tokens = trained
    params = jax.tree.map(lambda p: np.asarray(p, np.float64), variables["params"])
    np.testing.assert_allclose(
        _logits(model, variables, tokens)[0], _by_hand(params, np.asarray(tokens[0])), rtol=1e-4, atol=1e-4
    )


def test_output_layer_is_the_token_embedding(trained):
    model, variables, tokens = trained
    params = variables["params"]
    assert not any("head" in jax.tree_util.keystr(path) for path, _ in jax.tree.leaves_with_path(params))
    table = params["token_embedding"]["embedding"]
    unseen = int(np.setdiff1d(np.arange(11), np.asarray(tokens[0]))[0])  # its row acts as an output only
    # Not by a constant: what the last normalization gives sums to almost nothing.
    moved = params["token_embedding"] | {"embedding": table.at[unseen].add(jnp.arange(table.shape[1]))}
    before = _logits(model, variables, tokens[:1])
    after = _logits(model, {"params": params | {"token_embedding": moved}}, tokens[:1])
    changed = jnp.abs(after - before).max((0, 1)) > 1e-6
    assert changed.tolist() == [i == unseen for i in range(11)]


def test_initial_loss_is_that_of_guessing():
    model = GPT(vocab_size=65, **TEST)
    tokens = jax.random.randint(jax.random.key(0), (4, 16), 0, 65)
    logits = _logits(model, {"params": _init(model, tokens)}, tokens)
    assert float(-jax.nn.log_softmax(logits).mean()) == pytest.approx(np.log(65), abs=0.05)


def test_branches_start_smaller_with_depth():
    model = GPT(vocab_size=5, num_layers=2, num_heads=1, width=64, context=4)
    params = _init(model, jnp.zeros((1, 4), jnp.int32))["block1"]
    assert float(params["feed_forward"]["up"]["kernel"].std()) == pytest.approx(0.02, rel=0.05)
    for kernel in (params["feed_forward"]["down"]["kernel"], params["attention"]["out"]["kernel"]):
        assert float(kernel.std()) == pytest.approx(0.02 / 2, rel=0.1)


@pytest.mark.slow
def test_gradient_is_the_slope(trained):
    model, variables, tokens = trained
    direction = jax.tree.map(
        lambda p: jax.random.normal(jax.random.key(p.size), p.shape) / p.size**0.5, variables["params"]
    )

    def loss(step):
        params = jax.tree.map(lambda p, d: p + step * d, variables["params"], direction)
        logits = model.apply({"params": params}, tokens)
        return -jax.nn.log_softmax(logits)[0, 0, 3]

    both = jax.jit(jax.value_and_grad(loss))
    (up, _), (down, _), (_, gradient) = both(1e-2), both(-1e-2), both(0.0)
    slope = (up - down) / 2e-2
    assert float(gradient) == pytest.approx(float(slope), rel=2e-2)
    assert float(jax.jit(lambda t: jax.jvp(loss, (0.0,), (t,)))(1.0)[1]) == pytest.approx(float(gradient), rel=1e-4)


def test_dropout_is_for_training(trained):
    model, variables, tokens = trained
    noisy = GPT(vocab_size=11, dropout=0.5, **TEST)
    np.testing.assert_array_equal(_logits(noisy, variables, tokens), _logits(model, variables, tokens))
    train = jax.jit(lambda key: noisy.apply(variables, tokens, train=True, rngs={"dropout": key}))
    assert not jnp.allclose(train(jax.random.key(0)), train(jax.random.key(1)))


def test_layers_can_be_tapped_by_name(trained):
    model, variables, tokens = trained
    apply = functools.partial(model.apply, capture_intermediates=True, mutable=["intermediates"])
    taps = jax.eval_shape(apply, variables, tokens)[1]["intermediates"]
    assert taps["block1"]["__call__"][0][0].shape == (2, 16, 32)  # of the stream and a cache
    for layer in ("attention", "feed_forward"):
        assert taps["block2"][layer]["__call__"][0].shape == (2, 16, 32)


def test_rules_split_what_they_name():
    model = GPT(vocab_size=64, **TEST)
    shapes = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 4), jnp.int32))["params"]
    paths = {jax.tree_util.keystr(p, simple=True, separator="/"): leaf for p, leaf in jax.tree.leaves_with_path(shapes)}
    for pattern, spec in RULES:
        matching = [leaf for path, leaf in paths.items() if re.search(pattern, path)]
        assert matching
        for leaf in matching:
            assert len(spec) <= leaf.ndim
            assert all(size % 2 == 0 for size, axis in zip(leaf.shape, spec, strict=False) if axis)


def test_heads_that_do_not_divide_the_width_are_refused():
    with pytest.raises(UserError, match="width 32 is not a multiple of num_heads 3"):
        GPT(vocab_size=5, **{**TEST, "num_heads": 3})


def test_a_sequence_beyond_the_context_is_refused():
    with pytest.raises(ValueError, match="17 tokens, the model's context is 16"):
        GPT(vocab_size=5, **TEST).init(jax.random.key(0), jnp.zeros((1, 17), jnp.int32))
