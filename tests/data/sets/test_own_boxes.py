"""Images with boxes of one's own: three layouts say the same, and what is wrong is told."""

import dataclasses
import json

import numpy as np
import pytest
from PIL import Image

import deeplab as dl
from deeplab.core.errors import UserError

# Images of 40 x 20 pixels, their split, and their objects: class and corners in pixels.
SCENES = {
    "a": ("train", [("dog", (4, 2, 20, 18)), ("cat", (0, 0, 10, 10))]),
    "b": ("train", []),
    "c": ("validation", [("cat", (10, 5, 40, 20))]),
    "d": ("test", [("dog", (8, 0, 12, 20))]),
}
SIDES = ("xmin", "ymin", "xmax", "ymax")
BOX = "".join(f"<{side}>{8 + x}</{side}>" for x, side in enumerate(SIDES))


@pytest.fixture
def pictures(tmp_path):
    rng = np.random.default_rng(0)
    folder = tmp_path / "VOC" / "JPEGImages"
    folder.mkdir(parents=True)
    for name in SCENES:
        Image.fromarray(rng.integers(0, 256, (20, 40, 3), np.uint8)).save(folder / f"{name}.png")
    return folder


def table(pictures, scenes=None):
    rows = []
    for name, (split, objects) in (scenes or SCENES).items():
        rows += [f"{name}.png,{split},{k},{','.join(map(str, box))}" for k, box in objects]
        rows += [f"{name}.png,{split},,,,,"] * (not objects)
    path = pictures.parent / "boxes.csv"
    path.write_text("\n".join([f"image,split,class,{','.join(SIDES)}", *rows]))
    return path


def voc(pictures, scenes=None, lists=True):
    root = pictures.parent
    (root / "Annotations").mkdir()
    (root / "ImageSets" / "Main").mkdir(parents=True)
    by_split: dict[str, list[str]] = {}
    for name, (split, objects) in (scenes or SCENES).items():
        by_split.setdefault(split, []).append(name)
        items = "".join(
            f"<object><name>{k}</name><bndbox>"
            + "".join(f"<{side}>{x}</{side}>" for side, x in zip(SIDES, box, strict=True))
            + "</bndbox></object>"
            for k, box in objects
        )
        (root / "Annotations" / f"{name}.xml").write_text(f"<annotation>{items}</annotation>")
    for split, names in by_split.items() if lists else ():
        name = "val" if split == "validation" else split
        (root / "ImageSets" / "Main" / f"{name}.txt").write_text("\n".join(names))
    return root.parent  # the folder that holds it


def coco(pictures, scenes=None):
    found, ids = {}, {name: 7 + i for i, name in enumerate(scenes or SCENES)}
    for split in ("train", "validation", "test"):
        chosen = {name: objects for name, (where, objects) in (scenes or SCENES).items() if where == split}
        made = [
            {"image_id": ids[name], "category_id": 5 if k == "dog" else 3, "bbox": [x0, y0, x1 - x0, y1 - y0]}
            for name, objects in chosen.items()
            for k, (x0, y0, x1, y1) in objects
        ]
        content = {
            "images": [{"id": ids[name], "file_name": f"{name}.png"} for name in chosen],
            "categories": [{"id": 3, "name": "cat"}, {"id": 5, "name": "dog"}],
            "annotations": made,
        }
        found[split] = pictures.parent / f"{split}.json"
        found[split].write_text(json.dumps(content))
    return found


def read(kind, pictures, **options):
    if kind == "table":
        return dl.data.boxes(table(pictures), root=pictures, split="split", size=(10, 40), **options)
    source = voc(pictures) if kind == "voc" else coco(pictures)
    return dl.data.boxes(source, root=pictures, size=(10, 40), **options)


