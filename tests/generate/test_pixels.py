"""Networks over pixels are causal, and their law sums to one."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from deeplab.generate import AutoregressiveImages
from deeplab.models.generative.pixel_transformer import PixelTransformer
from deeplab.models.generative.pixels import PixelCNN
from tests.generate.members import Formula

NETWORKS = {
    "pixelcnn": lambda levels: PixelCNN(levels, width=8, blocks=3),
    "transformer": lambda levels: PixelTransformer(levels, num_layers=1, num_heads=2, width=8),
}


def made(model, shape):
    shapes, rng = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, *shape))), np.random.default_rng(0)
    return jax.tree.map(lambda leaf: jnp.asarray(0.4 * rng.normal(size=leaf.shape), leaf.dtype), shapes)


def test_every_pixel_sees_all_before_it_and_none_after():
    """The Jacobian of the logits: rows of zeros from the pixel on, and no blind spot before it."""
    model, shape = NETWORKS["pixelcnn"](3), (5, 6, 1)
    params = made(model, shape)
    jacobian = jax.jit(jax.jacrev(lambda x: model.apply(params, x[None])[0]))(jnp.full(shape, 0.3))
    moved = np.abs(np.asarray(jacobian)).max(axis=3).reshape(30, 30)  # over the levels: output, input
    assert np.all(np.triu(moved) == 0)
    assert np.all(moved[np.tril_indices(30, -1)] > 0)


def test_a_level_that_there_is_not_has_no_probability():
    """Traced values cannot be refused: of images from -1 to 1, -1 was the last level."""
    task, images = AutoregressiveImages((2, 2, 1), levels=2), jnp.array([0.0, 1.0]).reshape(2, 1, 1, 1).repeat(4, 1)
    images = images.reshape(2, 2, 2, 1)
    apply = Formula(lambda x: jnp.zeros((*x.shape, 2)))
    found = jax.jit(task.generative(apply).log_prob)(2 * images - 1, jax.random.key(0))
    assert np.isnan(found).tolist() == [True, False]
    batch = {"image": 2 * images - 1, "id": jnp.arange(2), "weight": jnp.ones(2)}
    assert np.isnan(jax.jit(lambda batch: task.loss(apply, batch, jax.random.key(0)).loss)(batch).compute())


@pytest.mark.parametrize("name", ["transformer", pytest.param("pixelcnn", marks=pytest.mark.slow)])
def test_the_probabilities_of_all_images_sum_to_one(name):
    """Of 2 x 2 images of three levels: 81 of them; so each law is of what comes before."""
    model, shape = NETWORKS[name](3), (2, 2, 1)
    params = made(model, shape)
    task = AutoregressiveImages(shape, levels=3)
    images = jnp.array(list(itertools.product([0, 0.5, 1], repeat=4))).reshape(-1, *shape)
    generative = task.generative(Formula(lambda x: model.apply(params, x)))
    probability = np.exp(jax.jit(generative.log_prob)(images, jax.random.key(0)))
    assert probability.sum() == pytest.approx(1, rel=1e-5)
    drawn = np.asarray(jax.jit(lambda key: generative.sample(key, 4000))(jax.random.key(1)))
    number = np.round(drawn.reshape(4000, 4) * 2).astype(int) @ [27, 9, 3, 1]
    share = np.bincount(number, minlength=81) / 4000
    assert np.all(np.abs(share - probability) < 5 * np.sqrt(probability / 4000) + 1e-3)
