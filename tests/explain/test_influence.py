"""Influence scores predict what retraining gives: exactly where the model is linear, and with a sign and a unit."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.flatten_util import ravel_pytree
from scipy import stats
from sklearn import datasets, metrics

from deeplab.core.errors import UserError
from deeplab.explain.curvature import gauss_newton_product, hessian_vector_product
from deeplab.explain.examples import influence as scores
from deeplab.explain.examples.gradients import gradient_products, per_example_gradients
from deeplab.explain.examples.retraining import all_but, lds, random_subset

KEY = jax.random.key(0)
N, T, D = 60, 7, 5
X, TEST_X = jax.random.normal(KEY, (N, D)), jax.random.normal(jax.random.key(1), (T, D))
W = jax.random.normal(jax.random.key(2), (D,))
DECAY = 0.05


def labels(x, key):
    return (x @ W + jax.random.normal(key, (len(x),)) > 0).astype(jnp.float32)


TRAIN = {"x": X, "y": labels(X, jax.random.key(3))}
TEST = {"x": TEST_X, "y": labels(TEST_X, jax.random.key(4))}


def ridge(w, batch):
    return (batch["x"] @ w - batch["y"]) ** 2 / 2


def logistic(w, batch):
    return jax.nn.softplus(batch["x"] @ w) - batch["y"] * (batch["x"] @ w)


@jax.jit
def agreement(scores, masks, outputs):
    return lds(scores, masks, outputs, key=KEY)


@functools.partial(jax.jit, static_argnums=0)
def fitted(losses, weight):
    """The minimum of the weighted mean loss and the decay, by Newton's method."""
    f = lambda w: weight @ losses(w, TRAIN) / N + DECAY / 2 * w @ w  # noqa: E731
    step = lambda w, _: (w - jnp.linalg.solve(jax.hessian(f)(w), jax.grad(f)(w)), None)  # noqa: E731
    return jax.lax.scan(step, jnp.zeros(D), length=8)[0]


def retrained(losses, weights):
    """Losses of the test examples after training with each row of weights, [S, N] -> [S, T]."""
    return jax.jit(jax.vmap(lambda weight: losses(fitted(losses, weight), TEST)))(weights.astype(jnp.float32))


def solvers(losses, w):
    product = hessian_vector_product(losses, w, TRAIN)
    return {
        "cg": scores.conjugate_gradients(product, DECAY, tol=1e-6),
        "exact": scores.exact_solve(product, w, DECAY),
    }


@pytest.mark.parametrize(("losses", "solver"), [(ridge, "exact"), (logistic, "cg")])
def test_influence_is_leaving_one_out(losses, solver):
    """In its order, its sign and its unit; what is left is of second order in 1 / N."""
    w = fitted(losses, jnp.ones(N))
    found = jax.jit(lambda: scores.influence(losses, w, TRAIN, TEST, solve=solvers(losses, w)[solver], chunk=4))()
    without = retrained(losses, jax.vmap(lambda n: all_but(n, N))(jnp.arange(N)))  # [N, T]
    change = (without - retrained(losses, jnp.ones((1, N)))).T
    assert np.corrcoef(found.ravel(), change.ravel())[0, 1] >= 0.99
    np.testing.assert_allclose(np.polyfit(found.ravel() / N, change.ravel(), 1)[0], 1, atol=0.15)
    solve = solvers(losses, w)[solver]
    whole = jax.jit(lambda: scores.influence(losses, w, TRAIN, TEST, solve=solve))()
    np.testing.assert_allclose(found, whole, rtol=1e-3, atol=1e-4)
    own = jax.jit(lambda: scores.self_influence(losses, w, TRAIN, solve=solve))()
    of_train = jax.jit(lambda: scores.influence(losses, w, TRAIN, TRAIN, solve=solve))()
    np.testing.assert_allclose(own, jnp.diag(of_train), rtol=1e-3, atol=1e-4)


def test_what_is_not_solved_is_nan():
    """Of a matrix with a negative eigenvalue above the damping in size, conjugate gradients know no inverse."""
    product = lambda v: jnp.array([1.0, -1.0, 0.5]) * v  # noqa: E731
    b = jnp.array([1.0, 2.0, 3.0])
    assert jnp.isnan(scores.conjugate_gradients(product, 1e-3, iterations=2)(b)).all()
    np.testing.assert_allclose(scores.exact_solve(product, b, 0.5)(b), b / jnp.array([1.5, -0.5, 1.0]), rtol=1e-5)


def test_tracin_is_the_sum_over_checkpoints():
    checkpoints, rates = [W, 2 * W, jnp.zeros(D)], [0.1, 0.2, 0.3]
    expected = sum(
        rate * per_example_gradients(logistic, w, TEST) @ per_example_gradients(logistic, w, TRAIN).T
        for w, rate in zip(checkpoints, rates, strict=True)
    )
    found = jax.jit(lambda: scores.tracin(logistic, checkpoints, TRAIN, TEST, rates=rates, chunk=4))()
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)
    cosine = jax.jit(lambda: scores.gradient_similarity(logistic, W, TRAIN, TRAIN, cosine=True))()
    np.testing.assert_allclose(jnp.diag(cosine), 1, rtol=1e-5)
    with pytest.raises(UserError, match="1 rates for 2 checkpoints"):
        scores.tracin(logistic, [W, W], TRAIN, TEST, rates=[0.1])


