"""A NaN is never a good score: argmax, comparison and sorting hide it, the metrics show it. And sums merge."""

import functools
import math
import operator

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score

from deeplab.core.errors import UserError
from deeplab.core.monitor import Monitor
from deeplab.metrics import Mean, auc, average_precision, bleu, defined, edits, f1, hits, ranks, roc
from deeplab.metrics.confusion import Confusion, PredictiveValue, Sensitivity, macro_f1
from deeplab.robust import calibration
from deeplab.tasks import (
    CTC,
    Classification,
    Clinical,
    Forecasting,
    LanguageModeling,
    Quantiles,
    Ranking,
    RatingPrediction,
    Regression,
    Segmentation,
    Softmax,
)

KEY = jax.random.key(0)
B, K, T = 4, 3, 5
WEIGHT = jnp.array([1.0, 0.5, 0.0, 2.0])
BASE = {"weight": WEIGHT, "id": jnp.arange(B)}
RNG = np.random.default_rng(0)


def normal(*shape):
    return jnp.asarray(RNG.normal(size=shape), jnp.float32)


LABEL = jnp.array([0, 1, 2, 0])
CASES = {
    "classification": (Classification(), normal(B, K), {"image": 0, "label": LABEL}),
    "mixed labels": (Classification(), normal(B, K), {"image": 0, "label": jax.nn.one_hot(LABEL, K)}),
    "clinical": (Clinical(("a", "b", "c")), normal(B, K), {"x": 0, "label": LABEL}),
    "language": (LanguageModeling(), normal(B, T, K), {"tokens": 0, "targets": jnp.zeros((B, T), int)}),
    "segmentation": (
        Segmentation(("a", "b", "c")), normal(B, 2, 2, K), {"image": 0, "mask": jnp.zeros((B, 2, 2), int)},
    ),
    "ctc": (
        CTC(("a", "b")),
        normal(B, T, K),
        {
            "features": jnp.zeros((B, T, 1)), "frames": jnp.full(B, T), "label": jnp.ones((B, 2), int),
            "label_length": jnp.ones(B, int),
        },
    ),
    "forecast": (Forecasting(), normal(B, 2, 3, 1), {"history": 0, "target": normal(B, 2, 3)}),
    "quantiles": (Forecasting((0.1, 0.5, 0.9)), normal(B, 2, 3, 3), {"history": 0, "target": normal(B, 2, 3)}),
    "regression": (
        Regression(Quantiles((0.1, 0.5, 0.9)), fields=()), normal(B, 2, 3), {"target": normal(B, 2)},
    ),
    "ratings": (RatingPrediction(fields=()), normal(B, K), {"rating": jnp.ones((B, K)), "known": jnp.zeros((B, K))}),
    "ranking": (
        Ranking(Softmax(), fields=()),
        normal(B, 1, K),
        {"seen": jnp.zeros((B, K), bool).at[:, 0].set(True), "targets": jnp.array([[1], [2], [1], [2]])},
    ),
}  # fmt: skip


def measured(task, outputs, batch):
    outputs = (outputs,) if isinstance(task, Ranking) else outputs
    return task.metrics(lambda *_, **__: (outputs, {}), batch, KEY)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("row", [0, 2])
def test_each_metric_of_each_task(name, row):
    """One output of an example is NaN: every metric is, or (with weight 0) none is changed."""
    task, outputs, fields = CASES[name]
    broken = outputs.at[(row, *[-1] * (outputs.ndim - 1))].set(jnp.nan)
    before, after = (measured(task, x, fields | BASE) for x in (outputs, broken))
    for key in before.keys() - {"impossible"}:
        assert not math.isnan(before[key].compute()), key
        if row == 0:
            assert math.isnan(after[key].compute()), key
        else:
            assert after[key].compute() == before[key].compute(), key


@pytest.mark.parametrize("name", ["classification", "mixed labels", "clinical", "language", "segmentation", "ctc"])
def test_each_metric_of_a_training_batch(name):
    task, outputs, fields = CASES[name]
    broken = outputs.at[(0, *[-1] * (outputs.ndim - 1))].set(jnp.nan)
    out = task.loss(lambda *_, **__: (broken, {}), fields | BASE, KEY)
    for key, metric in ({"loss": out.loss} | out.metrics).items():
        assert math.isnan(metric.compute()) or key == "impossible", key


