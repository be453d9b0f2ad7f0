"""Influence and TracIn are those of captum, on the same weights."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from deeplab.explain.curvature import hessian_vector_product
from deeplab.explain.examples.influence import exact_solve, influence, tracin
from tests.precision import float64

torch = pytest.importorskip("torch")
pytest.importorskip("captum")
RNG = np.random.default_rng(0)
SIZES = (8, 16, 3)
WEIGHTS = [
    [(RNG.normal(size=(a, b)).astype(np.float32), RNG.normal(size=b).astype(np.float32)) for a, b in pairs]
    for pairs in [[*itertools.pairwise(SIZES)]] * 2
]  # two checkpoints of two layers
TRAIN, TEST = ({"x": RNG.normal(size=(n, 8)).astype(np.float32), "label": RNG.integers(0, 3, size=n)} for n in (9, 4))


def losses(params, batch):
    h = batch["x"]
    for i, (w, b) in enumerate(params):
        h = (jnp.tanh(h) if i else h) @ w + b[None]
    return optax.softmax_cross_entropy_with_integer_labels(h, batch["label"])


def torch_model(params):
    model = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.Tanh(), torch.nn.Linear(16, 3))
    load(model, params)
    return model


def load(model, params):
    with torch.no_grad():
        for layer, (w, b) in zip((model[0], model[2]), params, strict=True):
            layer.weight.copy_(torch.tensor(w.T))
            layer.bias.copy_(torch.tensor(b))
    return 1.0


def tensors(batch):
    return torch.tensor(batch["x"]), torch.tensor(batch["label"])


def test_tracin_is_captum_s():
    from captum.influence import TracInCP

    oracle = TracInCP(
        torch_model(WEIGHTS[0]), torch.utils.data.TensorDataset(*tensors(TRAIN)), ["0", "1"],
        checkpoints_load_func=lambda model, name: load(model, WEIGHTS[int(name)]),
        loss_fn=torch.nn.CrossEntropyLoss(reduction="none"), batch_size=3,
    )  # fmt: skip
    expected = oracle.influence(tensors(TEST)).detach().numpy()
    found = jax.jit(lambda: tracin(losses, WEIGHTS, TRAIN, TEST, chunk=4))()
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())


@pytest.mark.slow
def test_influence_is_captum_s():
    """Of the last layer, in double precision: with the inverse of the damped Hessian of the summed loss."""
    from captum.influence._core.influence_function import NaiveInfluenceFunction

    first, last = WEIGHTS[0]
    oracle = NaiveInfluenceFunction(
        torch_model(WEIGHTS[0]).double(),
        torch.utils.data.TensorDataset(*(t.double() if t.is_floating_point() else t for t in tensors(TRAIN))), "",
        checkpoints_load_func=lambda model, name: 1.0, layers=["2"],
        loss_fn=torch.nn.CrossEntropyLoss(reduction="none"), batch_size=3, projection_dim=51, hessian_reg=1e-3,
    )  # fmt: skip
    x, label = tensors(TEST)
    expected = oracle.influence((x.double(), label)).detach().numpy()
    with float64():
        head, body = jax.tree.map(jnp.float64, (last, first))
        train, test = ({"x": jnp.float64(b["x"]), "label": jnp.asarray(b["label"])} for b in (TRAIN, TEST))

        def of_head(params, batch):
            return losses([body, params], batch)

        product = hessian_vector_product(of_head, head, train)
        solve = exact_solve(product, head, damping=1e-3 / 9)  # of the mean loss of 9 examples
        found = np.asarray(jax.jit(lambda: influence(of_head, head, train, test, solve=solve))())
    np.testing.assert_allclose(found / 9, expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())
