"""What a generative model would get silently wrong is an error."""

import dataclasses
import types

import jax
import jax.numpy as jnp
import pytest

import deeplab as dl
from deeplab import generate as g
from deeplab.core.errors import UserError
from tests.generate.members import Formula, batch_of

SHAPE, KEY = (2, 3, 1), jax.random.key(0)
BATCH = batch_of(jnp.full((4, *SHAPE), 0.5)) | {"label": jnp.zeros(4, jnp.int32)}
GRAY = Formula(lambda x, *_: x[..., :1])
TASKS = {
    "diffusion": g.Diffusion(SHAPE),
    "flow_matching": g.FlowMatching(SHAPE),
    "mean_flow": g.MeanFlow(SHAPE),
    "pixels": g.AutoregressiveImages(SHAPE, 4),
    "normalizing": g.NormalizingFlow(SHAPE, levels=None),
}
GAN = g.R3GAN(dl.models.Critic((4,)))


@pytest.mark.parametrize("task", [*TASKS.values(), GAN], ids=[*TASKS, "gan"])
def test_data_that_normalize_the_tasks_own_numbers(task):
    apply = types.SimpleNamespace(normalize=dl.data.Standardize((0.5,), (0.5,)), task_params={"critic": {}})
    with pytest.raises(UserError, match=rf"{type(task).__name__} reckons in units .* normalize=None"):
        task.loss(apply, BATCH, KEY)


@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)
def test_images_of_another_shape_than_the_samples(task):
    with pytest.raises(UserError, match=r"\[2, 3, 1\], and .* shape=\(3, 2, 1\)"):
        dataclasses.replace(task, shape=(3, 2, 1)).loss(GRAY, BATCH, KEY)


def some(*names):
    """These every day, the others slowly."""
    return [name if name in names else pytest.param(name, marks=pytest.mark.slow) for name in TASKS]


@pytest.mark.parametrize("name", some("flow_matching", "pixels")[:-1])
def test_outputs_that_would_be_broadcast(name):
    colored = batch_of(jnp.full((4, 2, 3, 3), 0.5))
    with pytest.raises(UserError, match=r"the model returns an array float32\[4, 2, 3, 1\], expected one array \[4, 2"):
        dataclasses.replace(TASKS[name], shape=(2, 3, 3)).loss(GRAY, colored, KEY)


@pytest.mark.parametrize("name", some("flow_matching", "normalizing"))
def test_a_condition_that_no_sample_would_meet(name):
    model = TASKS[name].generative(Formula(lambda x, *_, **__: (x, x) if name == "normalizing" else x))
    with pytest.raises(UserError, match="num_classes="):
        model.sample(KEY, 2, jnp.array([0, 1]))


@pytest.mark.parametrize("asked", [jnp.array([0, 3]), jnp.array([-1, 0]), jnp.array([0])], ids=str)
def test_classes_that_the_task_has_not(asked):
    model = g.FlowMatching(SHAPE, num_classes=3, steps=1).generative(GRAY)
    with pytest.raises(UserError, match=r"are asked for, expected \[2\] of 0 to 2"):
        model.sample(KEY, 2, asked)


@pytest.mark.parametrize("asked", [[0.0, 1.0], [True, False]], ids=str)
def test_classes_that_are_no_integers(asked):
    model = g.FlowMatching(SHAPE, num_classes=3, steps=1).generative(GRAY)
    with pytest.raises(UserError, match=r"classes are (float|bool).*, expected \[2\] integers of 0 to 2"):
        model.sample(KEY, 2, asked)


BYTES = jnp.full((4, *SHAPE), 200, jnp.uint8)
READERS = TASKS | {
    "gan": GAN,
    "vae": g.VAE(2),
    "iwae": g.IWAE(2),
    "vq": g.VQVAE(dl.models.ConvDecoder(1, (4,)), 4),
    "autoencoder": dl.tasks.unlabeled.Autoencoder(dl.models.MLP(6)),
    "grays": g.NormalizingFlow(SHAPE, levels=256),
}


