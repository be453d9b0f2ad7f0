"""Folders of images as people have them: wrapped, nested, with what systems add; and what is ambiguous is refused."""

import io
import os
import tempfile
import unicodedata
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from deeplab.core.errors import UserError
from deeplab.data import image_folder

OUT = io.BytesIO()
Image.new("RGB", (2, 2), (7, 8, 9)).save(OUT, "PNG")
PNG = OUT.getvalue()


def make(root: Path, *paths: str) -> Path:
    """A folder with these files: images where the suffix says so; a path that ends in "/" is an empty folder."""
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        if path.endswith("/"):
            (root / path).mkdir()
        elif Path(path).suffix.lower() in (".png", ".jpg", ".jpeg") and not Path(path).name.startswith("._"):
            (root / path).write_bytes(PNG)
        else:
            (root / path).write_bytes(b"no image")
    return root


def each(names: str, count: int) -> list[str]:
    return [f"{name}/{i}.png" for name in names.split() for i in range(count)]


def seen(root: Path, **how) -> dict[str, list[str]]:
    """Class and name of each image, by split, as the set has them."""
    dataset = image_folder(root, size=2, **how)
    names = dataset.class_names or ("",)
    return {split: [f"{names[label]}:{path.name}" for path, label in files] for split, files in dataset._files.items()}


JUNK = ["__MACOSX/photos/cat/._0.png", ".DS_Store", "photos/.DS_Store", "photos/cat/._0.png", "photos/cat/Thumbs.db"]
JUNK += ["photos/desktop.ini", "photos/.hidden/0.png", "photos/@eaDir/0.png"]


@pytest.mark.parametrize("kind", ["folder", "zip"])
def test_what_a_mac_adds_makes_no_class(tmp_path, kind):
    root = make(tmp_path / "download", *[f"photos/{path}" for path in each("cat dog", 3)], *JUNK)
    if kind == "zip":
        with zipfile.ZipFile(tmp_path / "photos.zip", "w") as file:
            for path in sorted(root.rglob("*")):
                file.write(path, path.relative_to(root))
        root = tmp_path / "photos.zip"
    assert seen(root) == {
        "train": ["cat:1.png", "cat:2.png", "dog:1.png", "dog:2.png"],
        "test": ["cat:0.png", "dog:0.png"],
    }


def test_a_set_is_found_through_any_number_of_folders(tmp_path):
    expected = seen(make(tmp_path / "plain", *each("cat dog", 3)))
    assert seen(make(tmp_path / "wrapped", *[f"a/b/c/{path}" for path in each("cat dog", 3)])) == expected
    assert image_folder(make(tmp_path / "one", *each("cat", 3))).class_names == ("cat",)


def test_images_below_a_class_are_of_that_class(tmp_path):
    root = make(tmp_path, "cat/0.png", "cat/indoors/1.png", "cat/out/doors/2.png", "dog/3.png", "dog/4.png")
    assert seen(root) == {"train": ["cat:1.png", "cat:2.png", "dog:4.png"], "test": ["cat:0.png", "dog:3.png"]}


def test_suffixes_in_any_case(tmp_path):
    root = make(tmp_path, "cat/0.PNG", "cat/1.Jpg", "cat/2.JPEG", "cat/3.png")
    assert seen(root)["train"] == ["cat:1.Jpg", "cat:2.JPEG", "cat:3.png"]
    assert image_folder(root, size=2).open("train").size == 3


@settings(max_examples=40, deadline=None)
@given(
    sizes=st.dictionaries(st.sampled_from("abcdef"), st.integers(1, 30), min_size=1),
    every=st.integers(2, 12),
)
def test_every_class_has_a_test_image_and_one_to_learn_from(sizes, every):
    """The docstring's promise, on the paths alone."""
    with tempfile.TemporaryDirectory() as root, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, count in sizes.items():
            (Path(root) / name).mkdir()
            for i in range(count):
                (Path(root) / name / f"{i:02}.png").touch()
        found = seen(Path(root), test_every=every)
    for name, count in sizes.items():
        numbers = {split: [int(f[2:4]) for f in files if f[0] == name] for split, files in found.items()}
        assert numbers["test"] == (list(range(0, count, every)) if count > 1 else [])
        assert sorted(numbers["train"] + numbers["test"]) == list(range(count))
        assert numbers["train"]


