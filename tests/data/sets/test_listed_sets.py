"""Images named by a table, images with masks, and sounds: what is read, how it is split, and what is refused."""

import numpy as np
import pandas as pd
import pytest
import soundfile
from PIL import Image

import deeplab as dl
from deeplab.core.errors import UserError
from deeplab.data.sets.image import mask_values
from deeplab.data.sets.speech.spelling import UNKNOWN

RATE = 8000


def picture(path, value, size=(12, 8)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (value, value, value)).save(path)


def tone(path, hertz, seconds=0.25, rate=RATE, channels=1):
    path.parent.mkdir(parents=True, exist_ok=True)
    wave = 0.5 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)
    soundfile.write(path, np.stack([wave] * channels, axis=1), rate)


@pytest.fixture
def photos(tmp_path, cache):
    """Twenty images of the gray value 10 i."""
    for i in range(20):
        picture(tmp_path / f"photos/{i}.png", 10 * i)
    return tmp_path / "photos"


def table_of(photos, **columns):
    """A table in the folder of the images."""
    path = photos / "labels.csv"
    count = len(next(iter(columns.values())))
    pd.DataFrame({"file": [f"{i}.png" for i in range(count)], **columns}).to_csv(path, index=False)
    return path


def values_of(data, split):
    """The gray value of each image of a split, which is ten times its row."""
    return data.open(split).arrays["image"][:, 0, 0, 0]


