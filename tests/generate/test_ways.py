"""What samplers do beside drawing: completing, leading from one draw to another, and pages that show it."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from deeplab import generate
from deeplab.core.errors import UserError
from deeplab.generate import even, gallery, inpainted, interpolated, linear, straight
from deeplab.generate.record import decoding, keys_of, normals
from deeplab.tasks.contract.task import Trained
from tests.generate.members import Formula, batch_of
from tests.generate.test_adversarial import Pair

KEY = jax.random.key(0)
SHAPE = (2, 2, 1)


@pytest.mark.parametrize("schedule", [pytest.param(linear, marks=pytest.mark.slow), straight])
def test_inpainting_draws_from_the_conditional_law(schedule):
    """Of two normal numbers of correlation 0.8 the first is known, to be 1.5: the other is N(1.2, 0.6^2)."""
    axes, variances = jnp.array([[1.0, 1.0], [1.0, -1.0]]) / 2**0.5, jnp.array([1.8, 0.2])

    def denoise(x, t):
        a, s = schedule(t)
        return a * (x @ axes * (variances / (a**2 * variances + s**2))[None]) @ axes

    known, mask = jnp.tile(jnp.array([[1.5, jnp.nan]]), (1500, 1)), jnp.array([[1.0, 0.0]])
    drawn = jax.jit(lambda again: inpainted(denoise, schedule, known, mask, even(100), KEY, again), static_argnums=0)
    found, replaced = np.asarray(drawn(6)), np.asarray(drawn(1))
    np.testing.assert_array_equal(found[:, 0], 1.5)
    assert found[:, 1].mean() == pytest.approx(1.2, abs=0.1)
    assert found[:, 1].std() == pytest.approx(0.6, abs=0.1)
    assert replaced[:, 1].mean() < 0.8  # too little like what is known


def test_a_way_leads_from_one_draw_to_another_by_starts_of_the_same_law():
    model = decoding(lambda start, condition=None: start, (3,))
    way = np.asarray(interpolated(model, KEY, 4000, 3))
    first, last = (normals(keys_of(jax.random.fold_in(KEY, i), jnp.arange(4000)), (3,)) for i in range(2))
    np.testing.assert_allclose(way[:, 0], first, rtol=1e-6)
    np.testing.assert_allclose(way[:, 2], last, rtol=1e-6)
    assert way[:, 1].std() == pytest.approx(1, abs=0.03)
    with pytest.raises(UserError, match="value by value"):
        interpolated(generate.Generative(model.sample), KEY, 2)


def told(x, time, label):
    """A network whose output is the class that it is told, and NaN where that is "not told" of 3."""
    return jnp.where(label == 3, jnp.nan, label)[:, None, None, None] + 0 * x


TASKS = {
    "flow": generate.FlowMatching(SHAPE, num_classes=3, steps=2),
    "edm": generate.Diffusion(SHAPE, generate.edm(), num_classes=3, sampler=generate.second_order, steps=2, clip=None),
}


@pytest.mark.parametrize("name", TASKS)
def test_a_guidance_of_one_asks_only_for_the_classes(name):
    model = TASKS[name].generative(Formula(told))
    assert np.all(np.isfinite(model.sample(KEY, 2, jnp.array([0, 2]))))
    other = dataclasses.replace(TASKS[name], guidance=1.5).generative(Formula(told))
    assert np.all(np.isnan(other.sample(KEY, 2, jnp.array([0, 2]))))


@pytest.mark.parametrize("name", TASKS)
def test_images_are_completed_around_what_is_known(name):
    model = TASKS[name].generative(Formula(told))
    known, mask = jnp.full((2, *SHAPE), 0.3), jnp.array([[1.0, 0.0], [0.0, 0.0]])[None, :, :, None]
    found = np.asarray(model.inpaint(KEY, known, mask, jnp.array([0, 1])))
    np.testing.assert_allclose(found[:, 0, 0], 0.3, rtol=1e-6)
    assert not np.isclose(found[:, 0, 1], 0.3).any()


def test_mean_flow_draws_classes_that_it_has_learned():
    model = generate.MeanFlow(SHAPE, num_classes=3).generative(Formula(told))
    np.testing.assert_array_equal(model.sample(KEY, 4), model.sample(KEY, 4, jnp.array([0, 1, 2, 0])))


@pytest.mark.parametrize("spacing", [1, 2, 3])
def test_a_part_of_the_batch_stands_for_its_gradients(spacing):
    """D = |x|^2 / 2 is as steep as x is long; images of weight 0 do not count."""
    x, weight = jnp.arange(15.0).reshape(5, 3), jnp.array([1.0, 1, 1, 1, 0])
    apply = Pair(lambda z: 0 * z, lambda w, x: jnp.sum(x**2, axis=-1) / 2, {"critic": ()})
    losses = [
        generate.R3GAN(None, 3, penalty, spacing).loss(apply, batch_of(x) | {"weight": weight}, KEY)
        for penalty in (0.0, 2.0)
    ]
    some = np.arange(0, 4, spacing)
    expected = np.sum(np.asarray(x)[some] ** 2, axis=-1).mean()
    assert losses[1].metrics["penalty"].compute() == pytest.approx(expected)
    assert losses[1].loss.compute() - losses[0].loss.compute() == pytest.approx(expected, rel=1e-5)


def test_a_page_shows_the_nearest_training_image_and_ways():
    model = decoding(lambda start, condition=None: jax.nn.sigmoid(start), (4, 4, 1))
    drawn = np.asarray(model.sample(KEY, 6))
    learned = np.concatenate([1 + drawn, drawn[2:3]])
    trained = Trained(None, {}, None, "test", ("shirt", "coat"), None, 1, KEY, lambda field, count: learned)
    samples, remembered, ways = gallery.shown(model, trained, 6, num_classes=2)
    assert [card["title"] for card in samples["blocks"][0]["cards"]] == ["shirt", "coat"] * 3
    captions = [card["caption"] for card in remembered["blocks"][0]["cards"]]
    assert captions[2] == "0.00"
    assert min(float(caption) for i, caption in enumerate(captions) if i != 2) > 0.1
    assert ways["heading"] == "Ways between samples"
    rows = np.arange(24.0).reshape(2, 3, 2, 2, 1)
    np.testing.assert_array_equal(gallery.grid(rows)[:, :, 0][2:, 4:], rows[1, 2, :, :, 0])
