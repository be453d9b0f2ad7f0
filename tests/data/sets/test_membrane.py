"""The membrane set: blocks of slices, masks with unknown classes, a user's own files."""

import dataclasses
import io
import tarfile

import numpy as np
import pytest
from PIL import Image

from deeplab.core.errors import UserError
from deeplab.data.prepare import originals
from deeplab.data.sets.health.membrane import MEMBRANE
from deeplab.data.sets.image.masks import colored, decode_mask


def png(array: np.ndarray) -> bytes:
    out = io.BytesIO()
    Image.fromarray(array).save(out, "PNG")
    return out.getvalue()


def made(folder, **changes):
    """A set of the form of the original, and what is in it."""
    members = {}
    for n in range(30):
        image = np.full((512, 512), n, np.uint8)
        image[0, n] = 255
        members[f"train/image/{n}.png"] = png(image)
        members[f"train/label/{n}.png"] = png(np.where(image == n, 255, 0).astype(np.uint8))
    members |= changes
    with tarfile.open(folder / "membrane.tar", "w") as tar:
        for name, content in {**members, "test/0.png": b"not read"}.items():
            info = tarfile.TarInfo(f"membrane/{name}")
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    size = sum(map(len, members.values()))
    file = dataclasses.replace(MEMBRANE.files[0], size=size, sha256=originals.digest(members))
    return dataclasses.replace(MEMBRANE, name=f"membrane_{folder.name}", files=(file,))


def test_splits_are_blocks_of_consecutive_slices(tmp_path):
    dataset, first = made(tmp_path), {"train": 0, "validation": 20, "test": 25}
    for split, start in first.items():
        arrays = dataset.open(split, tmp_path).arrays
        numbers = arrays["image"][:, 100, 100, 0]
        np.testing.assert_array_equal(numbers, start + np.arange(dataset.splits[split]))
        np.testing.assert_array_equal(np.argwhere(arrays["mask"])[:, 2], numbers)  # the one membrane pixel of each
    assert sum(dataset.splits.values()) == 30


def test_an_unknown_class_is_named(tmp_path):
    bad = np.full((512, 512), 255, np.uint8)
    bad[3, :4] = 128
    with pytest.raises(UserError, match=r"train/label/7.png holds the unknown class 128 in 4 pixels; known are 0, 255"):
        made(tmp_path, **{"train/label/7.png": png(bad)}).open("train", tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"nothing", r"a\.png is not an image that can be read"),
        (png(np.zeros((4, 4, 3), np.uint8)), r"uint8\[4, 4, 3\], expected one integer"),
    ],
)
def test_a_file_that_is_no_mask(content, message):
    with pytest.raises(UserError, match=message):
        decode_mask(content, {0: 0}, "a.png")


def test_a_palette_is_read_by_number():
    image = Image.new("P", (2, 1))
    image.putdata([2, 0])
    image.putpalette([0, 0, 0, 9, 9, 9, 200, 0, 0])
    out = io.BytesIO()
    image.save(out, "PNG")
    assert decode_mask(out.getvalue(), {0: 0, 2: 1}, "a.png").tolist() == [[1, 0]]


def test_files_of_ones_own_are_fitted_and_told_as_pictures(tmp_path):
    Image.new("RGB", (300, 200), (90, 90, 90)).save(tmp_path / "mine.jpg")
    ((name, example),) = MEMBRANE.read_file(tmp_path / "mine.jpg")
    assert (name, example["image"].shape) == ("mine.jpg", (512, 512, 1))
    told = MEMBRANE.describe({"prediction": np.eye(4, dtype=np.uint8)})
    assert told["membrane"] == 0.25
    np.testing.assert_array_equal(told["mask"], colored(np.eye(4, dtype=int), [(255,) * 3, (0,) * 3]))
    (tmp_path / "no.png").write_text("no image")
    with pytest.raises(UserError, match=r"no\.png is not an image"):
        list(MEMBRANE.read_file(tmp_path / "no.png"))
