"""BCCD: lists, boxes at the size of the images, and the join of the validation images."""

import dataclasses
import io
import tarfile

import numpy as np
import pytest
from PIL import Image

from deeplab.core.errors import UserError
from deeplab.data.prepare import originals
from deeplab.data.sets.health.bccd import BLOOD_CELLS

LISTS = {"train": ["b", "a"], "val": ["c"], "trainval": ["a", "b", "c"], "test": ["d"]}
CELLS = {"a": [("RBC", (64, 48, 128, 96)), ("WBC", (0, 0, 640, 480))], "b": [("Platelets", (5, 5, 5, 9))]}


def xml(cells):
    sides = ("xmin", "ymin", "xmax", "ymax")
    boxes = [
        f"<name>{name}</name><bndbox>{''.join(f'<{s}>{x}</{s}>' for s, x in zip(sides, box, strict=True))}</bndbox>"
        for name, box in cells
    ]
    return f"<annotation>{''.join(f'<object>{box}</object>' for box in boxes)}</annotation>".encode()


@pytest.fixture
def cells(tmp_path):
    """A set of the form of the original, of four images."""
    rng, members = np.random.default_rng(0), {}
    for name in "abcd":
        out = io.BytesIO()
        Image.fromarray(rng.integers(0, 256, (480, 640, 3), np.uint8)).save(out, "JPEG")
        members[f"JPEGImages/{name}.jpg"] = out.getvalue()
        members[f"Annotations/{name}.xml"] = xml(CELLS.get(name, []))
    members |= {f"ImageSets/Main/{name}.txt": "\n".join(names).encode() for name, names in LISTS.items()}
    with tarfile.open(tmp_path / "bccd.tar.gz", "w:gz") as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(f"BCCD/{name}")
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    files = (dataclasses.replace(BLOOD_CELLS.files[0], sha256=originals.digest(members)),)
    return dataclasses.replace(BLOOD_CELLS, name=f"bccd_{tmp_path.name}", files=files, sizes=(2, 1, 1), most=2)


def test_boxes_have_the_scale_of_the_images(cells, tmp_path):
    arrays = dataclasses.replace(cells, size=(120, 320)).open("train", tmp_path).arrays
    assert arrays["image"].shape == (2, 120, 320, 3)
    assert arrays["classes"].tolist() == [[-1, -1], [0, 1]]  # b is first; its only box has no area
    assert arrays["boxes"].tolist() == [[[0] * 4] * 2, [[32, 12, 64, 24], [0, 0, 320, 120]]]


def test_the_validation_images_may_be_training_images_too(cells, tmp_path):
    joined = dataclasses.replace(cells, joined=True)
    assert (dict(cells.splits), dict(joined.splits)) == (
        {"train": 2, "validation": 1, "test": 1}, {"train": 3, "test": 1}
    )  # fmt: skip
    whole, part = (each.open("train", tmp_path).arrays["image"] for each in (joined, cells))
    np.testing.assert_array_equal(whole[:2], part[::-1])
    np.testing.assert_array_equal(whole[2:], cells.open("validation", tmp_path).arrays["image"])
    with pytest.raises(UserError, match="has no split 'validation'"):
        joined.open("validation", tmp_path)


def test_other_content_is_refused(cells, tmp_path):
    with pytest.raises(UserError, match="are not the published ones"):
        dataclasses.replace(cells, name=f"{cells.name}_other", files=BLOOD_CELLS.files).open("test", tmp_path)


def test_files_of_any_size_are_read_and_told(cells, tmp_path):
    Image.new("RGB", (31, 17)).save(tmp_path / "mine.png")
    ((name, example),) = cells.read_file(tmp_path / "mine.png")
    assert (name, example["image"].shape) == ("mine.png", (240, 320, 3))
    made = {"boxes": np.array([[32, 24, 160, 120.0]]), "scores": np.array([0.5]), "classes": np.array([2])}
    assert cells.describe(made) == {"Platelets": 1, "objects": "Platelets 0.50 at 0.100 0.100 0.500 0.500"}
