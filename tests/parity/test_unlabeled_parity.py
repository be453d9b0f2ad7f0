"""Losses of embeddings equal those of lightly and of torch on the same embeddings, and see no padding."""

import importlib.util
import sys
import types
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from deeplab.tasks.unlabeled import moments, objectives

torch = pytest.importorskip("torch")
F = torch.nn.functional
B, D = 12, 8
RNG = np.random.default_rng(0)
A, Z, C, E = (RNG.normal(size=(B, D)).astype(np.float32) * 2 + 0.5 for _ in range(4))
LABEL = RNG.integers(0, 3, B)
ONES = jnp.ones(B)


@pytest.fixture(scope="module")
def lightly():
    """Its losses alone: its packages import torchvision, of which none of them needs anything."""
    found = importlib.util.find_spec("lightly")
    if found is None:
        pytest.skip("lightly is not installed")
    for name in ("lightly", "lightly.loss", "lightly.models", "lightly.models.modules"):
        module = types.ModuleType(name)
        module.__path__ = [str(Path(found.origin).parents[0].joinpath(*name.split(".")[1:]))]
        sys.modules[name] = module
    sys.modules["lightly.models"].utils = None  # asked for by a bank of negatives, which is empty here

    def loss(module, name, **options):
        return getattr(importlib.import_module(f"lightly.loss.{module}"), name)(**options)

    yield loss
    for name in [name for name in sys.modules if name.split(".")[0] == "lightly"]:
        del sys.modules[name]


def _t(x):
    return torch.tensor(np.asarray(x), requires_grad=True)


CASES = {
    "nt_xent": (
        lambda a, b: objectives.nt_xent(a, b, ONES, 0.2).mean(),
        ("ntx_ent_loss", "NTXentLoss", {"temperature": 0.2}),
        lambda loss, a, b: loss(a, b),
    ),
    "regression": (
        lambda a, b: objectives.regression(a, b).mean(),
        ("negative_cosine_similarity", "NegativeCosineSimilarity", {}),
        lambda loss, a, b: 2 + 2 * loss(a, b),
    ),
    "barlow_twins": (
        lambda a, b: moments.barlow_twins(a, b, ONES),
        ("barlow_twins_loss", "BarlowTwinsLoss", {}),
        lambda loss, a, b: loss(a, b),
    ),
    "vicreg": (
        lambda a, b: moments.vicreg(a, b, ONES),
        ("vicreg_loss", "VICRegLoss", {}),
        lambda loss, a, b: loss(a, b),
    ),
    "dino": (
        lambda a, b: objectives.dino((a, b), (jnp.array(C), jnp.array(E)), jnp.zeros(D), 0.1, 0.05).mean(),
        ("dino_loss", "DINOLoss", {"output_dim": D, "student_temp": 0.1, "teacher_temp": 0.05}),
        lambda loss, a, b: loss([torch.tensor(C), torch.tensor(E)], [a, b]),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_losses_are_lightlys(name, lightly):
    """Values and gradients."""
    ours, (module, kind, options), theirs = CASES[name]
    a, b = _t(A), _t(Z)
    expected = theirs(lightly(module, kind, **options), a, b)
    expected.backward()
    found, grads = jax.value_and_grad(ours, argnums=(0, 1))(jnp.array(A), jnp.array(Z))
    np.testing.assert_allclose(found, expected.detach(), rtol=1e-5)
    for ours_, theirs_ in zip(grads, (a, b), strict=True):
        np.testing.assert_allclose(ours_, theirs_.grad, rtol=1e-4, atol=1e-5 * float(theirs_.grad.abs().max()))


def test_the_center_of_dino_is_lightlys(lightly):
    loss = lightly("dino_loss", "DINOLoss", output_dim=D, teacher_temp=0.05)
    loss([torch.tensor(C), torch.tensor(E)], [torch.tensor(A), torch.tensor(Z)])
    center = 0.9 * np.zeros(D) + 0.1 * np.concatenate([C, E]).mean(axis=0)
    np.testing.assert_allclose(center, loss.center.reshape(-1), rtol=1e-5)
    expected = loss([torch.tensor(C), torch.tensor(E)], [torch.tensor(A), torch.tensor(Z)])
    found = objectives.dino((A, Z), (C, E), jnp.array(center, jnp.float32), 0.1, 0.05).mean()
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_supervised_contrast_is_its_definition():
    z, label = F.normalize(torch.tensor(np.concatenate([A, Z]))), np.tile(LABEL, 2)
    s = z @ z.T / 0.3
    losses = []
    for i in range(2 * B):
        others = [k for k in range(2 * B) if k != i]
        log_all = torch.logsumexp(s[i, others], 0)
        losses.append(np.mean([float(log_all - s[i, p]) for p in others if label[p] == label[i]]))
    found = objectives.supervised_contrast(jnp.array(A), jnp.array(Z), jnp.array(LABEL), ONES, 0.3)
    np.testing.assert_allclose(found, np.array(losses).reshape(2, B).mean(axis=0), rtol=1e-5)


def test_with_a_class_each_supervised_contrast_is_nt_xent():
    given = jnp.array(A), jnp.array(Z)
    found = objectives.supervised_contrast(*given, jnp.arange(B), ONES, 0.3)
    np.testing.assert_allclose(found, objectives.nt_xent(*given, ONES, 0.3), rtol=1e-6)


def test_sigmoid_pairs_is_its_definition():
    logits = 10.0 * F.normalize(torch.tensor(A)) @ F.normalize(torch.tensor(Z)).T - 3.0
    expected = -F.logsigmoid(logits * (2 * torch.eye(B) - 1)).sum(dim=1)
    found = objectives.sigmoid_pairs(jnp.array(A), jnp.array(Z), ONES, 10.0, -3.0)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


OF_PAIRS = {
    "nt_xent": lambda a, b, w: objectives.nt_xent(a, b, w),
    "supervised_contrast": lambda a, b, w: objectives.supervised_contrast(a, b, jnp.arange(len(a)) % 3, w),
    "sigmoid_pairs": lambda a, b, w: objectives.sigmoid_pairs(a, b, w, 5.0, -2.0),
    "barlow_twins": lambda a, b, w: moments.barlow_twins(a, b, w)[None],
    "vicreg": lambda a, b, w: moments.vicreg(a, b, w)[None],
}


@pytest.mark.parametrize("name", OF_PAIRS)
def test_examples_of_weight_zero_are_not_there(name):
    """Value and gradient of a padded batch are those of the batch without its padding."""
    loss = OF_PAIRS[name]
    weight = ONES.at[9:].set(0)
    pad = [jnp.array(x).at[9:].multiply(7) for x in (A, Z)]

    def mean(a, b, weight):
        losses = loss(a, b, weight)
        return jnp.sum(losses[:9]) / min(9, len(losses))

    padded = jax.value_and_grad(mean, argnums=(0, 1))(*pad, weight)
    alone = jax.value_and_grad(mean, argnums=(0, 1))(pad[0][:9], pad[1][:9], jnp.ones(9))
    np.testing.assert_allclose(padded[0], alone[0], rtol=1e-5)
    for a, b in zip(padded[1], alone[1], strict=True):
        np.testing.assert_allclose(a[:9], b, rtol=1e-4, atol=1e-6)
        np.testing.assert_array_equal(a[9:], 0)
