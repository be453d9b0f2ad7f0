"""`robustness`: a run attacked, corrupted, certified, calibrated, and shown what it has never seen."""

import functools
import importlib
import re

import numpy as np
import optax
import pytest

import deeplab as dl
from deeplab.verbs.robustness.attacked import attacked
from deeplab.verbs.robustness.examined import examined
from tests.test_experiments import NAMES, SMALL
from tests.verbs.test_probe import untrained

DAILY = ("text_classification",)  # attacked at the tap of an embedding


def small(num_steps: int = 80) -> dl.Experiment:
    return dl.Experiment(
        data=dl.data.Images("digits", batch_size=64, num_steps=num_steps),
        model=dl.models.MLP(10, features=(32,)),
        task=dl.tasks.Classification(),
        optimizer=optax.adam(1e-2),
    )


@pytest.fixture(scope="module")
def run():
    return dl.fit(small)


@pytest.mark.slow
def test_an_attack_takes_what_a_larger_one_takes_and_the_gates_hold(run):
    found = attacked(examined(run, None, 64), (0.02, 0.1, 0.5), 40)
    values = list(found.values.values())
    assert list(found.values) == [0.0, 0.02, 0.1, 0.5]
    assert values == sorted(values, reverse=True)
    assert values[0] > 0.9
    assert values[-1] == 0
    assert all(low <= found.values[radius] <= high for radius, (low, high) in found.intervals.items())
    assert [gate.name for gate in found.gates if not gate.holds] == []
    for before, after, _ in found.pictures:
        assert after.min() >= 0
        assert after.max() <= 1
        assert 0 < np.abs(after - before).max() < 0.5
    lengths = [float(title.rpartition(" ")[2]) for *_, title in found.pictures]
    assert lengths == sorted(lengths)
    assert len(lengths) == 6


def test_auto_attack_wants_one_label_for_each_example(run):
    with pytest.raises(dl.UserError, match="classification of one label"):
        attacked(examined(run, None, 8)._replace(classifies=False), (0.1,), 1, auto_attack=True)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"radii": (0.1, 8.0)}, r"radius=8\.0 is larger than the box, .* 8\.0 / 255"),
        ({"radii": (-0.1, 0.1)}, "radii is -0.1, expected 0 or more"),
        ({"severities": (3, 7)}, "severities is 7, expected 1 or more and up to 5"),
        ({"alpha": 10}, "alpha is 10, expected above 0 and below 1"),
        ({"noise": 0.0}, "noise is 0.0, expected above 0"),
    ],
    ids=["bytes", "negative", "severity", "alpha", "noise"],
)
def test_a_number_out_of_its_range_is_no_part_that_is_left_out(run, given, told):
    with pytest.raises(dl.UserError, match=told):
        dl.robustness(run, ["reliable"], examples=64, **given)


@pytest.mark.slow
def test_auto_attack_leaves_no_more_than_the_steps(run):
    what = examined(run, None, 64)
    steps, auto = (attacked(what, (0.05,), 40, gated=False, auto_attack=auto) for auto in (False, True))
    assert auto.values[0.0] == steps.values[0.0]
    assert 0 < auto.values[0.05] <= steps.values[0.05]
    assert auto.warnings == ()


def test_its_parts_and_its_page(run, tmp_path):
    found = dl.robustness(run, ["certified", "reliable", "unfamiliar"], examples=128, noise=0.1, draws=50)
    curve, reliable = found.parts["certified"].curve, found.parts["reliable"]
    assert np.all(np.diff(curve.accuracy) <= 0)
    assert curve.accuracy[0] > 0.8
    assert reliable.sizes == (64, 64)
    assert all(0 <= each.low <= each.high < 0.3 for each in reliable.ece)
    for coverage in reliable.coverage.values():
        assert coverage.group[0] == "all"
        assert coverage.count[0] == sum(coverage.count[1:]) == 64
        assert coverage.coverage[0] > 0.8
    assert found.parts["unfamiliar"].tables["noise"]["mahalanobis"].auroc > 0.9
    assert "Certified accuracy by radius" in found._repr_html_()
    assert "calibration error" in str(found)
    with pytest.raises(dl.UserError, match="'reliable'"):
        dl.robustness(run, ["relable"])


