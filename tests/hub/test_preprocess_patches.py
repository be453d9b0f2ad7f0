"""Whole patches that nearly keep the ratio of an image's sides."""

import numpy as np
import pytest

from deeplab.core.errors import UserError
from deeplab.hub.preprocess import PreprocessPatches

PREPARE = PreprocessPatches(patch=16, num_patches=256, mean=(0.5,) * 3, std=(0.5,) * 3)


def image(*sides, value=255):
    return np.full((*sides, 3), value, np.uint8)


@pytest.mark.parametrize("sides", [(480, 640), (37, 500), (9, 9), (2000, 300), (16, 4096)])
def test_as_many_patches_as_fit(sides):
    batch = PREPARE(image(*sides))
    rows, columns = (side // 16 for side in batch.shape[1:3])
    assert batch.shape == (1, 16 * rows, 16 * columns, 3)
    assert rows * columns <= 256 < (rows + 1) * (columns + 1)
    np.testing.assert_array_equal(batch, 1.0)


def test_images_of_several_sizes_are_named():
    assert PREPARE([image(30, 40), image(60, 80)]).shape[0] == 2
    with pytest.raises(UserError, match=r"224 x 288, 288 x 224 pixels; give those"):
        PREPARE([image(30, 40), image(40, 30)])
    with pytest.raises(UserError, match=r"uint8 \[30, 40, 1\], expected"):
        PREPARE(np.zeros((30, 40, 1), np.uint8))


@pytest.mark.slow
@pytest.mark.parametrize("sides", [(48, 64), (37, 500), (300, 20)])
def test_it_is_theirs(sides):
    pytest.importorskip("torch")
    processing = pytest.importorskip("transformers.models.siglip2.image_processing_pil_siglip2")
    pixels = np.random.default_rng(0).integers(0, 256, (*sides, 3), np.uint8)
    found = processing.Siglip2ImageProcessorPil()(images=[pixels], return_tensors="np")
    rows, columns = found["spatial_shapes"][0]
    theirs = found["pixel_values"][0, : rows * columns].reshape(rows, columns, 16, 16, 3)
    np.testing.assert_allclose(PREPARE(pixels)[0], theirs.swapaxes(1, 2).reshape(rows * 16, columns * 16, 3), atol=1e-6)
