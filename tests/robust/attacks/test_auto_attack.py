"""AutoAttack of linear models finds what there is to find; what hides its gradients is told apart."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from deeplab.core.errors import UserError
from deeplab.robust import attacks
from deeplab.robust.attacks.evaluation.checks import checking
from tests.robust.attacks.models import Linear, batch_of, bound, gaps, margins, prototypes

KEY = jax.random.key(0)
CALLS = []


class Counting(Linear):
    def __call__(self, x, train=False):
        CALLS.append(x.shape)
        return super().__call__(x, train)


def exactly_right(apply, batch, radius):
    """Whether no point of the box within the radius is of another class: every pixel moves by itself."""
    x = np.asarray(batch["image"], np.float64).reshape(len(batch["id"]), 1, -1)
    up, down = np.minimum(x + radius, 1) - x, x - np.maximum(x - radius, 0)
    steep = gaps(apply, batch)
    return np.max(margins(apply, batch) + np.sum(np.maximum(steep * up, -steep * down), axis=2), axis=1) < 0


def test_the_robust_accuracy_of_a_linear_model_is_exact():
    apply, batch = prototypes(45)
    apply = bound(Counting(apply.module.num_classes), apply.params, batch)
    batch = batch | {"weight": jnp.asarray(np.r_[np.ones(40), np.zeros(5)], jnp.float32)}
    parts = [{name: value[rows] for name, value in batch.items()} for rows in (slice(0, 30), slice(30, 45))]
    evaluate = attacks.auto_attack(apply, places=8, steps=10, queries=20)
    for number, radius in enumerate((0.03, 0.08)):
        CALLS.clear()
        found = evaluate(parts, radius, KEY)
        assert number == 0 or {*CALLS} <= {(32, 8, 8, 1)}  # but for the look at the program of the first examples
        exact = exactly_right(apply, batch, radius)[:40]
        np.testing.assert_array_equal(found.right, exact)
        assert 0 < found.robust == exact.mean() < found.clean
        assert found.count == 40
        np.testing.assert_array_equal(found.ids, batch["id"][:40])
        assert list(found.after) == ["apgd-ce", "apgd-t", "fab-t", "square"]
        assert [*found.after.values()] == sorted(found.after.values(), reverse=True)
        assert found.warnings == ()
        assert found.interval[0] < found.robust < found.interval[1]
        moved = np.abs(found.x - np.asarray(batch["image"])[:40]).reshape(40, -1).max(axis=1)
        assert moved.max() <= radius * (1 + 1e-5)
        assert (moved[exact] == 0).all()
        wrong = np.argmax(apply(found.x)[0], axis=1) != np.asarray(batch["label"])[:40]
        np.testing.assert_array_equal(wrong, ~exact)


@pytest.mark.slow
def test_few_classes_have_attacks_of_their_own():
    apply, batch = prototypes(20, classes=3)
    found = attacks.auto_attack(apply, places=32, steps=5, queries=5)([batch], 0.1, KEY)
    assert list(found.after) == ["apgd-ce", "apgd-margin", "fab-t", "square"]
    np.testing.assert_array_equal(found.right, exactly_right(apply, batch, 0.1))


HIDDEN = {
    "": (),
    "noisy": ("the model is random",),
    "rounded": ("8 of 8 examples have a gradient of zero",),
    "dynamic": ("the model takes a gradient when it predicts",),
    "batch": ("the outputs of an example depend on the others",),
}


DAILY = ("", "rounded")


@pytest.mark.parametrize(
    "hidden", [each if each in DAILY else pytest.param(each, marks=pytest.mark.slow) for each in HIDDEN]
)
def test_what_makes_an_evaluation_doubtful_is_told(hidden):
    apply, batch = prototypes(8, hidden=hidden)
    told = checking(apply)(batch, KEY)
    assert len(told) == len(HIDDEN[hidden])
    assert all(text.startswith(begin) for text, begin in zip(told, HIDDEN[hidden], strict=True))


def failing(**options):
    apply, batch = prototypes(100, **options)
    figures = attacks.figures_of(apply, [batch], 0.1, KEY, steps=5, queries=100)
    return {gate.name for gate in attacks.gates(figures) if not gate.holds}


@pytest.mark.slow
def test_an_honest_model_passes_every_gate():
    assert failing() == set()


@pytest.mark.parametrize(
    "options",
    [{"scale": 1e4}, pytest.param({"hidden": "rounded"}, marks=pytest.mark.slow)],
    ids=["saturated", "rounded"],
)
def test_a_model_that_masks_its_gradients_is_caught(options):
    assert failing(**options) >= {"gradients are as strong as Square", "radius 1 leaves nothing"}


GOOD = attacks.Figures(0.5, 0.4, 0.395, 0.6, 0.0, {0.1: 1.0, 0.2: 2.0, 0.3: 1.9995})
BAD = {
    "many steps are as strong as one": {"one_step": 0.3},
    "gradients are as strong as Square": {"black_box": 0.3},
    "radius 1 leaves nothing": {"at_one": 0.1},
    "ten times the steps change at most one point": {"tenfold": 0.38},
    "the loss rises with the radius": {"losses": {0.1: 1.0, 0.2: 2.0, 0.3: 1.5}},
}


@pytest.mark.parametrize("name", BAD)
def test_each_gate_looks_at_its_own_figures(name):
    assert [gate for gate in attacks.gates(GOOD) if not gate.holds] == []
    assert [gate.name for gate in attacks.gates(GOOD._replace(**BAD[name])) if not gate.holds] == [name]


def test_the_robust_accuracy_of_one_attack_counts_what_was_right_before():
    apply, batch = prototypes(50)
    batch = batch | {"weight": jnp.asarray(np.arange(50) < 30, jnp.float32)}
    made = lambda r: attacks.fgsm(r, objective=attacks.MARGIN)  # noqa: E731
    found = attacks.accuracy_by_radius(apply, [batch], made, [0, 0.1], KEY)
    clean = (margins(apply, batch).max(axis=1) < 0)[:30]
    assert found[0].robust == found[0].clean == found[0.1].clean == clean.mean() < 1
    assert found[0.1].robust < clean.mean()
    assert found[0.1].count == 30
    assert not (found[0.1].right & ~clean).any()
    assert found[0.1].objective > found[0].objective


class Masked(nn.Module):
    """Logits of which one class is never chosen, or all of which are NaN."""

    value: float

    @nn.compact
    def __call__(self, x, train=False):
        logits = nn.Dense(4)(x.reshape(len(x), -1))
        return logits + self.value if np.isnan(self.value) else logits.at[:, 3].set(self.value)


@pytest.mark.parametrize("value", [-np.inf, np.nan])
def test_a_class_that_is_never_chosen_hides_no_error_and_nan_is_not_right(value):
    x = jax.random.uniform(KEY, (8, 8, 8, 1))
    params = Masked(0.0).init(KEY, x)["params"]
    batch = batch_of(x, (Masked(-np.inf).apply({"params": params}, x).argmax(1) + 1) % 3)
    apply = bound(Masked(value), params, batch)
    found = attacks.robust_accuracy(apply, [batch], attacks.fgsm(0.1), KEY)
    assert (found.clean, found.robust) == (0.0, 0.0)
    assert attacks.auto_attack(apply, steps=4, queries=4)([batch], 0.1, KEY).clean == 0.0


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda a, b: attacks.accuracy_by_radius(a, [b], attacks.fgsm, (-0.1,), KEY), "radius=-0.1 was given"),
        (lambda a, b: attacks.accuracy_by_radius(a, [b], attacks.fgsm, (0.1, 8.0), KEY), "radius=8.0 is larger"),
        (lambda a, b: attacks.robust_accuracy(a, [b | {"label": b["label"] + 9}], attacks.fgsm(0.1), KEY), "no class"),
        (lambda a, b: attacks.auto_attack(a, steps=2)([b | {"label": b["label"] - 9}], 0.1, KEY), "is no class"),
        (
            lambda a, b: attacks.robust_accuracy(a, [b], attacks.fgsm(0.1, objective=attacks.towards(9)), KEY),
            "target 9",
        ),
        *(
            (lambda a, b, f=f, name=name: f(a, {k: v for k, v in b.items() if k != name}), f"no field '{name}' but")
            for name in ("id", "weight")
            for f in (
                lambda a, b: attacks.robust_accuracy(a, [b], attacks.fgsm(0.1), KEY),
                lambda a, b: attacks.auto_attack(a, steps=2)([b], 0.1, KEY),
            )
        ),
    ],
)
def test_what_a_trace_does_not_see_is_looked_at_before_it(call, told):
    apply, batch = prototypes(4)
    with pytest.raises(UserError, match=told):
        call(apply, batch)


@pytest.mark.parametrize(
    ("attack", "change", "told"),
    [
        (lambda: attacks.pgd(8), {}, r"radius=8 is larger than the box.* 8 / 255"),
        (lambda: attacks.auto_attack(*prototypes(4)[:1])([prototypes(4)[1]], 8.0, KEY), {}, "radius=8.0 is larger"),
        (lambda: attacks.auto_attack(None, version="plus"), {}, "version is 'plus', expected 'standard' or 'rand'"),
        (lambda: attacks.pgd(-0.1), {}, "radius=-0.1 was given, expected a number, 0 or more"),
        (
            lambda: attacks.pgd(0.1),
            {"image": jnp.full((2, 8, 8, 1), 200.0)},
            "from 200 to 200.*divide it by 255",
        ),
        (lambda: attacks.pgd(0.1), {"image": jnp.full((2, 8, 8, 1), -2.0)}, "low= and high="),
        (lambda: attacks.pgd(0.1), {"image": jnp.ones((2, 8, 8, 1), jnp.uint8)}, "uint8; expected real numbers"),
        (lambda: attacks.pgd(0.1), {"image": jnp.ones((2, 64), int)}, "no direction; give attacks.Seam.tap=.*hotflip"),
        (lambda: attacks.square(0.1, 5), {"image": jnp.ones((2, 64))}, "square moves images.*use attacks.pgd"),
        (lambda: attacks.apgd_targeted(0.1), {}, "targets=9 was given, and beside the label there are 4 classes"),
        (lambda: attacks.fab(0.1), {}, "targets=9 was given"),
        (lambda: attacks.pgd(0.1, seam=attacks.Seam(fields=("x",))), {}, r"no field 'x' but .*fields=task.fields"),
        (lambda: attacks.carlini_wagner(seam=attacks.Seam(high=np.inf)), {}, "is not finite"),
        (lambda: attacks.hotflip(1, tap="head"), {}, "'tokens' is no field of tokens"),
    ],
)
def test_what_cannot_be_attacked_says_what_to_do(attack, change, told):
    apply, batch = prototypes(2)
    with pytest.raises(UserError, match=told):
        attack()(apply, batch | change, KEY)


def test_a_model_without_probabilities_is_refused():
    batch = prototypes(2)[1]
    one = bound(Linear(1), {"head": {"kernel": jnp.ones((64, 1)), "bias": jnp.ones(1)}}, batch)
    with pytest.raises(UserError, match=r"array \[2, 1\], which gives no probability.*attacks.lowered\(task\)"):
        attacks.fgsm(0.1)(one, batch, KEY)
    two, batch = prototypes(2, classes=2)
    with pytest.raises(UserError, match="DLR objective needs 3 classes or more, and the model has 2"):
        attacks.fgsm(0.1, objective=attacks.DLR)(two, batch, KEY)
    with pytest.raises(UserError, match="no 'label' of each of its 2 examples"):
        attacks.fgsm(0.1)(two, {k: v for k, v in batch.items() if k != "label"}, KEY)


@pytest.mark.slow
def test_a_model_that_is_random_is_attacked_on_average():
    apply, batch = prototypes(20, hidden="noisy")
    found = attacks.auto_attack(apply, version="rand", places=24, steps=5)([batch], 0.15, KEY)
    assert list(found.after) == ["apgd-ce", "apgd-dlr"]
    assert found.warnings == ()
    assert found.robust <= exactly_right(prototypes(20)[0], batch, 0.15).mean() + 0.1


@pytest.mark.slow
def test_random_squares_fool_most_of_what_can_be_fooled():
    apply, batch = prototypes(60)
    attacked = jax.jit(lambda batch: attacks.square(0.15, 300)(apply, batch, KEY))(batch)
    right, possible = margins(apply, attacked).max(axis=1) < 0, exactly_right(apply, batch, 0.15)
    assert not (possible & ~right).any()
    assert right.mean() < (margins(apply, batch).max(axis=1) < 0).mean() - 0.2
