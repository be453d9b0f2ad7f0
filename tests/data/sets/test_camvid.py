"""CamVid: images of any size, labels as published, void."""

import dataclasses
import io
import tarfile

import numpy as np
import pytest
from PIL import Image

from deeplab.core.errors import UserError
from deeplab.data.prepare import originals
from deeplab.data.sets.image.camvid import CAMVID


def png(array: np.ndarray) -> bytes:
    out = io.BytesIO()
    Image.fromarray(array).save(out, "PNG")
    return out.getvalue()


def made(folder, size=(180, 240), **changes):
    """A set of the form of the original: two frames to learn from, one each besides."""
    rng, members = np.random.default_rng(0), {}
    for split, names in {"train": ("b", "a"), "val": ("c",), "test": ("d",)}.items():
        for name in names:
            small = rng.integers(0, 256, (180, 240, 3), np.uint8)
            factor = size[0] // 180
            members[f"{split}/{name}.png"] = png(small.repeat(factor, 0).repeat(factor, 1))
            members[f"{split}annot/{name}.png"] = png(rng.integers(0, 12, (360, 480), np.uint8))
    members |= changes
    with tarfile.open(folder / "camvid.tar", "w") as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(f"CamVid/{name}")
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    labels = originals.digest({name: data for name, data in members.items() if "annot/" in name})
    return dataclasses.replace(CAMVID, name=f"camvid_{folder.name}_{size[0]}", labels=labels, sizes=(2, 1, 1)), members


def test_images_of_twice_the_size_are_halved(tmp_path):
    half, members = made(tmp_path)
    arrays = half.open("train", tmp_path).arrays
    full, _ = made(tmp_path, size=(360, 480))
    np.testing.assert_array_equal(full.open("train", tmp_path).arrays["image"], arrays["image"])
    first = np.asarray(Image.open(io.BytesIO(members["train/a.png"])))
    np.testing.assert_array_equal(arrays["image"][0], first)  # sorted by name
    label = np.asarray(Image.open(io.BytesIO(members["trainannot/a.png"])))
    np.testing.assert_array_equal(arrays["mask"][0], label)
    assert half.open("validation", tmp_path).size == 1


def test_labels_must_be_the_published_ones(tmp_path):
    dataset, _ = made(tmp_path)
    with pytest.raises(UserError, match=r"labels of camvid\.tar are not the published ones"):
        dataclasses.replace(dataset, labels=CAMVID.labels).open("train", tmp_path)


def test_an_unknown_class_is_named(tmp_path):
    dataset, _ = made(tmp_path, **{"testannot/d.png": png(np.full((360, 480), 12, np.uint8))})
    with pytest.raises(UserError, match=r"testannot/d\.png holds the unknown class 12 in 172,800 pixels"):
        dataset.open("test", tmp_path)


def test_what_is_seen_is_told():
    told = CAMVID.describe({"prediction": np.array([[3, 3], [3, 0]], np.uint8)})
    assert told["road"] == 0.75
    assert set(told) == {"sky", "road", "mask"}
    assert told["mask"][0, 0].tolist() == list(CAMVID.palette[3])
