"""Average precision against pycocotools, and its laws."""

import contextlib
import io

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deeplab.metrics.detection import COCO, AveragePrecision, matched


def drawn(seed, crowds=0.15, classes=3, detections=30, whole=False):
    """Random objects, some ignored, and detections, most of them near an object: images of different numbers."""
    rng = np.random.default_rng(seed)
    N, D, M = rng.integers(1, 6), rng.integers(1, detections), rng.integers(1, 12)

    def boxes(*shape):
        low = rng.uniform(0, 30, (*shape, 2))
        return np.concatenate([low, low + rng.uniform(1, 25, (*shape, 2))], axis=-1)

    objects = boxes(N, M)
    near = objects[np.arange(N)[:, None], rng.integers(0, M, (N, D))] + rng.normal(0, 1.5, (N, D, 4))
    found = np.where(rng.random((N, D, 1)) < 0.7, near, boxes(N, D))
    objects, found = (np.round(x) for x in (objects, found)) if whole else (objects, found)
    found[..., 2:] = np.maximum(found[..., 2:], found[..., :2] + 1)
    kinds = rng.integers(-1, classes, (N, M, 1)), rng.random((N, M, 1)) < crowds
    sure = np.round(rng.random((N, D, 1)), 2 if whole else 9)  # with equal ones
    return (
        np.concatenate([found, sure, rng.integers(-1, classes, (N, D, 1))], axis=-1),
        np.concatenate([objects, *kinds], axis=-1),
    )


def ap(detections, objects, thresholds=COCO, num_classes=3):
    return AveragePrecision(detections, objects, num_classes, thresholds).compute()


# Of pycocotools 2.0.11 for `drawn(seed, whole=seed % 2 == 1)`: IoU of 0.5, and 0.5 to 0.95.
MEASURED = {
    0: (0.076457645765, 0.028525852585),
    1: (0.094059405941, 0.065346534653),
    2: (0.291513437058, 0.117649431610),
    3: (0.037403740374, 0.018701870187),
    5: (0.363625648279, 0.249169024045),
    8: (0.112761276128, 0.022717271727),
}


@pytest.mark.parametrize("seed", MEASURED)
def test_it_is_the_value_of_pycocotools(seed):
    given = drawn(seed, whole=seed % 2 == 1)
    assert (ap(*given, (0.5,)), ap(*given)) == pytest.approx(MEASURED[seed], abs=1e-9)


def of_pycocotools(detections, objects, thresholds, num_classes=3):
    pytest.importorskip("pycocotools", reason="pycocotools is of the extra parity; its values are above")
    from pycocotools.coco import COCO as Annotations
    from pycocotools.cocoeval import COCOeval

    def told(row, image, kind):
        x, y, right, bottom = row[:4]
        return {
            "image_id": image, "category_id": int(kind), "bbox": [x, y, right - x, bottom - y],
            "area": (right - x) * (bottom - y),
        }  # fmt: skip

    rows = [(i, row) for i, image in enumerate(objects) for row in image if row[4] >= 0]
    made = [told(row, i, row[4]) | {"id": n, "iscrowd": int(row[5])} for n, (i, row) in enumerate(rows, start=1)]
    found = [
        told(row, i, row[5]) | {"score": row[4]} for i, image in enumerate(detections) for row in image if row[5] >= 0
    ]
    if not found:
        return 0.0 if any(not row["iscrowd"] for row in made) else float("nan")
    with contextlib.redirect_stdout(io.StringIO()):
        truth = Annotations()
        kinds, images = [{"id": k} for k in range(num_classes)], [{"id": i} for i in range(len(objects))]
        truth.dataset = {"images": images, "annotations": made, "categories": kinds}
        truth.createIndex()
        judge = COCOeval(truth, truth.loadRes(found), "bbox")
        judge.params.iouThrs = np.array(thresholds)
        judge.params.areaRng, judge.params.areaRngLbl, judge.params.maxDets = [[0, 1e10]], ["all"], [100]
        judge.evaluate()
        judge.accumulate()
    precision = judge.eval["precision"][..., 0, 0]
    return precision[precision > -1].mean() if (precision > -1).any() else float("nan")


@pytest.mark.parametrize("thresholds", [(0.5,), COCO], ids=["ap50", "ap"])
@pytest.mark.parametrize("seed", range(40))
def test_it_is_pycocotools_where_that_is_installed(seed, thresholds):
    given = drawn(seed, whole=seed % 2 == 1, detections=400 if seed % 10 == 0 else 30)
    assert ap(*given, thresholds) == pytest.approx(of_pycocotools(*given, thresholds), abs=1e-9, nan_ok=True)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(0, 10_000))
