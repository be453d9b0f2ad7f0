"""Tests of images: it runs from end to end on synthetic data, and goes on where it was stopped."""

import functools
import math

import pytest

import deeplab as dl
from deeplab.templates.images import experiment


def test_the_whole_way():
    run = dl.fit(experiment, smoke=True)
    assert run.step == run.experiment.num_steps
    assert all(math.isfinite(value) for split in run.metrics.values() for value in split.values())


def test_a_stopped_run_comes_to_the_same_end(tmp_path):
    def stop(progress):
        raise KeyboardInterrupt

    straight = dl.fit(experiment, smoke=True, run_dir=tmp_path / "straight")
    stopped = functools.partial(dl.fit, experiment, smoke=True, run_dir=tmp_path / "stopped", checkpoint_every=2)
    with pytest.raises(KeyboardInterrupt):
        stopped(hooks=[dl.on_state(2, stop)])
    resumed = stopped()
    assert resumed.resumed_from == 2
    assert resumed.metrics == straight.metrics
