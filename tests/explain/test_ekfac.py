"""EK-FAC equals its definition, the Gauss-Newton matrix where that has its form, and its best diagonal elsewhere."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.flatten_util import ravel_pytree
from sklearn import datasets

from deeplab.core.errors import UserError
from deeplab.explain.curvature import gauss_newton_product
from deeplab.explain.examples import influence as scores
from deeplab.explain.examples.kronecker import ekfac
from tests.precision import float64

KEY = jax.random.key(0)
DAMPING = 0.1


def cross_entropy(logits, batch):
    return optax.softmax_cross_entropy_with_integer_labels(logits, batch["y"])


def halved_square(out, batch):
    return jnp.sum(out**2, axis=tuple(range(1, out.ndim))) / 2


def affine(p, batch):
    return batch["x"] @ p["w"] + p["b"][None]


def drawn(*shape):
    return jax.random.normal(jax.random.fold_in(KEY, sum(shape)), shape)


def as_matrix(function, params):
    flat, unravel = ravel_pytree(params)
    return jax.vmap(lambda v: ravel_pytree(function(unravel(v)))[0])(jnp.eye(flat.size)).T


def both(outputs, losses, params, batch, **given):
    """The matrix of EK-FAC and that of Gauss-Newton; from the inverse, with a damping that hides no number."""
    with float64():
        wide = lambda x: x.astype(float) if x.dtype == jnp.float32 else x  # noqa: E731
        params, batch = jax.tree.map(wide, (params, batch))
        inverse = jax.jit(lambda: as_matrix(ekfac(outputs, losses, params, batch, DAMPING, **given), params))()
        exact = jax.jit(lambda: as_matrix(gauss_newton_product(outputs, losses, params, batch), params))()
        return np.linalg.inv(inverse) - DAMPING * np.eye(len(inverse)), np.asarray(exact)


def test_a_linear_softmax_is_the_definition_by_hand():
    B, D, K = 12, 4, 3
    params = {"b": drawn(K), "w": drawn(D, K)}
    batch = {"x": drawn(B, D), "y": jnp.arange(B) % K}
    found, _ = both(affine, cross_entropy, params, batch)
    x = np.concatenate([np.float64(batch["x"]), np.ones((B, 1))], axis=1)
    logits = x[:, :D] @ np.float64(params["w"]) + np.float64(params["b"])
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    curves = np.stack([np.diag(row) - np.outer(row, row) for row in p])  # [B, K, K], of which each is a sum over labels
    left, right = (np.linalg.eigh(s)[1] for s in (x.T @ x / B, curves.mean(axis=0)))
    along = (x @ left) ** 2
    diagonal = np.einsum("bi,bj->ij", along, np.einsum("kj,bkl,lj->bj", right, curves, right)) / B
    basis = np.kron(left, right)
    by_hand = basis @ np.diag(diagonal.reshape(-1)) @ basis.T
    order = np.r_[D * K : (D + 1) * K, : D * K]  # the bias, which is the last row, is the first leaf
    np.testing.assert_allclose(found, by_hand[np.ix_(order, order)], atol=1e-10)


def direction(K):
    batch = {"x": jnp.sign(drawn(9, 1)) * drawn(1, 4), "y": jnp.arange(9) % K}
    return lambda w, b: b["x"] @ w, cross_entropy, drawn(4, K), batch


@pytest.mark.parametrize(
    ("outputs", "losses", "params", "batch"),
    [
        (affine, halved_square, {"w": drawn(4, 1), "b": drawn(1)}, {"x": drawn(9, 4)}),
        direction(3),
        (affine, halved_square, {"w": drawn(4, 3), "b": drawn(3)}, {"x": drawn(9, 4)}),
    ],
    ids=["one output", "inputs of one direction and length", "one curvature of all"],
)
def test_it_is_exact_where_the_matrix_is_a_kronecker_product(outputs, losses, params, batch):
    found, exact = both(outputs, losses, params, batch)
    np.testing.assert_allclose(found, exact, atol=1e-6 * np.abs(exact).max())


class Stack(nn.Module):
    """Layers of a loop, with a norm in each, and a head."""

    @nn.compact
    def __call__(self, x):
        class Block(nn.Module):
            @nn.compact
            def __call__(self, x):
                return x + jnp.tanh(nn.Dense(3)(nn.LayerNorm()(x))), None

        layers = nn.scan(nn.remat(Block), variable_axes={"params": 0}, split_rngs={"params": True}, length=2)
        return nn.Dense(2)(layers(name="blocks")(x)[0].mean(axis=1))


class Convolved(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = nn.relu(nn.Conv(2, (3, 2), strides=2, kernel_dilation=(1, 2))(x))
        return nn.Conv(2, (2, 2), padding="VALID")(x).mean(axis=(1, 2))


def of_module(module, x):
    params = jax.jit(module.init)(KEY, x)["params"]
    params = jax.tree.map(lambda p: p + 0.3 * drawn(*p.shape), params)  # biases and scales as well
    return lambda p, batch: module.apply({"params": p}, batch["x"]), params, {"x": x, "y": jnp.arange(len(x)) % 2}


def tied(p, batch):
    """A weight that is used twice, once on the left of a product."""
    hidden = jnp.tanh(batch["x"] @ p["w"] + p["b"][None])
    return jnp.einsum("ij,bi->bj", p["w"], hidden)[:, :2] * p["scale"][None]


PROGRAMS = {
    "perceptron": lambda: of_module(nn.Sequential([nn.Dense(3), jnp.tanh, nn.Dense(2)]), drawn(6, 4)),
    "heads": lambda: of_module(
        nn.Sequential([nn.DenseGeneral((2, 2)), jnp.tanh, nn.DenseGeneral(2, (-2, -1))]), drawn(6, 3)
    ),
    "convolutions": lambda: of_module(Convolved(), drawn(5, 6, 5, 2)),
    "stack": lambda: of_module(Stack(), drawn(5, 2, 3)),
    "tied": lambda: (
        *(tied, {"b": drawn(3), "scale": drawn(2), "w": drawn(3, 3)}),
        {"x": drawn(7, 3), "y": jnp.arange(7) % 2},
    ),
}


DEAR = ("heads", "stack", "tied")  # to compile


@pytest.mark.parametrize("name", [pytest.param(n, marks=[pytest.mark.slow] * (n in DEAR)) for n in PROGRAMS])
@pytest.mark.filterwarnings("ignore:EK-FAC has a diagonal only")
def test_it_is_the_best_diagonal_in_its_basis(name):
    """Of all matrices that are diagonal there, it is the nearest: what it lacks is orthogonal to it."""
    outputs, params, batch = PROGRAMS[name]()
    found, exact = both(outputs, cross_entropy, params, batch, chunk=4)
    np.testing.assert_allclose(np.trace(found), np.trace(exact), rtol=1e-8)
    np.testing.assert_allclose(np.sum(found * (exact - found)), 0, atol=1e-8 * np.sum(exact**2))
    assert np.linalg.norm(found - exact) < np.linalg.norm(np.diag(np.diag(exact)) - exact)


def test_a_convolution_is_a_product_of_patches():
    x, w, numbers = drawn(4, 5, 5, 2), drawn(2, 2, 2, 3), ("NHWC", "HWIO", "NHWC")

    def convolved(w, batch):
        return jax.lax.conv_general_dilated(batch["x"], w, (2, 1), "SAME", dimension_numbers=numbers)

    padded = np.pad(x, ((0, 0), (0, 1), (0, 1), (0, 0)))
    patches = np.stack([[padded[:, r : r + 2, c : c + 2] for c in range(5)] for r in (0, 2, 4)])
    product = {"x": jnp.asarray(patches).transpose(2, 0, 1, 3, 4, 5).reshape(4, 3, 5, 8)}
    whole = both(lambda w, b: jnp.tanh(convolved(w, b)).sum(axis=(1, 2)), halved_square, w, {"x": x})
    flat = both(lambda w, b: jnp.tanh(b["x"] @ w).sum(axis=(1, 2)), halved_square, w.reshape(8, 3), product)
    for a, b in zip(whole, flat, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-9)


def test_what_has_no_layer_is_refused_and_what_is_in_none_is_named():
    def tried(outputs, params, batch):
        return jax.eval_shape(lambda p: ekfac(outputs, halved_square, p, batch)(p), params)

    with pytest.raises(UserError, match=r"no product .* among \['a'\]"):
        tried(lambda p, b: b["x"] * p["a"][None], {"a": drawn(3)}, {"x": drawn(2, 3)})
    params = {"table": drawn(5, 3), "w": drawn(3, 2)}
    with pytest.warns(UserWarning, match=r"diagonal only for \['table'\],"):
        tried(lambda p, b: p["table"][b["i"]] @ p["w"], params, {"i": jnp.arange(4)})


@pytest.mark.slow
def test_scores_of_a_trained_network_are_near_those_of_the_whole_matrix():
    digits = datasets.load_digits()
    x, y = jnp.float32(digits.data / 16), jnp.asarray(digits.target)
    train, test = ({"x": x[part], "y": y[part]} for part in (slice(400), slice(400, 440)))
    module = nn.Sequential([nn.Dense(16), nn.relu, nn.Dense(10)])
    logits = lambda p, batch: module.apply({"params": p}, batch["x"])  # noqa: E731
    losses = lambda p, batch: cross_entropy(logits(p, batch), batch)  # noqa: E731
    adam = optax.adamw(1e-2, weight_decay=1e-2)

    @jax.jit
    def found(p):
        def step(carry, _):
            updates, moments = adam.update(jax.grad(lambda p: losses(p, train).mean())(carry[0]), carry[1], carry[0])
            return (optax.apply_updates(carry[0], updates), moments), None

        p = jax.lax.scan(step, (p, adam.init(p)), length=100)[0][0]
        of = functools.partial(scores.influence, losses, p, train, test)
        product = gauss_newton_product(logits, cross_entropy, p, train)
        iterative = scores.conjugate_gradients(product, DAMPING)
        return of(solve=iterative), of(solve=ekfac(logits, cross_entropy, p, train, DAMPING)), of(solve=lambda g: g)

    exact, fast, plain = found(jax.jit(module.init)(KEY, x[:1])["params"])
    near = lambda a: np.mean([np.corrcoef(u, v)[0, 1] for u, v in zip(a, exact, strict=True)])  # noqa: E731
    assert near(fast) > max(0.95, near(plain) + 0.05)  # 0.968, and 0.871 of plain gradients