def test_it_is_a_share_that_no_order_of_images_or_rows_changes(seed, other):
    detections, objects = drawn(seed)
    value = ap(detections, objects)
    assert np.isnan(value) or 0 <= value <= 1
    rng = np.random.default_rng(other)
    order = rng.permutation(len(detections))
    mixed = [rng.permuted(np.arange(x.shape[1])) for x in (detections, objects)]
    again = ap(detections[order][:, mixed[0]], objects[order][:, mixed[1]])
    assert again == pytest.approx(value, abs=1e-12, nan_ok=True)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.integers(0, 5))
def test_it_is_exact_over_parts(seed, cut):
    detections, objects = drawn(seed)
    parts = [AveragePrecision(detections[part], objects[part], 3) for part in (slice(cut), slice(cut, None))]
    assert (parts[0] + parts[1]).compute() == pytest.approx(ap(detections, objects), nan_ok=True)
    twice = [jax.tree.map(lambda x: np.stack([x, x]), part) for part in parts]  # two members of a population
    joined = jax.tree.map(lambda x: x[1], twice[0] + twice[1])
    assert joined.compute() == pytest.approx(ap(detections, objects), nan_ok=True)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000))
def test_a_mistake_of_the_lowest_score_never_helps_and_a_perfect_detector_has_one(seed):
    detections, objects = drawn(seed, crowds=0.0)
    wrong = np.array([500.0, 500.0, 510.0, 510.0, -1.0, 0.0])
    more = np.concatenate([detections, np.tile(wrong, (len(detections), 1, 1))], axis=1)
    assert np.isnan(ap(detections, objects)) or ap(more, objects) <= ap(detections, objects) + 1e-12
    perfect = np.concatenate([objects[..., :4], np.ones((*objects.shape[:2], 1)), objects[..., 4:5]], axis=-1)
    assert ap(perfect, objects) == pytest.approx(1 if (objects[..., 4] >= 0).any() else np.nan, nan_ok=True)


def test_what_is_ignored_is_neither_right_nor_wrong():
    box, far = [0.0, 0.0, 4.0, 4.0], [9.0, 9.0, 12.0, 12.0]
    objects = np.array([[[*box, 0, 0], [*far, 0, 1]]])
    found = np.array([[[*box, 0.5, 0], [*far, 0.9, 0], [*far, 0.8, 0]]])
    assert ap(found, objects, num_classes=1) == pytest.approx(1)
    counted = objects * [1, 1, 1, 1, 1, 0]
    assert ap(found, counted, (0.5,), num_classes=1) == pytest.approx((51 + 50 * 2 / 3) / 101)


def test_the_nearest_object_is_taken_and_one_only_once():
    objects = np.array([[0.0, 0.0, 10.0, 10.0], [1.0, 0.0, 11.0, 10.0]])
    found = np.array([[1.0, 0.0, 11.0, 10.0], [1.0, 0.0, 11.0, 10.0], [1.0, 0.0, 11.0, 10.0]])
    owner, _ = matched(found, objects, np.zeros(2, bool), np.array([0.5, 0.9]))
    assert owner.tolist() == [[1, 0, -1], [1, -1, -1]]


def test_undefined_is_nan():
    detections, objects = drawn(1)
    nothing = objects.copy()
    nothing[..., 4] = -1
    assert np.isnan(ap(detections, nothing))
    assert ap(detections[:, :0], objects) == 0
    detections[0, 0, 4] = np.nan
    assert np.isnan(ap(detections, objects))


def test_examples_of_weight_zero_have_no_part_in_it():
    detections, objects = (x.astype(np.float32) for x in drawn(4))
    weight = np.ones(len(detections), np.float32)
    weight[0] = 0
    garbage = np.where(weight[:, None, None] == 0, np.float32(np.nan), detections[..., :4])

    def of(boxes, rows):
        parts = boxes, detections[rows, :, 4], detections[rows, :, 5].astype(np.int32)
        there = objects[rows, :, :4], objects[rows, :, 4].astype(np.int32), objects[rows, :, 5] > 0
        return AveragePrecision.of(*parts, *there, weight[rows], 3).compute()

    assert len(weight) > 1
    assert of(garbage, slice(None)) == pytest.approx(of(detections[1:, :, :4], slice(1, None)), abs=1e-12)
