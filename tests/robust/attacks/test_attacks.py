"""Attacks on linear models reach what can be computed by hand, and keep what every attack has to keep."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from deeplab import tasks
from deeplab.core.errors import UserError
from deeplab.robust import attacks
from deeplab.robust.attacks import CROSS_ENTROPY, L1, L2, LINF, MARGIN, Seam
from tests.robust.attacks.models import bound, gaps, linear, margins, prototypes

KEY = jax.random.key(0)
NORMS = {"linf": (LINF, 0.05, 1), "l2": (L2, 0.1, 2), "l1": (L1, 0.1, np.inf)}  # norm, radius, order of the dual norm


def daily(cases, *names):
    """The cases, all but some of them run by hand, since each compiles a program."""
    return [name if name in names else pytest.param(name, marks=pytest.mark.slow) for name in cases]


def run(attack, apply, batch, key=KEY):
    return jax.jit(lambda batch, key: attack(apply, batch, key))(batch, key)


def sizes(batch, attacked, order):
    moved = np.asarray(attacked["image"] - batch["image"], np.float64).reshape(len(batch["id"]), -1)
    return np.linalg.norm(moved, order, axis=1)


def exact(name, apply, batch):
    """The largest margin within the radius, and the distance of the nearest other class."""
    _, radius, order = NORMS[name]
    z, steep = margins(apply, batch), np.linalg.norm(gaps(apply, batch), order, axis=2)
    return np.max(z + radius * steep, axis=1), np.min(-z / np.maximum(steep, 1e-12), axis=1)


REACHING = {
    "fgsm linf": ("linf", lambda r, n: attacks.fgsm(r, norm=n), 2, 1e-5),
    "pgd linf": ("linf", lambda r, n: attacks.pgd(r, 20, norm=n), 2, 1e-5),
    "fgsm l2": ("l2", lambda r, n: attacks.fgsm(r, norm=n), 2, 1e-5),
    "fgsm l1": ("l1", lambda r, n: attacks.fgsm(r, norm=n), 2, 1e-5),
    "pgd l1": ("l1", lambda r, n: attacks.pgd(r, 20, norm=n), 2, 1e-5),
    "pgd l2": ("l2", lambda r, n: attacks.pgd(r, 40, norm=n, restarts=2), 2, 0.02),
    "momentum": ("linf", lambda r, n: attacks.pgd(r, 20, norm=n, momentum=1.0), 2, 1e-5),
    "samples": ("linf", lambda r, n: attacks.pgd(r, 20, norm=n, samples=3), 2, 1e-5),
    "apgd linf": ("linf", lambda r, n: attacks.apgd(r, 50, norm=n, objective=MARGIN), 3, 1e-5),
    "apgd l2": ("l2", lambda r, n: attacks.apgd(r, 50, norm=n, objective=MARGIN), 3, 1e-4),
    "targeted": ("linf", lambda r, n: attacks.apgd_targeted(r, 30, norm=n, targets=3), 4, 1e-4),
}


@pytest.mark.parametrize("case", daily(REACHING, "fgsm linf", "pgd linf", "apgd linf"))
def test_the_worst_margin_of_a_linear_model_is_reached(case):
    name, make, classes, tolerance = REACHING[case]
    norm, radius, _ = NORMS[name]
    apply, batch = linear(1, classes=classes)
    attacked = run(make(radius, norm), apply, batch)
    found, worst = margins(apply, attacked).max(axis=1), exact(name, apply, batch)[0]
    assert (found <= worst + 1e-5).all()
    if case == "targeted":  # its objective is not the margin, but what can be fooled is
        assert ((worst > 1e-3) <= (found > 0)).all()
        assert (worst > 1e-3).any()
        assert (worst < 0).any()
    else:
        np.testing.assert_array_less(worst - found, tolerance)


WIDE = Seam(low=-9.0, high=9.0)  # in the sum norm one coordinate goes all the way
NEAREST = {
    "fab linf": ("linf", lambda n: attacks.fab(np.inf, 15, targets=2, norm=n), 1e-5),
    "fab l2": ("l2", lambda n: attacks.fab(np.inf, 30, targets=2, norm=n), 1e-4),
    "fab l1": ("l1", lambda n: attacks.fab(np.inf, 15, targets=2, norm=n, seam=WIDE), 1e-5),
    "deepfool l2": ("l2", lambda n: attacks.deepfool(10, norm=n), 1e-5),
    "deepfool linf": ("linf", lambda n: attacks.deepfool(10, norm=n), 1e-5),
    "carlini and wagner": ("l2", lambda n: attacks.carlini_wagner(100, searches=6, weight=0.1), 0.02),
}


@pytest.mark.parametrize("case", daily(NEAREST, "fab linf", "deepfool l2"))
def test_the_nearest_class_of_a_linear_model_is_found(case):
    name, make, tolerance = NEAREST[case]
    norm, _, _ = NORMS[name]
    apply, batch = linear(2, classes=2 if case == "carlini and wagner" else 3)  # it knows but one other class
    far = exact(name, apply, batch)[1]
    attacked = run(make(norm), apply, batch)
    found = sizes(batch, attacked, {"linf": np.inf, "l2": 2, "l1": 1}[name])
    assert (margins(apply, attacked).max(axis=1) > -1e-5).all()
    np.testing.assert_allclose(found / far, 1, atol=tolerance)


ALL = {
    "fgsm": ("linf", attacks.fgsm(0.05, random=True)),
    "pgd linf": ("linf", attacks.pgd(0.05, 5, restarts=2)),
    "pgd l1": ("l1", attacks.pgd(0.1, 5, norm=L1)),
    "apgd l1": ("l1", attacks.apgd(0.1, 10, norm=L1)),
    "apgd l2": ("l2", attacks.apgd(0.1, 10, norm=L2)),
    "targeted": ("linf", attacks.apgd_targeted(0.05, 10, targets=2)),
    "fab": ("linf", attacks.fab(0.05, 5, targets=2)),
    "square linf": ("linf", attacks.square(0.05, 20)),
    "square l2": ("l2", attacks.square(0.1, 20, norm=L2)),
    "square l1": ("l1", attacks.square(0.1, 20, norm=L1)),
}


@pytest.mark.parametrize("case", daily(ALL, "pgd linf", "square l2"))
def test_an_attack_stays_in_the_ball_and_box_and_knows_no_neighbours(case):
    name, attack = ALL[case]
    apply, batch = prototypes(24)
    batch = batch | {"weight": jnp.asarray(np.r_[np.ones(20), np.zeros(4)], jnp.float32)}
    program = jax.jit(lambda batch, key: attack(bound(apply.module, apply.params, batch), batch, key))
    attacked = program(batch, KEY)
    order = {"linf": np.inf, "l2": 2, "l1": 1}[name]
    assert sizes(batch, attacked, order).max() <= NORMS[name][1] * (1 + 1e-5)
    assert attacked["image"].min() >= 0
    assert attacked["image"].max() <= 1
    np.testing.assert_array_equal(attacked["image"][20:], batch["image"][20:])  # of weight 0
    assert set(attacked) == set(batch)
    order = np.random.default_rng(0).permutation(24)
    shuffled = program({name: value[order] for name, value in batch.items()}, KEY)
    np.testing.assert_allclose(shuffled["image"], attacked["image"][order], atol=1e-5)


def test_restarts_are_never_weaker():
    apply, batch = prototypes(40)
    found = [
        np.asarray(CROSS_ENTROPY.value(apply(run(attack, apply, batch)["image"])[0], batch))
        for attack in (attacks.pgd(0.1, 2, restarts=1), attacks.pgd(0.1, 2, restarts=3))
    ]
    assert (found[1] >= found[0] - 1e-6).all()
    assert (found[1] > found[0] + 1e-6).any()


@pytest.mark.slow
def test_the_last_point_is_what_training_gets():
    apply, batch = linear(3)
    last = run(attacks.pgd(0.05, 6, last=True, random=False), apply, batch)
    slope = jax.jit(jax.grad(lambda x: jnp.sum(CROSS_ENTROPY.value(apply(x)[0], batch))))
    x = np.asarray(batch["image"])
    for _ in range(6):
        g = np.asarray(slope(x))
        x = np.clip(x + 2.5 * 0.05 / 6 * np.sign(g), batch["image"] - 0.05, batch["image"] + 0.05)
    np.testing.assert_allclose(last["image"], x, atol=1e-6)


@pytest.mark.slow
def test_a_radius_and_a_momentum_may_be_traced():
    apply, batch = linear(3)
    traced = jax.jit(lambda r, m: attacks.pgd(r, 3, momentum=m)(apply, batch, KEY)["image"])
    found = traced(jnp.float32(0.05), jnp.float32(0.5))
    np.testing.assert_allclose(found, run(attacks.pgd(0.05, 3, momentum=0.5), apply, batch)["image"], atol=1e-6)


@pytest.mark.slow
def test_only_what_is_movable_moves():
    apply, batch = linear(3)
    mask = np.zeros((4, 5, 1), bool)
    mask[1, 2:4] = True
    attacked = run(attacks.pgd(0.05, 5, seam=Seam(movable=mask)), apply, batch)
    moved = np.asarray(attacked["image"] != batch["image"])
    assert not moved[:, ~mask].any()
    assert moved[:, mask].any()


@pytest.mark.slow
def test_a_target_is_what_the_model_predicts_then():
    apply, batch = linear(3)
    target = (batch["label"] + 1) % 3
    attacked = run(attacks.pgd(0.4, 20, objective=attacks.towards(target)), apply, batch)
    np.testing.assert_array_equal(jnp.argmax(apply(attacked["image"])[0], axis=1), target)


@pytest.mark.parametrize("name", ["pgd", pytest.param("apgd", marks=pytest.mark.slow), "deepfool", "fab", "square"])
def test_images_of_half_precision_are_attacked_as_others_are(name):
    """In float32, whose rounding leaves neither the ball nor the box."""
    made = {
        "deepfool": attacks.deepfool,
        "square": lambda: attacks.square(0.1, 5),
        "fab": lambda: attacks.fab(0.1, 3, targets=2),
    }
    attack = made.get(name, lambda: getattr(attacks, name)(0.1, 3))()
    apply, batch = linear()
    moved = run(attack, apply, batch | {"image": batch["image"].astype(jnp.bfloat16)})["image"]
    whole = run(attack, apply, batch | {"image": batch["image"].astype(jnp.bfloat16).astype(jnp.float32)})["image"]
    assert moved.dtype == jnp.float32
    np.testing.assert_array_equal(moved, whole)


def test_a_box_by_column_or_of_numpy_has_ends():
    apply, batch = linear(shape=(20,))
    one = run(attacks.carlini_wagner(3, searches=1, seam=Seam(low=np.float32(0), high=np.float32(1))), apply, batch)
    each = Seam(low=np.zeros(20, np.float32), high=np.ones(20, np.float32))
    np.testing.assert_array_equal(
        run(attacks.carlini_wagner(3, searches=1, seam=each), apply, batch)["image"], one["image"]
    )


def test_any_task_with_a_score_is_attacked_at_its_own_field_and_box():
    apply, batch = linear(4)
    batch = batch | {"features": 10 * batch["image"] - 5}
    task = tasks.Classification(fields=("features",))
    seam = Seam(fields=task.fields, low=-5.0, high=5.0)
    attacked = run(attacks.pgd(0.5, 10, objective=attacks.lowered(task), seam=seam), apply, batch)
    W, y = np.asarray(apply.params["head"]["kernel"]), np.asarray(batch["label"])
    before, after = (np.asarray(apply(b["features"])[0])[np.arange(6), y] for b in (batch, attacked))
    np.testing.assert_allclose(before - after, 0.5 * np.abs(W[:, y]).sum(axis=0), rtol=1e-4)


@pytest.mark.parametrize(
    ("changed", "norm", "told"),
    [
        ({"image": lambda x: x.at[0].set(jnp.nan)}, LINF, "'image' holds NaN"),
        ({"label": lambda y: y + 2}, LINF, r"label 2 is no class of the model, which has 2: 0 to 1|label 3 is no"),
        ({"id": None}, LINF, "no field 'id' .* as id, and ones"),
        ({"weight": None}, LINF, "no field 'weight'"),
        ({}, "linf", r"norm='linf' was given, expected attacks\.LINF"),
    ],
    ids=["nan", "label", "id", "weight", "norm"],
)
def test_a_batch_or_a_norm_that_an_attack_cannot_read(changed, norm, told):
    apply, batch = linear(1, classes=2)
    made = {name: changed[name](x) if changed.get(name) else x for name, x in batch.items() if changed.get(name, 1)}
    with pytest.raises(UserError, match=told):
        attacks.fgsm(0.1, norm=norm)(apply, made, KEY)


def test_a_model_or_a_class_that_an_attack_cannot_use():
    apply, batch = linear(1, classes=2)
    with pytest.raises(UserError, match=r"give run\.bound\(B\), or wrap"):
        attacks.fgsm(0.1)(lambda x: apply(x)[0], batch, KEY)
    with pytest.raises(UserError, match="target 2 is no class"):
        attacks.towards(2).value(jnp.eye(2), {"label": jnp.array([0, 1])})
    with pytest.raises(UserError, match=r"give run\.bound\(B\)"):
        attacks.robust_accuracy(lambda x, **_: (x, {}), [batch], attacks.fgsm(0.1), KEY)
