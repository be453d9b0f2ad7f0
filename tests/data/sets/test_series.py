"""Windows of time series: each is where it should be, none sees a later split, and bad tables are refused."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deeplab.core.errors import UserError
from deeplab.data import Examples
from deeplab.data.base import Source
from deeplab.data.sets.series.windows import ETT_H1, Series

COLUMNS = ("a", "b")


def small(context=5, horizon=3, lengths=(20, 9, 7)):
    return Series(
        name="small", version="1.0.0", citation="", files=ETT_H1.files, columns=COLUMNS, mean=(0.0, 0.0),
        std=(1.0, 1.0), lengths=lengths, context=context, horizon=horizon,
    )  # fmt: skip


def table(rows):
    """A row's first value is its number, the second the tenth of it; more rows than the splits have."""
    return "date,b,a\n" + "".join(f"2016-07-01,{row / 10},{row}\n" for row in range(rows))


def opened(dataset, split):
    """The split, read from a table whose every value is its row."""
    arrays = dataset.read(split, lambda name: table(sum(dataset.lengths) + 4).encode())
    dataset.check(split, arrays)
    return Source(dataset.splits[split], arrays)


@given(
    lengths=st.tuples(st.integers(12, 30), st.integers(4, 12), st.integers(4, 12)),
    context=st.integers(1, 8),
    horizon=st.integers(1, 4),
)
@settings(max_examples=40, deadline=None)
def test_windows_cover_a_split_and_no_split_knows_a_later_one(lengths, context, horizon):
    dataset = small(context, horizon, lengths)
    begins = {"train": 0, "validation": lengths[0], "test": lengths[0] + lengths[1]}
    for (split, begin), length in zip(begins.items(), lengths, strict=True):
        source = opened(dataset, split)
        assert source.arrays["series"][:, 0].max() == begin + length - 1  # nothing later is even kept
        window = dataset.fetch(source, np.arange(source.size, dtype=np.int32))
        history, target = window["history"][..., 0], window["target"][..., 0]  # row numbers, [N, L] and [N, H]
        both = np.concatenate([history, target], axis=1)
        np.testing.assert_array_equal(np.diff(both, axis=1), 1)  # without gaps, the future after the past
        np.testing.assert_array_equal(np.diff(both, axis=0), 1)  # every window, one after another
        first = begin + (context if split == "train" else 0)
        assert target[0, 0] == first
        assert target[-1, -1] == begin + length - 1  # the futures fill the split
        assert history.min() == first - context  # the first past may reach back over the border
        np.testing.assert_allclose(window["history"][..., 1] * 10, history, rtol=1e-6)


def test_the_customary_windows_of_ett():
    """All of them: 2880 - 96 + 1, as in the literature, where some leave out the last batch."""
    assert dict(ETT_H1.splits) == {"train": 8640 - 336 - 96 + 1, "validation": 2785, "test": 2785}


def test_fetch_is_the_same_inside_a_program():
    dataset = small()
    source, ids = opened(dataset, "test"), np.array([4, 0, 2], np.int32)
    inside = jax.jit(lambda arrays, ids: dataset.fetch(dataclasses.replace(source, arrays=arrays), ids))
    jax.tree.map(
        np.testing.assert_array_equal,
        inside(jax.device_put(source.arrays), jnp.asarray(ids)),
        dataset.fetch(source, ids),
    )


def test_scaling_is_undone():
    dataset = dataclasses.replace(small(), mean=(1.0, -2.0), std=(3.0, 0.5))
    values = np.random.default_rng(0).normal(size=(4, 2))
    np.testing.assert_allclose(dataset.scaled(values) * [3.0, 0.5] + [1.0, -2.0], values, atol=1e-6)
    np.testing.assert_allclose(dataset.unscaled(dataset.scaled(values)), values, atol=1e-6)


def test_through_examples(tmp_path):
    """The one way in: original file, cache, batches; and a synthetic twin of the same spec."""
    content = table(40).encode()
    file = dataclasses.replace(
        ETT_H1.files[0], size=len(content), sha256=__import__("hashlib").sha256(content).hexdigest()
    )
    (tmp_path / file.name).write_bytes(content)
    dataset = dataclasses.replace(small(), name=tmp_path.name, files=(file,))
    data = Examples(dataset, batch_size=4, epochs=1)
    batches = list(data.batches("test", data_dir=tmp_path))
    assert [int(batch["weight"].sum()) for batch in batches] == [4, 1]
    np.testing.assert_array_equal(batches[1]["target"][0, :, 0], [33, 34, 35])
    assert {name: a.shape for name, a in batches[0].items()} == {name: s.shape for name, s in data.spec().items()}
    twin = data.synthetic(batch_size=4)
    assert twin.spec() == data.spec()
    assert next(twin.batches("train"))["history"].shape == (4, 5, 2)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("date,a\n1,2\n", "has no column 'b'; .* .expected a first row with the names a, b"),
        ("", "has no column 'a', 'b'; it is empty"),
        ("a,b\n1,2\n3,NaN\n", "row 3, column 'b': 'NaN', expected a finite number"),
        ("a,b\n1,2\n3\n", "row 3 has 1 cells, expected 2 as in the first row"),
        ("a,b\nx,2\n", "row 2, column 'a': 'x', expected a finite number"),
        ("a,b\ninf,2\n", "row 2, column 'a': 'inf', expected a finite number"),
        (b"\xff\xfe\x00", "is not UTF-8 text: byte 0xff in line 1"),
        ("a,b\n1,2\n", "has 1 rows, expected at least 5, the model's context"),
    ],
)
def test_a_bad_file_is_refused(text, message, tmp_path):
    path = tmp_path / "mine.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(UserError, match=rf"mine.csv,? {message}"):
        list(small().read_file(path))


def test_a_users_file(tmp_path):
    """Columns in any order, others left out, a byte-order mark and blank lines; the last rows are the past."""
    path = tmp_path / "mine.csv"
    path.write_text("\ufeff" + table(8) + "\n\n")
    ((name, example),) = small().read_file(path)
    assert name == "mine.csv"
    np.testing.assert_array_equal(example["history"][:, 0], [3, 4, 5, 6, 7])
    told = small().describe({"forecast": np.array([[1.0, 2.0], [3.0, 4.0]]), "quantiles": np.zeros((2, 2, 3))})
    assert told["a"] == [1.0, 3.0]
    assert told["b (low)"] == [0.0, 0.0]


@pytest.mark.parametrize("change", [{"context": 0}, {"horizon": 0}, {"horizon": 8}, {"context": 18}])
def test_windows_that_do_not_fit(change):
    with pytest.raises(UserError, match="windows of small have a context of"):
        small(**change)


def test_a_table_that_is_too_short():
    with pytest.raises(UserError, match=r"has 30 rows, expected 36 up to the end of 'test'"):
        small().read("test", lambda name: table(30).encode())
