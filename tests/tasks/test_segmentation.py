"""Segmentation against scikit-learn and Optax; void and padding count nowhere."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import confusion_matrix, jaccard_score

from deeplab.core.errors import UserError
from deeplab.tasks import MeanIoU, Segmentation
from deeplab.tasks.segmentation import ious

KEY = jax.random.key(0)

K, VOID, KEY = 3, 3, jax.random.key(0)
LOGITS = jax.random.normal(jax.random.key(1), (4, 5, 6, K)) * 2
MASK = jax.random.randint(jax.random.key(2), (4, 5, 6), 0, K + 1).astype(jnp.uint8)  # 3 is void
NAMES = ("sky", "road", "tree")
TASK = Segmentation(NAMES, void=VOID)


def _apply(x, *, train=False, key=None):
    return x, {}


def _batch(**changes):
    return {"image": LOGITS, "mask": MASK, "weight": jnp.ones(4), "id": jnp.arange(4)} | changes


def counted():
    """Labels and predictions of the pixels that are not void."""
    keep = np.asarray(MASK) != VOID
    return np.asarray(MASK)[keep], np.asarray(LOGITS.argmax(-1))[keep]


def test_class_weights_may_be_an_array_and_are_as_many_as_classes():
    """The truth value of an array is ambiguous; a single weight was that of every class."""
    made, expected = (Segmentation(NAMES, w, void=VOID).loss(_apply, _batch(), KEY) for w in (np.arange(3), (0, 1, 2)))
    assert made.loss.compute() == expected.loss.compute()
    for wrong in ((2.0,), (1.0, 2.0), np.ones(4)):
        with pytest.raises(UserError, match=rf"{len(wrong)} class_weights for 3 classes; give one for each"):
            Segmentation(NAMES, wrong, void=VOID).loss(_apply, _batch(), KEY)


@pytest.mark.parametrize(("classes", "kind"), [(256, np.uint8), (257, np.uint16), (300, np.uint16)])
def test_a_prediction_holds_every_class(classes, kind):
    """Class 299 was 43."""
    task = Segmentation(tuple(map(str, range(classes))))
    logits = jnp.zeros((1, 2, 2, classes)).at[..., -1].set(1)
    made = task.predict(_apply, {"image": logits, "mask": jnp.zeros((1, 2, 2), int), "weight": jnp.ones(1)}, KEY)
    assert made["prediction"].dtype == kind
    assert (made["prediction"] == classes - 1).all()


def test_metrics_are_scikit_learns():
    label, prediction = counted()
    metrics = TASK.metrics(_apply, _batch(), KEY)
    np.testing.assert_array_equal(metrics["miou"].confusion, confusion_matrix(label, prediction, labels=range(K)))
    each = jaccard_score(label, prediction, labels=range(K), average=None)
    assert metrics["miou"].compute() == pytest.approx(each.mean())
    assert metrics["pixel_error"].compute() == pytest.approx(np.mean(label != prediction))
    told = TASK.summarize(jax.device_get(TASK.predict(_apply, _batch(), KEY)))
    assert told == pytest.approx({f"iou_{name}": x for name, x in zip(NAMES, each, strict=True)})


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 5), st.integers(0, 10_000), st.integers(0, 60))
def test_merged_confusions_are_the_whole_one(num_classes, seed, cut):
    rng = np.random.default_rng(seed)
    label, prediction = rng.integers(0, num_classes, (2, 60))
    parts = [
        MeanIoU(confusion_matrix(a, b, labels=range(num_classes))) if len(a) else MeanIoU(np.zeros((num_classes,) * 2))
        for a, b in ((label[:cut], prediction[:cut]), (label[cut:], prediction[cut:]))
    ]
    present = np.union1d(label, prediction)
    whole = jaccard_score(label, prediction, labels=present, average="macro")
    assert (parts[0] + parts[1]).compute() == pytest.approx(whole)


def test_a_class_that_occurs_nowhere_is_left_out():
    confusion = np.array([[3, 1, 0], [0, 4, 0], [0, 0, 0]])
    np.testing.assert_allclose(ious(confusion), [0.75, 0.8, np.nan])
    assert MeanIoU(confusion).compute() == pytest.approx(0.775)
    assert np.isnan(MeanIoU(np.zeros((2, 2))).compute())
    assert set(TASK.summarize({"confusion": confusion[None]})) == {"iou_sky", "iou_road"}


@pytest.mark.parametrize("class_weights", [(), (1.0, 3.0, 0.5)])
def test_loss_is_optax_over_the_pixels_that_count(class_weights):
    keep = np.asarray(MASK) != VOID
    safe = jnp.where(keep, MASK, 0)
    weights = np.asarray(class_weights or (1.0,) * K)[np.asarray(safe)] * keep
    each = optax.softmax_cross_entropy_with_integer_labels(LOGITS, safe)
    expected = np.mean((each * weights).sum((1, 2)) / weights.sum((1, 2)))
    loss = Segmentation(NAMES, class_weights, void=VOID).loss(_apply, _batch(), KEY).loss
    assert loss.compute() == pytest.approx(float(expected), rel=1e-5)


def test_dice_is_the_papers():
    """Milletari et al. 2016, section 3, per class; ours is one minus the mean over the classes of the label."""
    p = np.asarray(jax.nn.softmax(LOGITS))
    g = np.eye(K + 1)[np.asarray(MASK)][..., :K]
    p = p * g.sum(-1, keepdims=True)
    dice = 2 * (p * g).sum((1, 2)) / ((p**2).sum((1, 2)) + (g**2).sum((1, 2)))
    plain, both = (
        Segmentation(NAMES, dice=d, void=VOID).loss(_apply, _batch(), KEY).loss.compute() for d in (0.0, 2.0)
    )
    assert both - plain == pytest.approx(2 * np.mean(1 - dice.mean(1)), rel=1e-4)


def test_a_perfect_prediction_has_no_loss():
    sure = 100.0 * jax.nn.one_hot(MASK, K)
    out = Segmentation(NAMES, dice=1.0, void=VOID).metrics(_apply, _batch(image=sure), KEY)
    assert out["loss"].compute() == pytest.approx(0, abs=1e-5)
    assert (out["miou"].compute(), out["pixel_error"].compute()) == (1, 0)


def test_void_and_padding_change_nothing():
    """Nor their gradients, not even where an image is all void."""
    void = jnp.broadcast_to((MASK == VOID)[..., None], LOGITS.shape)
    task, weight = Segmentation(NAMES, dice=1.0, void=VOID), jnp.array([1.0, 1, 1, 0])

    def loss(logits, mask=MASK):
        out = task.loss(_apply, _batch(image=logits, mask=mask, weight=weight), KEY)
        return out.loss.total / out.loss.count

    changed = jnp.where(void, 7.0, LOGITS).at[3].set(jnp.nan)
    assert float(loss(changed)) == pytest.approx(float(loss(LOGITS)), rel=1e-6)
    gradient = jax.grad(loss)(LOGITS, MASK.at[0].set(VOID))
    assert jnp.isfinite(gradient).all()
    assert not gradient[0].any()
    assert not jnp.where(void, gradient, 0.0).any()
    ours = task.metrics(_apply, _batch(image=changed, weight=weight), KEY)
    theirs = task.metrics(_apply, jax.tree.map(lambda x: x[:3], _batch()), KEY)
    assert {k: m.compute() for k, m in ours.items()} == pytest.approx({k: m.compute() for k, m in theirs.items()})


def test_predictions_have_the_size_of_the_label():
    mask = jnp.repeat(jnp.repeat(MASK, 2, 1), 2, 2)
    out = TASK.predict(_apply, _batch(mask=mask), KEY)
    assert out["prediction"].shape == (4, 10, 12)
    assert out["prediction"].dtype == jnp.uint8
    large = jax.image.resize(LOGITS, (4, 10, 12, K), "bilinear")
    np.testing.assert_array_equal(out["prediction"], large.argmax(-1))
    np.testing.assert_array_equal(out["confusion"].sum((1, 2)), (mask != VOID).sum((1, 2)))


def test_the_dice_weight_may_be_traced():
    def loss(dice):
        return Segmentation(NAMES, dice=dice, void=VOID).loss(_apply, _batch(), KEY).loss.total

    np.testing.assert_allclose(jax.vmap(loss)(jnp.array([0.0, 0.3])), [loss(0.0), loss(0.3)], rtol=1e-6)


def test_a_mirrored_evaluation_is_the_mean_over_both_views():
    """A network that adds to the left half only: of an image and its mirror image it says different things."""

    def one_sided(x, *, train=False, key=None):
        return x.at[:, :, :3, 0].add(2.0), {}

    task = Segmentation(NAMES, mirror=True)
    batch = _batch(mask=jnp.minimum(MASK, K - 1))
    plain, mirrored = one_sided(LOGITS)[0], one_sided(LOGITS[:, :, ::-1])[0][:, :, ::-1]
    mean = jnp.log((jax.nn.softmax(plain) + jax.nn.softmax(mirrored)) / 2)
    expected = Segmentation(NAMES).predict(lambda x: (mean, {}), batch, KEY)
    found = task.predict(one_sided, batch, KEY)
    np.testing.assert_array_equal(found["prediction"], expected["prediction"])
    np.testing.assert_allclose(found["loss"], expected["loss"], rtol=1e-5)
    assert (np.asarray(found["prediction"]) != np.asarray(plain.argmax(-1))).any()
    # Training sees one view.
    np.testing.assert_allclose(
        task.loss(one_sided, batch, KEY).loss.total, Segmentation(NAMES).loss(one_sided, batch, KEY).loss.total
    )


def test_an_evaluation_at_several_sizes_is_the_mean_over_them():
    """A network that says more of a large image."""

    def by_size(x, *, train=False, key=None):
        return x * x.shape[1], {}

    task = Segmentation(NAMES, mirror=True, scales=(0.5, 1.0, 1.5))
    batch = _batch(image=LOGITS[:, :4], mask=jnp.minimum(MASK[:, :4], K - 1))

    def at(height, width):  # of such a network the mirror image says the same
        image = jax.image.resize(batch["image"], (4, height, width, K), "bilinear")
        return jax.nn.softmax(jax.image.resize(image * height, (4, 4, 6, K), "bilinear"))

    mean = (at(2, 3) + at(4, 6) + at(6, 9)) / 3
    found = task.predict(by_size, batch, KEY)
    expected = Segmentation(NAMES).predict(lambda x: (jnp.log(mean), {}), batch, KEY)
    np.testing.assert_array_equal(found["prediction"], expected["prediction"])
    np.testing.assert_allclose(found["loss"], expected["loss"], rtol=1e-4)
    assert (np.asarray(found["prediction"]) != np.asarray(at(4, 6).argmax(-1))).any()
