"""Activations and their gradients against PyTorch's."""

import jax
import numpy as np
import pytest

from deeplab.nn.activations import ACTIVATIONS

torch = pytest.importorskip("torch")
F = torch.nn.functional

THEIRS = {
    "identity": torch.nn.Identity(),
    "relu": F.relu,
    "leaky_relu": F.leaky_relu,
    "prelu": lambda x: F.prelu(x, torch.tensor(0.25)),
    "relu6": F.relu6,
    "squared_relu": lambda x: F.relu(x) ** 2,
    "elu": F.elu,
    "celu": lambda x: F.celu(x, 2.0),
    "selu": F.selu,
    "gelu": F.gelu,
    "gelu_tanh": lambda x: F.gelu(x, approximate="tanh"),
    "silu": F.silu,
    "hard_silu": F.hardswish,
    "mish": F.mish,
    "softplus": F.softplus,
    "sigmoid": torch.sigmoid,
    "hard_sigmoid": F.hardsigmoid,
    "tanh": torch.tanh,
    "hard_tanh": F.hardtanh,
    "softsign": F.softsign,
    "soft_shrink": F.softshrink,
    "sine": torch.sin,
    "glu": F.glu,
}


@pytest.mark.parametrize("name", THEIRS)
def test_values_and_gradients_are_torch_s(name):
    x = np.random.default_rng(0).uniform(-8, 8, (64, 32)).astype(np.float32)  # off the kinks, almost surely
    given = torch.tensor(x, requires_grad=True)
    theirs = THEIRS[name](given)
    theirs.sum().backward()
    ours = ACTIVATIONS[name].function
    np.testing.assert_allclose(ours(x), theirs.detach().numpy(), rtol=1e-5, atol=2e-6)
    gradient = jax.grad(lambda x: ours(x).sum())(x)
    np.testing.assert_allclose(gradient, given.grad.numpy(), rtol=1e-4, atol=1e-5)