def test_a_class_with_a_single_image_is_told(tmp_path):
    with pytest.warns(
        UserWarning,
        match=r"1 classes have a single image, and so none to test on: dog; add images, or choose.*/test/CLASS",
    ):
        assert seen(make(tmp_path, *each("cat", 2), "dog/0.png")) == {
            "train": ["cat:1.png", "dog:0.png"],
            "test": ["cat:0.png"],
        }


@pytest.mark.parametrize("validation", ["val", "valid", "validation", "Val"])
def test_splits_as_people_name_them(tmp_path, validation):
    root = make(tmp_path, *(f"{s}/{p}" for s in ("Train", validation, "test") for p in each("cat dog", 1)))
    assert dict(image_folder(root).splits) == {"test": 2, "train": 2, "validation": 2}
    assert image_folder(root).class_names == ("cat", "dog")


@pytest.mark.parametrize(
    ("paths", "told"),
    [
        (["notes.txt", "cat/0.heic"], r"2 files are not read as images .*: cat/0.heic, .*notes.txt"),
        (["montage.png"], r"1 images lie in no folder of a class, and are left out: .*montage.png"),
        (["bird/"], r"1 folders hold no images, and are no classes: bird"),
        (["labels/0.xml"], r"1 folders hold no images, and are no classes: labels"),
    ],
)
@pytest.mark.filterwarnings("ignore:.*not read as images.*labels")
def test_what_is_left_out_is_told(tmp_path, paths, told):
    root = make(tmp_path, *each("cat dog", 2), *paths)
    with pytest.warns(UserWarning, match=told):
        assert seen(root) == {"train": ["cat:1.png", "dog:1.png"], "test": ["cat:0.png", "dog:0.png"]}


@pytest.mark.filterwarnings("ignore:.*not read as images")
def test_a_flat_folder_beside_others(tmp_path):
    with pytest.warns(UserWarning, match="1 folders hold no images, and are no classes: labels"):
        assert seen(make(tmp_path, "0.png", "1.png", "labels/0.xml")) == {"train": [":1.png"], "test": [":0.png"]}


@pytest.mark.parametrize("prefix", ["", "wrapped/"])
def test_images_above_the_classes_are_told(tmp_path, prefix):
    root = make(tmp_path, "cover.png", f"{prefix}train/cat/0.png", f"{prefix}train/cover.png", f"{prefix}val/cat/1.png")
    with pytest.warns(UserWarning, match="2 images lie in no folder of a class, and are left out"):
        assert seen(root) == {"train": ["cat:0.png"], "validation": ["cat:1.png"]}


def test_an_unlabeled_test_split_is_told(tmp_path):
    with pytest.warns(UserWarning, match="1 images lie in no folder of a class"):
        assert dict(image_folder(make(tmp_path, "train/cat/0.png", "test/0.png")).splits) == {"test": 0, "train": 1}


@pytest.mark.parametrize(
    ("paths", "why"),
    [
        (["Cat/0.png", "cat/1.png"], "'Cat' and 'cat' .* differ only in case"),
        (["train/é/0.png", "val/" + unicodedata.normalize("NFD", "é") + "/0.png"], "differ only in case or in the enc"),
        (["cat/train/0.png", "cat/test/0.png", "dog/train/1.png"], "has folders test, train; put them above"),
        (["val/cat/0.png", "test/cat/0.png"], "has the folders test, val, but none to train on"),
        (["train/a/0.png", "val/a/0.png", "valid/a/0.png"], "are both the split 'validation'"),
        ([os.fsdecode(b"caf\xe9") + "/0.png"], "is not UTF-8; rename it"),
    ],
)
def test_what_is_ambiguous_is_refused(tmp_path, paths, why):
    with pytest.raises(UserError, match=why):
        seen(make(tmp_path, *paths))