@pytest.mark.parametrize("name", [name for name in READERS if name != "normalizing"])
def test_bytes_where_floats_are_read(name):
    apply = Formula(lambda x, *_: x)
    apply.task_params, apply.task_state = {"critic": {}, "decoder": {}}, {}
    batch = batch_of(BYTES) | {"label": jnp.zeros(4, jnp.int32)}
    said = rf"{type(READERS[name]).__name__} reads images uint8\[4, 2, 3, 1\], expected floats in \[0, 1\]; divide"
    with pytest.raises(UserError, match=said):
        READERS[name].loss(apply, batch, KEY)
    if name in ("diffusion", "flow_matching", "mean_flow", "pixels"):  # whose inputs a model is made for
        with pytest.raises(UserError, match=said):
            READERS[name].inputs(batch)


@pytest.mark.parametrize("name", ["diffusion", "flow_matching", "pixels", "vae", "grays"])
def test_densities_of_images_in_other_units_or_of_another_size(name):
    model = READERS[name].generative(Formula(lambda x, *_, **__: (x, x) if name == "grays" else x))
    for images in (BYTES, 255 * BATCH["image"]):
        with pytest.raises(UserError, match=r"reads images .*, expected floats in \[0, 1\]"):
            model.log_prob(images, KEY)
    if name != "vae":  # which has no shape
        with pytest.raises(UserError, match=r"\[3, 3, 1\], and .* has shape=\(2, 3, 1\)"):
            model.log_prob(jnp.zeros((4, 3, 3, 1)), KEY)


@pytest.mark.parametrize("task", [g.FlowMatching(SHAPE, steps=2), g.Diffusion(SHAPE, steps=2)], ids=["flow", "ddpm"])
def test_what_is_known_of_an_image_is_in_its_units_and_its_mask_of_its_shape(task):
    model, mask = task.generative(GRAY), jnp.zeros((4, *SHAPE)).at[:, 0].set(1)
    for known, given, said in (
        (BYTES, mask, "reads images uint8"),
        (BATCH["image"] + 1, mask, "reads images from 0.5 to 1.5"),
        (BATCH["image"], mask[:, :, :2], r"a mask \[4, 2, 2, 1\] of images \[4, 2, 3, 1\] is given to"),
        (BATCH["image"][:, :1], mask[:, :1], r"are \[1, 3, 1\], and .* has shape"),
    ):
        with pytest.raises(UserError, match=said):
            model.inpaint(KEY, known, given)
    holes = jnp.where(mask > 0, BATCH["image"], jnp.nan)
    assert bool(jnp.isfinite(model.inpaint(KEY, holes, mask[..., :1])[:, 0]).all())  # holes are not read


def test_features_of_bytes_are_not_those_of_images():
    with pytest.raises(UserError, match="classifier_features reads images uint8"):
        g.classifier_features(types.SimpleNamespace(bound=lambda size: None), "pool", BYTES)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: g.noise_prediction(g.straight), r"a\(1\) = 0 and s\(1\) = 1, .* give flow\(\)"),
        (lambda: g.noise_prediction(g.exploding), r"a\(1\) = 1 and s\(1\) = 1, .* edm\(\)"),
        (lambda: g.v_prediction(g.straight), r"a\^2 \+ s\^2 = 1, and this one has 0.5"),
    ],
    ids=["no data left", "no noise yet", "other sum"],
)
def test_schedules_that_a_prediction_does_not_fit(make, said):
    with pytest.raises(UserError, match=said):
        jax.jit(lambda: make().noised(jnp.ones((1, 1)), jnp.ones((1, 1)), jnp.ones(1)))()
    g.noise_prediction(g.cosine), g.v_prediction(g.linear)


def test_random_directions_without_a_key():
    with pytest.raises(UserError, match="probes=1 random directions need a key"):
        g.log_likelihood(lambda x, t: x, jnp.ones((2, 2)), jnp.linspace(0, 1, 3), lambda x: x[:, 0], probes=1)


def test_the_sampler_of_another_process():
    with pytest.raises(UserError, match=r"such as edm\(\)"):
        g.Diffusion(SHAPE, sampler=g.second_order).generative(GRAY).sample(KEY, 2)


def test_the_time_of_a_flow_is_never_one_without_noise():
    assert float(jax.vmap(g.flow().draw)(jax.random.split(KEY, 20000)).min()) >= 1e-3
