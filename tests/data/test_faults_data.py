"""Bad data gets a clear error and loses nothing. The numbers are rows of the project's matrix of faults."""

import shutil
import warnings

import numpy as np
import pytest
from PIL import Image

from deeplab.core.errors import UserError
from deeplab.data import Images, Text, arrays, image_folder, text_lines, tfds, write
from deeplab.data.prepare import cache as prepared

pytestmark = pytest.mark.usefixtures("cache")


def split(size=12, shape=(6, 6, 1), classes=3):
    return np.random.default_rng(0).integers(0, 256, (size, *shape), np.uint8), np.arange(size) % classes


@pytest.mark.parametrize(
    ("name", "near"), [("minst", "'mnist'"), ("fashion-mnist", "'fashion_mnist'"), ("zzz", "known are")]
)
def test_3_unknown_data_set(name, near):
    with pytest.raises(UserError, match=near) as error:
        Images(name, epochs=1)
    assert error.value.exit_code == 2
    assert len(str(error.value)) < 200


def test_3_unknown_text():
    with pytest.raises(UserError, match="did you mean 'tiny_shakespeare'"):
        Text("shakespeare").num_examples("train")


def flip_byte(path, place=-1):
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


def test_7_a_flipped_byte_in_a_prepared_array(one_file, one_file_dir, cache):
    one_file().open("train", one_file_dir)
    path = next(cache.rglob("image.npy"))
    flip_byte(path)
    with pytest.raises(
        UserError, match=r"image.npy is damaged .examples 0 to 15 .* delete the folder .*/train and run"
    ) as error:
        one_file().open("train", one_file_dir)
    assert str(path) in str(error.value)
    shutil.rmtree(path.parent)
    assert one_file().open("train", one_file_dir).size == 16


@pytest.mark.parametrize("fault", ["truncated", "no index", "other dtype", "no array"])
def test_7_a_damaged_prepared_folder(fault, one_file, one_file_dir, cache):
    one_file().open("train", one_file_dir)
    path = next(cache.rglob("image.npy"))
    prepared._open.cache_clear()  # as a new process would
    if fault == "truncated":
        path.write_bytes(path.read_bytes()[:-1])
    elif fault == "no index":
        (path.parent / "arrays.json").write_text("{")
    elif fault == "no array":
        path.unlink()
    else:
        np.save(path, np.load(path).view(np.int8))
    with pytest.raises(UserError, match=r"is damaged .*run again"):
        one_file().open("train", one_file_dir)


def test_7_a_corrupted_record(tmp_path):
    directory = write(arrays({"train": split(40), "test": split()}), tmp_path)
    file = next(directory.glob("*train.array_record*"))
    flip_byte(file, place=1000)  # among the first records: so small a file is mostly padding
    for keep in ("records", "arrays"):
        data = Images(tfds(directory, keep=keep), batch_size=40, epochs=1)
        with pytest.raises(UserError, match=r"record \d+ of .*train.array_record.* is corrupted"):
            next(data.batches())


def test_7_a_corrupted_record_is_left_out_where_that_is_asked_for(tmp_path):
    directory = write(arrays({"train": split(40), "test": split()}), tmp_path)
    flip_byte(next(directory.glob("*train.array_record*")), place=1000)
    data = Images(tfds(directory, keep="records", skip_corrupted=True), batch_size=40, epochs=1)
    with pytest.warns(UserWarning, match=r"record \d+ of .*is corrupted.*; it is left out"):
        batch = next(data.batches())
    out = batch["weight"] == 0
    assert 1 <= out.sum() < 40
    assert not batch["image"][out].any()
    assert batch["image"][~out].any(axis=(1, 2, 3)).all()


def test_8_images_of_another_shape():
    with pytest.raises(UserError, match=r"split 'test' of arrays holds image uint8\[5, 6, 1\], .*uint8\[6, 6, 1\]"):
        arrays({"train": split(), "test": split(shape=(5, 6, 1))})


def test_8_images_without_channels():
    with pytest.raises(UserError, match=r"shape \(12, 6, 6\), expected \[N, H, W, C\]"):
        arrays({"train": split(shape=(6, 6))})


@pytest.mark.parametrize(
    ("label", "named"), [(3, "'label' of example 5 .* is 3"), (-1, "'label' of example 5 .* is -1")]
)
def test_9_label_out_of_range(label, named):
    image, labels = split()
    labels[5] = label
    with pytest.raises(UserError, match=f"{named}, expected 0 to 2"):
        arrays({"train": (image, labels)}, class_names=("a", "b", "c")).open("train")


def test_9_labels_that_are_no_integers():
    image, labels = split()
    with pytest.raises(UserError, match=r"labels .* float64\[12\], expected integers"):
        arrays({"train": (image, labels.astype(float))}, class_names=("a", "b", "c"))


def test_10_unscaled_floats():
    image, label = split()
    with pytest.warns(UserWarning, match=r"float32 from \d+ to \d+, expected \[0, 1\]"):
        arrays({"train": (image.astype(np.float32), label)}).open("train")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        arrays({"train": (image / np.float32(255), label)}).open("train")


def test_10_integers_that_are_no_pixels():
    image, label = split()
    with pytest.raises(UserError, match="int32, expected uint8, or floats"):
        arrays({"train": (image.astype(np.int32), label)})


def test_an_empty_split():
    with pytest.raises(UserError, match="split 'test' of arrays is empty"):
        arrays({"train": split(), "test": split(0)}).open("test")


def test_an_unknown_split():
    with pytest.raises(UserError, match="digits has no split 'validation', only train, test"):
        Images("digits", epochs=1).num_examples("validation")


def test_a_text_shorter_than_its_context(tmp_path):
    (tmp_path / "a.txt").write_text("short\n" * 10)
    with pytest.raises(UserError, match="expected more than the context of 64"):
        Text(text_lines(tmp_path)).num_examples("train")


@pytest.mark.parametrize("make", [image_folder, text_lines, tfds])
def test_a_folder_that_is_not_there(make, tmp_path):
    with pytest.raises(UserError, match="nowhere"):
        _ = make(tmp_path / "nowhere").splits


def test_an_image_that_cannot_be_read(tmp_path):
    (tmp_path / "cat").mkdir()
    for name in ("a", "b"):
        Image.new("RGB", (8, 8)).save(tmp_path / "cat" / f"{name}.png")
    (tmp_path / "cat" / "b.png").write_bytes(b"no image")
    with pytest.raises(UserError, match=r"b.png is not an image"):
        image_folder(tmp_path).open("train")


def test_32_a_cache_that_cannot_be_written(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("DEEPLAB_CACHE", str(tmp_path / "file"))
    with pytest.raises(UserError, match=r"cannot write [^;]*; set DEEPLAB_CACHE"):
        Images("digits", epochs=1).open("train")


def test_43_a_prepared_array_with_objects(one_file, one_file_dir, cache):
    one_file().open("train", one_file_dir)
    path = next(cache.rglob("image.npy"))
    np.save(path, np.array([{"code": "run"}], object), allow_pickle=True)
    with pytest.raises(UserError, match="Python objects in dtype"):
        one_file().open("train", one_file_dir)