def test_a_ranking_of_nan_is_not_the_best():
    scores, target, offered = jnp.full((1, 5), jnp.nan), jnp.array([2]), jnp.ones((1, 5), bool)
    place = ranks.rank(scores, target, offered)
    for value in (place, ranks.hit_rate(place, 3), ranks.ndcg(place, 3), ranks.reciprocal(place)):
        assert np.isnan(value).all()
    assert np.isnan(ranks.auc(scores, target, offered)).all()
    hidden = jnp.array([[jnp.nan, 0.2, 0.5]])  # item 0 is no candidate
    assert ranks.rank(hidden, jnp.array([1]), jnp.array([[False, True, True]])).tolist() == [2]


def test_fewer_items_than_the_cutoff():
    task, outputs, fields = CASES["ranking"]
    out = task.predict(lambda *_, **__: ((outputs,), {}), fields | BASE, KEY)
    assert out["top"].shape == (B, K)
    assert (out["top"][:, -1] == 0).all()  # two items are offered, and 0 is padding
    assert measured(task, outputs, fields | BASE)["hr@10"].compute() == 1.0
    rated, told, given = CASES["ratings"]
    assert rated.predict(lambda *_, **__: (told, {}), given | BASE, KEY)["top"].shape == (B, K)


def test_a_sequence_without_a_next_item_has_no_weight():
    task, outputs, fields = CASES["ranking"]
    ended = fields | BASE | {"targets": fields["targets"].at[0].set(0)}
    without = fields | BASE | {"weight": WEIGHT.at[0].set(0.0)}
    a, b = (measured(task, outputs, batch) for batch in (ended, without))
    assert {k: m.compute() for k, m in a.items()} == {k: m.compute() for k, m in b.items()}


@pytest.mark.parametrize("target", [-1, 5])
def test_a_target_that_is_no_item_is_not_the_best(target):
    """It had rank 1, a perfect hit."""
    scores, offered = jnp.arange(5.0)[None], jnp.ones((1, 5), bool)
    place = ranks.rank(scores, jnp.array([target]), offered)
    for value in (place, ranks.hit_rate(place, 3), ranks.auc(scores, jnp.array([target]), offered)):
        assert np.isnan(value).all()


@pytest.mark.parametrize("metric", [auc, average_precision, f1])
@pytest.mark.parametrize("p", [np.full((4, 2), 0.5), np.full((4, 3), 0.3), np.full(4, 0.5)])
def test_a_metric_of_a_split_of_nan(metric, p):
    """Classes of NaN were left out, and argmax chose them."""
    label = np.array([0, 1, 1, 0])
    assert not math.isnan(metric(p, label))
    broken = p.copy()
    broken[(1, 0)[: p.ndim]] = np.nan
    assert math.isnan(metric(broken, label))
    assert not math.isnan(metric(broken, label, np.array([1.0, 0.0, 1.0, 1.0])))


def test_translations_and_transcripts_of_no_text_or_of_unequal_numbers():
    """They were cut to the shorter list, or an IndexError."""
    for score in (bleu.bleu, bleu.sacre_bleu):
        assert math.isnan(score([], []))
        with pytest.raises(UserError, match="1 translations and 2 references, expected one reference for each"):
            score(["a b c d"], ["a b c d", "e f g h"])
    for errors in (edits.character_errors, edits.word_errors):
        assert errors([], []) == (0, 0)
        for hypotheses in ([], ["a", "b"]):
            with pytest.raises(UserError, match=f"1 references and {len(hypotheses)} hypotheses, expected one hypoth"):
                errors(["a"], hypotheses)


def test_curves_of_nan():
    positive = np.array([True, False, True])
    scores = roc.Scores(np.array([np.nan, 0.1, 0.9]), positive)
    for statistic in (roc.auroc, roc.average_precision, functools.partial(roc.sensitivity_at, specificity=0.5)):
        assert math.isnan(statistic(scores.curve()))
    assert roc.auroc(scores.curve(np.array([0.0, 1.0, 1.0]))) == 1.0  # its weight is 0
    assert all(map(math.isnan, roc.bootstrap(scores, roc.auroc)))
    assert math.isnan(roc.auroc(roc.Scores(np.empty(0), np.empty(0, bool)).curve()))


