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


def test_the_sampler_of_another_process():
    with pytest.raises(UserError, match=r"such as edm\(\)"):
        g.Diffusion(SHAPE, sampler=g.second_order).generative(GRAY).sample(KEY, 2)


def test_the_time_of_a_flow_is_never_one_without_noise():
    assert float(jax.vmap(g.flow().draw)(jax.random.split(KEY, 20000)).min()) >= 1e-3
