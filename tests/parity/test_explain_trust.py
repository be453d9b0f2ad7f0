"""Metrics of explanations equal those of Quantus and captum on the same maps, models and moves."""

import sys
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import deeplab as dl

torch = pytest.importorskip("torch")
captum = pytest.importorskip("captum.metrics")
KEY = jax.random.key(0)


def _modules(name, **members):
    made = types.ModuleType(name)
    vars(made).update(members)
    return made


@pytest.fixture(scope="module")
def quantus():
    """It imports zennit, which names four classes of torchvision; none of them is used here."""
    names = ("torchvision", "torchvision.models", "torchvision.models.vgg", "torchvision.models.resnet")
    absent = {name: _modules(name) for name in names if name not in sys.modules}
    classes = {"VGG": "vgg", "BasicBlock": "resnet", "Bottleneck": "resnet", "ResNet": "resnet"}
    for kind, module in classes.items():
        if f"torchvision.models.{module}" in absent:
            setattr(absent[f"torchvision.models.{module}"], kind, type(kind, (torch.nn.Module,), {}))
    sys.modules.update(absent)
    return pytest.importorskip("quantus", exc_type=ImportError)


@pytest.fixture(scope="module")
def maps():
    rng = np.random.default_rng(0)
    mask = np.zeros((6, 1, 8, 8), bool)
    mask[:, :, 2:6, 1:5] = True
    return rng.normal(size=(6, 1, 8, 8)).astype(np.float32), mask


def _ours(values):
    return jnp.asarray(values).transpose(0, 2, 3, 1)


@pytest.mark.parametrize(
    ("name", "options", "ours"),
    [
        ("PointingGame", {}, lambda v, m: dl.explain.localization(v, m)["pointing"]),
        ("RelevanceMassAccuracy", {}, lambda v, m: dl.explain.localization(v, m)["mass"]),
        ("RelevanceRankAccuracy", {}, lambda v, m: dl.explain.localization(v, m)["rank"]),
        ("AUC", {}, lambda v, m: dl.explain.localization(v, m)["auc"]),
        ("TopKIntersection", {"k": 12}, lambda v, m: dl.explain.localization(v, m, top=12)["top"]),
        ("Sparseness", {}, lambda v, m: dl.explain.gini(v)),
        ("Complexity", {}, lambda v, m: dl.explain.entropy(v)),
        ("EffectiveComplexity", {"eps": 0.5}, lambda v, m: dl.explain.effective_complexity(v, 0.5)),
    ],
)
def test_closed_forms_are_quantus(name, options, ours, quantus, maps):
    values, mask = maps
    metric = getattr(quantus, name)(disable_warnings=True, normalise=False, abs=True, **options)
    expected = metric(
        model=None, x_batch=values, y_batch=np.zeros(6, int), a_batch=np.abs(values), s_batch=mask.astype(float)
    )
    np.testing.assert_allclose(ours(_ours(values), _ours(mask)), np.asarray(expected, float), atol=1e-6)


@pytest.fixture(scope="module")
def networks():
    """The same perceptron in torch and here."""
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.Tanh(), torch.nn.Linear(16, 3))
    a, b, c, d = (jnp.asarray(p.detach().numpy()) for p in model.parameters())
    return model, lambda x: jnp.tanh(x @ a.T + b[None]) @ c.T + d[None]


@pytest.mark.parametrize("normalize", [False, True])
def test_infidelity_is_captums(networks, normalize):
    model, f = networks
    x = jax.random.normal(jax.random.key(2), (4, 8))
    target, n = jnp.array([0, 1, 2, 0]), 32
    values = jax.random.normal(jax.random.key(3), x.shape)
    moves = [0.1 * jax.random.normal(k, (1, *x.shape[1:]), x.dtype) for k in jax.random.split(KEY, n)]
    drawn = torch.from_numpy(
        np.repeat(np.stack(moves, axis=1), len(x), axis=0).reshape(-1, 8)
    )  # captum repeats each example n times

    def perturbed(inputs):
        return drawn, inputs - drawn

    expected = captum.infidelity(
        model,
        perturbed,
        torch.from_numpy(np.array(x)),
        torch.from_numpy(np.array(values)),
        target=torch.from_numpy(np.array(target, np.int64)),
        n_perturb_samples=n,
        normalize=normalize,
    )
    found = dl.explain.infidelity(f, x, values, target, key=KEY, n=n, normalize=normalize)
    np.testing.assert_allclose(found, expected.detach().numpy(), rtol=1e-5, atol=1e-5)


def test_max_sensitivity_is_captums(networks):
    model, f = networks
    x, n = jax.random.normal(jax.random.key(2), (4, 8)), 10
    moves = [0.02 * jax.random.uniform(k, (1, *x.shape[1:]), x.dtype, -1, 1) for k in jax.random.split(KEY, n)]
    drawn = torch.from_numpy(np.repeat(np.stack(moves, axis=1), len(x), axis=0).reshape(-1, 8))

    def explain(inputs):
        (inputs,) = inputs if isinstance(inputs, tuple) else (inputs,)
        with torch.enable_grad():  # captum measures without
            inputs = inputs.detach().requires_grad_()
            target = torch.tensor([0, 1, 2, 0]).repeat_interleave(len(inputs) // 4)
            score = model(inputs).gather(1, target[:, None]).sum()
            return (torch.autograd.grad(score, inputs)[0],)

    expected = captum.sensitivity_max(
        explain,
        torch.from_numpy(np.array(x)),
        perturb_func=lambda inputs, *_: (inputs + drawn,),
        n_perturb_samples=n,
    )

    def method(x):
        return jax.grad(lambda x: jnp.take_along_axis(f(x), jnp.array([[0], [1], [2], [0]]), axis=1).sum())(x)

    found = dl.explain.max_sensitivity(method, x, key=KEY, n=n)
    np.testing.assert_allclose(found, expected.numpy(), rtol=1e-4, atol=1e-5)
