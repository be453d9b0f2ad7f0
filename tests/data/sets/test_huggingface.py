"""Sets in the layout of the Hugging Face hub: fields by their types, splits by their names, and what is refused."""

import json
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import deeplab as dl
from deeplab.core.errors import UserError
from deeplab.data.prepare import hub_tables, images

IMAGES = np.random.default_rng(0).integers(0, 256, (600, 4, 5, 3), np.uint8)
STRUCT = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
TYPES = {"image": {"_type": "Image"}, "label": {"_type": "ClassLabel", "names": ["cat", "dog"]}}


def write(path, columns, types=TYPES):
    path.parent.mkdir(parents=True, exist_ok=True)
    table = pa.table(columns)
    told = {name: types.get(name, {"_type": "Value"}) for name in columns}
    pq.write_table(table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": told}})}), path)


def encoded(pictures):
    return pa.array([{"bytes": images.png(picture), "path": None} for picture in pictures], STRUCT)


def rows(first, last, **more):
    """Images and classes, and what else there is."""
    return {"image": encoded(IMAGES[first:last]), "label": [i % 2 for i in range(first, last)], **more}


def test_images_and_classes(tmp_path, cache):
    """More rows than are read at once, in two files; "valid" is the validation split."""
    write(tmp_path / "data/train-00000-of-00002.parquet", rows(0, 300))
    write(tmp_path / "data/train-00001-of-00002.parquet", rows(300, 500))
    write(tmp_path / "data/valid-00000-of-00001-0a1b2c.parquet", rows(500, 600))
    data = dl.data.Images(dl.data.huggingface(tmp_path), batch_size=50, epochs=1)
    assert (data.class_names, data.image_shape) == (("cat", "dog"), (4, 5, 3))
    assert dict(data.builder.splits) == {"train": 500, "validation": 100}
    train, other = (data.open(split).arrays for split in ("train", "validation"))
    np.testing.assert_array_equal(train["image"], IMAGES[:500])
    np.testing.assert_array_equal(other["image"], IMAGES[500:])
    assert train["label"].tolist() == [i % 2 for i in range(500)]
    assert dl.data.huggingface(tmp_path, size=8, channels=1).open("validation").arrays["image"].shape == (100, 8, 8, 1)


def test_numbers_texts_and_a_class_of_texts(tmp_path, cache):
    more = {"age": [0.5, 1.5, 2.5], "caption": ["a", "none", "c"], "kind": ["x", "y", "x"], "count": [1, 2, 3]}
    write(tmp_path / "train.parquet", rows(0, 3, **more))
    data = dl.data.huggingface(tmp_path)
    arrays = data.open("train").arrays
    assert {name: (a.dtype.name, a.tolist()) for name, a in arrays.items() if name != "image"} == {
        "label": ("int32", [0, 1, 0]), "age": ("float32", [0.5, 1.5, 2.5]), "count": ("int32", [1, 2, 3]),
    }  # fmt: skip
    assert data.columns("train", "caption")["caption"].tolist() == ["a", "none", "c"]
    assert sorted(data.columns("train")) == ["age", "caption", "count", "kind", "label"]
    texts = dl.data.huggingface(tmp_path, label="kind")
    assert (texts.class_names, texts.open("train").arrays["label"].tolist()) == (("x", "y"), [0, 1, 0])
    number = dl.data.huggingface(tmp_path, target="age")
    assert number.class_names == ()
    assert number.open("train").arrays["target"].tolist() == [0.5, 1.5, 2.5]


def test_integers_beyond_int32_are_refused_or_left_out(tmp_path, cache):
    """Milliseconds since 1970 wrapped in silence."""
    write(tmp_path / "train.parquet", rows(0, 3, time=[1_700_000_000_000 + i for i in range(3)], scale=[1.0, 2.0, 3.0]))
    with pytest.raises(
        UserError, match=r"'time' of .*, split 'train' .* int32 cannot hold; leave .*ignore=\('time',\)"
    ):
        dl.data.huggingface(tmp_path).open("train")
    assert sorted(dl.data.huggingface(tmp_path, ignore=("time",)).open("train").arrays) == ["image", "label", "scale"]
    assert sorted(dl.data.huggingface(tmp_path, ignore=("time", "image")).fields) == ["label", "scale"]
    with pytest.raises(UserError, match="no column 'tim'; did you mean 'time'"):
        _ = dl.data.huggingface(tmp_path, ignore=("tim",)).fields
    write(tmp_path / "train.parquet", rows(0, 3, scale=[1.0, 2.0, 1e300]))
    with pytest.raises(UserError, match=r"'scale' of .* has values that float32 cannot hold"):
        dl.data.huggingface(tmp_path).open("train")


def test_subsets(tmp_path, cache):
    for name, first in (("en", 0), ("fr", 10)):
        write(tmp_path / name / "train" / "0000.parquet", rows(first, first + 5))
    np.testing.assert_array_equal(dl.data.huggingface(tmp_path, "fr").open("train").arrays["image"], IMAGES[10:15])
    with pytest.raises(UserError, match="holds the subsets en, fr; give config="):
        _ = dl.data.huggingface(tmp_path).splits
    with pytest.raises(UserError, match="no subset 'fro'; did you mean 'fr'"):
        _ = dl.data.huggingface(tmp_path, "fro").splits


def cell(content):
    return pa.array([{"bytes": content, "path": "a.png"}], STRUCT)


@pytest.mark.parametrize(
    ("columns", "options", "message"),
    [
        (rows(0, 2) | {"label": [0, None]}, {}, r"split 'train', row 1, column 'label': missing; remove such rows"),
        (rows(0, 2) | {"label": [0, 7]}, {}, r"'label' of example 1 in split 'train' .* is 7, expected 0 to 1"),
        (rows(0, 2) | {"image": encoded([IMAGES[0], IMAGES[1, :2]])}, {}, r"row 1 is an image of 2 x 5 .* give size="),
        (rows(0, 1) | {"image": cell(b"GIF")}, {"size": 4, "channels": 3}, r"row 0 is not an image that can be read"),
        (rows(0, 1) | {"image": cell(None)}, {}, r"only its path 'a.png'"),
        (rows(0, 2, caption=["a", "b"]), {"target": "caption"}, r"column 'caption' of .* is string, expected numbers"),
        (rows(0, 2), {"label": "labels"}, r"no column 'labels'; did you mean 'label'"),
        (rows(0, 2), {"image": "label"}, r"column 'label' of .* is ClassLabel, expected image"),
        ({"caption": ["a"], "label": [0]}, {}, r"no column of images or numbers, only caption \(string\), label"),
        (rows(0, 2), {"label": "label", "target": "label"}, r"expected a class or a number to predict"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_table_is_told(tmp_path, cache, columns, options, message):
    write(tmp_path / "train.parquet", columns)
    with pytest.raises(UserError, match=message):
        dl.data.huggingface(tmp_path, **options).open("train")


def test_kinds_that_are_not_read_are_told(tmp_path, cache):
    """Several images and lists are no fields; one of the images is, where it is named."""
    made = rows(0, 2, other=encoded(IMAGES[:2]), boxes=[[1, 2], [3]])
    write(tmp_path / "train.parquet", made, TYPES | {"other": TYPES["image"], "boxes": [{}]})
    with pytest.raises(UserError, match="has the columns image, other of this kind; give image=, one of them"):
        _ = dl.data.huggingface(tmp_path).fields
    with pytest.warns(UserWarning, match=r"2 columns .* are left out: other \(Image\), boxes \(Sequence\)"):
        assert sorted(dl.data.huggingface(tmp_path, image="image").fields) == ["image", "label"]


def test_a_folder_without_tables_and_a_missing_extra(tmp_path, monkeypatch):
    with pytest.raises(UserError, match=r"holds no Parquet files; expected .*/data/train-00000-of-00001.parquet"):
        _ = dl.data.huggingface(tmp_path).splits
    (tmp_path / "train.parquet").write_bytes(b"no table")
    with pytest.raises(UserError, match="cannot be read as Parquet"):
        _ = dl.data.huggingface(tmp_path).splits
    monkeypatch.setitem(sys.modules, "datasets", None)  # as if it were not installed
    with pytest.raises(UserError, match=r'no folder ylecun/mnist, .* pip install "deeplab\[huggingface\]"'):
        _ = dl.data.huggingface("ylecun/mnist").splits


def test_the_hub_and_a_folder_give_the_same(tmp_path, cache, monkeypatch):
    """The package's own reader of the same files, where it is installed."""
    pytest.importorskip("datasets")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    types = TYPES | {"age": {"_type": "Value", "dtype": "float64"}}
    write(tmp_path / "set/data/train-00000-of-00001.parquet", rows(0, 300, age=[0.5] * 300), types)
    here, there = hub_tables.open_table(tmp_path / "set"), hub_tables._of_hub(str(tmp_path / "set"), "", "")
    assert (here.columns, here.sizes) == (there.columns, there.sizes)
    for ours, theirs in zip(here.read("train", ["image", "age"]), there.read("train", ["image", "age"]), strict=True):
        assert [cell["bytes"] for cell in ours["image"]] == [cell["bytes"] for cell in theirs["image"]]
        np.testing.assert_array_equal(ours["age"], theirs["age"])
