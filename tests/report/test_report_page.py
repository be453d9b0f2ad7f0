"""The page of one run: self-contained, escaped, with the numbers of the files, and complete without any of them."""

import base64
import html
import html.parser
import io
import json
import re

import matplotlib
import numpy as np
import pytest
from PIL import Image

from deeplab import report
from deeplab.core.blocks import loss_by_position
from deeplab.core.errors import UserError

EVIL = '<script>alert("1")</script>&"\' onerror=x'


class Page(html.parser.HTMLParser):
    """Collects a page's tags, attributes and text; fails on a tag that is not closed."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.texts = [], [], []
        self.feed(text)
        self.close()
        assert self.open in ([], ["html"]), self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.texts).replace("\u00a0", " ").split())


def parse(path):
    return Page(path.read_text())


def test_what_scrolls_has_a_name_and_the_focus(make_run):
    page = parse(report.write(make_run()))
    boxes = [
        given for tag, given in page.tags if given.get("class") == "scroll" or (tag == "pre" and not given.get("class"))
    ]
    assert len(boxes) == 9
    assert all((box["tabindex"], box["role"]) == ("0", "group") and box["aria-label"] for box in boxes)
    assert "table of split, step, loss, accuracy" in [box["aria-label"] for box in boxes]
    assert ("main", {}) in page.tags


@pytest.mark.parametrize("kind", ["classification", "language"])
def test_page_needs_nothing_but_itself(make_run, kind):
    page = parse(report.write(make_run(kind=kind)))
    assert not {"script", "link", "iframe", "object", "embed"} & {tag for tag, _ in page.tags}
    for tag, attributes in page.tags:
        for name in ("src", "href", "xlink:href", "action", "data", "srcset"):
            if name in attributes:
                assert attributes[name].startswith(("#", "data:image/png;base64,")), (tag, attributes)
        assert not [name for name in attributes if name.startswith("on")]
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))


def test_page_holds_no_outside_address_in_its_styles(make_run):
    text = report.write(make_run()).read_text()
    assert "@import" not in text
    assert not re.findall(r"url\((?!#)", text)


@pytest.mark.parametrize("kind", ["classification", "language"])
def test_everything_given_is_escaped(make_run, kind):
    directory = make_run(
        kind=kind, class_names=[EVIL] * 10, arguments={EVIL: EVIL, "learning_rate": 0.1}, command=EVIL, experiment=EVIL,
        device_kind=EVIL, mesh=EVIL, git={"commit": EVIL, "dirty": True}, versions={EVIL: EVIL}, unit=EVIL,
        started=EVIL, task=EVIL, monitor=EVIL, batch_size=EVIL,
    )  # fmt: skip
    with (directory / "metrics.jsonl").open("a") as file:
        file.write(json.dumps({"step": 301, "split": EVIL, EVIL: 1.0, "$\\frac": 2.0, "\u6f22 ../x": 1.0}) + "\n")
    (directory / "source.py").write_text(f'"""{EVIL.replace(chr(34), "")}"""')
    (directory / "diff.patch").write_text(EVIL)
    (directory / "samples.json").write_text(json.dumps([{"prompt": EVIL, "text": EVIL + "\ud800"}]))
    (directory / "failure").mkdir()
    (directory / "failure" / "report.json").write_text(json.dumps({"step": EVIL, "layer": EVIL, "message": EVIL}))
    (directory / "result.json").unlink()
    page = parse(report.write(directory))
    assert "script" not in {tag for tag, _ in page.tags}
    assert not [name for _, attributes in page.tags for name in attributes if name.startswith("on")]
    assert page.text.count(EVIL) > 5
    assert not list(directory.parent.glob("*.svg"))


def test_numbers_on_the_page_are_those_of_the_files(make_run):
    directory = make_run()
    result = json.loads((directory / "result.json").read_text())
    predictions = np.load(directory / "predictions.npz")
    text = parse(report.write(directory)).text
    right, total = int(np.sum(predictions["label"] == predictions["prediction"])), len(predictions["label"])
    assert f"{100 * result['metrics']['test']['accuracy']:.2f} % test accuracy" in text
    assert f"{right} of {total} correct" in text
    assert f"Mistakes: {total - right} of {total} test examples" in text
    for split in ("test", "train"):
        loss, accuracy = (result["metrics"][split][name] for name in ("loss", "accuracy"))
        assert f"{split}, last 300 {loss:#.4g} {100 * accuracy:.2f} %" in text
    assert json.loads((directory / "run.json").read_text())["command"] in text


def test_predictions_of_another_step_give_no_interval(make_run):
    directory = make_run()
    assert "95 % interval" in parse(report.write(directory)).text
    given = dict(np.load(directory / "predictions.npz"))
    given["prediction"] = np.zeros_like(given["label"])
    np.savez(directory / "predictions.npz", **given)
    assert "95 % interval" not in parse(report.write(directory)).text


def test_confusion_matrix_counts_every_example(make_run):
    directory = make_run(class_names=["cat", "dog"], classes=2, size=100)
    predictions = np.load(directory / "predictions.npz")
    text = report.write(directory).read_text()
    body = re.search(r'<table class="confusion">.*?</table>', text, re.DOTALL)
    assert body is not None
    counted = {
        (html.unescape(a), html.unescape(b)): int(n)
        for a, b, n in re.findall(r'title="(\w+), predicted (\w+): (\d+) of', body[0])
    }
    names = ["cat", "dog"]
    for (a, b), n in counted.items():
        both = (predictions["label"] == names.index(a)) & (predictions["prediction"] == names.index(b))
        assert n == int(np.sum(both))
    assert sum(counted.values()) == 100


def test_a_thousand_classes_make_pairs_and_no_matrix(make_run):
    path = report.write(make_run(classes=1000, size=3000, shape=(16, 16, 3)))
    text = parse(path).text
    assert "Most confused" in text
    assert "Lowest accuracy of 1,000 classes" in text
    assert 'class="confusion"' not in path.read_text().partition("</style>")[2]
    assert path.stat().st_size < 400_000


@pytest.mark.parametrize("shape", [(8, 8, 1), (8, 8), (12, 7, 3), (300, 500, 3), (4, 4, 2)])
def test_worst_mistakes_are_the_images_themselves(make_run, shape):
    directory = make_run(shape=shape)
    given = np.load(directory / "predictions.npz")
    page = parse(report.write(directory))
    pictures = [a for tag, a in page.tags if tag == "img"]
    assert len(pictures) == 24
    label, prediction = (given[name][given["worst_id"][0]] for name in ("label", "prediction"))
    assert pictures[0]["alt"] == f"example {given['worst_id'][0]}: label {label}, prediction {prediction}"
    picture = Image.open(io.BytesIO(base64.b64decode(pictures[0]["src"].partition(",")[2])))
    assert max(picture.size) <= 288
    if max(shape) <= 144:
        factor = 144 // max(shape[:2])
        shown = np.asarray(picture)[factor // 2 :: factor, factor // 2 :: factor]
        image = given["worst_image"][0]
        np.testing.assert_array_equal(shown, image if shape[-1] == 3 else image.reshape(*shape[:2], -1)[..., 0])


def test_language_page_shows_samples_and_perplexity(make_run):
    directory = make_run(kind="language")
    text = parse(report.write(directory)).text
    loss = json.loads((directory / "result.json").read_text())["metrics"]["test"]["loss"]
    assert f"Perplexity {np.exp(loss):.4g}, {loss / np.log(2):.4g} bits a token" in text
    assert "ROMEO: What is <b>the</b> matter?" in text
    assert "loss by position" in text


def test_loss_by_position_leaves_out_what_did_not_count():
    (section,) = loss_by_position(np.array([[3.0, 0.0, 1.0, 0.0], [1.0, 2.0, 0.0, 0.0], [0.0, 4.0, 0.0, 0.0]]))
    (line,) = section["blocks"][0]["blocks"][0]["lines"]
    assert line["steps"] == [1, 2, 3]
    assert line["values"] == [2.0, 2.0, 1.0]
    assert loss_by_position(np.zeros((2, 3))) == []


@pytest.mark.parametrize("missing", [
    ["metrics.jsonl"], ["result.json"], ["predictions.npz"], ["source.py", "diff.patch"],
    ["metrics.jsonl", "result.json", "predictions.npz", "source.py", "diff.patch"],
])  # fmt: skip
def test_page_of_a_partial_run(make_run, missing):
    directory = make_run()
    for name in missing:
        (directory / name).unlink()
    text = parse(report.write(directory)).text
    assert ("Not evaluated yet" in text) == ({"metrics.jsonl", "result.json"} <= set(missing))


def test_page_of_a_run_without_optional_fields(make_run):
    directory = make_run()
    record = {"experiment": "e", "arguments": {}, "num_steps": 5}
    (directory / "run.json").write_text(json.dumps(record))
    assert "Changes since the commit" in parse(report.write(directory)).text


def test_page_of_a_diverged_run_names_the_layer(make_run):
    directory = make_run()
    (directory / "result.json").unlink()
    (directory / "metrics.jsonl").write_text(
        '{"step": 1, "split": "train", "loss": 2.0, "accuracy": Infinity}\n'
        '{"step": 2, "split": "train", "loss": NaN, "accuracy": -Infinity}\n'
        '{"step": 2, "split": "test", "loss": NaN, "accuracy": null}\n'
    )
    failure = {"step": 2, "layer": "Conv_3", "primitive": "div", "message": "nan first arises in Conv_3"}
    (directory / "failure").mkdir()
    (directory / "failure" / "report.json").write_text(json.dumps(failure))
    text = parse(report.write(directory)).text
    assert "Diverged at step 2: nan first arises in Conv_3" in text
    assert "div)" not in text
    (directory / "failure" / "report.json").write_text(json.dumps(failure | {"message": "0 / 0"}))
    assert "Diverged at step 2: 0 / 0 (layer Conv_3, primitive div)" in parse(report.write(directory)).text
    assert "2 not finite (crosses)" in text


def test_an_evaluation_that_is_not_finite_is_not_the_best(make_run):
    directory = make_run(monitor="-loss")
    (directory / "result.json").unlink()
    lines = [{"step": step, "split": "test", "loss": None} for step in (100, 200, 300)]
    (directory / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert "the best of 3" not in parse(report.write(directory)).text
    lines = [line | {"loss": 1 / line["step"]} for line in lines]
    (directory / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert "also the best of 3 by loss" in parse(report.write(directory)).text


def test_faint_pictures_are_stretched_to_be_seen(make_run):
    directory = make_run()
    given = dict(np.load(directory / "predictions.npz"))
    given["worst_image"] = given["worst_image"] // 16  # as scikit-learn's digits are: 0 to 15
    np.savez(directory / "predictions.npz", **given)
    page = parse(report.write(directory))
    pictures = [a["src"].partition(",")[2] for tag, a in page.tags if tag == "img"]
    assert max(np.asarray(Image.open(io.BytesIO(base64.b64decode(p)))).max() for p in pictures) == 255


def test_damaged_predictions_give_a_notice(make_run):
    directory = make_run()
    (directory / "predictions.npz").write_bytes(b"PK")
    assert "predictions.npz cannot be read" in parse(report.write(directory)).text


def test_same_run_same_bytes_and_no_global_state(make_run):
    before = dict(matplotlib.rcParams)
    directory = make_run()
    first = report.write(directory).read_bytes()
    assert report.write(directory).read_bytes() == first
    assert dict(matplotlib.rcParams) == before
    assert matplotlib.rcParams["svg.fonttype"] == matplotlib.rcParamsDefault["svg.fonttype"]
    assert {path.name for path in (directory / "figures").iterdir()} == {
        "accuracy.svg",
        "loss.svg",
        "reliability.svg",
        "throughput.svg",
    }
    assert not list(directory.glob(".report*"))


def test_unwritable_page_is_a_clear_error(make_run):
    directory = make_run()
    (directory / "report.html").mkdir()
    with pytest.raises(UserError, match=r"cannot write .*report\.html"):
        report.write(directory)
