"""Builders: originals are read as published, folders as documented, TFDS directories hold the very same examples."""

import dataclasses
import gzip
import hashlib
import os
import struct
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from deeplab.core.errors import UserError
from deeplab.data import Images, Text, arrays, image_folder, tfds, tfds_text, write
from deeplab.data.sets import SETS, File
from deeplab.data.sets.image.cifar import CIFAR10
from deeplab.data.sets.image.cifar import parse as parse_cifar
from deeplab.data.sets.image.mnist import MNIST, parse

ORIGINALS = os.environ.get("DEEPLAB_DATA_DIR")  # the real files, where they are at hand


def idx(array: np.ndarray) -> bytes:
    return bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


@pytest.fixture
def small_mnist(tmp_path):
    """A set of MNIST's form with 20 + 10 images, and the folder of its files."""
    rng = np.random.default_rng(0)
    made, files = {}, []
    for prefix, size in (("train", 20), ("t10k", 10)):
        made[f"{prefix}-images-idx3-ubyte"] = rng.integers(0, 256, (size, 28, 28), np.uint8)
        made[f"{prefix}-labels-idx1-ubyte"] = rng.integers(0, 10, size, np.uint8)
    for name, array in made.items():
        content = idx(array)
        files.append(File(name, f"http://localhost/{name}.gz", len(content), hashlib.sha256(content).hexdigest()))
        (tmp_path / f"{name}.gz").write_bytes(gzip.compress(content))
    dataset = dataclasses.replace(MNIST, name=f"small_{tmp_path.name}", files=tuple(files), sizes=(20, 10))
    return dataset, tmp_path, made


@pytest.mark.parametrize("place", ["the folder", "its parent", "uncompressed"])
def test_idx_files_are_read_as_published(small_mnist, place):
    dataset, folder, made = small_mnist
    if place == "its parent":
        (folder / dataset.name).mkdir()
        for path in folder.glob("*.gz"):
            path.rename(folder / dataset.name / path.name)
    if place == "uncompressed":
        for path in folder.glob("*.gz"):
            path.with_suffix("").write_bytes(gzip.decompress(path.read_bytes()))
            path.unlink()
    for split, prefix in (("train", "train"), ("test", "t10k")):
        opened = dataset.open(split, folder).arrays
        np.testing.assert_array_equal(opened["image"][..., 0], made[f"{prefix}-images-idx3-ubyte"])
        np.testing.assert_array_equal(opened["label"], made[f"{prefix}-labels-idx1-ubyte"])
        assert isinstance(opened["image"], np.memmap)


def test_a_prepared_set_needs_its_originals_no_more(small_mnist):
    dataset, folder, _ = small_mnist
    dataset.open("train", folder)
    for path in folder.glob("*.gz"):
        path.unlink()
    assert dataset.open("train", folder).size == 20


def test_idx_round_trip():
    array = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    np.testing.assert_array_equal(parse(idx(array)), array)


def test_cifar_is_read_from_its_archive(tmp_path):
    """Batches of records, a label and three planes each, in a folder of a .tar.gz, beside a page that is not read."""
    rng = np.random.default_rng(0)
    records = rng.integers(0, 256, (6, 2, 3073), np.uint8)
    records[..., 0] %= 10
    with tarfile.open(tmp_path / CIFAR10.files[0].name, "w:gz") as archive:
        for number in (5, 3, 1, 2, 4, 0):  # in no order
            name = f"data_batch_{number}.bin" if number else "test_batch.bin"
            (tmp_path / name).write_bytes(records[number].tobytes())
            archive.add(tmp_path / name, f"cifar-10-batches-bin/{name}")
        (tmp_path / "readme.html").write_text("<html>")
        archive.add(tmp_path / "readme.html", "cifar-10-batches-bin/readme.html")
    digest = hashlib.sha256((tmp_path / CIFAR10.files[0].name).read_bytes()).hexdigest()
    file = dataclasses.replace(CIFAR10.files[0], archive_sha256=digest, size=6 * 2 * 3073)
    dataset = dataclasses.replace(CIFAR10, name=f"small_{tmp_path.name}", files=(file,), sizes=(10, 2))
    for split, chosen in (("train", records[1:].reshape(-1, 3073)), ("test", records[0])):
        opened = dataset.open(split, tmp_path).arrays
        np.testing.assert_array_equal(opened["label"], chosen[:, 0])
        for channel in range(3):  # red, green, blue planes, row after row
            plane = chosen[:, 1 + 1024 * channel : 1 + 1024 * (channel + 1)].reshape(-1, 32, 32)
            np.testing.assert_array_equal(opened["image"][..., channel], plane)
    with pytest.raises(UserError, match="is not the published archive"):
        dataclasses.replace(CIFAR10, name="other").open("train", tmp_path)