@pytest.mark.slow
def test_trak_of_a_linear_model_is_its_kernel():
    """Where the sketch adds no two of the D features, the kernel of a linear margin is x (X^T X)^-1 x'."""
    w = fitted(logistic, jnp.ones(N))
    signs = {name: 2 * part["y"] - 1 for name, part in (("train", TRAIN), ("test", TEST))}
    kernel = TEST_X @ jnp.linalg.solve(X.T @ X, X.T)
    wrong = 1 - jnp.exp(-logistic(w, TRAIN))
    expected = signs["test"][:, None] * kernel * signs["train"][None] * wrong[None]
    found = jax.jit(lambda: scores.trak(logistic, [w], TRAIN, TEST, key=KEY, size=32, ridge=1e-6, chunk=16))()
    np.testing.assert_allclose(found, expected, rtol=1e-2, atol=1e-3)
    masks = jax.vmap(lambda s: random_subset(s, N))(jnp.arange(300))
    assert agreement(found, masks, -retrained(logistic, masks)).mean > 0.8


@pytest.mark.slow
def test_a_sketch_keeps_inner_products():
    a, b = (ravel_pytree({"w": jax.random.normal(jax.random.key(i), (40, 50))})[0] for i in (5, 6))
    b = b + a
    keys = jax.random.split(KEY, 500)
    products = jax.vmap(lambda k: scores.sketch(k, a, 64)(a) @ scores.sketch(k, a, 64)(b))(keys)
    error = float(jnp.linalg.norm(a) * jnp.linalg.norm(b)) / 8
    np.testing.assert_allclose(products.mean(), a @ b, atol=4 * error / 500**0.5)
    assert products.std() < 1.5 * error


def test_the_datamodeling_score_ranks_the_methods():
    masks = jax.vmap(lambda s: random_subset(s, N))(jnp.arange(300))
    assert set(np.asarray(masks.sum(axis=1)).tolist()) == {N // 2}
    outputs = -retrained(logistic, masks)
    w = fitted(logistic, jnp.ones(N))
    good = jax.jit(lambda: scores.influence(logistic, w, TRAIN, TEST, solve=solvers(logistic, w)["exact"]))()
    found = agreement(good, masks, outputs)
    assert found.low < found.mean < found.high
    assert found.low > 0.9
    random = agreement(jax.random.normal(KEY, good.shape), masks, outputs)
    assert random.low < 0 < random.high
    predicted = np.asarray(masks, np.float32) @ np.asarray(good).T
    expected = [stats.spearmanr(predicted[:, t], outputs[:, t]).statistic for t in range(T)]
    np.testing.assert_allclose(found.each, expected, atol=1e-5)
    with pytest.raises(UserError, match=r"scores \[T, N\] are \[7, 60\]"):
        lds(good, masks, outputs.T, key=KEY)


@pytest.mark.slow
def test_flipped_labels_of_digits_are_found():
    """A tenth of the labels: by their own influence, and by their harm to clean images."""
    digits, rng = datasets.load_digits(), np.random.default_rng(0)
    order, flipped = rng.permutation(len(digits.data)), np.arange(1200) % 10 == 0
    pixels, labels = jnp.float32(digits.data[order] / 16), digits.target[order]
    wrong = np.where(flipped, (labels[:1200] + rng.integers(1, 10, 1200)) % 10, labels[:1200])
    train = {"x": pixels[:1200], "y": jnp.asarray(wrong)}
    clean = {"x": pixels[1200:1500], "y": jnp.asarray(labels[1200:1500])}

    def logits(p, batch):
        return jax.nn.relu(batch["x"] @ p["w"] + p["b"][None]) @ p["v"]

    def of_logits(out, batch):
        return optax.softmax_cross_entropy_with_integer_labels(out, batch["y"])

    def losses(p, batch):
        return of_logits(logits(p, batch), batch)

    @jax.jit
    def found(p):
        def step(carry, _):
            updates, moments = adam.update(jax.grad(lambda p: losses(p, train).mean())(carry[0]), carry[1], carry[0])
            return (optax.apply_updates(carry[0], updates), moments), None

        adam = optax.adamw(1e-2, weight_decay=1e-2)
        p = jax.lax.scan(step, (p, adam.init(p)), length=100)[0][0]
        solve = scores.conjugate_gradients(gauss_newton_product(logits, of_logits, p, train), 0.1)
        good = jax.tree.map(lambda g: g[None], solve(jax.grad(lambda p: losses(p, clean).mean())(p)))
        return scores.self_influence(losses, p, train), -gradient_products(losses, p, good, train)[0]

    shapes = {"w": (64, 16), "b": (16,), "v": (16, 10)}
    own, harm = found({k: jax.random.normal(KEY, shape) / shape[0] ** 0.5 for k, shape in shapes.items()})
    assert metrics.roc_auc_score(flipped, own) >= 0.98
    assert metrics.roc_auc_score(flipped, harm) >= 0.9
