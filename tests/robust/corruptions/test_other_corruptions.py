"""Corruptions of sounds, texts and tables, and what they do to an experiment."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import deeplab as dl
from deeplab.core.errors import UserError
from deeplab.robust.corruptions import casing, columns, corrupt, mce, mean_over, sounds, typos
from deeplab.train.bind import bind
from tests import toys

KEY = jax.random.key(0)
RATE = 8000
TONE = jnp.sin(2 * jnp.pi * 440 * jnp.arange(RATE) / RATE)


@pytest.mark.parametrize("decibels", [0.0, 20.0])
def test_noise_has_its_ratio(decibels):
    change = sounds.noise(decibels)(KEY, TONE) - TONE
    ratio = 10 * np.log10(np.mean(np.square(TONE)) / np.mean(np.square(change)))
    assert ratio == pytest.approx(decibels, abs=0.2)


def test_noise_of_a_padded_sound_has_its_ratio_within_it():
    """Zeros at the end have no power, which would make the noise weaker, and stay."""
    padded = jnp.append(TONE[:2000] + 0.5, jnp.zeros(6000))
    change = np.asarray(sounds.noise(10.0)(KEY, padded) - padded)
    ratio = 10 * np.log10(np.mean(np.square(padded[:2000])) / np.mean(np.square(change[:2000])))
    assert ratio == pytest.approx(10, abs=0.3)
    assert not change[2000:].any()


def test_reverberation_decays_by_60_decibels_in_its_time_and_keeps_the_power():
    impulse = jnp.zeros(RATE).at[0].set(1.0)
    made = np.asarray(sounds.reverberation(0.5, RATE)(KEY, impulse))
    assert np.sum(made**2) == pytest.approx(1, rel=1e-4)
    energy = [np.mean(made[start : start + 400] ** 2) for start in (400, 2400)]  # a quarter of a second apart
    assert 10 * np.log10(energy[0] / energy[1]) == pytest.approx(30, abs=2)
    assert made[0] ** 2 == pytest.approx(0.5, rel=0.05)


def test_clipping_and_speed():
    clipped = sounds.clipping(0.5)(KEY, TONE)
    assert float(jnp.abs(clipped).max()) == pytest.approx(0.5, abs=1e-3)
    np.testing.assert_array_equal(clipped[jnp.abs(TONE) < 0.49], TONE[jnp.abs(TONE) < 0.49])
    fast = np.asarray(sounds.speed(1.5)(KEY, TONE))
    spectrum = np.abs(np.fft.rfft(fast[:4000]))
    assert np.argmax(spectrum) * RATE / 4000 == pytest.approx(660, abs=2)
    assert np.all(fast[5400:] == 0)


def test_sounds_are_worse_at_each_severity():
    for name, each in sounds.audible(RATE).items():
        change = [float(jnp.mean(jnp.square(one(KEY, TONE) - TONE))) for one in each]
        assert len(change) == 5
        assert name in ("speed", "reverberation") or change == sorted(change), (name, change)
        assert min(change) > 0


@given(st.text(max_size=80), st.floats(0, 1), st.integers(0, 100))
def test_typing_errors_leave_the_first_letters_and_all_but_letters(text, share, seed):
    made = typos(text, share, seed)
    assert made == typos(text, share, seed)
    assert typos(text, 0.0, seed) == text
    assert [c for c in made if not c.isalpha() and not c.isdigit()] == [
        c for c in text if not c.isalpha() and not c.isdigit()
    ]
    assert [word[0] for word in made.split()] == [word[0] for word in text.split()]


def test_typing_errors_have_their_share():
    text = " ".join(["abcdefgh"] * 500)
    made = typos(text, 0.1, seed=0).split()
    changed = np.mean([word != "abcdefgh" for word in made])
    assert changed == pytest.approx(1 - 0.9**7, abs=0.05)
    assert {len(word) for word in made if len(word) != 8} >= {7, 9}  # left out and typed twice
    assert casing("aBc", 1.0, 0) == "AbC"
    assert np.mean([a != b for a, b in zip(text, casing(text, 0.25, 1), strict=True)]) == pytest.approx(0.22, abs=0.02)


def test_columns():
    x = jnp.ones((2000, 3))
    keys = jax.random.split(KEY, len(x))
    gone = jax.vmap(columns.missing(0.3, (7.0, 8.0, 9.0)))(keys, x)
    assert np.mean(gone != 1) == pytest.approx(0.3, abs=0.03)
    assert set(np.unique(gone)) == {1.0, 7.0, 8.0, 9.0}
    moved = jax.vmap(columns.shifted(0.5, (1.0, 2.0, 4.0)))(keys, x)
    assert [set(np.unique(column)) for column in np.asarray(moved).T] == [{0.5, 1.5}, {0.0, 2.0}, {-1.0, 3.0}]


@pytest.mark.parametrize("name", [*sounds.audible(RATE), *columns.tabular()])
def test_integers_are_refused(name):
    """Their squares would wrap, and a mean would be cut to a whole number."""
    corruption = (sounds.audible(RATE) | columns.tabular(0.5))[name][0]
    with pytest.raises(UserError, match=r"is int16\[9\], expected floats; give x.astype"):
        corruption(KEY, jnp.full(9, 300, jnp.int16))


def test_an_experiment_under_corruption():
    """A toy of two columns: the record is what the task tells of the batches that were corrupted by hand."""
    experiment = toys.experiment()
    state = dl.init(experiment, KEY)

    def evaluate(batch, key):
        return experiment.task.metrics(bind(experiment, state, batch, dl.Runtime()), batch, key)

    each = columns.tabular()["shifted"][::4]
    record = corrupt(evaluate, lambda: experiment.data.batches("test"), {"shifted": each}, key=KEY)
    assert record["clean"] == pytest.approx(
        {name: m.compute() for name, m in evaluate(whole(experiment), KEY).items()}, rel=1e-5
    )
    key, batch = jax.random.fold_in(KEY, 2), whole(experiment)
    keys = jax.vmap(jax.random.fold_in, (None, 0))(key, batch["id"])
    moved = batch | {"image": jax.vmap(each[1])(keys, batch["image"])}
    expected = {name: m.compute() for name, m in evaluate(moved, key).items()}
    assert record["corrupted"]["shifted"][1] == pytest.approx(expected, rel=1e-5)
    assert mce(record, record) == pytest.approx(1)
    accuracies = [row["accuracy"] for row in record["corrupted"]["shifted"]]
    assert mean_over(record) == pytest.approx(np.mean(accuracies))


def whole(experiment):
    source = experiment.data.open("test")
    return experiment.data.fetch(source, np.arange(21, dtype=np.int32))


def test_errors_are_summed_over_the_severities_before_they_are_divided():
    """0.6 / 0.6 and 0.3 / 0.6; the mean of the ratios of each severity would be 0.6875."""
    ours = {"fog": (0.9, 0.5), "snow": (0.9, 0.8)}
    one, other = (
        {"corrupted": {name: [{"accuracy": a} for a in rows] for name, rows in each.items()}}
        for each in (ours, dict.fromkeys(ours, (0.8, 0.6)))
    )
    assert mce(one, other) == pytest.approx(0.75)


def test_records_that_do_not_match_are_refused():
    one, other = ({"corrupted": {"fog": [{"accuracy": a}] * n}} for a, n in ((0.5, 1), (1.0, 2)))
    with pytest.raises(UserError, match="evaluate both under the same"):
        mce(one, other)
    with pytest.raises(UserError, match="no error under 'fog'"):
        mce(other, other)
