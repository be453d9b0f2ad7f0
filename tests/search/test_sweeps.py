"""Members to rows: in the order asked for, and halved the same way whatever holds their states."""

import jax
import pytest

from deeplab.search import halving, runner
from deeplab.search.setup import Setup
from deeplab.search.sweep import sweep
from deeplab.train.step import make_eval
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


@pytest.mark.parametrize("has_host", [True, False])
def test_parts_wait_on_the_host_until_they_run(monkeypatch, has_host):
    """Device 1 is an accelerator that holds but two members at once, and device 0 the host.

    After a rung all were on the accelerator; and without a CPU in JAX_PLATFORMS a sweep ended at its first rung.
    """
    host, accelerator = jax.devices()[:2]
    found, gather, begun = [], runner.gathered, runner.GroupRunner.advance

    def devices_of(at):
        return {device for leaf in jax.tree.leaves((at.state, at.best)) for device in leaf.devices()}

    def local_devices(*args, backend=None):
        if backend is None or has_host:
            return [host, accelerator]
        raise RuntimeError("Unknown backend cpu")

    def gathered(parents, *args, **options):
        found.extend(map(devices_of, parents if len(parents) > 1 else ()))
        return gather(parents, *args, **options)

    def advance(self, part, step):
        begun(self, part, step)
        others = [other.at for other in self.parts if other is not part and other.at]
        found.extend(map(devices_of, others))

    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    monkeypatch.setattr(jax, "local_devices", local_devices)
    monkeypatch.setattr(runner, "gathered", gathered)
    monkeypatch.setattr(runner.GroupRunner, "advance", advance)
    setup = Setup(devices=[accelerator], members_per_program=2, probe=make_eval, split="test")
    rows = sweep(toys.experiment, ARGUMENTS, eta=2, setup=setup)
    assert sorted(len(row["rungs"]) for row in rows) == [1, 1, 2, 2]
    assert found.count({host if has_host else accelerator}) == len(found) > 3


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
