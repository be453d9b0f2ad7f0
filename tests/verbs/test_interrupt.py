"""Ctrl-C in a notebook saves, ends the cell, and the same cell goes on; a record is shown as a table or a tree."""

import functools
import signal

import jax
import pytest
import treescope
from IPython.lib.pretty import pretty

import deeplab as dl
from deeplab.core.printable import plain_console
from deeplab.verbs.training import surroundings
from tests import toys


@pytest.fixture
def notebook(monkeypatch):
    console = plain_console()
    console.is_jupyter = True
    monkeypatch.setattr(surroundings, "plain_console", lambda: console)


def interrupt(progress):
    signal.raise_signal(signal.SIGINT)


@pytest.mark.usefixtures("notebook")
def test_an_interrupted_cell_goes_on_where_it_was(tmp_path, capsys):
    cell = functools.partial(dl.fit, functools.partial(toys.experiment, steps=8), run_dir=tmp_path / "run")
    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt, match="the same cell goes on"):
        cell(hooks=[dl.on_state(3, interrupt)])
    assert signal.getsignal(signal.SIGINT) is handler
    assert capsys.readouterr().out.count("\n") == 1
    assert dl.report.find(tmp_path)[0].status == "stopped"
    stopped = dl.load(tmp_path / "run", functools.partial(toys.experiment, steps=8)).step
    again = cell()
    assert 3 <= stopped < 8
    assert again.resumed_from == stopped
    straight = dl.fit(functools.partial(toys.experiment, steps=8))
    assert toys.same(again.state, straight.state)


@pytest.mark.usefixtures("notebook")
def test_a_second_interrupt_ends_the_cell_at_once():
    with pytest.raises(KeyboardInterrupt):
        dl.fit(functools.partial(toys.experiment, steps=8), hooks=[dl.on_dispatch(lambda at: [interrupt(at)] * 2)])


def test_a_run_is_one_table_in_ipython(monkeypatch):
    def twice(*shown, **options):
        raise AssertionError("displayed, besides what is returned")

    run = dl.fit(functools.partial(toys.experiment, steps=2))
    monkeypatch.setattr("rich.console._is_jupyter", lambda: True)
    monkeypatch.setattr("IPython.display.display", twice)
    assert pretty(run) == str(run)
    assert "steps" in run._repr_html_()


def test_an_experiment_and_a_state_are_trees_that_unfold():
    exp = toys.experiment()
    assert "<treescope-" in treescope.render_to_html(exp)  # where treescope shows everything
    for shown, name in ((exp, "experiment"), (dl.init(exp, jax.random.key(0)), "state")):
        assert "<treescope-" in shown._repr_html_(), name