@pytest.mark.filterwarnings("ignore:.*hold no images")
def test_links_are_followed_but_not_in_circles(tmp_path):
    root = make(tmp_path / "set", *each("cat dog", 2))
    make(tmp_path / "more", "9.png")
    (root / "cat" / "more").symlink_to(tmp_path / "more")
    (root / "cat" / "up").symlink_to(root)
    (root / "loop").symlink_to(root)
    (root / "dog" / "self").symlink_to("self")
    (root / "dog" / "gone.png").symlink_to(tmp_path / "gone.png")
    with pytest.warns(UserWarning, match=r"2 files are not read .*: dog/gone.png, dog/self"):
        assert seen(root) == {"train": ["cat:1.png", "cat:9.png", "dog:1.png"], "test": ["cat:0.png", "dog:0.png"]}


def test_a_folder_that_holds_itself(tmp_path):
    (make(tmp_path, *each("cat", 2)) / "cat" / "loop").symlink_to(tmp_path)
    assert seen(tmp_path) == {"train": ["cat:1.png"], "test": ["cat:0.png"]}


@pytest.mark.parametrize("how", [{"size": 0}, {"channels": 4}, {"test_every": 1}, {"test_every": 0}])
def test_numbers_that_make_no_set(tmp_path, how):
    with pytest.raises(UserError, match="expected a size of 1 or more, 1 or 3, and 2 or more"):
        image_folder(tmp_path, **how)


def test_a_zip_of_windows_names_folders_with_backslashes(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
        file.writestr("pets\\cat\\", b"")
        for number in range(3):
            file.writestr(f"pets\\cat\\{number}.png", PNG)
    assert seen(tmp_path / "a.zip")["train"] == ["cat:1.png", "cat:2.png"]


def test_a_zip_of_a_mac_names_its_classes_in_utf8(tmp_path):
    """Written as UTF-8, without the flag that says so."""
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
        for number in (0, 1):
            file.writestr(f"chXXt/{number}.png", PNG)
    content = (tmp_path / "a.zip").read_bytes().replace(b"chXXt", "chät".encode())
    (tmp_path / "a.zip").write_bytes(content)
    assert image_folder(tmp_path / "a.zip").class_names == ("chät",)


PARTS = st.sampled_from(["cat", "dog", "a", "__MACOSX", ".git", "train", "val", "test", "Cat", "x y", "é"])
NAMES = st.sampled_from(["0.png", "1.JPG", "._0.png", "Thumbs.db", "notes.txt", "2.jpeg"])
PATHS = st.builds(lambda parts, name: "/".join([*parts, name]), st.lists(PARTS, max_size=3), NAMES)


@settings(max_examples=250, deadline=None)
@given(paths=st.lists(PATHS, max_size=8))
def test_any_tree_is_read_or_told_file_by_file(paths):
    """Each image is an example of one split, or named in a warning, or the set is refused with its name."""
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        root = make(Path(folder) / "set", *paths, "0/")
        wanted = [path for path in paths if Path(path).suffix.lower() in (".png", ".jpg", ".jpeg")]
        wanted = {path for path in wanted if not {"__MACOSX", ".git", "._0.png"} & {*path.split("/")}}
        dataset = image_folder(root, size=2)
        try:
            read = [path.relative_to(root).as_posix() for files in dataset._files.values() for path, _ in files]
        except UserError as error:
            said, read = str(error), None
        if read is None:
            assert str(root) in said
            return
        stray = [str(w.message) for w in told if "images lie in no folder" in str(w.message)]
        assert len(read) + sum(int(text.split(": ")[1].split()[0]) for text in stray) == len(wanted)
        assert {*read} <= wanted
        for split, files in dataset._files.items():
            if files:
                np.testing.assert_array_equal(dataset.read(split, lambda _: b"")["image"][..., 0], 7)
