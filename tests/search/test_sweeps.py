"""Members to rows: in the order asked for, and halved the same way whatever holds their states."""

import jax
import pytest

from deeplab.search import halving
from deeplab.search.setup import Setup
from deeplab.search.sweep import sweep
from tests import toys

ARGUMENTS = {"learning_rate": [1e-3, 1e-1, 1e-2, 3e-2], "steps": 12, "norm": False}


def test_rows_come_in_the_order_of_the_product_and_halving_keeps_the_best():
    rows = sweep(toys.experiment, ARGUMENTS, seeds=2, eta=2, setup=Setup(execution="serial"))
    assert [(row["arguments"]["learning_rate"], row["seed"]) for row in rows] == [
        (rate, seed) for rate in (1e-3, 1e-1, 1e-2, 3e-2) for seed in (0, 1)
    ]
    assert sorted(len(row["rungs"]) for row in rows) == [1, 1, 1, 1, 2, 2, 2, 2]
    assert all(a["stopped"] == b["stopped"] for a, b in zip(rows[::2], rows[1::2], strict=True))  # seeds stay together
    pairs = [(a["rungs"], b["rungs"]) for a, b in zip(rows[::2], rows[1::2], strict=True)]
    kept, stopped = ([a[0] + b[0] for a, b in pairs if len(a) == count] for count in (2, 1))
    assert min(kept) >= max(stopped)
    assert sum(len(row["compiled"]) for row in rows) == 1
    assert all(row["steps"] == row["curve"][-1]["step"] for row in rows)


@pytest.mark.slow
def test_states_that_wait_on_the_host_go_on_as_if_they_had_not(monkeypatch):
    """An accelerator that holds but two members at once."""
    here = sweep(toys.experiment, ARGUMENTS, eta=2)
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    parked = sweep(toys.experiment, ARGUMENTS, eta=2, setup=Setup(devices=jax.devices()[:1], members_per_program=2))
    assert [row["steps"] for row in here] == [row["steps"] for row in parked]
    assert "2 at a time" in parked[0]["execution"]
    for a, b in zip(here, parked, strict=True):
        assert a["curve"][-1]["evaluation"] == pytest.approx(b["curve"][-1]["evaluation"], rel=1e-4)


def test_rungs_leave_one_setting_and_end_before_the_run():
    for settings in range(1, 40):
        for eta in (2, 3, 4):
            rungs, left = halving.rungs(settings, eta), settings
            for _ in rungs:
                left = max(1, left // eta)
            assert left < eta or settings < eta
            assert rungs == sorted(rungs)
            assert all(0 < rung <= 1 / eta for rung in rungs)


def test_the_step_of_a_rung_is_an_evaluation():
    assert [halving.step_of(rung, 100, 7) for rung in (0.01, 0.07, 0.071, 0.5, 1.0)] == [7, 7, 14, 56, 100]
