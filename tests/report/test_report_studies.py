"""Summaries and pages of the studies, from synthetic rows."""

import functools
import re
from types import SimpleNamespace

import numpy as np
import pytest

from deeplab.report import figures, shading
from deeplab.report.sweeps import power_law
from deeplab.report.sweeps.power_law import PowerLaw
from deeplab.report.text import tag
from experiments.pages import activation_study, scaling_study


def deep_row(name, depth, rate, seed, accuracy, chi=2.0, diverged=False):
    """A row whose gradients grow by `chi` a layer on their way back, and a tenth of whose units are constant."""
    norms = {f"gradient_norm/hidden{i}": chi ** ((depth - i) / 2) for i in range(1, depth + 1)}
    units = {f"constant_units/activation{i}": 0.1 for i in range(1, depth + 1)}
    measured = {"accuracy": accuracy, "loss": 1 - accuracy, "gradient_norm/head": 7.0, **norms, **units}
    train = {"loss": None if diverged else 1 - accuracy, "accuracy": accuracy}
    return {
        "arguments": {"activation": name, "depth": depth, "learning_rate": rate},
        "seed": seed,
        "steps": 3 if diverged else 10,
        "curve": [{"step": 10, "train": train, "evaluation": {}}],
        "first": measured,
        "last": measured,
    }


ROWS = [
    deep_row("relu", depth, rate, seed, accuracy + seed / 100)
    for depth in (2, 12)
    for rate, accuracy in ((1e-3, 0.8), (1e-2, 0.9), (1e-1, 0.3))
    for seed in (0, 1)
]


def test_a_cell_is_of_the_rate_with_the_highest_training_accuracy():
    shallow, deep = activation_study.summarize(ROWS)
    assert (deep["activation"], deep["depth"], deep["learning_rate"]) == ("relu", 12, 1e-2)
    assert (deep["accuracy"], deep["trained"], deep["highest"]) == (pytest.approx(0.905), 1, 1e-2)
    assert deep["deviation"] == pytest.approx(np.std([0.90, 0.91], ddof=1))
    assert deep["constant"] == pytest.approx(0.1)
    assert deep["chi"] == pytest.approx(2)
    assert deep["gradient_first"][0] == pytest.approx(2**5.5)
    assert len(deep["gradient"]) == 12
    assert shallow["chi"] is None


def test_a_diverged_run_does_not_train_and_is_not_chosen():
    rows = [deep_row("tanh", 2, 1e-3, s, 0.6) for s in (0, 1)]
    rows += [deep_row("tanh", 2, 1e-2, s, 0.99, diverged=s == 1) for s in (0, 1)]
    (cell,) = activation_study.summarize(rows)
    assert (cell["learning_rate"], cell["highest"]) == (1e-3, 1e-3)
    (cell,) = activation_study.summarize([deep_row("tanh", 2, 1e-3, 0, 0.1)])
    assert (cell["highest"], cell["trained"], cell["deviation"]) == (None, 0, None)


def test_what_overflows_is_neither_a_gradient_of_zero_nor_a_constant_unit():
    rows = [deep_row("swiglu", 4, 1e-3, seed, 0.1) for seed in (0, 1)]
    rows[0]["first"] = rows[0]["first"] | {"gradient_norm/hidden2": None}
    (cell,) = activation_study.summarize(rows)
    assert (cell["gradient_first"][1], cell["constant_first"], cell["chi"]) == (None, None, None)
    assert cell["gradient_first"][0] == pytest.approx(2**1.5)
    assert cell["constant"] == pytest.approx(0.1)


def test_a_network_that_learns_with_a_huge_loss_is_chosen_before_one_that_has_collapsed():
    learning, collapsed = deep_row("snake", 2, 1e-3, 0, 0.8), deep_row("snake", 2, 1e-2, 0, 0.1)
    learning["curve"][0]["train"]["loss"] = 300.0
    (cell,) = activation_study.summarize([learning, collapsed])
    assert cell["learning_rate"] == 1e-3


def test_the_page_of_activations_shows_every_cell():
    rows = [*ROWS, *(deep_row("b<r>", d, r, 0, 0.2, chi=0.0) for d in (2, 12) for r in (1e-3, 1e-2, 1e-1))]
    cells = activation_study.summarize(rows)
    relu = SimpleNamespace(formula="max(x, 0)", low=0, high=np.inf, monotone=True, gain=2**0.5, source="He 2015")
    functions, predicted = {"relu": relu, "b<r>": relu}, {"relu": 1.0, "b<r>": 0.5}
    text = str(tag("div", *activation_study.sections(cells, functions, predicted)))
    for said in ("90.5 ± 0.7<", "20.0 *", ">0.01<", "10.0", "max(x, 0)", "1.4142", "b&lt;r&gt;", "0 to inf"):
        assert said in text
    assert "b<r>" not in text
    assert text.count("<svg") == 2


