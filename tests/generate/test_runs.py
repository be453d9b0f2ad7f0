"""A trained run draws, and a classifier's layer gives features to measure with."""

import functools

import jax
import numpy as np
import pytest

import deeplab as dl
from experiments import image_digits
from tests.generate.members import experiment


@pytest.mark.slow
def test_a_run_draws_and_a_classifier_judges():
    run = dl.fit(functools.partial(experiment, name="flow", num_steps=4), smoke=True)
    model = run.experiment.task.generative(run.bound(12))
    drawn = np.asarray(jax.jit(lambda key: model.sample(key, 12))(jax.random.key(0)))
    assert drawn.shape == (12, 8, 8, 1)
    judge = dl.fit(functools.partial(image_digits.experiment, width=8), smoke=True)
    features = dl.generate.classifier_features(judge, "head", drawn, chunk=5)
    assert features.shape == (12, 10)
    logits, _ = judge.bound(12)(drawn.astype(np.float32))
    np.testing.assert_allclose(features, logits, rtol=1e-4, atol=1e-4)
    assert dl.generate.fid(features, features[:7]) > 0
