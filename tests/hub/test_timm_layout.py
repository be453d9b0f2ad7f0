"""Folders in timm's layout: statistics, numbers of batches, other heads, parts, and what they say of images."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from deeplab import hub
from deeplab.core.errors import UserError
from deeplab.hub.families import variable_shapes
from deeplab.hub.folder import folder_headers
from deeplab.hub.preprocess import Preprocess, read_preprocess
from deeplab.hub.sounds import Waveforms

CONFIG = {
    "architecture": "resnet18", "num_classes": 5, "model_args": {"layers": [1]},
    "pretrained_cfg": {"input_size": [3, 8, 8], "mean": [0.5] * 3, "std": [0.25] * 3, "crop_pct": 0.8},
}  # fmt: skip

HALF = (0.5,) * 3


@pytest.fixture(scope="module")
def variables():
    """Random variables, with numbers of batches."""
    rng, family = np.random.default_rng(0), hub.family_of(CONFIG)
    shapes = dict(variable_shapes(family.model(CONFIG), family.inputs(CONFIG)))
    found = jax.tree.map(lambda x: jnp.asarray(rng.uniform(0.5, 1.5, x.shape), jnp.float32), shapes)
    return {**found, "batch_counts": {"stem": {"norm": {"batches": jnp.int32(17)}}}}


@pytest.fixture(scope="module")
def folder(variables, tmp_path_factory):
    folder = tmp_path_factory.mktemp("timm")
    hub.save(folder, variables["params"], CONFIG, variables=variables)
    return folder


def equal(ours, theirs):
    jax.tree.map(np.testing.assert_array_equal, ours, theirs)


def test_statistics_and_numbers_of_batches_come_back(folder, variables):
    loaded = hub.load(folder)
    equal(loaded.variables, variables)
    assert loaded.config == CONFIG
    assert folder_headers(folder)[0]["bn1.num_batches_tracked"].dtype == "I64"
    model, params, config, tokenizer = loaded
    assert (model, config, tokenizer) == (loaded.model, CONFIG, None)
    equal(params, loaded.params)


def test_statistics_are_not_forgotten(variables, tmp_path):
    with pytest.raises(UserError, match=r"the model has batch_stats; give save\(..., variables="):
        hub.save(tmp_path, variables["params"], CONFIG)


def test_another_head(folder, variables):
    loaded = hub.load(folder, num_classes=3)
    assert loaded.params["head"]["kernel"].shape == (64, 3)
    assert (loaded.config["num_classes"], loaded.config["pretrained_cfg"]["num_classes"]) == (3, 3)
    equal(loaded.params["stage1_block1"], variables["params"]["stage1_block1"])


def test_what_timm_repeats_among_its_arguments(folder, variables, tmp_path):
    """timm 1.0.31 writes the classes, the channels and the pool among the arguments as well."""
    said = {**CONFIG["model_args"], "num_classes": 5, "in_chans": 3, "global_pool": "avg"}
    hub.save(tmp_path, variables["params"], {**CONFIG, "global_pool": "avg", "model_args": said}, variables=variables)
    equal(hub.load(tmp_path).variables, hub.load(folder).variables)
    other = hub.load(tmp_path, num_classes=3)
    assert other.params["head"]["kernel"].shape == (64, 3)
    assert other.config["model_args"] == {**said, "num_classes": 3}


def test_what_is_skipped_starts_anew_with_its_statistics(folder, variables):
    loaded = hub.load(folder, skip="^stem/")
    assert not np.array_equal(loaded.params["stem"]["conv"]["kernel"], variables["params"]["stem"]["conv"]["kernel"])
    assert not np.asarray(loaded.variables["batch_stats"]["stem"]["norm"]["mean"]).any()
    assert int(loaded.variables["batch_counts"]["stem"]["norm"]["batches"]) == 0
    equal(loaded.params["stage1_block1"], variables["params"]["stage1_block1"])
    assert len(repr(loaded)) < 5000  # without its arrays


def test_weights_of_an_experiment_are_parameters_statistics_and_parts(folder, variables):
    shapes = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), variables)
    equal(hub.weights(folder).load(shapes["params"]), variables["params"])
    equal(hub.weights(folder, path="variables/batch_stats").load(shapes["batch_stats"]), variables["batch_stats"])
    headless = {name: tree for name, tree in shapes["params"].items() if name != "head"}
    larger = {**headless, "pyramid": {"kernel": jnp.ones(2)}}
    found = hub.weights(folder, skip=["^pyramid/"]).load(larger)
    equal(found, {**{name: variables["params"][name] for name in headless}, "pyramid": larger["pyramid"]})


def test_an_unknown_argument_and_architecture_are_named():
    with pytest.raises(UserError, match="model_args have stem_type; known are layers"):
        hub.family_of(CONFIG).model({**CONFIG, "model_args": {"stem_type": "deep"}})
    with pytest.raises(UserError, match=r"model_args have num_classes=7, where 5 was expected"):
        hub.family_of(CONFIG).model({**CONFIG, "model_args": {"num_classes": 7}})
    with pytest.raises(UserError, match=r"model_args have global_pool='max', where 'avg' was expected"):
        hub.family_of(CONFIG).model({**CONFIG, "model_args": {"global_pool": "max"}})
    with pytest.raises(UserError, match=r"architecture 'resnet19' is not supported; did you mean .*'resnet18'"):
        hub.family_of({"architecture": "resnet19"})


def test_what_a_folder_says_of_images(folder, tmp_path):
    prepare = hub.load(folder).preprocess
    assert prepare == Preprocess((8, 8), (0.5,) * 3, (0.25,) * 3, 10, "bicubic")
    assert prepare(np.full((30, 20, 3), 255, np.uint8)).tolist() == np.full((1, 8, 8, 3), 2.0).tolist()
    assert prepare.standardize(jnp.ones((1, 1, 1, 3))).tolist() == [[[[2.0] * 3]]]


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ({"size": {"height": 8, "width": 6}, "resample": 2}, Preprocess((8, 6), HALF, HALF, (8, 6), "bilinear", int)),
        (
            {"size": {"shortest_edge": 10}, "crop_size": {"height": 8, "width": 8}, "resample": 3},
            Preprocess((8, 8), HALF, HALF, 10, "bicubic", int),
        ),
        ({"size": 8}, Preprocess((8, 8), HALF, HALF, 8, "bilinear", int)),
    ],
)
def test_what_transformers_says_of_images(said, expected, tmp_path):
    said = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3, **said}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(said))
    found = read_preprocess(tmp_path, {})
    assert found == expected
    assert found(np.zeros((9, 13, 3), np.uint8)).shape == (1, *expected.size, 3)


def test_images_of_several_sizes_and_what_is_no_image():
    prepare = Preprocess((4, 4), (0.0,) * 3, (1.0,) * 3, 4)
    assert prepare([np.zeros((5, 9, 3), np.uint8), np.zeros((12, 6, 3), np.uint8)]).shape == (2, 4, 4, 3)
    with pytest.raises(UserError, match=r"an image is float32 \[4, 4, 3\], expected uint8 \[H, W, 3\]"):
        prepare(np.zeros((4, 4, 3), np.float32))


def test_images_as_users_have_them():
    prepare, pixels = Preprocess((4, 4), (0.0,) * 3, (1.0,) * 3, 4), np.arange(90, dtype=np.uint8).reshape(6, 5, 3)
    opened, expected = Image.fromarray(pixels), prepare(pixels)
    for images in (opened, [opened], jnp.asarray(pixels), pixels[None]):
        np.testing.assert_array_equal(prepare(images), expected)
    with pytest.raises(UserError, match=r"uint8 \[6, 5\], expected uint8 \[H, W, 3\]; image.convert\('RGB'\) makes"):
        prepare(opened.convert("L"))
    with pytest.raises(UserError, match="there are no images"):
        prepare([])


@pytest.mark.parametrize("wrong", [[], [np.zeros(0)], [0.5, 0.5], np.zeros((2, 3), int)])
def test_sounds_that_are_none(wrong):
    assert Waveforms()(jnp.arange(3.0))[0].shape == (1, 3)
    with pytest.raises(UserError, match=r"no sounds|a sound is"):
        Waveforms()(wrong)