N = np.array([500, 1000, 2000, 5000, 10_000, 20_000])


def sized_row(size, width, rate, seed, loss, best=2):
    curve = [{"step": s, "evaluation": {"loss": loss + 0.1 * abs(s - best)}} for s in (1, 2, 3)]
    return {
        "arguments": {"width": width, "learning_rate": rate},
        "num_train": int(size),
        "num_params": 10 * width,
        "seed": seed,
        "curve": curve,
        "best": {"loss": loss, "accuracy": 1 - loss / 4},
    }


@pytest.fixture(autouse=True)
def few_draws(monkeypatch):
    """The band has tests of its own."""
    monkeypatch.setattr(power_law, "band", functools.partial(power_law.band, draws=5))


def scaled(law, rates=(1e-3, 1e-2), seeds=(0, 1, 2)):
    """The second rate is the better one, and only by validation."""
    return [
        sized_row(
            n, width, rate, seed, float(law(n)) * (1 + seed / 1000) * (1.2 if rate == rates[0] else 1) * 8 / width
        )
        for width in (8, 16)
        for n in N
        for rate in rates
        for seed in seeds
    ]


def test_a_law_is_fitted_to_all_but_the_largest_size():
    law = PowerLaw(0.2, 5.0, 0.4)
    small, large = scaling_study.summarize(scaled(law))
    assert (small["width"], small["num_params"], small["sizes"]) == (8, 80, N.tolist())
    assert small["learning_rates"] == [1e-2] * 6
    assert small["law"]["exponent"] == pytest.approx(0.4, rel=1e-3)
    assert large["law"]["floor"] == pytest.approx(0.1, rel=1e-2)
    assert small["predicted"] == pytest.approx(small["measured"], rel=1e-3)
    assert small["measured"] == pytest.approx(float(law(N[-1])) * 1.001)
    assert small["low"] < small["high"]
    assert small["low"] == pytest.approx(small["predicted"], rel=1e-2)
    assert (small["steps"][0], small["late"]) == ([2] * 6, 0)
    # The largest size has no part in the law: were it another one, the prediction would stay.
    rows = [row | {"best": {"loss": 9.0, "accuracy": 0.0}} if row["num_train"] == N[-1] else row for row in scaled(law)]
    moved = scaling_study.summarize(rows)[0]
    assert moved["predicted"] == small["predicted"]
    assert (moved["low"], moved["measured"]) == (small["low"], 9.0)


def test_the_page_of_scaling_shows_prediction_and_measurement():
    curves = scaling_study.summarize(scaled(PowerLaw(0.2, 5.0, 0.4)))
    text = str(tag("div", *scaling_study.sections(curves)))
    for said in ("8 (80 parameters)", f"{curves[0]['measured']:.4f}", "width 16", "20,000", "0.01, 0.01", "0 %, 0 %"):
        assert said in text
    few = scaling_study.summarize([row for row in scaled(PowerLaw(0.2, 5.0, 0.4)) if row["num_train"] < 5000])
    assert "law" not in few[0]
    assert "Too few sizes" in str(tag("div", *scaling_study.sections(few)))


def test_a_heat_table_is_shaded_between_its_ends():
    values = np.array([[0.0, 0.5], [2.0, np.nan]])
    text = shading.heat(["a", "b"], [1, 2], values, lambda i, j: f"{values[i, j]}<", low=0.0, high=1.0)
    assert re.findall(r"--share: (\d+)%", text) == ["0", "50", "100"]
    assert text.count('class="hit"') == 3
    assert "<td>nan&lt;</td>" in text


def test_a_figure_may_have_points_a_band_and_a_logarithmic_axis():
    x = np.array([500.0, 5000.0, 50_000.0])
    lines = [
        figures.Line("law", x, 10 / x, figures.SERIES[0], band=(8 / x, 12 / x)),
        figures.Line("", x, 10 / x, figures.SERIES[1], points=True),
    ]
    svg = figures.curves(lines, log=True, log_x=True, span="all", x_label="examples")
    assert ">500<" in svg
    assert ">50k<" in svg
    assert svg.count("<use") >= 3  # one for each point
