"""Dropout by example, ensembles as one program, Laplace by brute force, and the parts of uncertainty."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import logsumexp

from deeplab.core.errors import UserError
from deeplab.core.runtime import Runtime
from deeplab.robust import calibration, uncertainty
from deeplab.robust.head import Head, tap_head
from deeplab.scale import make_mesh
from deeplab.train.bind import BoundApply, bind
from deeplab.train.feed import make_feed
from deeplab.train.initialize import init
from deeplab.train.loop import fit
from tests import toys
from tests.precision import float64

KEY = jax.random.key(7)


@given(st.integers(0, 2**31), st.integers(1, 6), st.integers(2, 5))
@settings(max_examples=60, deadline=None)
def test_the_parts_are_not_negative_and_add_up(seed, samples, classes):
    rng = np.random.default_rng(seed)
    p = rng.dirichlet(np.full(classes, rng.choice([0.01, 1.0, 100.0])), (samples, 9))
    total, aleatoric, epistemic = uncertainty.decompose(p)
    np.testing.assert_allclose(total, aleatoric + epistemic, atol=1e-12)
    assert (epistemic >= 0).all()
    assert (aleatoric > -1e-12).all()
    assert (total < np.log(classes) + 1e-9).all()
    safe = np.maximum(p, 1e-300)
    divergence = np.mean(np.sum(p * (np.log(safe) - np.log(safe.mean(axis=0))), axis=2), axis=0)
    np.testing.assert_allclose(epistemic, divergence, atol=1e-9)
    if samples == 1:
        np.testing.assert_allclose(epistemic, 0, atol=1e-12)


def test_variances_are_those_of_the_mixture():
    rng = np.random.default_rng(0)
    mean, variance = rng.normal(size=(4, 1)), rng.random((4, 1))
    drawn = mean + np.sqrt(variance) * rng.normal(size=(4, 400_000))
    assert uncertainty.decompose_normal(mean, variance).total[0] == pytest.approx(drawn.var(), rel=0.02)


@pytest.fixture(scope="module")
def bound():
    model, x = toys.Net(0.5), jnp.asarray(np.random.default_rng(0).normal(size=(12, 2)), jnp.float32)
    variables = jax.jit(model.init)(jax.random.key(0), x)
    rest = {"batch_stats": jax.tree.map(lambda v: v + 0.5, variables["batch_stats"])}
    return BoundApply(model, variables["params"], rest, jnp.arange(12), Runtime().precision), x


def _sampled(apply, x, samples):
    return jax.jit(lambda x: uncertainty.mc_dropout(apply, x, key=KEY, samples=samples))(x)


def test_the_masks_are_those_of_training(bound):
    apply, x = bound
    plain = BoundApply(toys.Net(0.5, norm=False), apply.params, {}, apply.ids, apply.precision)
    drawn = _sampled(plain, x, 3)
    train = jax.jit(lambda key: plain(x, train=True, key=key)[0])
    expected = [train(key) for key in jax.random.split(KEY, 3)]
    np.testing.assert_allclose(drawn, expected, rtol=1e-6, atol=1e-6)
    assert not np.allclose(drawn[0], drawn[1])


def test_an_example_has_its_outputs_whatever_stands_beside_it(bound):
    """Its masks are its own, and the batch norm keeps its running statistics."""
    apply, x = bound
    whole = _sampled(apply, x, 2)
    part = BoundApply(apply.module, apply.params, apply.variables, jnp.arange(5, 9), apply.precision)
    np.testing.assert_allclose(_sampled(part, x[5:9], 2), whole[:, 5:9], rtol=1e-5, atol=1e-6)


def test_without_dropout_there_is_nothing_to_sample(bound):
    apply, x = bound
    still = BoundApply(toys.Net(0.0), apply.params, apply.variables, apply.ids, apply.precision)
    with pytest.raises(UserError, match="Net has no nn.Dropout of a rate above 0"):  # noqa: RUF043
        uncertainty.mc_dropout(still, x, key=KEY)


def test_a_function_has_no_layers_to_look_into():
    """It was a TypeError of the function, or an AttributeError after its call."""
    for ask in (functools.partial(uncertainty.mc_dropout, key=KEY), tap_head):
        with pytest.raises(UserError, match="whose parameters are not known"):
            ask(lambda x: x, np.ones((2, 3)))


@pytest.mark.parametrize(("size", "alone"), [(2, (1,)), pytest.param(8, range(8), marks=pytest.mark.slow)])
def test_an_ensemble_is_its_members_alone(size, alone):
    """Trained as one program, and as solo runs of their seeds; evaluated as one program, and one by one."""
    exp = toys.experiment(steps=8, norm=False)
    members, data = uncertainty.train_ensemble(exp, size, seed=5), exp.data
    batch = data.fetch(data.open("test"), np.arange(16))
    outputs = jax.jit(lambda state: bind(exp, state, batch, Runtime())(batch["image"])[0])
    together = jax.jit(lambda states: uncertainty.ensemble(outputs, states))(members)
    assert together.shape == (size, 16, 4)
    feed = make_feed(data, data.open("train"), make_mesh("data=1"))
    solo = []
    for i in alone:
        state = jax.jit(lambda key: init(exp, key))(jax.random.key(5 + i))
        solo.append(fit(exp, state, feed, seed=5 + i).state)
        np.testing.assert_allclose(together[i], outputs(solo[-1]), rtol=1e-4, atol=1e-5)
    stacked = uncertainty.ensemble(outputs, uncertainty.stack(solo))
    np.testing.assert_allclose(stacked, together[np.array(alone)], rtol=1e-4, atol=1e-5)
    p = calibration.softmax(np.asarray(together).reshape(-1, 4)).reshape(size, 16, 4)
    assert (uncertainty.decompose(p).epistemic > 0).all()


RNG = np.random.default_rng(0)
X, LABEL = RNG.normal(size=(40, 3)), RNG.integers(0, 4, 40)
HEAD = Head(RNG.normal(size=(3, 4)), RNG.normal(size=4))


def test_the_curvature_is_the_hessian_by_brute_force():
    with float64():

        def loss(weights):
            table = weights.reshape(4, 4)
            z = jnp.asarray(X) @ table[:3] + table[3:]
            return -jnp.sum(jnp.take_along_axis(jax.nn.log_softmax(z), jnp.asarray(LABEL)[:, None], axis=1))

        at = jnp.concatenate([jnp.asarray(HEAD.kernel).ravel(), jnp.asarray(HEAD.bias)])
        hessian, likelihood = np.asarray(jax.jit(jax.hessian(loss))(at)), -float(loss(at))
        at = np.asarray(at)
    np.testing.assert_allclose(uncertainty.gauss_newton(X, HEAD), hessian, atol=1e-10)
    found = uncertainty.laplace(X, LABEL, HEAD, prior_precision=0.7)
    np.testing.assert_allclose(found.covariance, np.linalg.inv(hessian + 0.7 * np.eye(16)), atol=1e-10)
    determinant = np.linalg.slogdet(hessian / 0.7 + np.eye(16))[1]
    assert found.log_evidence == pytest.approx(likelihood - 0.35 * np.sum(at**2) - determinant / 2)


def test_logits_vary_as_drawn_weights_make_them():
    found = uncertainty.laplace(X, LABEL, HEAD, prior_precision=1.0)
    new = np.array([[0.1, 0.2, -0.3], [5.0, -4.0, 3.0]])
    extended = np.concatenate([new, np.ones((2, 1))], axis=1)
    drawn = np.random.default_rng(0).multivariate_normal(np.zeros(16), found.covariance, 200_000).reshape(-1, 4, 4)
    z = np.einsum("md,sdk->smk", extended, drawn)
    expected = np.einsum("smk,sml->mkl", z, z) / len(z)
    np.testing.assert_allclose(found.logit_covariance(new), expected, rtol=0.05, atol=0.02)
    exact = found.samples(new, 4000).mean(axis=0)
    np.testing.assert_allclose(found.probabilities(new[:1]), exact[:1], atol=0.01)
    np.testing.assert_allclose(found.probabilities(new), exact, atol=0.1)  # an approximation, the worse the wider


def test_the_variance_grows_with_the_distance_and_the_prior_is_the_likeliest():
    found = uncertainty.laplace(X, LABEL, HEAD)
    far = [np.trace(c) for c in found.logit_covariance(np.array([[1.0, 1, 1]]) * np.array([[1], [3], [9]]))]
    assert far == sorted(far)
    others = [uncertainty.laplace(X, LABEL, HEAD, found.prior_precision * by) for by in (0.5, 2.0)]
    assert all(found.log_evidence >= other.log_evidence for other in others)
    p = found.probabilities(100 * X)
    assert p.max() < 1 - 1e-6 < calibration.softmax(HEAD(100 * X)).max()


def test_two_classes_are_the_probit_of_their_difference():
    """By the definition, of one logit against one that is fixed at 0."""
    head = Head(np.array([[0.0, 1.0]]), np.zeros(2))
    found = uncertainty.laplace(np.array([[-1.0], [1.0]]), np.array([0, 1]), head, prior_precision=1.0)
    x = np.array([[2.0]])
    v = np.diagonal(found.logit_covariance(x)[0])
    z = head(x)[0] / np.sqrt(1 + np.pi / 8 * v)
    assert found.probabilities(x)[0, 1] == pytest.approx(np.exp(z[1] - logsumexp(z)))


def test_the_head_of_a_model_has_a_laplace(bound):
    apply, x = bound
    found = tap_head(apply, x)
    features, label = np.asarray(found.features), np.arange(12) % 4
    posterior = uncertainty.laplace(features, label, found.head)
    np.testing.assert_allclose(posterior.probabilities(features).sum(axis=1), 1)
    assert posterior.samples(features, 7).shape == (7, 12, 4)


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda: uncertainty.decompose(np.ones((3, 2))), r"expected \[S, N, K\]"),
        (lambda: uncertainty.decompose(np.ones((3, 2, 2))), "sums to 2"),
        (lambda: uncertainty.decompose_normal(np.ones((3, 2)), -np.ones((3, 2))), "0 or more"),
        (lambda: uncertainty.stack([]), "0 members"),
        (lambda: uncertainty.stack([{"w": np.ones(2)}, {"w": np.ones(3)}]), "of the same shapes"),
        (lambda: uncertainty.laplace(X, LABEL + 1, HEAD), "label 4 of example"),
        (lambda: uncertainty.gauss_newton(np.ones((1, 3000)), Head(np.ones((3000, 3)), np.ones(3))), "9,003 weights"),
    ],
)
def test_bad_input_is_told(call, told):
    with pytest.raises(UserError, match=told):
        call()
