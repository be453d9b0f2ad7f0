"""Shares of variance of known functions, and the page of a sweep from synthetic rows."""

import numpy as np
import pytest

from deeplab.report.sweeps import page
from deeplab.report.sweeps import summary as sweep
from deeplab.report.sweeps.importance import POSITIONS, fanova

GRID = np.stack(np.meshgrid(*[(np.arange(6) + 0.5) / 6] * 3, indexing="ij"), axis=-1).reshape(-1, 3)


def test_the_shares_of_an_additive_function_are_its_variances():
    """A tree that sees every point of a grid is the function, and its analysis is that of the table."""
    f = [np.array([0.0, 1, 4, 9, 16, 25]), np.array([3.0, 1, 4, 1, 5, 9]), np.zeros(6)]
    y = sum(values[(GRID[:, j] * 6).astype(int)] for j, values in enumerate(f))
    found = fanova(GRID, y, trees=1, bootstrap=False)
    variances = np.array([values.var() for values in f])
    np.testing.assert_allclose(found.main[0], variances / variances.sum(), atol=1e-9)
    assert all(abs(share[0]) < 1e-9 for share in found.pairs.values())
    middle = y.mean() - f[0].mean() + f[0][(POSITIONS * 6).astype(int)]
    np.testing.assert_allclose(found.curves[0], middle, atol=1e-9)


def test_an_interaction_is_neither_s_alone():
    a, b, _ = (GRID - 0.5).T
    found = fanova(GRID, a * b, trees=1, bootstrap=False)
    assert found.pairs[0, 1][0] == pytest.approx(1)
    np.testing.assert_allclose(found.main, 0, atol=1e-9)


def test_a_forest_finds_what_matters_in_draws():
    x = np.random.default_rng(0).random((200, 3))
    found = fanova(x, 3 * x[:, 0] + x[:, 1])
    assert found.main.mean(axis=0) == pytest.approx([0.9, 0.1, 0], abs=0.04)
    assert found.explained > 0.9


def row(rate, width, seed, accuracy, **more):
    end = {"accuracy": accuracy, "loss": None if accuracy is None else 1 - accuracy}
    kept = {"arguments": {"rate": rate, "width": width, "epochs": 3}, "seed": seed, "curve": [{"evaluation": end}],
            "steps": 20, "diverged": accuracy is None, "stopped": False, "rungs": [],
            "way": "one after another (asked for)", "seconds": 2.0, "compiled": []}  # fmt: skip
    return kept | more


def axis(values):
    return sweep.Axis(values, False, lambda value: (values.index(value) + 0.5) / len(values), None)


@pytest.fixture(scope="module")
def summary():
    rows = [row(r, w, s, 0.5 + r + s / 10) for r in (0.1, 0.2, 0.3) for w in ("a", "b", "<c>") for s in (0, 1)]
    rows[0] = row(0.1, "a", 0, None, steps=3)
    rows[-1]["compiled"] = [2.5]
    axes = {"rate": axis([0.1, 0.2, 0.3]), "width": axis(["a", "b", "<c>"])}
    return sweep.summarize(rows, axes, "accuracy") | {"command": "python -m x train", "split": "test"}, rows


def test_settings_are_ordered_by_the_mean_of_their_seeds(summary):
    found, _ = summary
    first, last = found["settings"][0], found["settings"][-1]
    assert (first["setting"]["rate"], first["mean"]) == (0.3, pytest.approx(0.85))
    assert first["sd"] == pytest.approx(0.1 / np.sqrt(2))
    assert (last["setting"], last["diverged"]) == ({"rate": 0.1, "width": "a"}, 1)
    assert found["importance"]["main"]["rate"][0] > 0.9
    assert found["ways"] == [["one after another (asked for)", 18, 36.0, 1, 2.5]]


def test_the_page_says_all_and_escapes_what_was_given(summary):
    text = "".join(page.sections(*summary))
    for part in (
        "85.00 %",
        "python -m x train",
        "<svg",
        "1 diverged",
        "after step 3",
        "of the best setting",
        "&lt;c&gt;",
    ):
        assert part in text
    assert "<c>" not in text


def test_stopped_settings_come_last_and_are_compared_where_all_were():
    rows = [row(0.1, "a", 0, 0.9, rungs=[0.4]), row(0.2, "a", 0, 0.95, rungs=[0.3], stopped=True, steps=5)]
    found = sweep.summarize(rows, {"rate": axis([0.1, 0.2])}, "accuracy")
    assert [entry["setting"]["rate"] for entry in found["settings"]] == [0.1, 0.2]
    assert [entry["compared"] for entry in found["settings"]] == [0.4, 0.3]
    assert "at the first rung" in "".join(page.sections(found | {"command": "", "split": "test"}, rows))