@pytest.mark.parametrize("kind", ["table", "voc", "coco"])
def test_each_layout_says_the_same(kind, pictures):
    """Boxes are in pixels of the images as they are read, which have half of their height here."""
    scenes = read(kind, pictures)
    assert dict(scenes.splits) == {"train": 2, "validation": 1, "test": 1}
    assert scenes.class_names == ("cat", "dog")
    train, test = (scenes.open(split).arrays for split in ("train", "test"))
    assert train["boxes"].tolist() == [[[4, 1, 20, 9], [0, 0, 10, 5]], [[0] * 4] * 2]
    assert train["classes"].tolist() == [[1, 0], [-1, -1]]
    assert not train["ignored"].any()
    assert test["boxes"][0, 0].tolist() == [8, 0, 12, 10]
    pixels = Image.open(pictures / "d.png").resize((40, 10), Image.Resampling.BICUBIC)
    np.testing.assert_array_equal(test["image"][0], np.asarray(pixels))


def test_batches_are_those_of_the_task(pictures):
    data = dl.data.Examples(read("table", pictures), batch_size=2, epochs=1)
    batch = next(data.batches("train"))
    assert batch["boxes"].shape == (2, 2, 4)
    assert data.bounds()["classes"] == (-1, 2)
    twin = data.synthetic(batch_size=2)
    assert {name: spec.shape for name, spec in twin.spec().items()} == {n: s.shape for n, s in data.spec().items()}


def test_the_summary_counts_objects_and_tells_equal_images(pictures):
    Image.open(pictures / "a.png").save(pictures / "d.png")
    told = read("table", pictures).summary()
    assert told.counts == {
        "cat": {"test": 0, "train": 1, "validation": 1}, "dog": {"test": 1, "train": 1, "validation": 0}
    }  # fmt: skip
    assert any("1 of 1 examples of split 'test' are equal to a training example" in note for note in told.notes)
    assert {row[0]: row[3] for row in told.rows}["classes"] == "1 cat+1 dog, none"


def test_shares_are_drawn_where_nothing_tells_a_split(pictures):
    source = voc(pictures, lists=False)
    assert dict(dl.data.boxes(source, size=16, test=0.5).splits) == {"train": 2, "test": 2}


def test_what_is_difficult_or_a_crowd_is_ignored(pictures):
    files = coco(pictures)
    content = json.loads(files["train"].read_text())
    content["annotations"][0]["iscrowd"] = 1
    files["train"].write_text(json.dumps(content))
    assert dl.data.boxes(files, root=pictures).open("train").arrays["ignored"].tolist() == [[True, False], [False] * 2]
    path = voc(pictures) / "VOC" / "Annotations" / "c.xml"
    path.write_text(path.read_text().replace("</name>", "</name><difficult>1</difficult>"))
    assert dl.data.boxes(pictures.parent).open("validation").arrays["ignored"].tolist() == [[True, False]]


def test_a_changed_box_is_another_version(pictures):
    moved = dict(SCENES, d=("test", [("dog", (8, 0, 13, 20))]))
    versions = set()
    for number, scenes in enumerate((SCENES, moved, SCENES)):
        path = table(pictures, scenes).rename(pictures.parent / f"{number}.csv")
        versions.add(dl.data.boxes(path, root=pictures, split="split", size=16).version)
    assert len(versions) == 2


def test_columns_in_memory_are_a_table(pictures):
    sides = {side: [1.0 + i, 2.0 + i, None] for i, side in enumerate("lurd")}
    rows = {"file": ["a", "a", "b"], "kind": ["dog", "cat", None], **sides}
    found = dl.data.boxes(rows, root=pictures, image="file", label="kind", corners=tuple("lurd"), test=0.5, size=8)
    assert sum(found.splits.values()) == 2
    assert found.most == 2


def test_boxes_without_area_are_left_out_and_told(pictures):
    scenes = dict(SCENES, d=("test", [("dog", (8, 0, 12, 20)), ("dog", (3, 3, 3, 9))]))
    found = dl.data.boxes(table(pictures, scenes), root=pictures, split="split", size=20)
    with pytest.warns(UserWarning, match="1 boxes have no area, and are left out"):
        test = found.open("test")
    assert test.arrays["classes"].tolist() == [[1, -1]]


def test_a_box_is_cut_at_the_border_by_a_pixel_at_most(pictures):
    scenes = dict(SCENES, d=("test", [("dog", (-1, 0, 41, 21))]))
    found = dl.data.boxes(table(pictures, scenes), root=pictures, split="split", size=(20, 40))
    assert found.open("test").arrays["boxes"][0, 0].tolist() == [0, 0, 40, 20]


