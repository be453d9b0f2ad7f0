"""LeNet-5 is the network that it is in torch.nn: the same logits and gradients, from the same weights."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from deeplab.models.vision.convolutional.lenet import LeNet

torch = pytest.importorskip("torch")
nn = torch.nn


class Tanh(nn.Module):
    def forward(self, x):
        return 1.7159 * torch.tanh(2 / 3 * x)


def of_torch():
    torch.manual_seed(0)
    return nn.Sequential(
        *(nn.Conv2d(1, 6, 5, padding=2), Tanh(), nn.AvgPool2d(2), nn.Conv2d(6, 16, 5), Tanh(), nn.AvgPool2d(2)),
        *(nn.Flatten(), nn.Linear(400, 120), Tanh(), nn.Linear(120, 84), Tanh(), nn.Linear(84, 10)),
    )


def ours(layers, of):
    """The parameters of theirs, or their gradients, as ours; torch flattens channels first."""
    names = ("conv1", "conv2", "hidden1", "hidden2", "classes")
    found = {}
    for name, layer in zip(names, [layer for layer in layers if hasattr(layer, "weight")], strict=True):
        kernel, bias = of(layer.weight).numpy(), of(layer.bias).numpy()
        if name == "hidden1":
            kernel = kernel.reshape(120, 16, 5, 5).transpose(0, 2, 3, 1).reshape(120, 400)
        found[name] = {"kernel": kernel.transpose(2, 3, 1, 0) if kernel.ndim == 4 else kernel.T, "bias": bias}
    return found


def test_it_is_that_of_torch():
    theirs, x = of_torch(), np.random.default_rng(0).normal(size=(3, 28, 28, 1)).astype(np.float32)
    params = ours(theirs, lambda p: p.detach())
    logits = theirs(torch.tensor(x.transpose(0, 3, 1, 2)))
    np.testing.assert_allclose(LeNet().apply({"params": params}, x), logits.detach().numpy(), rtol=1e-4, atol=1e-5)
    (logits**2).mean().backward()
    grads = jax.jit(jax.grad(lambda params: jnp.mean(LeNet().apply({"params": params}, x) ** 2)))(params)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5), grads, ours(theirs, lambda p: p.grad)
    )
