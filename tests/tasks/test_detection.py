"""Detection: the assignment and the loss against plain loops, and what a batch may hold."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deeplab.core.errors import UserError
from deeplab.tasks import Detection
from deeplab.tasks.detection import assign, centerness

KEY = jax.random.key(0)
NAMES = ("cat", "dog")
TASK = Detection(NAMES, candidates=40, limit=10)
SIZE = 64


def places():
    """x, y and stride of three levels over an image of 64 x 64."""
    rows = []
    for stride in (8, 16, 32):
        sides = (np.arange(SIZE // stride) + 0.5) * stride
        rows += [(x, y, stride) for y in sides for x in sides]
    return np.array(rows, np.float32)


def drawn(seed, batch=3, most=5):
    rng = np.random.default_rng(seed)
    low = rng.uniform(0, 48, (batch, most, 2))
    boxes = np.concatenate([low, np.minimum(low + rng.uniform(3, 60, (batch, most, 2)), SIZE)], -1).astype(np.float32)
    classes = rng.integers(-1, 2, (batch, most)).astype(np.int32)
    grid = np.broadcast_to(places(), (batch, len(places()), 3))
    rest = [rng.uniform(1, 30, (*grid.shape[:2], 4)), rng.normal(size=(*grid.shape[:2], 3))]
    outputs = np.concatenate([grid, *rest], axis=-1).astype(np.float32)
    return outputs, {
        "image": jnp.zeros((batch, 2)), "boxes": boxes, "classes": classes, "weight": np.ones(batch, np.float32)
    }  # fmt: skip


@jax.jit
def told(outputs, batch):
    """Loss in training, metrics of an evaluation, and predictions: one program for all tests."""
    apply = lambda *_, **__: (outputs, {})  # noqa: E731
    return TASK.loss(apply, batch, KEY), TASK.metrics(apply, batch, KEY), TASK.predict(apply, batch, KEY)


def values(metrics):
    return {name: metric.compute() for name, metric in jax.device_get(metrics).items()}


def owner_by_hand(place, boxes, classes, radius, finest=8, coarsest=32):
    x, y, s = place
    best, smallest = -1, math.inf
    for m, ((x0, y0, x1, y1), k) in enumerate(zip(boxes, classes, strict=True)):
        sides = (x - x0, y - y0, x1 - x, y1 - y)
        inside = min(sides) > 0 and max(abs(x - (x0 + x1) / 2), abs(y - (y0 + y1) / 2)) <= radius * s
        low, high = (0 if s == finest else 4 * s), (math.inf if s == coarsest else 8 * s)
        area = (x1 - x0) * (y1 - y0)
        if k >= 0 and inside and low < max(sides) <= high and area < smallest:
            best, smallest = m, area
    return best


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([0.5, 1.5, 4.0]))
def test_the_assignment_is_that_of_plain_loops(seed, radius):
    _, batch = drawn(seed, batch=1)
    grid, boxes, classes = places(), batch["boxes"][0], batch["classes"][0]
    expected = [owner_by_hand(place, boxes, classes, radius) for place in grid]
    assert assign(grid[:, :2], grid[:, 2], boxes, classes, radius).tolist() == expected


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def pair(a, b):
    """IoU and GIoU of two boxes."""
    shared = np.prod(np.maximum(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0))
    union = np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2]) - shared
    around = np.prod(np.maximum(a[2:], b[2:]) - np.minimum(a[:2], b[:2]))
    return shared / union, shared / union - (around - union) / around


def loss_by_hand(outputs, boxes, classes):
    focal, far, weights, quality, count = 0.0, 0.0, 0.0, 0.0, 0
    for row in outputs.astype(np.float64):
        m = owner_by_hand(row[:3], boxes, classes, TASK.radius)
        for k, p in enumerate(sigmoid(row[8:])):
            right = m >= 0 and classes[m] == k
            focal -= 0.25 * (1 - p) ** 2 * np.log(p) if right else 0.75 * p**2 * np.log(1 - p)
        if m < 0:
            continue
        x, y = row[:2]
        box = np.array([x - row[3], y - row[4], x + row[5], y + row[6]])
        iou, giou = pair(box, boxes[m].astype(np.float64))
        left, top, right, bottom = x - boxes[m][0], y - boxes[m][1], boxes[m][2] - x, boxes[m][3] - y
        central = math.sqrt(min(left, right) / max(left, right) * min(top, bottom) / max(top, bottom))
        far, weights, count = far + central * (1 - giou), weights + central, count + 1
        quality -= iou * np.log(sigmoid(row[7])) + (1 - iou) * np.log(1 - sigmoid(row[7]))
    return focal / max(count, 1) + (far / weights + quality / count if count else 0)


@pytest.mark.parametrize("seed", range(3))
def test_the_loss_is_that_of_plain_loops(seed):
    outputs, batch = drawn(seed)
    batch["weight"] = np.array([1, 0.5, 0], np.float32)
    each = [loss_by_hand(*rows) for rows in zip(outputs, batch["boxes"], batch["classes"], strict=True)]
    found, metrics, predictions = told(outputs, batch)
    assert found.loss.compute() == pytest.approx((each[0] + each[1] / 2) / 1.5, rel=1e-4)
    np.testing.assert_allclose(predictions["loss"], each, rtol=1e-4)
    assert metrics["loss"].compute() == pytest.approx(found.loss.compute())
    assert sum(values(found.metrics).values()) == pytest.approx(found.loss.compute())


def right_outputs(batch):
    """What a perfect network says: of each place with an object its box, and its class for sure."""
    grid = places()
    made = np.zeros((len(batch["boxes"]), len(grid), 8 + len(NAMES)), np.float32)
    made[..., :3], made[..., 8:] = grid, -30
    for i, (boxes, classes) in enumerate(zip(batch["boxes"], batch["classes"], strict=True)):
        for j, place in enumerate(grid):
            if (m := owner_by_hand(place, boxes, classes, TASK.radius)) >= 0:
                x, y = place[:2]
                made[i, j, 3:7] = x - boxes[m][0], y - boxes[m][1], boxes[m][2] - x, boxes[m][3] - y
                made[i, j, 7], made[i, j, 8 + classes[m]] = 30, 30
    return made


def apart():
    """Objects that no other one covers, as a batch of the size of `drawn`; the last image has none."""
    boxes, classes = np.zeros((3, 5, 4), np.float32), np.full((3, 5), -1, np.int32)
    boxes[0, :2], boxes[1, 0] = [[2, 2, 22, 26], [30, 8, 62, 40]], [10, 10, 60, 60]
    classes[0, :2], classes[1, 0] = [0, 1], 1
    return drawn(0)[1] | {"boxes": boxes, "classes": classes}


def test_a_perfect_network_has_no_loss_and_finds_each_object_once():
    batch = apart()
    _, metrics, found = told(right_outputs(batch), batch)
    assert values(metrics) == pytest.approx({"loss": 0, "ap50": 1, "ap75": 1, "ap": 1}, abs=1e-4)
    assert (found["classes"] >= 0).sum(axis=1).tolist() == [2, 1, 0]
    np.testing.assert_allclose(found["boxes"][1, 0], batch["boxes"][1, 0], atol=1e-4)


def test_an_object_that_is_ignored_neither_teaches_nor_counts():
    batch = apart()
    batch["classes"][0, 1] = -1
    outputs = right_outputs(batch)
    batch["classes"][0, 1] = 1
    ignored = np.zeros((3, 5), bool)
    ignored[0, 1] = True
    missed, nothing = values(told(outputs, batch)[1]), values(told(outputs, batch | {"ignored": ignored})[1])
    assert missed["ap50"] < 1
    assert missed["loss"] > 1
    assert nothing == pytest.approx({"loss": 0, "ap50": 1, "ap75": 1, "ap": 1}, abs=1e-4)


def test_what_lies_in_the_box_of_an_ignored_object_is_no_background():
    """A network that sees the object was told that nothing is there; what it says elsewhere still counts."""
    batch = apart()
    outputs, ignored = right_outputs(batch), np.zeros((3, 5), bool)
    ignored[0, 1] = True
    assert values(told(outputs, batch | {"ignored": ignored})[1])["loss"] == pytest.approx(0, abs=1e-4)
    covered = batch | {"ignored": ignored, "boxes": batch["boxes"].copy()}
    covered["boxes"][0, 1] = [0, 0, SIZE, SIZE]
    found = TASK._losses(jnp.asarray(outputs), covered)
    blind = outputs.copy()
    blind[0, outputs[0, :, 8] > 0, 8] = -30  # the object within it that counts still teaches
    assert TASK._losses(jnp.asarray(blind), covered)["class_loss"][0] > found["class_loss"][0] + 1
    outside = outputs.copy()
    outside[0, 7, 8] = 30  # the last place of the first row
    assert TASK._losses(jnp.asarray(outside), batch | {"ignored": ignored})["class_loss"][0] > 1


def test_an_image_without_objects_has_a_finite_loss_and_gradient():
    outputs, batch = drawn(0)
    empty = batch | {"classes": np.full_like(batch["classes"], -1)}
    value, gradient = jax.jit(jax.value_and_grad(lambda out: told(out, empty)[0].loss.total))(outputs)
    assert value > 0
    assert np.isfinite(gradient).all()
    assert not gradient[..., :8].any()  # only the classes are told that nothing is there


def test_undefined_outputs_show():
    outputs, batch = drawn(0)
    outputs[0, 0, 8] = np.nan
    assert all(map(math.isnan, values(told(outputs, batch)[1]).values()))
    batch["weight"] = np.array([0, 1, 1], np.float32)
    assert all(map(math.isfinite, values(told(outputs, batch)[1]).values()))


def test_metrics_are_exact_over_batches():
    """Two batches that are padded with examples of weight 0 are one batch of all."""
    outputs, batch = drawn(3)
    whole = values(told(outputs, batch)[1])
    halves = [
        jax.device_get(told(outputs, batch | {"weight": np.array(weight, np.float32)})[1])
        for weight in ((1, 0, 1), (0, 1, 0))
    ]
    assert {name: (halves[0][name] + halves[1][name]).compute() for name in whole} == pytest.approx(whole, rel=1e-5)


def test_centerness_is_one_at_the_center_and_zero_at_the_border():
    box = jnp.array([0.0, 0.0, 8.0, 4.0])
    told = [float(centerness(jnp.array(place), box)) for place in ([4.0, 2.0], [0.0, 2.0], [9.0, 2.0])]
    assert told == [1, 0, 0]


def test_the_score_is_the_sum_of_the_logits_of_what_is_there():
    batch = apart()
    outputs = right_outputs(batch)
    count = (outputs[..., 7] > 0).sum(axis=1)
    np.testing.assert_allclose(TASK.score(outputs, batch), 30 * count)
    np.testing.assert_allclose(TASK.score(outputs, batch, 0)[1:], -30 * len(places()))


def test_names_and_outputs_must_be_of_one_number():
    outputs, batch = drawn(0)
    with pytest.raises(UserError, match="the model has 2 outputs, and the task 3 class names"):
        dataclasses.replace(TASK, class_names=("a", "b", "c")).labels(lambda *_, **__: (outputs, {}), batch)
    with pytest.raises(UserError, match="expected one array"):
        TASK.detections(outputs[..., :5])