@pytest.mark.parametrize("kind", [table, voc, coco])
@pytest.mark.parametrize(
    ("objects", "told"),
    [
        ([("dog", (8, 0, 52, 20))], r"\(8, 0, 52, 20\) is outside of its image of 40 x 20 pixels"),
        ([("dog", (-8, 0, 12, 20))], "is outside of its image"),
        ([("dog", (12, 0, 8, 20))], "has its corners swapped"),
        ([("dgo", (8, 0, 12, 20))], "the class 'dgo'; .*'dog'"),
    ],
)
def test_what_is_wrong_with_a_box_is_told(kind, objects, told, pictures):
    if kind is coco and "class" in told:
        told, objects = "no category has the id", objects
    source = kind(pictures, dict(SCENES, d=("test", objects)))
    if kind is coco and "category" in told:
        content = json.loads(source["test"].read_text())
        content["annotations"][0]["category_id"] = 9
        source["test"].write_text(json.dumps(content))
    split = {"split": "split"} if kind is table else {}
    with pytest.raises(UserError, match=told):
        dl.data.boxes(source, root=pictures, classes=("cat", "dog"), **split).open("test")


@pytest.mark.parametrize("kind", [table, voc, coco])
def test_boxes_in_shares_of_the_image_are_told(kind, pictures):
    """They were boxes within the first pixel."""
    scenes = {name: (split, [(k, (0, 0.25, 0.5, 1.0)) for k, _ in told]) for name, (split, told) in SCENES.items()}
    split = {"split": "split"} if kind is table else {}
    with pytest.raises(
        UserError, match=r"no box outside of 0 to 1, such as \(0, 0.25, 0.5, 1\), as shares of an image"
    ):
        dl.data.boxes(kind(pictures, scenes), root=pictures, **split).most  # noqa: B018


def with_size(kind, pictures, size):
    """The source with the size of image a as its annotations tell it."""
    source = kind(pictures)
    if kind is voc:
        path = source / "VOC" / "Annotations" / "a.xml"
        told = "".join(f"<{side}>{x}</{side}>" for side, x in zip(("width", "height"), size, strict=True))
        path.write_text(path.read_text().replace("<annotation>", f"<annotation><size>{told}</size>"))
    else:
        content = json.loads(source["train"].read_text())
        content["images"][0] |= dict(zip(("width", "height"), size, strict=True))
        source["train"].write_text(json.dumps(content))
    return dl.data.boxes(source, root=pictures, size=8)


@pytest.mark.parametrize("kind", [voc, coco])
@pytest.mark.parametrize("size", [(40, 20), (0, 0), (40, 0), ("", None)])
def test_a_size_that_is_told_is_that_of_the_image_or_none(kind, size, pictures):
    assert with_size(kind, pictures, size).open("train").arrays["classes"].max() == 1


@pytest.mark.parametrize("kind", [voc, coco])
@pytest.mark.parametrize(("size", "turned"), [((80, 40), False), ((20, 40), True), ((0, 40), False)])
def test_an_image_of_another_size_than_its_annotations_tell_is_told(kind, size, turned, pictures):
    """Boxes of another resolution were read as they are."""
    told = rf"a\.png has 40 x 20 pixels as it is seen, .* tell {size[0]} x {size[1]}{' .it is turned' * turned}"
    with pytest.raises(UserError, match=told):
        with_size(kind, pictures, size).open("train")


def test_an_image_that_its_exif_turns_has_boxes_of_what_is_seen(pictures):
    (pictures / "a.png").unlink()
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (40, 20)).save(pictures / "a.jpg", exif=exif)
    with pytest.raises(UserError, match=r"a\.jpg has 20 x 40 pixels as it is seen.* tell 40 x 20 \(it is turned by"):
        with_size(voc, pictures, (40, 20)).open("train")


def test_a_box_beside_its_image_is_left_out_and_told(pictures):
    """Cut at the border it was an object of no area, which nothing finds."""
    objects = [("cat", (40, 0, 41, 20)), ("dog", (8, 0, 12, 20)), ("cat", (-1, 0, 0, 20))]
    source = table(pictures, dict(SCENES, d=("test", objects)))
    with pytest.warns(UserWarning, match="2 lie outside of their images, and are left out: .*row 6, .*row 8"):
        test = dl.data.boxes(source, root=pictures, split="split", size=(20, 40)).open("test").arrays
    assert test["classes"].tolist() == [[1, -1, -1]]
    assert test["boxes"].tolist() == [[[8, 0, 12, 20], [0] * 4, [0] * 4]]


