"""Laws that every model keeps: one table of members, and each law a test over it."""

import functools
import re
from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from deeplab.models import (
    autorec,
    bilstm,
    cifarnet,
    cnn,
    conformer,
    deep_speech,
    dlinear,
    encoder,
    factorisation,
    gpt,
    keyword_cnn,
    linknet,
    lstm_forecaster,
    mlp,
    neumf,
    patchtst,
    resnet,
    resnet1d,
    sasrec,
    tcn,
    text_cnn,
    two_tower,
    unet,
)
from deeplab.nn.norm import batch_norm, group_norm, no_norm


class Member(NamedTuple):
    make: Callable[[], nn.Module]
    inputs: Callable[[int], jax.Array]  # of a batch size
    output: tuple[int, ...]  # shape of one example's logits
    rules: Any = ()


def images(*shape: int) -> Callable[[int], jax.Array]:
    return lambda batch: jax.random.normal(jax.random.key(1), (batch, *shape))


def tokens(batch: int) -> jax.Array:
    return jax.random.randint(jax.random.key(1), (batch, 12), 0, 7)


def sentences(batch: int) -> jax.Array:
    """Words of two features each, padded."""
    length = 12 - 3 * (jnp.arange(batch) % 3)
    features = jax.random.randint(jax.random.key(1), (batch, 12, 2), 1, 9)
    return jnp.where(jnp.arange(12)[None, :, None] < length[:, None, None], features, 0)


def partial(
    family: Callable[..., nn.Module], variants: dict[str, dict[str, Any]], **arguments: Any
) -> Callable[[], nn.Module]:
    return functools.partial(family, **variants["test"], **arguments)


class Framed(nn.Module):
    """A model of features and frames as one of features alone: what is 0 to the end is padding."""

    network: nn.Module

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        place = jnp.arange(1, x.shape[1] + 1)[None]
        return self.network(x, jnp.max(jnp.where(jnp.any(x != 0, axis=-1), place, 0), axis=1), train)


def sounds(batch: int) -> jax.Array:
    """Spectrograms of 16 frames and 8 bands, padded; all of one length would not try the masks."""
    length = 16 - 5 * (jnp.arange(batch) % 3)
    return jnp.where(jnp.arange(16)[None, :, None] < length[:, None, None], images(16, 8)(batch), 0)


def framed(family: type[nn.Module], variants: dict[str, dict[str, Any]], **arguments: Any) -> Callable[[], nn.Module]:
    return lambda: Framed(family(**variants["test"], **arguments))


class Rated(nn.Module):
    """A model of ratings as a function of what is known: [B, 7] of 0 to 5."""

    model: nn.Module

    def __call__(self, known: jax.Array, train: bool = False) -> jax.Array:
        user, profile = jnp.arange(len(known)), jnp.ones((len(known), 2))
        return self.model(user, known, profile, jnp.ones((len(known), 7, 3)), train=train)


class Ranked(nn.Module):
    """A model that ranks 7 items, as a function of histories, [B, 6]; the second place and the last are asked."""

    model: nn.Module
    by_number: bool = False  # of the user, whom the history then stands for
    features: bool = False

    def __call__(self, history: jax.Array, train: bool = False) -> jax.Array:
        size, places = len(history), jnp.tile(jnp.array([[1, 5]]), (len(history), 1))
        given = (history[:, 0],) if self.by_number else (history, places)
        given += (jnp.ones((size, 2)), jnp.ones((size, 7, 3))) if self.features else ()
        scores, _ = self.model(*given, jnp.arange(7), jnp.zeros((size, 3), jnp.int32), train=train)
        return scores


def ratings(batch: int) -> jax.Array:
    return jax.random.randint(jax.random.key(1), (batch, 7), 0, 6).astype(jnp.float32)


def histories(batch: int) -> jax.Array:
    return tokens(batch)[:, :6]


def ratings_of(family: type[nn.Module], **arguments: Any) -> Rated:
    return Rated(family(num_users=9, num_items=7, **arguments))


def sasrec_of(**arguments: Any) -> Ranked:
    return Ranked(sasrec.SASRec(num_items=7, **arguments))


def two_tower_of(**arguments: Any) -> Ranked:
    return Ranked(two_tower.TwoTower(num_items=7, **arguments), features=True)


def neumf_of(**arguments: Any) -> Ranked:
    return Ranked(neumf.NeuMF(num_users=9, num_items=7, **arguments), by_number=True)


