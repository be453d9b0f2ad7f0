"""Scores of unusual examples: scikit-learn's where it has them, the definitions, and what a tap of a model gives."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.covariance import EmpiricalCovariance
from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve
from sklearn.neighbors import NearestNeighbors

from deeplab.core.errors import UserError
from deeplab.core.runtime import Runtime
from deeplab.robust import shift
from deeplab.robust.head import Head, tap_head
from deeplab.train.bind import BoundApply
from tests import toys

RNG = np.random.default_rng(0)
TRAIN, LABEL = RNG.normal(size=(300, 6)), RNG.integers(0, 3, 300)
TRAIN[:, 0] += LABEL
NEW = RNG.normal(size=(40, 6)) * 1.5
HEAD = Head(RNG.normal(size=(6, 3)), RNG.normal(size=3))


@given(st.integers(0, 2**31), st.integers(1, 8), st.sampled_from([0.5, 0.8, 0.95, 1.0]))
@settings(max_examples=60, deadline=None)
def test_areas_and_rates_are_scikit_learns(seed, values, tpr):
    """With ties: the scores are of few values."""
    rng = np.random.default_rng(seed)
    inside, outside = rng.integers(0, values, 30) / 1.0, rng.integers(0, values, 17) + rng.integers(0, 2)
    score, is_out = np.append(inside, outside), np.arange(47) >= 30
    found = shift.detect(inside, outside)
    assert found.auroc == pytest.approx(roc_auc_score(is_out, score), abs=1e-12)
    assert found.aupr_out == pytest.approx(average_precision_score(is_out, score), abs=1e-12)
    assert found.aupr_in == pytest.approx(average_precision_score(~is_out, -score), abs=1e-12)
    for positive, (y, s) in {"in": (~is_out, -score), "out": (is_out, score)}.items():
        false, true, _ = roc_curve(y, s, drop_intermediate=False)
        expected = false[np.argmax(true >= tpr - 1e-12)]
        assert shift.fpr_at_tpr(inside, outside, tpr, positive) == pytest.approx(expected, abs=1e-12)


def test_a_score_that_is_nan_is_not_told_apart():
    found = shift.detect(np.array([0.0, np.nan]), np.array([1.0]))
    assert np.isnan(found).all()


@given(st.floats(-5, 5), st.floats(0.3, 4))
@settings(max_examples=20, deadline=None)
def test_energy_moves_with_the_logits(summand, temperature):
    z = TRAIN[:50]
    moved = shift.energy(z + summand, temperature)
    np.testing.assert_allclose(moved, shift.energy(z, temperature) - summand, atol=1e-9)
    assert (shift.energy(z) <= shift.max_logit(z)).all()


def test_mahalanobis_of_one_class_is_scikit_learns():
    theirs = EmpiricalCovariance().fit(TRAIN).mahalanobis(NEW)
    np.testing.assert_allclose(shift.mahalanobis(TRAIN, np.zeros(300, int))(NEW), theirs, atol=1e-9)
    np.testing.assert_allclose(shift.mahalanobis(TRAIN, np.zeros(300, int), relative=True)(NEW), 0, atol=1e-9)


def test_mahalanobis_does_not_change_with_the_basis():
    rotation = np.linalg.qr(RNG.normal(size=(6, 6)))[0] @ np.diag([1, 2, 3, 4, 5, 6.0])
    for relative in (False, True):
        once = shift.mahalanobis(TRAIN, LABEL, relative)(NEW)
        np.testing.assert_allclose(
            shift.mahalanobis(TRAIN @ rotation, LABEL, relative)(NEW @ rotation), once, rtol=1e-8
        )


def test_a_unit_that_is_always_zero_counts_nothing():
    dead = np.concatenate([TRAIN, np.zeros((300, 1))], axis=1)
    new = np.concatenate([NEW, np.ones((40, 1))], axis=1)
    np.testing.assert_allclose(shift.mahalanobis(dead, LABEL)(new), shift.mahalanobis(TRAIN, LABEL)(NEW), rtol=1e-8)


def test_neighbors_are_scikit_learns():
    unit = [x / np.linalg.norm(x, axis=1, keepdims=True) for x in (TRAIN, NEW)]
    theirs = NearestNeighbors(n_neighbors=9).fit(unit[0]).kneighbors(unit[1])[0][:, -1]
    np.testing.assert_allclose(shift.knn_score(TRAIN, NEW, 9), theirs, atol=1e-12)


def test_vim_is_energy_in_the_principal_space_and_rises_out_of_it():
    flat = np.concatenate([TRAIN[:, :3], np.zeros((300, 3))], axis=1)
    flat += 1e-3 * RNG.normal(size=flat.shape)
    head = Head(HEAD.kernel, np.zeros(3))
    score = shift.vim(flat, head, 3)
    out = np.eye(6)[5][None]
    assert score(out)[0] - shift.energy(head(out))[0] > 100  # of the order of a logit over the residual's size
    largest, virtual = head(flat).max(axis=1).mean(), (score(flat) - shift.energy(head(flat))).mean()
    assert virtual == pytest.approx(largest)


@pytest.mark.parametrize("kind", ["s", "p", "b"])
def test_what_ash_keeps(kind):
    x = np.abs(NEW)
    made = shift.ash(x, 0.5, kind)
    assert ((made > 0).sum(axis=1) == 3).all()
    assert ((made > 0) == (x > np.sort(x, axis=1)[:, 2:3])).all()
    if kind == "b":
        np.testing.assert_allclose(made.sum(axis=1), x.sum(axis=1))
    if kind == "s":
        kept = np.where(made > 0, x, 0)
        factor = np.exp(x.sum(axis=1, keepdims=True) / kept.sum(axis=1, keepdims=True))
        np.testing.assert_allclose(made, kept * factor)
    if kind == "p":
        assert set(made[made > 0]) <= set(x.ravel())


def test_ash_keeps_one_feature_at_least():
    np.testing.assert_allclose(shift.ash(np.array([[3.0]]), 0.65, "b"), [[3.0]])


def test_the_table_finds_what_is_far():
    far = np.random.default_rng(1).normal(size=(200, 6)) * 6
    found = shift.detections(shift.feature_scores(TRAIN[:200], LABEL[:200], HEAD), TRAIN[200:], far)
    assert len(found) == 10
    assert found["mahalanobis"].auroc > 0.95
    assert found["mahalanobis"].fpr95 < 0.2
    near = shift.detections(shift.feature_scores(TRAIN[:200], LABEL[:200], HEAD), TRAIN[200:], TRAIN[200:])
    assert all(each.auroc == pytest.approx(0.5) for each in near.values())


@pytest.fixture(scope="module")
def bound():
    model, x = toys.Net(norm=False), jnp.asarray(np.random.default_rng(0).normal(size=(16, 2)), jnp.float32)
    params = jax.jit(model.init)(jax.random.key(0), x)["params"]
    return BoundApply(model, params, {}, jnp.arange(16), Runtime().precision), x


def test_the_head_reads_what_it_is_said_to_read(bound):
    apply, x = bound
    found = jax.jit(lambda x: tap_head(apply, x)[:3])(x)
    np.testing.assert_allclose(found[2](found[1]), found[0], atol=1e-5)
    named = tap_head(apply, x, name="hidden")
    np.testing.assert_array_equal(named.features, x)
    assert tap_head(apply, x).name == "head"
    with pytest.raises(UserError, match="calls no nn\\.Dense 'haed'; did you mean 'head'"):
        tap_head(apply, x, name="haed")


class Twice(nn.Module):
    """One layer that is called first and last."""

    @nn.compact
    def __call__(self, x, train=False):
        shared = nn.Dense(2, use_bias=False, name="shared")
        return shared(nn.Dense(2, name="between")(shared(x)))


def test_the_last_call_of_a_shared_layer_is_the_head():
    x = jnp.ones((3, 2))
    params = jax.jit(Twice().init)(jax.random.key(0), x)["params"]
    found = tap_head(BoundApply(Twice(), params, {}, jnp.arange(3), Runtime().precision), x)
    assert found.name == "shared"
    np.testing.assert_allclose(found.head(found.features), found.outputs, atol=1e-5)


def test_odin_is_a_step_towards_the_decision(bound):
    apply, x = bound
    logits_of = jax.jit(lambda x: apply(x)[0])
    plain, moved = (
        jax.jit(lambda x, r=radius: shift.odin(apply, x, temperature=3.0, radius=r))(x) for radius in (0.0, 1e-3)
    )
    np.testing.assert_allclose(plain, shift.msp(logits_of(x) / 3), atol=1e-6)
    assert (moved <= plain + 1e-7).all()
    assert (moved < plain - 1e-5).mean() > 0.8
    direction = jax.jit(jax.grad(lambda x: jax.nn.log_softmax(apply(x)[0] / 3).max(axis=1).sum()))(x)
    expected = shift.msp(logits_of(x + 1e-3 * jnp.sign(direction)) / 3)
    np.testing.assert_allclose(moved, expected, atol=1e-6)


def test_odin_takes_a_function_of_logits(bound):
    apply, x = bound
    plain = shift.odin(lambda x: apply(x)[0], x)
    assert plain.shape == (16,)
    np.testing.assert_array_equal(plain, shift.odin(apply, x))


@pytest.mark.parametrize("kind", ["s", "p", "b"])
def test_features_with_a_nan_have_no_score(kind):
    x = np.array([[1.0, np.nan, 3.0], [1.0, 2.0, 3.0]])
    assert np.isnan(shift.ash(x, 0.5, kind)).tolist() == [[True] * 3, [False] * 3]
    assert np.isnan(shift.mahalanobis(TRAIN[:, :3], LABEL)(x)).tolist() == [True, False]


SCORES = shift.feature_scores(TRAIN, LABEL, HEAD)


@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize("features", [NEW[:, :1], NEW[0]])
def test_features_are_of_the_size_of_those_of_training(score, features):
    """One feature would be taken for all of them."""
    with pytest.raises(UserError, match=r"\[40, 1\]|\[6\]"):
        SCORES[score](features)


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda: shift.detect(np.zeros(0), np.zeros(3)), "0 scores inside and 3 outside"),
        (lambda: shift.mahalanobis(TRAIN, LABEL[1:]), r"labels \[299\]"),
        (lambda: shift.detect(np.zeros((5, 1)), np.ones((5, 1))), r"inside \[5, 1\]; expected \[N\]"),
        (lambda: shift.fpr_at_tpr(np.zeros(5), np.ones((5, 1))), r"outside \[5, 1\]; expected \[N\]"),
        (lambda: shift.msp(NEW[0]), r"logits have the shape \[6\], expected \[N, K\]"),
        (lambda: shift.max_logit(NEW[0]), r"logits have the shape \[6\], expected \[N, K\]"),
        (lambda: shift.gen(NEW[0]), r"logits have the shape \[6\], expected \[N, K\]"),
        (lambda: shift.mahalanobis(np.full((3, 2), np.nan), np.zeros(3)), "hold a NaN or infinity"),
        (lambda: shift.vim(np.full((3, 6), np.inf), HEAD), "hold a NaN or infinity"),
        (lambda: shift.vim(TRAIN[:, :5], HEAD), r"shape \[300, 5\], expected \[N, 6\]"),
        (lambda: shift.react(TRAIN[:0]), r"features \[0, 6\] are none"),
        (lambda: shift.odin(lambda x: x[0], jnp.zeros((2, 3))), r"float32\[3\], expected one array \[2, K\]"),
        (lambda: shift.vim(TRAIN, HEAD, 6), "size=5 at most"),
        (lambda: shift.knn_score(TRAIN[:5], NEW, 9), "expected 9 points or more"),
        (lambda: shift.odin(lambda x: (x, {}), jnp.zeros((2, 3), int)), "which is int32; give images"),
    ],
)
def test_bad_input_is_told(call, told):
    with pytest.raises(UserError, match=told):
        call()
