"""Batches stay what they were: a run of an earlier version goes on with the same examples, bit by bit.

The digests were recorded when image sets and example sets were two kinds of sets. Update one only for a change that is
meant to change what a data set holds, and say so in the changelog.
"""

import hashlib
import itertools

import numpy as np
import pytest
from PIL import Image

from deeplab.data import Data, Images, arrays, held_out, image_folder


def _digest(data: Data) -> str:
    """Of the first three raw batches of training by seed 3, and of the evaluation."""
    total = hashlib.sha256()
    for split in ("train", data.eval_split):
        for batch in itertools.islice(data.batches(split, seed=3), 3):
            for name, array in sorted(batch.items()):
                total.update(repr((name, array.dtype.name, array.shape)).encode())
                total.update(np.ascontiguousarray(array).tobytes())
    return total.hexdigest()[:16]


def _folder(tmp_path) -> Data:
    rng = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        for i in range(12):
            Image.fromarray(rng.integers(0, 256, (10, 14, 3), np.uint8)).save(tmp_path / name / f"{i:02}.png")
    return Images(image_folder(tmp_path, size=8, test_every=4), batch_size=5, epochs=2)


def _arrays(dtype, scale) -> Data:
    image, label = np.random.default_rng(1).integers(0, 256, (40, 6, 5, 3), np.uint8), np.arange(40) % 3
    image = (image / scale).astype(dtype)
    return Images(arrays({"train": (image, label), "test": (image[:10], label[:10])}), batch_size=8, epochs=2)


@pytest.mark.parametrize(
    ("make", "digest"),
    [
        (lambda _: Images("digits", batch_size=100, epochs=1), "a6e0d5b07caa0e9c"),
        (lambda _: Images("digits", batch_size=20, epochs=1, train_fraction=0.3), "a3f2206021ed68b0"),
        (lambda _: Images(held_out("digits", 7), 50, epochs=1, eval_split="validation"), "55313e80281937a4"),
        (_folder, "620772ec21f32f69"),
        (lambda _: _arrays(np.uint8, 1), "a70dd1b3a865c34d"),
        (lambda _: _arrays(np.float32, np.float32(255)), "d92ef9f7fb89abaf"),
        (lambda _: Images("mnist", epochs=2).synthetic(8, 3), "00dfa833e869018f"),
        (lambda _: Images("cifar10", epochs=2).synthetic(8, 3), "3e18c56494632332"),
    ],
    ids=["digits", "fraction", "held_out", "folder", "arrays", "floats", "mnist twin", "cifar10 twin"],
)
def test_batches_are_those_of_earlier_versions(make, digest, tmp_path):
    assert _digest(make(tmp_path)) == digest
