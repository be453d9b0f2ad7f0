"""Networks over the trunk of another: which values they start from, and what a frozen trunk keeps."""

import importlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import deeplab as dl
from deeplab.models.vision.convolutional import efficientnet
from deeplab.models.vision.convolutional.network import ConvNet, Frozen

# A folder whose network is the variant "test".
CONFIG = {
    "architecture": "tf_efficientnet_lite0",
    "num_classes": 5,
    "model_args": {"channel_multiplier": 0.25, "depth_multiplier": 0.3},
}


def shapes_of(model):
    return dict(jax.eval_shape(model.init, jax.random.key(0), jax.ShapeDtypeStruct((1, 64, 64, 3), jnp.float32)))


def equal(ours, theirs):
    jax.tree.map(np.testing.assert_array_equal, ours, theirs)


@pytest.fixture(scope="module")
def variables():
    rng = np.random.default_rng(0)
    shapes = shapes_of(dl.hub.family_of(CONFIG).model(CONFIG))
    return jax.tree.map(lambda x: jnp.asarray(rng.uniform(0.5, 1.5, x.shape), jnp.float32), shapes)


@pytest.mark.parametrize("name", [pytest.param("driving_finetune", marks=pytest.mark.slow), "image_finetune"])
def test_an_experiment_starts_from_the_trunk_of_a_folder(name, variables, tmp_path):
    dl.hub.save(tmp_path, variables["params"], CONFIG, variables=variables)
    experiment = importlib.import_module(f"experiments.{name}").experiment(weights=str(tmp_path), variant="test")
    zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes_of(experiment.model))
    for given in experiment.weights:
        collection = given.path.split("/")[-1]
        loaded = given.load(zeros[collection])
        equal(loaded["trunk"], variables[collection]["trunk"])
        own = loaded["head"]["classes"] if name == "image_finetune" and collection == "params" else loaded.get("join0")
        assert own is None or not any(np.any(leaf) for leaf in jax.tree.leaves(own))
    assert [given.path for given in experiment.weights] == ["params", "variables/batch_stats"]


@pytest.mark.slow
def test_a_frozen_trunk_keeps_paths_and_statistics(variables):
    model = efficientnet.EfficientNet(num_classes=5, **efficientnet.VARIANTS["test"])
    frozen = ConvNet(Frozen(model.trunk), model.head)
    x = jax.random.normal(jax.random.key(0), (2, 32, 32, 3))
    equal(*(jax.jit(each.apply)(variables, x) for each in (frozen, model)))

    @jax.jit
    def gradient(params):
        def loss(params):
            rngs, given = {"dropout": jax.random.key(2)}, {**variables, "params": params}
            out, after = frozen.apply(given, x, train=True, mutable=["batch_stats"], rngs=rngs)
            return jnp.sum(out**2), after

        return jax.grad(loss, has_aux=True)(params)

    grads, after = gradient(variables["params"])
    assert not any(np.any(g) for g in jax.tree.leaves(grads["trunk"]))
    assert np.any(grads["head"]["classes"]["kernel"])
    equal(after["batch_stats"]["trunk"], variables["batch_stats"]["trunk"])
    assert np.any(
        after["batch_stats"]["head"]["before"]["norm"]["mean"]
        != variables["batch_stats"]["head"]["before"]["norm"]["mean"]
    )


def test_a_head_alone_is_an_experiment(tmp_path):
    """Its optimizer has a state for the head, and none for the trunk."""
    experiment = importlib.import_module("experiments.image_finetune").experiment(variant="test", train="head")
    state = jax.eval_shape(lambda: dl.init(experiment, jax.random.key(0)))
    paths = [jax.tree_util.keystr(path) for path, _ in jax.tree_util.tree_flatten_with_path(state.opt_state)[0]]
    assert any("'head'" in path for path in paths)
    assert not any("'trunk'" in path for path in paths)
