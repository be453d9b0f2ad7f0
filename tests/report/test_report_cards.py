"""Cards: examples as an experiment shows them."""

import json

import numpy as np
import pytest

from deeplab import report
from deeplab.core.blocks import translations
from deeplab.report import boxes, cards, masks


def made() -> list:
    return [
        cards.card(
            "beat <1>",
            cards.picture(np.full((8, 8), 0.5), "a beat"),
            cards.curve({"lead": np.arange(4.0), "forecast": np.ones(2)}, "hours", {"forecast": np.array([4, 5])}),
            cards.text("ein Haus", "reference"),
            cards.rows(["item", "score"], [["film", 0.25]]),
            caption="normal",
        )
    ]


def test_every_part_is_on_the_page(make_run):
    run = make_run()
    (run / "cards.json").write_text(json.dumps([{"heading": "Examples & more", "cards": made()}]))
    page = report.write(run).read_text()
    for expected in ("Examples &amp; more", "beat &lt;1&gt;", "ein Haus", "film", "0.25", "forecast", "data:image/png"):
        assert expected in page


@pytest.mark.parametrize("damaged", ['[{"heading": 1}]', '[{"heading": "a", "cards": 3}]', "[" * 5000, "{"])
def test_a_damaged_file_gives_a_notice(make_run, damaged):
    run = make_run()
    (run / "cards.json").write_text(damaged)
    assert "cards.json is damaged" in report.write(run).read_text()


def test_a_group_without_cards_has_no_heading(make_run):
    run = make_run()
    (run / "cards.json").write_text('[{"heading": "Nothing here", "cards": []}]')
    assert "Nothing here" not in report.write(run).read_text()


def test_no_address_is_loaded(make_run):
    run, group = make_run(), [{"heading": "x", "cards": made()}]
    group[0]["cards"][0]["parts"][0]["source"] = "https://example.org/spy.png"
    (run / "cards.json").write_text(json.dumps(group))
    assert "example.org" not in report.write(run).read_text()


def test_boxes_are_drawn_in_the_colors_of_their_classes_and_counted():
    image = np.full((1, 6, 8, 3), 9, np.uint8)
    batch = {"image": image, "boxes": np.array([[[1, 1, 4, 5], [0, 0, 0, 0]]]), "classes": np.array([[1, -1]])}
    predictions = {
        "boxes": np.array([[[-3.0, -3.0, 2.4, 2.0], [0.0, 0.0, 8.0, 6.0]]]),  # beyond the image, and not sure
        "scores": np.array([[0.8, 0.1]]),
        "classes": np.array([[0, 1]]),
    }
    show = boxes.box_cards(("cat", "dog"), colors=[(10, 0, 0), (0, 20, 0)])
    (made,) = show(batch | {"id": np.array([5])}, predictions)
    assert (made["title"], made["caption"]) == ("example 5", "cat: 1 found, 0 labeled; dog: 0 found, 1 labeled")
    labeled, found = image[0].copy(), image[0].copy()
    labeled[1:5, 1:4] = (0, 20, 0)
    labeled[2:4, 2:3] = 9
    found[:2, :3] = (10, 0, 0)
    expected = [cards.picture(labeled)["source"], cards.picture(found)["source"]]
    assert [part["source"] for part in made["parts"]] == expected


def test_masks_are_drawn_in_colors_and_void_in_black():
    image, label = np.full((1, 4, 4, 3), 9, np.uint8), np.array([[[0, 0, 1, 2]] * 4], np.uint8)
    predictions = {"prediction": np.ones((1, 4, 4), np.uint8), "confusion": np.array([[[0, 8], [0, 4]]])}
    show = masks.mask_cards([(10, 0, 0), (0, 20, 0)], void=2)
    (made,) = show({"image": image, "mask": label, "id": np.array([5])}, predictions)
    assert made["title"] == "example 5"
    assert made["caption"] == "66.7 % of the pixels are wrong"
    drawn = [cards.picture(image[0])["source"]]
    for colors in ([(10, 0, 0), (10, 0, 0), (0, 20, 0), (0, 0, 0)], [(0, 20, 0)] * 3 + [(0, 0, 0)]):
        drawn.append(cards.picture(np.array([colors] * 4, np.uint8))["source"])
    assert [part["source"] for part in made["parts"]] == drawn
    for counts, caption in ((0, "no pixel has a label"), (np.nan, "the prediction is not finite")):
        predictions["confusion"] = np.full((1, 2, 2), counts)
        (made,) = show({"image": image, "mask": label, "id": np.array([5])}, predictions)
        assert made["caption"] == caption  # 100.0 % of them were wrong


def test_an_empty_translation_has_no_attention_to_draw():
    batch = {"source_text": np.full((1, 1), 97, np.uint8), "target_text": np.zeros((1, 1), np.uint8)}
    predictions = {"prediction": np.zeros((1, 3), int), "attention": np.ones((1, 3, 4))}
    for length in (0, 2):
        (made,) = translations(str, batch | {"source_length": [length]}, predictions)
        assert [part["kind"] for part in made["parts"]] == ["text", "text"]