def test_names_in_lists_may_have_spaces(pictures):
    (pictures / "a.png").rename(pictures / "photo 1.png")
    source = voc(pictures, {("photo 1" if name == "a" else name): scene for name, scene in SCENES.items()})
    assert dict(dl.data.boxes(source).splits) == {"train": 2, "validation": 1, "test": 1}
    lists = source / "VOC" / "ImageSets" / "Main"
    (lists / "train.txt").write_text("\ufeffb c\n  photo 1  \r\n", encoding="utf-8")
    (lists / "val.txt").unlink()
    assert dict(dl.data.boxes(source).splits) == {"train": 3, "test": 1}


@pytest.mark.parametrize(
    ("told", "ignored"), [("True", True), (" 1 ", True), ("yes", True), ("False", False), ("", False)]
)
def test_difficult_may_be_said_by_words(told, ignored, pictures):
    path = voc(pictures) / "VOC" / "Annotations" / "c.xml"
    path.write_text(path.read_text().replace("</name>", f"</name><difficult>{told}</difficult>"))
    assert dl.data.boxes(pictures.parent).open("validation").arrays["ignored"].tolist() == [[ignored, False]]


def test_images_without_annotations_are_told(pictures):
    source = voc(pictures, lists=False)
    (source / "VOC" / "Annotations" / "b.xml").unlink()
    with pytest.warns(UserWarning, match=r"VOC: 1 images have no annotations, and are left out: JPEGImages/b\.png"):
        assert sum(dl.data.boxes(source, test=0.5).splits.values()) == 3


@pytest.mark.parametrize("kind", [table, voc, coco])
def test_a_class_is_one_however_its_accents_are_spelled(kind, pictures):
    scenes = dict(SCENES, d=("test", [("caf\u00e9", (8, 0, 12, 20)), ("cafe\u0301", (8, 0, 12, 20))]))
    source = kind(pictures, scenes)
    if kind is coco:
        for path in source.values():
            path.write_text(path.read_text().replace('"cat"', '"cafe\\u0301"'))
    options = {"root": pictures, "size": 8, **({"split": "split"} if kind is table else {})}
    found = dl.data.boxes(source, **options)
    assert [name for name in found.class_names if "caf" in name] == ["caf\u00e9"]
    again = dl.data.boxes(source, classes=("dog", "cat", "cafe\u0301"), **options)
    assert again.open("test").arrays["classes"].tolist() == [[2, 2]]


@pytest.mark.parametrize("kind", ["table", "voc", "coco"])
def test_an_image_without_a_file_is_told(kind, pictures):
    (pictures / "d.png").unlink()
    with pytest.raises(UserError, match=r"1 of the 4 files .* d(\.png)?"):
        dict(read(kind, pictures).splits)