@given(st.lists(st.tuples(st.sampled_from([-np.inf, 0.0, 1.0, np.inf]), st.booleans()), min_size=2, max_size=12))
@settings(max_examples=100, deadline=None)
def test_equal_infinities_are_one_threshold(examples):
    score, positive = np.array([s for s, _ in examples]), np.array([p for _, p in examples])
    curve = roc.Scores(score, positive).curve()
    if positive.all() or not positive.any():
        assert math.isnan(roc.auroc(curve))
    else:
        finite = np.clip(score, -9, 9)
        assert roc.auroc(curve) == pytest.approx(roc_auc_score(positive, finite))
        assert roc.average_precision(curve) == pytest.approx(average_precision_score(positive, finite))


def test_calibration_of_nan():
    logits, label = np.array([[np.nan, 1.0], [0.0, 1.0]]), np.array([1, 1])
    assert all(map(math.isnan, calibration.summary(logits, label).values()))
    assert math.isnan(calibration.expected_calibration_error(np.empty(0), np.empty(0, bool)))


@pytest.mark.parametrize("direction", ["min", "max"])
def test_a_monitor_never_chooses_nan(direction):
    monitor = Monitor("x", direction)
    scores = [monitor.score({"x": x}) for x in (math.nan, -1e30, 1e30)]
    assert max(range(3), key=scores.__getitem__) != 0


@pytest.mark.parametrize("statistic", [macro_f1, Sensitivity(1), PredictiveValue(1)])
def test_a_confusion_of_nan_weight(statistic):
    label, weight = jnp.array([0, 1]), jnp.array([jnp.nan, 1.0])
    assert math.isnan(Confusion.of(label, label, 2, statistic, weight).compute())


numbers = st.floats(-4, 4, width=32, allow_subnormal=False)  # which XLA takes for 0, and NumPy does not
floats = st.one_of(numbers, st.sampled_from([np.nan, np.inf, -np.inf]))


@given(
    st.lists(st.tuples(floats, st.sampled_from([0.0, 0.25, 1.0, 1e20])), max_size=12), st.integers(0, 12), st.randoms()
)
@settings(max_examples=200, deadline=None)
def test_a_mean_is_numpys_in_any_order_and_over_any_parts(examples, cut, random):
    def whole(part):
        values, weight = np.array(part, np.float32).reshape(-1, 2).T
        return Mean.of(jnp.asarray(values), jnp.asarray(weight))

    expected = [(v, w) for v, w in examples if w]
    with np.errstate(invalid="ignore"):
        expected = sum(np.float64(v) * w for v, w in expected) / sum(w for _, w in expected) if expected else np.nan
    random.shuffle(examples)
    for made in (whole(examples), operator.add(whole(examples[:cut]), whole(examples[cut:]))):
        with np.errstate(invalid="ignore"):
            assert made.compute() == pytest.approx(expected, rel=1e-4, abs=1e-4, nan_ok=True)


@given(st.lists(st.lists(floats, min_size=3, max_size=3), min_size=1, max_size=6), st.integers(0, 2))
@settings(max_examples=100, deadline=None)
def test_hits_are_those_of_the_first_maximum(rows, label):
    scores = np.array(rows, np.float32)
    expected = [np.nan if np.isnan(row).any() else float(np.argmax(row) == label) for row in scores]
    np.testing.assert_array_equal(hits(jnp.asarray(scores), jnp.full(len(rows), label)), expected)
    np.testing.assert_array_equal(np.isnan(defined(jnp.ones(len(rows)), jnp.asarray(scores))), np.isnan(expected))


@pytest.mark.parametrize(("values", "weight"), [((4, 4), (4,)), ((4,), (4, 1)), ((4, 1), (4,)), ((), (4,))])
def test_weights_of_another_shape_are_refused(values, weight):
    with pytest.raises(UserError, match=r"values \[.*\] of a mean have weights \[.*\], expected the same shape"):
        Mean.of(jnp.ones(values), jnp.ones(weight))
