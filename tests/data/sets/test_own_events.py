"""Ratings and events of one's own: what is asked, and what is known then."""

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import deeplab as dl
from deeplab.core.errors import UserError
from deeplab.data.base import Source


def events(rng, users, most):
    """A log in a shuffled order: each user's items, by time."""
    sizes = rng.integers(1, most, users)
    rows = [(f"u{u}", f"i{rng.integers(0, 12)}", t) for u, size in enumerate(sizes) for t in range(size)]
    rows = [rows[i] for i in rng.permutation(len(rows))]
    return {"who": [r[0] for r in rows], "what": [r[1] for r in rows], "at": [r[2] for r in rows]}


@given(seed=st.integers(0, 10_000))
@settings(max_examples=20, deadline=None)
def test_the_last_items_are_the_questions_and_no_split_sees_a_later_one(seed):
    log = events(np.random.default_rng(seed), 8, 9) | {}
    log = {name: [*column, *more] for (name, column), more in zip(log.items(), ["zzzz", "abcd", range(4)], strict=True)}
    bought = dl.data.interactions(log, "who", "what", time="at", longest=20)
    truth: dict[str, list[str]] = {}
    for who, what, _ in sorted(zip(*log.values(), strict=True), key=lambda row: row[2]):
        truth.setdefault(who, []).append(what)
    for split, ahead in {"train": 2, "validation": 1, "test": 0}.items():
        arrays = bought.read(split, None)
        for row, user in enumerate(arrays["user"]):
            whole = truth[bought.events.users[user]]
            end = len(whole) - ahead * (len(whole) >= 4)
            told = [bought.items[item] for item in [*arrays["sequence"][row], arrays["target"][row]] if item]
            assert told == whole[:end]
        bought.check(split, arrays)
    assert bought.splits["test"] == sum(len(items) >= 4 for items in truth.values())


@given(seed=st.integers(0, 10_000), by_time=st.booleans())
@settings(max_examples=20, deadline=None)
def test_each_rating_is_in_one_split_and_the_latest_are_tested(seed, by_time):
    rng = np.random.default_rng(seed)
    log = events(rng, 10, 9)
    log = {
        name: [*column, *more]
        for (name, column), more in zip(log.items(), ["z" * 8, "abcdefgh", range(8)], strict=True)
    }
    log["stars"] = rng.integers(-1, 3, len(log["who"])).tolist()  # 0 is a rating like any other
    rated = dl.data.interactions(log, "who", "what", "stars", "at" if by_time else "", test=0.25)
    latest = {
        (who, what): value for who, what, at, value in sorted(zip(*log.values(), strict=True), key=lambda r: r[2])
    }
    found: dict = {}
    for split in rated.splits:
        source = Source(rated.splits[split], rated.read(split, None))
        batch = rated.fetch(source, np.arange(source.size))
        for row, item in np.argwhere(batch["rated"]):
            key = rated.events.users[batch["user"][row]], rated.items[item]
            assert key not in found
            found[key] = batch["rating"][row, item]
        if split != "train":
            assert not (batch["rated"] & batch["given"]).any()
    assert found.keys() == latest.keys()
    if by_time:
        assert found == latest


def test_fetch_is_the_same_inside_a_program():
    log = events(np.random.default_rng(0), 10, 9)
    rated = dl.data.interactions(log | {"stars": [1.5] * len(log["who"])}, "who", "what", "stars")
    arrays, ids = rated.read("test", None), np.array([2, 0], np.int32)
    inside = jax.jit(lambda arrays, ids: rated.fetch(Source(3, arrays), ids))(jax.device_put(arrays), ids)
    jax.tree.map(np.testing.assert_array_equal, inside, rated.fetch(Source(3, arrays), ids))


def test_a_history_of_ones_own(tmp_path, cache):
    log = {"who": [*"aaaabbbb"], "what": ["tea", "milk", "jam", "egg"] * 2, "at": [*range(8)]}
    bought = dl.data.interactions(log, "who", "what", time="at")
    (tmp_path / "mine.csv").write_text("what\nmilk\nmilkk\ntea\n")
    with pytest.warns(UserWarning, match="1 items are none of the set's, .* such as 'milkk'; did you mean 'milk'"):
        ((name, example),) = bought.read_file(tmp_path / "mine.csv")
    assert name == "mine.csv"
    assert [bought.items[item] for item in example["sequence"] if item] == ["milk", "tea"]
    (tmp_path / "two.csv").write_text("who,what,at\nx,egg,2\ny,tea,1\nx,jam,1\n")
    told = {name: [bought.items[i] for i in e["sequence"] if i] for name, e in bought.read_file(tmp_path / "two.csv")}
    assert told == {"two.csv:x": ["jam", "egg"], "two.csv:y": ["tea"]}
    assert bought.describe({"top": np.array([2, 0]), "num_known": 2}) == {"recommended": ["jam"], "based on": "2 items"}
    with pytest.raises(UserError, match='interactions need a value or a time; give value="rating"'):
        dl.data.interactions(log, "who", "what")


def test_users_that_are_long_numbers_and_missing_cells_that_are_numbers():
    """float64 merged ids beyond 2**53: 10 users became 2."""
    log = {"who": 2**60 + np.arange(10).repeat(4), "what": [*range(4)] * 10, "stars": [1, 2, 3, 4] * 10}
    assert dl.data.interactions(log, "who", "what", "stars").num_users == 1 + 10
    log["stars"] = [1, 2, 3, -999.0] * 10
    with pytest.raises(UserError, match="row 3, column 'stars': empty, and is the value of an event"):
        _ = dl.data.interactions(log, "who", "what", "stars", missing=(-999,)).events
    with pytest.raises(UserError, match=r"missing is '-999', expected a tuple of texts, such as \('-999',\)"):
        dl.data.interactions(log, "who", "what", "stars", missing="-999")