def test_cifar_records_are_whole():
    with pytest.raises(UserError, match="expected a multiple of 3,073"):
        parse_cifar(bytes(3072))


# CamVid and MIT-BIH come in wrappers that differ, and are verified by what is decoded.
@pytest.mark.parametrize("name", sorted(SETS.keys() - {"camvid", "mitbih_beats"}))
def test_each_set_says_where_it_is_from(name):
    dataset = SETS[name]
    assert "https://" in dataset.citation
    assert dataset.version
    for file in dataset.files:
        assert len(file.sha256 or getattr(file, "archive_sha256", "")) == 64
        assert file.size
        assert file.url.startswith("http")


@pytest.mark.skipif(ORIGINALS is None, reason="DEEPLAB_DATA_DIR does not say where the original files are")
@pytest.mark.parametrize("name", ["mnist", "fashion_mnist"])
def test_declared_moments_are_those_of_the_originals(name):
    dataset = SETS[name]
    image = dataset.open("train", ORIGINALS).arrays["image"]
    np.testing.assert_allclose(
        [image.mean() / 255, image.std() / 255], [*dataset.normalize.mean, *dataset.normalize.std], atol=1e-4
    )


@pytest.mark.skipif(ORIGINALS is None, reason="DEEPLAB_DATA_DIR does not say where the original files are")
def test_shakespeare_is_split_as_nanogpt_splits_it():
    data = Text("tiny_shakespeare")
    validation = data.open("validation", ORIGINALS).arrays["tokens"]
    assert len(validation) == 111_540
    assert data.open_vocabulary().decode(validation[:13]) == "?\n\nGREMIO:\nGo"


def make_images(folder: Path, classes=("cat", "dog"), each=10, size=(12, 8)) -> None:
    for label, name in enumerate(classes):
        (folder / name).mkdir(parents=True)
        for i in range(each):
            Image.new("RGB", size, (10 * i, 100 * label, 0)).save(folder / name / f"{i:02}.png")


def test_image_folder_without_splits(tmp_path):
    make_images(tmp_path)
    data = Images(image_folder(tmp_path, size=8, test_every=5), batch_size=4, epochs=1)
    assert data.class_names == ("cat", "dog")
    assert data.builder.splits == {"train": 16, "test": 4}
    test = data.open("test").arrays
    np.testing.assert_array_equal(test["image"][:, 0, 0, 0], [0, 50, 0, 50])
    np.testing.assert_array_equal(test["label"], [0, 0, 1, 1])


def test_image_folder_with_splits_in_grey(tmp_path):
    make_images(tmp_path / "train")
    make_images(tmp_path / "validation", each=3)
    data = Images(image_folder(tmp_path, size=6, channels=1), batch_size=4, epochs=1, eval_split="validation")
    assert data.builder.splits == {"train": 20, "validation": 6}
    assert next(data.batches())["image"].shape == (4, 6, 6, 1)


def test_a_flat_folder_has_images_and_no_labels(tmp_path):
    make_images(tmp_path / "all", classes=("one",))
    flat = tmp_path / "all" / "one"
    (flat / "notes.txt").write_text("no image")
    (tmp_path / "empty").mkdir()
    data = Images(image_folder(flat, size=8, test_every=5), batch_size=4, epochs=1)
    assert (data.class_names, dict(data.builder.splits)) == ((), {"train": 8, "test": 2})
    assert sorted(data.spec()) == ["id", "image", "weight"]
    np.testing.assert_array_equal(data.open("test").arrays["image"][:, 0, 0, 0], [0, 50])
    path = write(data.builder, tmp_path / "tfds")
    for keep in ("arrays", "records"):
        again = Images(tfds(path, label=None, keep=keep), batch_size=4, epochs=1)
        for one, other in zip(data.batches(), again.batches(), strict=True):
            assert one.keys() == other.keys()
            np.testing.assert_array_equal(one["image"], other["image"])
    with pytest.raises(UserError, match=r"holds no images; expected .*/CLASS/\*\.png, or .*/\*\.png"):
        _ = image_folder(tmp_path / "empty").class_names


