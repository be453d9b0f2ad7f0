"""Mechanisms are found where they are known: circuits set by hand, linear models, planted directions."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from deeplab import explain
from deeplab.core.errors import UserError
from deeplab.explain.mechanism import stream
from deeplab.models.text.decoders import gpt, llama
from tests.explain import circuits

TARGETS = explain.targets
RNG = np.random.default_rng(0)
TOKENS, SOURCE = (jnp.asarray(RNG.integers(1, 60, (2, 5))) for _ in range(2))


def disturbed(model, *inputs):
    """A model with all of its parameters random, as a function."""
    variables = jax.jit(model.init)(jax.random.key(0), *inputs)
    leaves, structure = jax.tree.flatten(variables)
    rng = np.random.default_rng(1)
    leaves = [leaf + jnp.asarray(0.2 * rng.normal(size=leaf.shape), leaf.dtype) for leaf in leaves]
    variables = jax.tree.unflatten(structure, leaves)
    return (lambda *inputs: model.apply(variables, *inputs)), variables["params"]


@functools.cache
def known(family):
    model = gpt.GPT if family is gpt else llama.Llama
    return disturbed(model(vocab_size=65, **family.VARIANTS["test"]), TOKENS)


@pytest.mark.parametrize("family", [pytest.param(gpt, marks=pytest.mark.slow), llama], ids=["gpt", "llama"])
def test_parts_sum_to_the_logits(family):
    f = known(family)[0]
    target = TARGETS.position(-1, jnp.array([7, 9]))
    found = jax.jit(lambda x: explain.logit_attribution(f, x, target=target))(TOKENS)
    score = f(TOKENS)[jnp.arange(2), -1, jnp.array([7, 9])]
    total = sum(share.reshape(2, -1).sum(axis=1) for share in found.values.values())
    np.testing.assert_allclose(total, score, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(found.gap, 0, atol=1e-5)
    assert len([share for share in found.values.values() if share.ndim == 3]) == 2  # heads, of each layer
    earlier = [share[..., :-1] for name, share in found.values.items() if name != "rest"]
    assert all(np.abs(share).max() == 0 for share in earlier)  # a position speaks for itself, directly
    if family is llama:
        np.testing.assert_array_equal(found.values["rest"], 0)  # it has no biases


def test_lens_by_hand():
    f, params = known(gpt)
    found = jax.jit(lambda x: explain.logit_lens(f, x))(TOKENS)
    states = explain.read(f, ["block1.0", "block2.0"])(TOKENS)[1]
    for state, logits in zip(states.values(), found, strict=True):
        normed = nn.LayerNorm(epsilon=1e-5).apply({"params": params["norm"]}, state)
        np.testing.assert_allclose(logits, normed @ params["token_embedding"]["embedding"].T, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(found[-1], f(TOKENS), rtol=1e-5, atol=1e-5)


def test_patching_all_and_nothing():
    f, target = known(llama)[0], TARGETS.position(-1, TARGETS.margin(3, 5))
    last_only = TOKENS.at[:, -1].set(SOURCE[:, -1])
    names = ["blocks:in[0]", "attention_heads"]
    grid = jax.jit(lambda x, source: explain.patching(f, x, source, names, target, axes=(1,)))(TOKENS, last_only)
    assert {name: places.shape for name, places in grid.items()} == {
        "blocks:in[0]": (2, 5), "attention_heads[0]": (2, 4), "attention_heads[1]": (2, 4)}  # fmt: skip
    np.testing.assert_allclose(grid["blocks:in[0]"], np.tile([0, 0, 0, 0, 1.0], (2, 1)), atol=1e-5)  # all, and nothing


def linear(x):
    """Three parts that write into one stream, and read all that is there."""
    a, b, c = (jnp.asarray(np.random.default_rng(i).normal(size=(4, 4)), jnp.float32) for i in range(3))
    stream = explain.mark(x @ a, "embedding")
    stream = stream + explain.mark(explain.mark(stream, "reads") @ b, "first")
    return (stream + explain.mark(stream @ c, "second")).sum(axis=(1, 2))


def test_linear_models_are_explained_exactly():
    x, source = (jnp.asarray(RNG.normal(size=(2, 3, 4)), jnp.float32) for _ in range(2))
    parts = ["embedding", "first", "second"]
    direct = {part: explain.path_patching(linear, x, source, part, parts=parts) for part in parts}
    np.testing.assert_allclose(sum(direct.values()), linear(source) - linear(x), rtol=1e-5, atol=1e-5)
    by_way = explain.path_patching(linear, x, source, "embedding", ["reads"], parts=parts)
    patched = {part: explain.patching(linear, x, source, [part])[part] for part in parts}
    first_order = explain.attribution_patching(linear, x, source, parts)
    edges = explain.eap_ig(linear, x, source, writers=parts, readers=["reads"], steps=1)
    for part in parts:
        np.testing.assert_allclose(
            first_order[part].sum(axis=1), patched[part] * (linear(source) - linear(x)), rtol=1e-4, atol=1e-4
        )
        np.testing.assert_allclose(edges[part, "output"], direct[part], rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(edges["embedding", "reads"], by_way, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(edges["second", "reads"], 0, atol=1e-6)


@pytest.mark.slow
def test_the_edges_of_a_known_circuit():
    """All of them before all others, though every weight is disturbed."""
    f = circuits.program(noise=0.01)
    tokens, answer = circuits.texts(16)
    assert (f(tokens)[:, -1].argmax(axis=-1) == answer).all()
    source = jnp.asarray(np.random.default_rng(5).permuted(np.asarray(tokens), axis=1))
    target = TARGETS.position(-1, TARGETS.logprob(answer))
    edges = jax.jit(lambda x, s: explain.eap_ig(f, x, s, target, steps=8))(tokens, source)
    scores, known = [], []
    for (writer, reader), edge in edges.items():
        grid = np.abs(np.asarray(edge)).mean(axis=0)
        grid = grid.reshape(2 if "heads" in writer else 1, 2 if reader != "output" else 1)
        for h, k in np.ndindex(grid.shape):
            scores.append(grid[h, k])
            known.append((writer, h, reader, k) in circuits.CIRCUIT)
    assert sum(known) == 5
    assert len(known) > 50
    assert roc_auc_score(known, scores) == 1.0


def test_heads_are_known_by_what_they_attend_to():
    half = np.stack([np.random.default_rng(i).permutation(circuits.V)[:4] for i in range(8)])
    tokens = jnp.asarray(np.concatenate([half, half], axis=1))
    found = explain.head_scores(explain.attention(circuits.program(), tokens))
    np.testing.assert_allclose(found["previous"][0, 0], 1, atol=0.01)
    np.testing.assert_allclose(found["induction"][1, 0], 7 / 8, atol=0.01)  # before the first token there is itself
    np.testing.assert_allclose(found["duplicate"][1, 1], 0.5, atol=0.01)  # its own place is as good
    assert {kind: np.unravel_index(np.argmax(scores), (2, 2)) for kind, scores in found.items()} == {
        "previous": (0, 0), "duplicate": (1, 1), "induction": (1, 0)}  # fmt: skip


def test_steering_says_what_is_written():
    steered = explain.steer(circuits.program(), "layer1", jnp.eye(40)[circuits.SAID.start + 3], scale=20.0)
    assert (steered(circuits.texts(4)[0])[:, -1].argmax(axis=-1) == 3).all()


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        {"codes": explain.top_k(2), "steps": 600, "learning_rate": 1e-2},
        pytest.param({"sparsity": 0.1, "steps": 4000}, marks=pytest.mark.slow),
    ],
    ids=["top_k", "jump_relu"],
)
def test_planted_directions_are_found(options):
    """32 directions in 16 dimensions, of which two are in each row."""
    rng = np.random.default_rng(0)
    true = rng.normal(size=(32, 16))
    true /= np.linalg.norm(true, axis=1, keepdims=True)
    strengths = np.zeros((4096, 32))
    for row in strengths:
        row[rng.choice(32, 2, replace=False)] = rng.uniform(0.5, 1.5, 2)
    x = jnp.asarray(7 * strengths @ true, jnp.float32)
    found = explain.sae(x, 48, key=jax.random.key(1), batch=256, **options)
    assert explain.mmcs(found.directions, jnp.asarray(true)) >= 0.95
    assert found.fvu < 0.12
    assert 1.5 < found.l0 < 2.1
    np.testing.assert_allclose(
        jnp.sum((found.rebuild(x) - x) ** 2) / jnp.sum((x - x.mean(axis=0, keepdims=True)) ** 2), found.fvu, rtol=1e-5
    )

    def loss(x):
        return jnp.mean((explain.mark(x, "value") - x) ** 2)

    expected = 1 - found.fvu * x.var(axis=0).sum() / (x**2).mean(axis=0).sum()
    np.testing.assert_allclose(explain.loss_recovered(loss, "value", found, x), expected, rtol=1e-4)


@pytest.mark.slow
def test_gpt2_layers_are_found():
    f, _ = disturbed(gpt.GPT(vocab_size=65, scanned=True, **gpt.VARIANTS["test"]), TOKENS)
    assert stream.layers(f, TOKENS) == ("blocks.0[0]", "blocks.0[1]")
    assert stream.writers(f, TOKENS) == (
        "blocks:in[0]", "attention_heads[0]", "blocks/feed_forward[0]", "attention_heads[1]", "blocks/feed_forward[1]"
    )  # fmt: skip


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: explain.logit_lens(linear, jnp.ones((1, 3, 4))), "no module has a branch named attention"),
        (lambda: explain.patching(linear, X, X, ["frist"]), "no tap 'frist'; did you mean 'first'"),
        (lambda: explain.patching(linear, X, X, ["first"], axes=(3,)), r"'first' has the shape \(1, 3, 4\), and axes="),
        (lambda: explain.sae(jnp.ones((4, 2)), 3, key=jax.random.key(0)), "a JumpReLU a price"),
    ],
)
def test_bad_input(call, said):
    with pytest.raises(UserError, match=said):
        call()


X = jnp.ones((1, 3, 4))
