"""What is drawn of an explanation: its signs, its sums, and nothing that a file could smuggle into a page."""

import jax.numpy as jnp
import numpy as np
import pytest

import deeplab as dl
from deeplab.core import blocks
from deeplab.report.render import Site, render


def test_colors_are_symmetric_around_zero():
    values = np.array([[2.0, -2.0], [1.0, -1.0]])
    drawn = dl.explain.overlay(values).astype(int)
    flipped = dl.explain.overlay(-values).astype(int)
    np.testing.assert_array_equal(drawn[:, ::-1], flipped)
    white = 255 - drawn
    np.testing.assert_allclose(white[1, 0] * 2, white[0, 0], atol=2)  # half the value, half the color
    assert dl.explain.overlay(np.zeros((2, 2))).tolist() == [[[255] * 3] * 2] * 2
    gray = dl.explain.overlay(np.zeros((1, 2)), np.array([[0.0, 1.0]]))
    assert gray[0].tolist() == [[150] * 3, [255] * 3]


def test_a_waterfall_ends_at_the_score():
    block = blocks.bars(("age", "sex", "bmi"), np.array([0.5, -2.0, 1.0]), start=3.0)
    assert (block["names"], block["values"]) == (["sex", "bmi", "age"], [-2.0, 1.0, 0.5])
    drawn = render(block, Site("x"))
    assert "from 3 at the baseline to 2.5" in drawn
    assert drawn.count("<rect") == 3
    folded = blocks.bars([str(i) for i in range(30)], np.arange(30.0), most=5)
    assert folded["names"][-1] == "26 others"
    assert sum(folded["values"]) == sum(range(30))


@pytest.mark.parametrize(
    ("x", "kinds"),
    [
        (np.zeros((2, 4, 4, 1)), ["picture", "picture"]),
        (np.zeros((2, 4, 4, 3)), ["picture", "picture"]),
        (np.zeros((2, 9, 20)), ["picture", "picture"]),
        (np.zeros((2, 9, 3)), ["curve", "curve"]),
        (np.zeros((2, 5)), ["bars"]),
    ],
    ids=["grey", "color", "spectrogram", "series", "table"],
)
def test_every_modality_is_drawn_as_it_is_read(x, kinds):
    shown = dl.explain.show(jnp.ones(x.shape), x)
    assert [part["kind"] for part in shown.blocks[0]["cards"][1]["parts"]] == kinds
    assert "swarm" in [block["kind"] for block in shown.blocks] or x.ndim > 2
    assert shown._repr_html_().startswith("<iframe srcdoc=")


def test_words_are_colored_and_escaped():
    values = np.array([[[1.0, 2.0], [-6.0, 0.0]]])  # summed over the embedding
    shown = dl.explain.show(values, words=[("<b>", "bad")])
    (part,) = shown.blocks[0]["cards"][0]["parts"]
    assert part["shares"] == [0.5, -1.0]
    drawn = shown.html().partition("</style>")[2]
    assert "&lt;b&gt;" in drawn
    assert "<b>b" not in drawn
    with pytest.raises(dl.UserError, match="3 words for 2 values"):
        dl.explain.show(values, words=[("a", "b", "c")])
    with pytest.raises(dl.UserError, match="a map only"):
        dl.explain.show(values)


def test_maps_and_names_that_do_not_fit_are_told():
    """The first raised NumPy's error of broadcasting, and names of another number were dropped."""
    with pytest.raises(dl.UserError, match=r"the map 'a' is \[2, 4\], and the inputs are \[2, 5\]; give a map"):
        dl.explain.show({"a": np.ones((2, 4))}, np.ones((2, 5)))
    with pytest.raises(dl.UserError, match=r"the map is \[2, 7, 7\], and the inputs are \[2, 8, 8, 3\]"):
        dl.explain.show(np.ones((2, 7, 7)), np.ones((2, 8, 8, 3)))
    assert dl.explain.show(np.ones((2, 8, 8)), np.ones((2, 8, 8, 3)))
    with pytest.raises(dl.UserError, match="there are 2 names for 5 columns of the inputs; give one for each"):
        dl.explain.show(np.ones((2, 5)), np.ones((2, 5)), names=("age", "sex"))