def test_images_of_a_table_have_their_own_labels(photos):
    names = ["none" if i % 4 == 0 else "1.0" for i in range(20)]  # words, in a column of classes
    data = dl.data.image_table(table_of(photos, kind=names), "file", label="kind", size=(4, 6))
    assert data.class_names == ("1.0", "none")
    assert data.fields["image"].shape == (4, 6, 3)
    assert dict(data.splits) == {"train": 16, "test": 4}
    for split in data.splits:
        arrays = data.open(split).arrays
        assert [data.class_names[k] for k in arrays["label"]] == [names[v // 10] for v in values_of(data, split)]
    assert np.bincount(data.open("test").arrays["label"]).tolist() == [3, 1]  # the shares of the whole
    folds = [values_of(dl.data.image_table(data.source, "file", label="kind", fold=k), "test") for k in range(5)]
    assert sorted(np.concatenate(folds).tolist()) == [10 * i for i in range(20)]


def test_groups_and_columns_of_splits_hold(photos):
    patients = [f"p{i // 4}" for i in range(20)]
    part = ["train"] * 12 + ["test"] * 4 + ["validation"] * 4
    path = table_of(photos, kind=["a", "b"] * 10, patient=patients, part=part)
    data = dl.data.image_table(path, "file", label="kind", group="patient", validation=0.2)
    seen = [{patients[v // 10] for v in values_of(data, split)} for split in data.splits]
    assert [len(groups) for groups in seen] == [3, 1, 1]
    assert set.union(*seen) == {f"p{i}" for i in range(5)}
    told = dl.data.image_table(path, "file", label="kind", split="part", group="patient")
    assert values_of(told, "validation").tolist() == [160, 170, 180, 190]
    assert "groups in training" not in str(told.summary())
    mixed = dl.data.image_table(path, "file", label="kind", split="part", group="kind")
    assert "groups in training and in another split: 2" in str(mixed.summary())


def test_several_labels_and_a_number(photos):
    cat, dog = [i % 2 for i in range(20)], ["true" if i % 3 else "false" for i in range(20)]
    tags = [";".join(["cat"] * (i % 2) + ["dog"] * (i % 3 > 0)) for i in range(20)]
    path = table_of(photos, cat=cat, dog=dog, tags=tags, age=[i / 2 for i in range(20)])
    columns = dl.data.image_table(path, "file", labels=("cat", "dog"))
    column = dl.data.image_table(path, "file", labels="tags")
    assert columns.class_names == column.class_names == ("cat", "dog")
    for split in ("train", "test"):
        for data in (columns, column):
            row = values_of(data, split) // 10
            np.testing.assert_array_equal(data.open(split).arrays["label"], np.stack([row % 2 > 0, row % 3 > 0], 1))
    given = {"prediction": np.array([True, False]), "probability": np.array([0.75, 0.25])}
    assert columns.describe(given) == {"labels": "cat", "cat": 0.75, "dog": 0.25}
    number = dl.data.image_table(path, "file", target="age")
    train = number.open("train").arrays["target"]
    np.testing.assert_allclose(train, values_of(number, "train") / 20)
    assert number.scale == (pytest.approx(train.mean()), pytest.approx(train.std()))


def test_a_name_may_lack_its_suffix_or_have_backslashes(photos):
    rows = {"file": [f"photos\\{i}" for i in range(20)], "kind": ["a", "b"] * 10}
    data = dl.data.image_table(rows, "file", label="kind", root=photos.parent)
    assert sorted([*values_of(data, "train"), *values_of(data, "test")]) == [10 * i for i in range(20)]


def test_a_changed_file_is_read_anew(photos):
    path = table_of(photos, kind=["a", "b"] * 10)
    before = values_of(dl.data.image_table(path, "file", label="kind"), "test")
    picture(photos / f"{before[0] // 10}.png", 255)
    after = values_of(dl.data.image_table(path, "file", label="kind"), "test")
    assert after.tolist() == [255, *before[1:]]


GOOD = {"kind": ["a", "b"] * 10, "cat": [0, 1] * 10, "age": range(20), "tags": ["x|y", "z"] * 10}


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        ({"file": [f"{i}.jpg" for i in range(20)]}, {"label": "kind"}, r"20 of the 20 files .* 0.jpg \(row 2\), 1.jpg"),
        ({"file": ["0.png"] * 20}, {"label": "kind"}, r"row 3, column 'file': '0.png', which row 2 names, too"),
        ({"file": ["", *(f"{i}.png" for i in range(1, 20))]}, {"label": "kind"}, r"row 2, column 'file': empty"),
        ({"kind": ["", *"ab" * 9, "a"]}, {"label": "kind"}, r"row 2, column 'kind': empty, .* \(1 such rows\)"),
        ({}, {"label": "kinds"}, r"no column 'kinds', which is the class; did you mean 'kind'"),
        ({}, {"label": "kind", "classes": ("a", "c")}, r"row 3, column 'kind': the class 'b'; known are a, c"),
        ({}, {"label": "kind", "target": "age"}, r"label='kind', .* and target='age', expected one of them"),
        ({"cat": [0, 2] * 10}, {"labels": ("cat",)}, r"row 3, column 'cat': '2', expected 0 or 1"),
        ({"cat": [0, -1] * 10}, {"labels": ("cat",)}, r"row 3, column 'cat': '-1', expected 0 or 1"),
        ({}, {"labels": "tags"}, r"the separator ';', and 10 hold '\|'; give separator='\|'"),
        ({}, {"labels": "tags", "separator": "|", "classes": ("x", "y")}, r"the label 'z'; known are x, y"),
        ({"age": ["old", *range(19)]}, {"target": "age"}, r"row 2, column 'age': 'old', expected a number"),
        (
            {"age": ["", *range(19)]},
            {"target": "age"},
            r"row 2, column 'age': empty, expected a number \(1 such rows\)",
        ),
        ({"age": [3] * 20}, {"target": "age"}, r"the target 'age' of .* is the same in all training rows"),
        ({}, {"label": "kind", "test": 1.0}, r"test is 1.0 .* expected shares that leave some"),
        ({}, {"label": "kind", "fold": 5}, r"fold is 5, expected 0 to 4"),
        ({}, {"label": "kind", "group": "patient"}, r"no column 'patient', which is the group"),
        ({}, {"label": "kind", "size": 0}, r"size=0, channels=3; expected pixels"),
    ],
    ids=str,
)
def test_what_is_wrong_with_a_table_of_images_is_told(photos, change, options, message):
    path = table_of(photos, **{**GOOD, **change})
    with pytest.raises(UserError, match=message):
        _ = dl.data.image_table(path, "file", **options).open("train")


def test_all_damaged_images_are_told_at_once(photos):
    path = table_of(photos, kind=["a", "b"] * 10)
    for i in range(20):
        (photos / f"{i}.png").write_bytes(b"no image")
    with pytest.raises(UserError, match=r"(?s)0\.png is not an image.*2\.png is not .*and 11 more"):
        dl.data.image_table(path, "file", label="kind").open("train")


@pytest.fixture
def scenes(tmp_path, cache):
    """Ten images whose left half is dark, and masks of twice the size."""

    def make(low=0, high=1, border=None, suffix=".png", folder="", palette=None, stem=""):
        for i in range(10):
            split = folder and ("train" if i < 6 else folder)
            for name in ("photos", "masks"):
                (tmp_path / name / split).mkdir(parents=True, exist_ok=True)
            halves = np.repeat([[0] * 4 + [1] * 4], 6, axis=0)  # 6 x 8
            Image.fromarray(np.stack([np.uint8(200 * halves)] * 3, -1)).save(tmp_path / "photos" / split / f"{i}.jpg")
            table = np.array([low, high], np.uint8)
            mask = np.kron(table[halves], np.ones((2, 2, *[1] * (table.ndim - 1)), np.uint8))
            if border is not None:
                mask[:2] = border
            image = Image.fromarray(mask)
            if palette:
                image.putpalette(palette)
            image.save(tmp_path / "masks" / split / f"{i}{stem}{suffix}")
        return tmp_path / "photos", tmp_path / "masks"

    return make


HALVES = np.repeat([[0] * 4 + [1] * 4], 6, axis=0)


@pytest.mark.parametrize(
    ("made", "options", "names", "values"),
    [
        ({}, {}, ("0", "1"), (0, 1)),
        ({"high": 255}, {}, ("0", "255"), (0, 255)),  # 255 is the second class
        ({"high": 7, "border": 255}, {}, ("0", "7"), (0, 7)),  # 255 does not count
        ({"low": (0, 0, 0), "high": (255, 0, 9)}, {}, ("0", "#ff0009"), (0, (255, 0, 9))),
        ({"low": (5, 5, 5), "high": (9, 9, 9)}, {}, ("5", "9"), (5, 9)),  # gray, saved as colors
        ({"high": 1, "palette": [0, 0, 0, 128, 0, 0]}, {}, ("0", "1"), (0, 1)),  # indices of a palette
        ({"high": 128}, {"values": (128, 0)}, ("128", "0"), (128, 0)),
        ({"stem": "_mask"}, {"suffix": "_mask"}, ("0", "1"), (0, 1)),
        ({"high": 255, "suffix": ".jpg"}, {"values": (0, 255)}, ("0", "255"), (0, 255)),
        ({"high": 255}, {"class_names": ("sky", "road")}, ("sky", "road"), (0, 255)),
    ],
    ids=str,
)
def test_masks_become_classes(scenes, made, options, names, values):
    data = dl.data.masks(*scenes(**made), size=(6, 8), **options)
    assert (data.class_names, data.values) == (names, values)
    arrays = data.open("test").arrays
    expected = 1 - HALVES if options.get("values", (0,))[0] == 128 else HALVES.copy()
    if "border" in made:
        expected[0] = data.void
        assert data.fields["mask"].below == 3
    np.testing.assert_array_equal(arrays["mask"], np.stack([expected] * 2))
    assert data.shares == pytest.approx((0.5, 0.5))
    assert len(set(data.palette)) == 2
    if "palette" in made:
        assert data.palette == ((0, 0, 0), (128, 0, 0))
    told = data.describe({"prediction": HALVES})
    assert (told[names[0]], told["mask"].shape) == (0.5, (6, 8, 3))


def test_images_and_masks_are_cropped_alike(scenes):
    """A mask is scaled as its image is, so their halves stay where they are, whatever is cut off."""
    arrays = dl.data.masks(*scenes(), size=6).open("train").arrays
    np.testing.assert_array_equal(arrays["image"][..., 0] > 100, arrays["mask"] == 1)


def test_folders_of_splits_and_names_without_them(scenes, tmp_path):
    photos, masks = scenes(folder="val")
    data = dl.data.masks(photos, masks, size=(6, 8))
    assert dict(data.splits) == {"train": 6, "validation": 4}
    flat = tmp_path / "flat"
    flat.mkdir()
    for path in masks.rglob("*.png"):
        path.rename(flat / path.name)
    assert dict(dl.data.masks(photos, flat, size=(6, 8)).splits) == {"train": 6, "validation": 4}
    grouped = dl.data.masks(photos, flat, size=(6, 8), group=r"/(\d)")
    assert sorted(grouped.groups("validation")) == ["6", "7", "8", "9"]


@pytest.mark.parametrize(
    ("made", "options", "message"),
    [
        ({"high": 0}, {}, "all pixels of .*masks are 0, expected two classes"),
        ({"suffix": ".jpg"}, {}, r"is a mask that was saved with loss, .* such as values=\(0, 255\)"),
        ({"high": 3}, {"values": (0, 1)}, "hold the value 3, expected one of 0, 1, or ignore=255"),
        ({}, {"class_names": ("a", "b", "c")}, "class_names has 3 names for the 2 values of .*masks: 0, 1"),
        ({"stem": "_m"}, {}, "no image below .* has a mask below .*; expected .* such as 0.png for 0.jpg"),
        ({}, {"split": "part"}, "split='part' is a column"),
        ({}, {"group": r"(\d"}, "expected a regular expression with a parenthesis"),
        ({}, {"group": r"patient(\d)"}, "is not found in 10 of 10 files of .*: 0.jpg"),
        ({}, {"values": (0, 0)}, r"values are \[0, 0\], expected two or more, each once"),
    ],
    ids=str,
)
def test_what_is_wrong_with_masks_is_told(scenes, made, options, message):
    with pytest.raises(UserError, match=message):
        dl.data.masks(*scenes(**made), **options).open("train")


def test_masks_of_another_shape_or_of_too_many_values_are_refused(scenes):
    photos, masks = scenes()
    Image.fromarray(np.eye(5, dtype=np.uint8)).save(masks / "3.png")
    with pytest.raises(UserError, match=r"3.png has 5 x 5 pixels, and its image 3.jpg 8 x 6"):
        [dl.data.masks(photos, masks).open(split) for split in ("train", "test")]
    Image.fromarray(np.arange(256, dtype=np.uint8).reshape(16, 16)).save(masks / "3.png")
    with pytest.raises(UserError, match="more than 200 values: they are no masks, or were smoothed"):
        dl.data.masks(photos, masks)
    (masks / "3.png").unlink()
    with pytest.warns(UserWarning, match="1 images have no mask, and are left out: photos/3.jpg"):
        assert sum(dl.data.masks(photos, masks).splits.values()) == 9


@pytest.mark.parametrize("value", [0, 255, (1, 2, 3), (255, 255, 254)])
def test_a_value_is_one_number(value):
    assert mask_values.value(mask_values.code(value)) == value


@pytest.fixture
def clips(tmp_path, cache):
    """Five clips of a low and five of a high tone; the clips of class k and number i last 0.1 (i + 1) s."""
    for k, name in enumerate(("low", "high")):
        for i in range(5):
            tone(tmp_path / f"clips/{name}/s{i}_{k}.wav", (300, 1500)[k], 0.1 * (i + 1))
    return tmp_path / "clips"


def test_sounds_in_folders(clips):
    data = dl.data.sounds(clips, labels="folder", rate=RATE, group=r"(s\d)")
    assert (data.class_names, data.size) == (("high", "low"), 4000)
    assert dict(data.splits) == {"train": 8, "test": 2}
    test = data.open("test").arrays
    assert len(set(data.groups("test"))) == 1
    speaker = int(data.groups("test")[0][1])
    assert test["length"].tolist() == [800 * (speaker + 1)] * 2
    rising = [int((np.diff(np.signbit(x[:n])) != 0).sum()) for x, n in zip(test["audio"], test["length"], strict=True)]
    # Crossings of zero: two a period.
    np.testing.assert_allclose(rising, [2 * hertz * 0.1 * (speaker + 1) for hertz in (1500, 300)], atol=2)
    assert not test["audio"][0, test["length"][0] :].any()
    short = dl.data.sounds(clips, rate=RATE, seconds=0.2)
    with pytest.warns(UserWarning, match=r"\d of 8 clips: the loudest 0.2 s are read"):
        assert short.open("train").arrays["audio"].shape == (8, 1600)


def test_sounds_are_resampled_with_one_warning(tmp_path, cache):
    for i in range(10):
        tone(tmp_path / f"{i}.wav", 300, rate=16_000)
    rows = {"file": [str(i) for i in range(10)], "word": ["a", "b"] * 5}
    data = dl.data.sounds(rows, label="word", root=tmp_path, rate=RATE)
    with pytest.warns(UserWarning, match="8 of 8 clips: 16,000 Hz are resampled to 8,000 Hz") as caught:
        assert data.open("train").arrays["length"].tolist() == [2000] * 8
    assert len(caught) == 1


def test_transcripts_have_the_alphabet_of_the_training_part(clips):
    names = sorted(path.relative_to(clips).as_posix() for path in clips.rglob("*.wav"))
    rows = {"file": names, "text": ["Ab  c", "null"] * 4 + ["b", "éa"], "part": ["train"] * 8 + ["test"] * 2}
    data = dl.data.sounds(clips, transcripts=rows, rate=RATE, split="part")
    assert data.class_names == (*" Abclnu", UNKNOWN)
    train, test = (data.open(split).arrays for split in ("train", "test"))
    assert train["label"][:2].tolist() == [[2, 3, 1, 4], [6, 7, 5, 5]]
    assert test["label"].tolist() == [[3, 0, 0, 0], [8, 8, 0, 0]]
    assert test["label_length"].tolist() == [1, 2]
    told = {"prediction": np.array([2, 3, 9]), "prediction_length": np.array(2), "log_prob": np.array(-1.0)}
    assert data.describe(told) == {"transcript": "Ab", "log_prob": -1.0}
    assert dl.data.sounds(clips, transcripts=rows, split="part", classes="abc").classes == ("a", "b", "c")
    with pytest.raises(UserError, match="'Ab c' holds 'A', which is none of the given characters"):
        _ = dl.data.sounds(clips, transcripts=rows, split="part", classes="abc").splits


@pytest.mark.parametrize(
    ("rows", "options", "message"),
    [
        ({"file": ["low/s9", "low/s0_0"]}, {"label": "text"}, r"1 of the 2 files .* low/s9 \(row 0\)"),
        ({"text": ["", "b"]}, {}, r"row 0, column 'text': empty, expected the transcript \(1 such rows\)"),
        ({"text": ["a", "b"]}, {"seconds": 0.15}, r"s0_1.wav lasts 0.2 s, and examples 0.1[0-9]* s; give more seconds"),
        ({}, {"text": "words"}, r"no column 'words', which is the transcript; known are file, text"),
        ({}, {"rate": 0}, "rate=0, seconds=0.0; expected a positive rate"),
        ({}, {"labels": "word"}, "labels='word', expected 'folder'; for a column of a table give label=COLUMN"),
        ({}, {"labels": "folder", "label": "text"}, "several of labels, transcripts and label"),
    ],
    ids=str,
)
def test_what_is_wrong_with_sounds_is_told(clips, rows, options, message):
    tone(clips / "s0_1.wav", 300, 0.2)
    tone(clips / "s1_1.wav", 300, 0.2)
    given = {"file": ["s0_1.wav", "s1_1.wav"], "text": ["a", "b"], **rows}
    with pytest.raises(UserError, match=message):
        dl.data.sounds(given, root=clips, test=0.5, **options).open("train")


def test_all_damaged_clips_are_told_at_once(clips):
    for path in clips.rglob("*.wav"):
        path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(UserError, match=r"(?s)is cut off.*is cut off.*and 3 more"):
        dl.data.sounds(clips, rate=RATE, seconds=1.0).open("train")
    for path in clips.rglob("*.wav"):
        path.write_bytes(b"no sound")
    with pytest.raises(UserError, match=r"(?s)_1.wav is not a sound file.*and 5 more"):
        dl.data.sounds(clips, rate=RATE).open("train")
    with pytest.raises(UserError, match="split='part' is a column, and folders have none"):
        dl.data.sounds(clips, split="part").open("train")