@pytest.mark.parametrize("kind", ["tar.gz", "zip"])
def test_image_folder_in_an_archive(tmp_path, kind):
    make_images(tmp_path / "pets")
    archive = tmp_path / f"pets.{kind}"
    if kind == "zip":
        with zipfile.ZipFile(archive, "w") as file:
            for path in (tmp_path / "pets").rglob("*.png"):
                file.write(path, path.relative_to(tmp_path))
    else:
        with tarfile.open(archive, "w:gz") as file:
            file.add(tmp_path / "pets", "pets")
    packed, plain = (image_folder(path, size=8).open("train").arrays for path in (archive, tmp_path / "pets"))
    np.testing.assert_array_equal(packed["image"], plain["image"])
    np.testing.assert_array_equal(packed["label"], plain["label"])


def test_images_are_scaled_and_cropped_at_the_centre(tmp_path):
    picture = np.zeros((40, 80, 3), np.uint8)
    picture[:, 20:60] = 200
    (tmp_path / "a").mkdir()
    Image.fromarray(picture).save(tmp_path / "a" / "wide.png")
    Image.fromarray(picture).save(tmp_path / "a" / "wide2.png")
    image = image_folder(tmp_path, size=10).open("train").arrays["image"][0]
    assert image.min() > 180  # 200, but for the filter at the borders; black bars would give 0


def test_a_changed_folder_is_prepared_anew(tmp_path):
    make_images(tmp_path)
    assert image_folder(tmp_path, size=8).open("train").size == 18
    (tmp_path / "cat" / "03.png").unlink()
    assert image_folder(tmp_path, size=8).open("train").size == 17


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    """A TFDS directory of a small colour set, written by our builder."""
    rng = np.random.default_rng(0)
    split = rng.integers(0, 256, (30, 6, 5, 3), np.uint8), rng.integers(0, 3, 30)
    dataset = arrays({"train": split, "test": (split[0][:10], split[1][:10])}, class_names=("a", "b", "c"))
    return dataset, write(dataset, tmp_path_factory.mktemp("tfds"))


@pytest.mark.parametrize("keep", [None, "arrays", "records"])
def test_a_tfds_directory_gives_the_same_batches(directory, keep):
    dataset, path = directory
    assert (tfds(path, keep=keep).open("test").records is None) == (keep != "records")
    ours = Images(dataset, batch_size=8, epochs=2)
    theirs = Images(tfds(path, keep=keep), batch_size=8, epochs=2)
    assert (theirs.class_names, theirs.image_shape, theirs.num_steps) == (ours.class_names, ours.image_shape, 8)
    for split in ("train", "test"):
        for one, other in zip(ours.batches(split, seed=1), theirs.batches(split, seed=1), strict=True):
            for name in one:
                np.testing.assert_array_equal(one[name], other[name])
                assert one[name].dtype == other[name].dtype


def test_splits_of_a_tfds_directory_can_be_renamed_and_cut(directory):
    dataset, path = directory
    renamed = tfds(path, rename={"train": "train[:80%]", "validation": "train[80%:]"})
    assert {split: renamed.splits[split] for split in ("train", "validation")} == {"train": 24, "validation": 6}
    np.testing.assert_array_equal(renamed.open("validation").arrays["image"], dataset.arrays["train"]["image"][24:])


def test_images_of_a_tfds_directory_can_be_scaled(directory):
    assert tfds(directory[1], size=4, keep="records").open("test").records.batch(np.arange(3))["image"].shape == (
        3,
        4,
        4,
        3,
    )


def test_text_is_written_as_tfds_does(tmp_path):
    import tensorflow_datasets

    path = write("python_stdlib", tmp_path)
    source = tensorflow_datasets.builder_from_directory(path).as_data_source("validation")
    assert source[0]["text"] == SETS["python_stdlib"].read("validation", lambda _: b"")
    ours, theirs = (Text(dataset).open("validation") for dataset in ("python_stdlib", tfds_text(path)))
    np.testing.assert_array_equal(ours.arrays["tokens"], theirs.arrays["tokens"])
    assert Text(tfds_text(path)).num_examples("train") == Text("python_stdlib").num_examples("train")