def test_the_verb_writes_a_page_and_tells_what_it_leaves_out(tmp_path):
    flags = ["--smoke", "--run-dir", str(tmp_path / "run")]
    dl.main(small, ["train", *flags])
    told = dl.main(small, ["robustness", "--parts", "reliable", "--alpha", "0.3", *flags])
    assert list(told["parts"]) == ["reliable"]
    assert told["left_out"] == {}
    assert told["page"] == tmp_path / "run" / "robustness.html"
    assert "Conformal sets" in told["page"].read_text(encoding="utf-8")


@pytest.mark.slow
def test_corruptions_cost_something(run):
    found = dl.robustness(run, ["corrupted"], examples=128, severities=(1, 5)).parts["corrupted"]
    assert len(found.values) == 15
    assert found.mean < found.clean
    assert found.values["gaussian_noise"][1] <= found.values["gaussian_noise"][0]


WORDS = {"bad": "horrible terrible dreadful awful", "good": "wonderful splendid delightful lovely"}
LINES = {
    "text": [" ".join(np.random.default_rng(i).choice(WORDS[k].split(), 4)) for i in range(20) for k in WORDS],
    "mark": [k for _ in range(20) for k in WORDS],
}


def of_lines() -> dl.Experiment:
    lines = dl.data.sentences(LINES, label="mark", num_words=64, num_features=1, test=0.5)
    return dl.Experiment(
        data=dl.data.Examples(lines, 8, num_steps=20),
        model=dl.models.TextCNN(2, lines.table_size, windows=(1,), filters=8, width=8),
        task=dl.tasks.Classification(fields=("tokens",)),
        optimizer=optax.adam(0.05),
    )


def of_rows() -> dl.Experiment:
    x = np.random.default_rng(0).normal(3.0, 5.0, (200, 4)).astype(np.float32)
    rows = {"x": x, "label": (x[:, 0] > 3).astype(np.int32)}
    return dl.Experiment(
        data=dl.data.Examples({"train": rows, "test": rows}, 16, num_steps=100),
        model=dl.models.MLP(2, features=()),
        task=dl.tasks.Classification(fields=("x",)),
        optimizer=optax.adam(0.05),
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("experiment", "kinds"), [(of_lines, ["typing errors", "other case"]), (of_rows, ["missing", "shifted"])]
)
def test_texts_and_tables_are_corrupted_as_they_are_stored(experiment, kinds):
    """Typing errors make words unknown, cases do not; a column is missing by its mean, and moved in its unit."""
    found = dl.robustness(dl.fit(experiment), ["corrupted"], examples=64, severities=(1, 5)).parts["corrupted"]
    assert list(found.values) == kinds
    assert found.clean > 0.9
    assert found.values[kinds[0]][1] < found.clean - 0.1
    if experiment is of_lines:
        assert found.values[kinds[1]] == (found.clean, found.clean)
    else:
        assert 0.4 < found.values["shifted"][1] < 0.65  # by two deviations: 1 / 2 + Phi(-2) are right


def test_a_text_that_is_written_anew_has_its_tokens():
    experiment = of_lines()
    source = experiment.data.open("test")
    raw = experiment.data.fetch(source, np.arange(20, dtype=np.int32))
    again = experiment.data.builder.rewritten(raw, lambda text, _: text)
    np.testing.assert_array_equal(again["tokens"], raw["tokens"])
    other = experiment.data.builder.rewritten(raw, lambda text, i: "unheard of" if i == 3 else text)
    assert [i for i in range(20) if not np.array_equal(other["tokens"][i], raw["tokens"][i])] == [3]


@pytest.mark.parametrize("name", [pytest.param(n, marks=() if n in DAILY else pytest.mark.slow) for n in NAMES])
def test_every_experiment_is_tested_or_says_why_not(name):
    function = importlib.import_module(f"experiments.{name}").experiment
    run = untrained(functools.partial(function, **SMALL.get(name, {})), smoke=True)
    parts = ("attacked", "certified", "reliable", "unfamiliar")
    found, refused = None, ""
    try:
        found = dl.robustness(run, parts, examples=32, steps=2, draws=4, radii=(0.1,), alpha=0.2)
    except dl.UserError as error:
        refused = str(error)
    if found is None:  # a generator, a model of pairs, or one whose embedding is called several times
        assert re.search("no score that an attack could lower|the batch has no field|is called several times", refused)
        assert "no probability of one class" in refused
        return
    assert set(found.parts) | set(found.left_out) == set(parts)
    assert all(len(why) > 20 for why in found.left_out.values())
    assert len(found.blocks) == len(found.parts) > 0
