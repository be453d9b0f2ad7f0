"""A linear probe: only a head is trained, on a frozen trunk that is given as weights."""

import numpy as np
import optax

import deeplab as dl
from tests.contracts.networks import Classifier, Trunk


def principal_components(like):
    """The trunk, as if from a file: the digits' first components."""
    data = dl.data.Images("digits", num_steps=1)
    x = data.normalize(data.fetch(data.open("train"), np.arange(data.num_train))["image"] / np.float32(255))
    x = np.asarray(x).reshape(data.num_train, -1)
    size = like["hidden"]["bias"].shape[0]
    kernel = np.linalg.svd(x - x.mean(axis=0), full_matrices=False)[2][:size].T
    return {"hidden": {"kernel": kernel, "bias": np.float32(1) - x.mean(axis=0) @ kernel}}


def experiment(num_steps: int = 60, learning_rate: float = 1e-2) -> dl.Experiment:
    return dl.Experiment(
        data=dl.data.Images("digits", batch_size=64, num_steps=num_steps),
        model=Classifier(Trunk()),
        task=dl.tasks.Classification(),
        optimizer=dl.optim.groups({"^head/": optax.adam(learning_rate), ".*": optax.set_to_zero()}),
        weights=dl.Weights("principal components", principal_components, path="params/trunk"),
        eval_every=20,
    )
