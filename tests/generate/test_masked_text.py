"""Masked diffusion where the law of the text is known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import deeplab as dl
from deeplab.core.errors import UserError
from deeplab.core.precision import Precision
from deeplab.generate import MaskedDiffusion
from deeplab.train.bind import BoundApply
from tests.generate.members import Formula

LAW = np.array([0.5, 0.3, 0.2])


def independent(tokens):
    return jnp.broadcast_to(jnp.log(LAW), (*tokens.shape, 3))


def copied(tokens):
    """Two tokens that are the same: what is seen is certain, and anything is possible before."""
    other = tokens[:, ::-1]
    return jnp.where((other == 3)[..., None], jnp.log(LAW)[None, None], jnp.log(jax.nn.one_hot(other, 3) + 1e-9))


def test_the_bound_is_the_entropy_where_tokens_are_independent():
    tokens = np.random.default_rng(0).choice(3, p=LAW, size=(4000, 6))
    batch = {"targets": jnp.asarray(tokens), "weight": jnp.ones(4000), "id": jnp.arange(4000)}
    batch["mask"] = jnp.ones((4000, 6)).at[:, 4:].set(0.0)
    found = MaskedDiffusion(3, 6).loss(Formula(independent), batch, jax.random.key(0)).loss
    assert found.count == 4000 * 4
    assert found.compute() == pytest.approx(-np.log(LAW[tokens[:, :4]]).mean(), rel=0.05)


@pytest.mark.parametrize(("law", "size"), [(independent, 4), (copied, 2)], ids=["independent", "copied"])
def test_the_bound_of_a_sequence_is_its_probability(law, size):
    """Exactly, where the model is right whatever is hidden: of a copy it is the probability of one token."""
    model = MaskedDiffusion(3, size, looks=4000).generative(Formula(law))
    tokens = jnp.array([[0] * size, [2] * size])
    expected = np.log(LAW[[0, 2]]) * (size if law is independent else 1)
    found = jax.jit(model.log_prob)(tokens, jax.random.key(0))
    np.testing.assert_allclose(found, expected, rtol=0.06)


@pytest.mark.parametrize(
    ("tokens", "told"),
    [
        ([[0, 3]], "tokens 0 to 3, and the model knows 0 to 2"), ([[-1, 0]], "tokens -1 to 0, and"),
        ([[0.0, 1.0]], r"float32\[1, 2\], expected integer tokens"), ([0, 1], r"int32\[2\], expected integer tokens"),
    ],
)  # fmt: skip
def test_what_is_no_sequence_has_no_probability(tokens, told):
    """The token of what is hidden, and those beyond it, were NaN, and -1 the last one."""
    model = MaskedDiffusion(3, 2, looks=4).generative(Formula(independent))
    with pytest.raises(UserError, match=told):
        model.log_prob(jnp.array(tokens), jax.random.key(0))
    if "knows" in told:  # a traced value cannot be refused
        both = jnp.array([*tokens, [0, 1]])
        assert np.isnan(jax.jit(model.log_prob)(both, jax.random.key(0))).tolist() == [True, False]


def test_samples_have_the_law_of_the_text():
    model = MaskedDiffusion(3, 2, steps=200).generative(Formula(copied))
    drawn = np.asarray(jax.jit(lambda key: model.sample(key, 2000))(jax.random.key(1)))
    assert np.mean(drawn[:, 0] == drawn[:, 1]) > 0.98  # both are found at once in one of 200
    share = np.bincount(drawn[:, 0], minlength=3) / 2000
    assert np.all(np.abs(share - LAW) < 4 * np.sqrt(LAW * (1 - LAW) / 2000))


def test_a_model_without_a_row_for_what_is_hidden_is_refused():
    """Its table would read the last token of the vocabulary for it."""
    model, batch = dl.models.GPT(5, 1, 1, 8, 4), {"targets": jnp.zeros((1, 4), int), "weight": jnp.ones(1)}
    apply = BoundApply(model, model.init(jax.random.key(0), batch["targets"])["params"], {}, jnp.arange(1), Precision())
    with pytest.raises(UserError, match=r"hidden is 5, and the model has rows for the tokens 0 to 4 only; .*GapT"):
        MaskedDiffusion(5, 4).loss(apply, batch | {"id": jnp.arange(1)}, jax.random.key(1))
