"""Projections are the nearest points, by solvers that know nothing of them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import linprog, minimize

from deeplab.robust.attacks import hyperplanes
from deeplab.robust.attacks.norms import L1, L2, LINF, _nearest_l1
from deeplab.robust.attacks.schedule import plan_of, sizes_of
from deeplab.robust.attacks.squares import bumps

D = 6


def problems(seed, count):
    """Points in the box, and hyperplanes that cut it, some of them along an axis, and at last some out of reach."""
    rng = np.random.default_rng(seed)
    x, w = rng.uniform(size=(count, D)), rng.normal(size=(count, D))
    w[rng.uniform(size=(count, D)) < 0.2] = 0
    w[:, 0] += 0.1
    corner = (w > 0).astype(float)
    most, least = np.sum(w * corner, axis=1), np.sum(w * (1 - corner), axis=1)
    return x, w, least + (most - least) * rng.uniform(0.05, 0.95, count)


def smallest(x, w, b, order):
    """The size of the smallest step, as a linear or a quadratic program."""
    if order == 2:
        way = {"type": "eq", "fun": lambda d: w @ (x + d) - b, "jac": lambda d: w}
        box = [*zip(-x, 1 - x, strict=True)]
        found = minimize(lambda d: d @ d, np.zeros(D), jac=lambda d: 2 * d, bounds=box, constraints=way, tol=1e-14)
        return np.sqrt(found.fun)
    t = 1 if order == np.inf else D  # d and what is above |d|: one number, or one for each
    above = np.tile(np.eye(t), (1, 1)) if t == D else np.ones((D, 1))
    A = np.block([[np.eye(D), -above], [-np.eye(D), -above]])
    box = [*zip(-x, 1 - x, strict=True), *[(0, None)] * t]
    cost, plane = np.r_[np.zeros(D), np.ones(t)], np.r_[w, np.zeros(t)][None]
    return linprog(cost, A, np.zeros(2 * D), plane, [b - w @ x], box).fun


NORMS = {"linf": (LINF, np.inf), "l2": (L2, 2), "l1": (L1, 1)}


@pytest.mark.parametrize("name", NORMS)
def test_a_step_onto_a_hyperplane_is_the_smallest(name):
    norm, order = NORMS[name]
    x, w, b = problems(0, 40)  # as many everywhere, for which all tests share the programs
    given = (jnp.asarray(each, jnp.float32) for each in (x, w, b, np.zeros_like(x), np.ones_like(x)))
    d = np.asarray(norm.onto(*given), np.float64)
    np.testing.assert_allclose(np.sum(w * (x + d), axis=1), b, atol=2e-6)
    assert (x + d).min() > -1e-6
    assert (x + d).max() < 1 + 1e-6
    sizes = [smallest(*row, order) for row in zip(x, w, b, strict=True)]
    np.testing.assert_allclose(np.linalg.norm(d, order, axis=1), sizes, atol=5e-6)


@pytest.mark.parametrize("name", NORMS)
def test_a_hyperplane_out_of_reach_is_gone_towards_as_far_as_the_box(name):
    x, w, _ = problems(1, 40)
    beyond = np.sum(np.maximum(w, 0), axis=1) + 1
    given = (jnp.asarray(each, jnp.float32) for each in (x, w, beyond, np.zeros_like(x), np.ones_like(x)))
    corner = np.where(w > 0, 1 - x, np.where(w < 0, -x, 0))
    np.testing.assert_allclose(NORMS[name][0].onto(*given), corner, atol=1e-6)


@pytest.mark.parametrize("name", NORMS)
def test_without_a_box_the_step_is_the_distance_over_the_dual_norm(name):
    norm, order = NORMS[name]
    x, w, b = (jnp.asarray(each, jnp.float32) for each in problems(2, 40))
    free = jnp.full_like(x, jnp.inf)
    d = norm.onto(x, w, b, -free, free)
    expected = jnp.abs(jnp.sum(w * x, axis=1) - b) / norm.dual(w)
    np.testing.assert_allclose(np.linalg.norm(d, order, axis=1), expected, rtol=1e-5)


def test_steps_of_tiny_weights_are_as_those_of_large_ones():
    x, w, b = (jnp.asarray(each, jnp.float32) for each in problems(3, 40))
    box = (jnp.zeros_like(x), jnp.ones_like(x))
    for onto in (hyperplanes.onto_linf, hyperplanes.onto_l2):
        np.testing.assert_allclose(onto(x, w * 1e-5, b * 1e-5, *box), onto(x, w, b, *box), atol=2e-5)


def test_the_projection_onto_the_l1_ball_in_the_box_is_the_nearest_point():
    rng = np.random.default_rng(0)
    x, y, radius = rng.uniform(size=(12, D)), rng.normal(size=(12, D)), rng.uniform(0.1, 2, 12)
    found = _nearest_l1(*(jnp.asarray(each, jnp.float32) for each in (x, x + y, radius)), 0.0, 1.0)
    for row, start, step, r in zip(np.asarray(found), x, y, radius, strict=True):
        # d = a - b with a, b >= 0: smooth, and within the ball if they sum up to r at most
        box = [(0, max(1 - s, 0)) for s in start] + [(0, max(s, 0)) for s in start]
        ball = {"type": "ineq", "fun": lambda z, r=r: r - z.sum()}
        goal = lambda z, step=step: np.sum((z[:D] - z[D:] - step) ** 2)  # noqa: E731
        best = minimize(goal, np.zeros(2 * D), bounds=box, constraints=ball, tol=1e-13)
        assert goal(np.r_[np.maximum(row - start, 0), np.maximum(start - row, 0)]) <= best.fun + 1e-5
        assert np.abs(row - start).sum() <= r + 1e-5
        assert row.min() >= 0
        assert row.max() <= 1


@pytest.mark.parametrize("name", NORMS)
def test_projections_and_starts_are_in_the_ball_and_the_box_and_leave_what_is(name):
    norm, order = NORMS[name]
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.uniform(size=(20, 4, 3)), jnp.float32)
    keys = jax.random.split(jax.random.key(0), 20)
    for point in (norm.project(x, x + rng.normal(size=x.shape), 0.4, 0, 1), norm.start(keys, x, 0.4, 0, 1)):
        assert np.linalg.norm(np.reshape(point - x, (20, -1)), order, axis=1).max() <= 0.4 * (1 + 1e-5)
        assert point.min() >= 0
        assert point.max() <= 1
        np.testing.assert_allclose(norm.project(x, point, 0.4, 0, 1), point, atol=1e-6)


@pytest.mark.parametrize("name", NORMS)
def test_the_steepest_step_has_norm_1_and_the_dual_product(name):
    norm, order = NORMS[name]
    g = jnp.asarray(np.random.default_rng(0).normal(size=(5, 7)), jnp.float32)
    step = norm.steepest(g)
    np.testing.assert_allclose(np.linalg.norm(step, order, axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(jnp.sum(g * step, axis=1), norm.dual(g), rtol=1e-5)


def test_the_l1_ball_has_three_stages_of_falling_radius():
    plan = plan_of(100, L1)
    assert np.flatnonzero(plan.enters).tolist() == [0, 31, 62]
    assert plan.radius[[1, 32, 63]].tolist() == [3, 2, 1]
    assert plan.last.sum() == 41
    assert len(plan.enters) == 103


def test_squares_shrink_by_the_schedule_of_5000_queries():
    sizes = sizes_of(5000, 0.8, 32, 32, LINF)
    expected = {0: 29, 11: 20, 51: 14, 201: 10, 501: 7, 1001: 5, 2001: 4, 4001: 3}
    assert {query: int(sizes[query]) for query in expected} == expected
    assert set(sizes_of(5000, 0.8, 32, 32, L2)) == {29, 21, 15, 11, 7, 5, 3}


@pytest.mark.parametrize("name", ["l2", "l1"])
def test_bumps_have_norm_1_and_opposite_signs(name):
    for side in (1, 2, 3, 6, 7):
        made = bumps(side, NORMS[name][0])
        np.testing.assert_allclose(np.linalg.norm(made.reshape(-1), NORMS[name][1]), 1)
        assert (made[: side // 2] > 0).all()
        assert (made[side // 2 :] < 0).all()