@pytest.mark.parametrize(
    ("cells", "told"),
    [
        ("d.png,test,dog,8,0,,20", "row 6, column 'xmax': empty"),
        ("d.png,test,,8,0,12,20", "row 6, column 'class': empty"),
        ("d.png,test,dog,8,zero,12,20", "row 6, column 'ymin': 'zero', expected a number"),
        ("a.png,test,dog,8,0,12,20", "row 6, column 'split': 'test', where another row of a.png says 'train'"),
        (",test,dog,8,0,12,20", "row 6, column 'image': empty"),
    ],
)
def test_a_wrong_cell_is_told(cells, told, pictures):
    path = table(pictures)
    path.write_text("\n".join([*path.read_text().splitlines()[:5], cells]))
    with pytest.raises(UserError, match=told):
        dict(dl.data.boxes(path, root=pictures, split="split").splits)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"classes": "dog"}, r"classes is 'dog', expected a sequence of names, such as \('dog',\)"),
        ({"size": 32.5}, "size=32.5, channels=3; expected pixels"),
        ({"size": (32, 8.5)}, r"size=\(32, 8.5\), channels=3; expected pixels"),
    ],
)
def test_a_wrong_argument_is_told(options, told, pictures):
    with pytest.raises(UserError, match=told):
        dl.data.boxes(table(pictures), **{"root": pictures, "split": "split", "size": 32, **options})


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("<annotation>", "is no XML"),
        ('<!DOCTYPE a [<!ENTITY b "c">]><annotation/>', "declares entities"),
        ("<annotation><object><name>dog</name></object></annotation>", "object 0: xmin is None"),
        (
            f"<a><object><name>dog</name><difficult>2</difficult><bndbox>{BOX}</bndbox></object></a>",
            "object 0: difficult is '2', expected 1 or 0",
        ),
        ("<a><object><bndbox><xmin>inf</xmin></bndbox></object></a>", "xmin is 'inf', expected a number of pixels"),
    ],
)
def test_hostile_xml_is_told(content, told, pictures):
    source = voc(pictures)
    (source / "VOC" / "Annotations" / "d.xml").write_text(content)
    with pytest.raises(UserError, match=told):
        dict(dl.data.boxes(source).splits)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("[]", "holds a list"),
        ("{", "is no JSON"),
        ("{}", "has no list 'categories'"),
        ('{"categories": [{"id": 3, "name": "cat"}, {"id": 5, "name": "dog"}], "images": [3]}', r"images\[0\] is no"),
        ('{"categories": [{"id": 3, "name": "cow"}], "images": [], "annotations": []}', "other categories"),
    ],
)
def test_hostile_json_is_told(content, told, pictures):
    files = coco(pictures)
    files["test"].write_text(content)
    with pytest.raises(UserError, match=told):
        dict(dl.data.boxes(files, root=pictures).splits)


@pytest.mark.parametrize("box", ["[1, 2, 3]", "[1, 2, 3, null]", '"box"', "[1, 2, 3, NaN]"])
def test_a_box_of_json_has_four_numbers(box, pictures):
    files = coco(pictures)
    files["test"].write_text(files["test"].read_text().replace("[8, 0, 4, 20]", box))
    with pytest.raises(UserError, match=r"annotation 0: bbox is .* expected"):
        dict(dl.data.boxes(files, root=pictures).splits)


def test_a_list_of_a_split_must_fit_the_annotations(pictures):
    source = voc(pictures)
    lists = source / "VOC" / "ImageSets" / "Main"
    (lists / "val.txt").write_text("c\na")
    with pytest.raises(UserError, match="a is in split 'train', too"):
        dict(dl.data.boxes(source).splits)
    (lists / "val.txt").write_text("c\ne")
    with pytest.raises(UserError, match=r"no annotations, such as e\.xml"):
        dict(dl.data.boxes(source).splits)


def test_other_sources_and_options_are_told(pictures):
    with pytest.raises(UserError, match="no folder Annotations"):
        dict(dl.data.boxes(pictures).splits)
    with pytest.raises(UserError, match="there is no folder or archive"):
        dict(dl.data.boxes(pictures / "nowhere").splits)
    with pytest.raises(UserError, match=r"there is no file .*nowhere\.json"):
        dict(dl.data.boxes(pictures / "nowhere.json").splits)
    with pytest.raises(UserError, match="group='patient' is a column of a table"):
        dict(dl.data.boxes(voc(pictures), group="patient").splits)
    with pytest.raises(UserError, match="has no column 'cls'"):
        dict(dl.data.boxes(table(pictures), root=pictures, label="cls").splits)


def test_files_are_read_and_told_in_shares_of_the_image(pictures):
    scenes = read("table", pictures)
    ((name, example),) = scenes.read_file(pictures / "a.png")
    assert (name, example["image"].shape) == ("a.png", (10, 40, 3))
    made = {
        "boxes": np.array([[4, 1, 20, 9], [0, 0, 1, 1]]),
        "scores": np.array([0.9, 0.1]),
        "classes": np.array([1, 0]),
    }
    assert scenes.describe(made) == {"dog": 1, "objects": "dog 0.90 at 0.100 0.100 0.500 0.900"}
    assert dataclasses.replace(scenes, size=8).describe(made | {"scores": np.zeros(2)}) == {"objects": "none"}
