"""Artifacts: the blocks of a run, drawn without knowledge of its task."""

import json

import numpy as np
import pytest

from deeplab import report
from deeplab.core import blocks
from deeplab.report.render import RENDERERS, Site, render

EVERY = [
    blocks.headline("bleu", 34.25, "Beam search."),
    blocks.section("One", blocks.text("plain <b>", "label:"), blocks.text("grey", style="note"), note="a note"),
    blocks.columns(blocks.matrix(np.array([[3, 1], [0, 2]]), ("cat", "dog")), blocks.rows(["a"], [["0.5"]], True)),
    blocks.curve({"low": np.arange(3.0), "line": np.ones(3)}, "hours", title="forecast & truth", reference=["low"]),
    blocks.cards([blocks.card("beat", blocks.picture(np.ones((4, 4))), caption="wide", wrong=True)], compact=True),
    blocks.text(" or not", "To be", style="sample"),
    blocks.tokens(("not", "good"), np.array([-2.0, 1.0]), label="why:"),
    blocks.bars(("age", "sex"), np.array([0.1, -3.0]), start=1.0),
    blocks.swarm(("age",), np.array([[0.1], [0.3]]), np.array([[1.0], [2.0]])),
    blocks.heat(("first",), ("one", "two"), np.array([[0.875, 0.25]])),
    blocks.scatter(np.array([[0.0, 1.0], [2.0, 3.0]]), ("even", "odd"), [np.ones((4, 4))]),
]


def leave(run, name, value):
    (run / "artifacts").mkdir(exist_ok=True)
    (run / "artifacts" / f"{name}.json").write_text(json.dumps(value))


def kinds(value):
    """All kinds in nested blocks."""
    inner = [*value.get("blocks", ()), *(part for card in value.get("cards", ()) for part in card["parts"])]
    return {value["kind"]}.union(*map(kinds, inner))


def test_every_kind_is_built_and_drawn(make_run):
    assert set().union(*map(kinds, EVERY)) == set(RENDERERS)
    run = make_run(kind="language")
    leave(run, "all", EVERY)
    page = report.write(run).read_text()
    for shown in (
        "34.25", "Beam search.", "<h2>One</h2>", "plain &lt;b&gt;", "a note", "75.00 %", "forecast &amp; truth",
        "<b>To be</b> or not", 'class="miss-text">beat', "cat, predicted dog: 1 of 4", "0.88", "even</title>",
    ):  # fmt: skip
        assert shown in page
    assert (run / "figures/forecast-truth.svg").exists()


def test_equal_features_have_one_shade():
    """Their shades were those of the order of the examples: a feature of 0 and 1 went from one end to the other."""
    shades = np.array([[0, 3], [1, 1], [0, 2], [1, 4], [1, 0]])
    rows = blocks.swarm(("own", "smoker"), np.ones((5, 2)), shades)["rows"]
    assert rows[0]["shades"] == [0.125, 0.75, 0.125, 0.75, 0.75]
    assert rows[1]["shades"] == [0.75, 0.25, 0.5, 1.0, 0.0]


@pytest.mark.parametrize("kind", ["classification", "language"])
def test_artifacts_give_the_page_that_the_arrays_of_an_older_run_give(make_run, kind):
    run = make_run(kind=kind)
    before = report.write(run).read_text()
    arrays, names = dict(np.load(run / "predictions.npz")), [str(k) for k in range(10)]
    made = blocks.classification(arrays, names, "test")
    if kind == "language":
        made = blocks.loss_by_position(arrays["token_loss"], "test")
    assert made
    leave(run, "predictions", made)
    (run / "predictions.npz").unlink()
    assert report.write(run).read_text() == before


def test_artifacts_replace_what_the_arrays_would_show(make_run):
    run = make_run()
    leave(run, "own", blocks.section("My own section"))
    page = report.write(run).read_text()
    assert "My own section" in page
    assert "Reliability" not in page


def test_artifacts_come_in_the_order_of_the_record_then_by_name(make_run):
    run = make_run(artifacts=["zebra", "missing"])
    for name in ("apple", "zebra", "mango"):
        leave(run, name, [blocks.section(f"Section {name}")])
    page = report.write(run).read_text()
    positions = [page.index(f"Section {name}") for name in ("zebra", "apple", "mango")]
    assert positions == sorted(positions)


@pytest.mark.parametrize(
    "damage",
    [
        {"kind": "sektion"}, {"kind": "rows"}, {"kind": 3}, {"heading": 1}, 3, [3],
        {"kind": "matrix", "names": ["a"], "counts": [1]}, {"kind": "curve", "lines": [{"label": "a"}]},
        {"kind": "section", "heading": "h", "note": "", "blocks": [7]},
        {"kind": "picture", "source": None, "label": ""},
        {"kind": "headline", "label": "bleu", "note": ""},
        {"kind": "headline", "label": "bleu", "note": "", "value": "3"},
    ],
)  # fmt: skip
def test_a_damaged_artifact_is_named_and_the_others_are_shown(make_run, damage):
    run = make_run()
    leave(run, "bad", damage)
    leave(run, "good", blocks.section("A good section"))
    page = report.write(run).read_text()
    assert "A good section" in page
    assert "artifacts/bad.json is damaged and not shown" in page


def test_an_unknown_kind_is_named_with_its_neighbor():
    with pytest.raises(ValueError, match="unknown kind 'sektion'; did you mean 'section'"):
        render({"kind": "sektion"}, Site("a"))


def test_no_address_is_loaded_and_nothing_becomes_markup(make_run):
    run = make_run()
    spy = blocks.picture(np.ones((2, 2)), "<i>") | {"source": "https://example.org/spy.png"}
    leave(run, "spy", [spy, blocks.section("<script>", blocks.text("<script>", "<script>"))])
    page = report.write(run).read_text()
    assert "example.org" not in page
    assert "<script" not in page


def test_a_headline_of_another_step_is_left_out(make_run):
    run = make_run()
    value = json.loads((run / "result.json").read_text())["metrics"]["test"]["accuracy"]
    leave(run, "a", [blocks.headline("accuracy", value, "Right."), blocks.headline("accuracy", 0.5, "Elsewhere.")])
    page = report.write(run).read_text()
    assert "Right." in page
    assert "Elsewhere." not in page


def test_lines_that_are_references_take_no_color():
    line = {"steps": [0.0, 1.0], "values": [0.0, 1.0]}
    lines = [{"label": "r", "reference": True, **line}, {"label": "m", **line}]
    drawn = render({"kind": "curve", "lines": lines, "x_label": "x"}, Site("a"))
    assert "--series-0" in drawn
    assert "--series-1" not in drawn


def test_values_keep_nine_digits():
    (line,) = blocks.curve({"rate": np.array([1.23456789e-7, 123456789.0])})["lines"]
    assert line["values"] == [1.23456789e-7, 123456789.0]