factors = functools.partial(ratings_of, factorisation.Factorisation)
autoencoder = functools.partial(ratings_of, autorec.AutoRec)
small = images(8, 8, 1)
series, week = images(12, 3), images(168, 3)
beats = images(20, 2)
residual = functools.partial(partial, resnet.ResNet, resnet.VARIANTS, num_classes=5)
sentence = {"num_classes": 5, "num_features": 9, "dropout": 0.5, "embedding_dropout": 0.5}
MEMBERS = {
    "mlp": Member(partial(mlp.MLP, mlp.VARIANTS, num_classes=5), small, (5,), mlp.RULES),
    "mlp_norm_dropout": Member(
        partial(mlp.MLP, mlp.VARIANTS, num_classes=5, norm=batch_norm, dropout=0.5), small, (5,), mlp.RULES
    ),
    "cnn": Member(partial(cnn.CNN, cnn.VARIANTS, num_classes=5), small, (5,), cnn.RULES),
    "cnn_norm_dropout": Member(
        partial(cnn.CNN, cnn.VARIANTS, num_classes=5, norm=batch_norm, dropout=0.5), small, (5,), cnn.RULES
    ),
    "resnet": Member(residual(), small, (5,), resnet.RULES),
    "resnet_group_norm": Member(residual(norm=group_norm), small, (5,), resnet.RULES),
    "resnet_no_norm_dropout": Member(residual(norm=no_norm, dropout=0.5), small, (5,), resnet.RULES),
    "resnet_imagenet_stem": Member(residual(stem=resnet.ImageNetStem), images(16, 16, 3), (5,), resnet.RULES),
    "resnet_bottleneck": Member(residual(block=resnet.BottleneckBlock), small, (5,), resnet.RULES),
    "resnet1d": Member(partial(resnet1d.ResNet1D, resnet1d.VARIANTS, num_classes=5), beats, (5,), resnet1d.RULES),
    "text_cnn": Member(partial(text_cnn.TextCNN, text_cnn.VARIANTS, **sentence), sentences, (5,), text_cnn.RULES),
    "bilstm": Member(partial(bilstm.BiLSTM, bilstm.VARIANTS, **sentence), sentences, (5,), bilstm.RULES),
    "encoder": Member(partial(encoder.Encoder, encoder.VARIANTS, **sentence), sentences, (5,), encoder.RULES),
    "cifarnet": Member(partial(cifarnet.CifarNet, cifarnet.VARIANTS, num_classes=5), small, (5,), cifarnet.RULES),
    "unet": Member(partial(unet.UNet, unet.VARIANTS, num_classes=5), small, (8, 8, 5), unet.RULES),
    "unet_dropout": Member(
        partial(unet.UNet, unet.VARIANTS, num_classes=5, dropout=0.5), images(7, 8, 1), (7, 8, 5), unet.RULES
    ),
    "linknet": Member(
        partial(linknet.LinkNet, linknet.VARIANTS, num_classes=5), images(7, 8, 1), (7, 8, 5), linknet.RULES
    ),
    "keyword_cnn": Member(
        partial(keyword_cnn.KeywordCNN, keyword_cnn.VARIANTS, num_classes=5, dropout=0.5),
        sounds,
        (5,),
        keyword_cnn.RULES,
    ),
    "deep_speech": Member(
        framed(deep_speech.DeepSpeech2, deep_speech.VARIANTS, num_tokens=5, dropout=0.5),
        sounds,
        (4, 5),
        deep_speech.RULES,
    ),
    "conformer": Member(
        framed(conformer.Conformer, conformer.VARIANTS, num_tokens=5, dropout=0.5), sounds, (4, 5), conformer.RULES
    ),
    "gpt": Member(partial(gpt.GPT, gpt.VARIANTS, vocab_size=7), tokens, (12, 7), gpt.RULES),
    "factorisation_dropout": Member(
        partial(factors, factorisation.VARIANTS, dropout=0.5), ratings, (7,), factorisation.RULES
    ),
    "autorec_dropout": Member(partial(autoencoder, autorec.VARIANTS, dropout=0.5), ratings, (7,), autorec.RULES),
    "sasrec_dropout": Member(partial(sasrec_of, sasrec.VARIANTS, dropout=0.5), histories, (2, 7), sasrec.RULES),
    "two_tower_dropout": Member(
        partial(two_tower_of, two_tower.VARIANTS, dropout=0.5), histories, (2, 7), two_tower.RULES
    ),
    "neumf_dropout": Member(partial(neumf_of, neumf.VARIANTS, dropout=0.5), histories, (1, 7), neumf.RULES),
    "gpt_dropout": Member(partial(gpt.GPT, gpt.VARIANTS, vocab_size=7, dropout=0.5), tokens, (12, 7), gpt.RULES),
    "dlinear": Member(partial(dlinear.DLinear, dlinear.VARIANTS, horizon=6), series, (6, 3, 1), dlinear.RULES),
    "lstm_forecaster": Member(
        partial(lstm_forecaster.LSTMForecaster, lstm_forecaster.VARIANTS, horizon=6, dropout=0.5),
        series,
        (6, 3, 1),
        lstm_forecaster.RULES,
    ),
    "tcn": Member(partial(tcn.TCN, tcn.VARIANTS, horizon=6, dropout=0.5), series, (6, 3, 1), tcn.RULES),
    "patchtst": Member(
        partial(patchtst.PatchTST, patchtst.VARIANTS, horizon=6, outputs=2, dropout=0.5),
        series,
        (6, 3, 2),
        patchtst.RULES,
    ),
}
FAMILIES = {
    "mlp": (functools.partial(mlp.MLP, num_classes=10), mlp.VARIANTS, images(28, 28, 1), (10,)),
    "cnn": (functools.partial(cnn.CNN, num_classes=10), cnn.VARIANTS, images(28, 28, 1), (10,)),
    "resnet": (functools.partial(resnet.ResNet, num_classes=1000), resnet.VARIANTS, images(64, 64, 3), (1000,)),
    "resnet1d": (functools.partial(resnet1d.ResNet1D, num_classes=4), resnet1d.VARIANTS, beats, (4,)),
    "text_cnn": (functools.partial(text_cnn.TextCNN, **sentence), text_cnn.VARIANTS, sentences, (5,)),
    "bilstm": (functools.partial(bilstm.BiLSTM, **sentence), bilstm.VARIANTS, sentences, (5,)),
    "encoder": (functools.partial(encoder.Encoder, **sentence), encoder.VARIANTS, sentences, (5,)),
    "cifarnet": (functools.partial(cifarnet.CifarNet, num_classes=10), cifarnet.VARIANTS, images(32, 32, 3), (10,)),
    "unet": (functools.partial(unet.UNet, num_classes=3), unet.VARIANTS, images(32, 32, 1), (32, 32, 3)),
    "linknet": (functools.partial(linknet.LinkNet, num_classes=3), linknet.VARIANTS, images(32, 32, 3), (32, 32, 3)),
    "factorisation": (factors, factorisation.VARIANTS, ratings, (7,)),
    "autorec": (autoencoder, autorec.VARIANTS, ratings, (7,)),
    "sasrec": (sasrec_of, sasrec.VARIANTS, histories, (2, 7)),
    "two_tower": (two_tower_of, two_tower.VARIANTS, histories, (2, 7)),
    "neumf": (neumf_of, neumf.VARIANTS, histories, (1, 7)),
    "keyword_cnn": (
        functools.partial(keyword_cnn.KeywordCNN, num_classes=9),
        keyword_cnn.VARIANTS,
        images(40, 40),
        (9,),
    ),
    "deep_speech": (
        lambda **sizes: Framed(deep_speech.DeepSpeech2(num_tokens=9, **sizes)),
        deep_speech.VARIANTS,
        images(40, 40),
        (10, 9),
    ),
    "conformer": (
        lambda **sizes: Framed(conformer.Conformer(num_tokens=9, **sizes)),
        conformer.VARIANTS,
        images(40, 40),
        (10, 9),
    ),
    "gpt": (functools.partial(gpt.GPT, vocab_size=7), gpt.VARIANTS, tokens, (12, 7)),
    "dlinear": (functools.partial(dlinear.DLinear, horizon=6), dlinear.VARIANTS, week, (6, 3, 1)),
    "lstm_forecaster": (
        functools.partial(lstm_forecaster.LSTMForecaster, horizon=6),
        lstm_forecaster.VARIANTS,
        week,
        (6, 3, 1),
    ),
    "tcn": (functools.partial(tcn.TCN, horizon=6), tcn.VARIANTS, week, (6, 3, 1)),
    "patchtst": (functools.partial(patchtst.PatchTST, horizon=6), patchtst.VARIANTS, week, (6, 3, 1)),
}
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
