"""Heartbeats and biopsies: no patient in two splits, and both ways to the beats are one."""

import io

import jax
import numpy as np
import pytest

from deeplab.core.errors import UserError
from deeplab.data.features import ecg
from deeplab.data.sets.health import mitbih
from deeplab.data.sets.health.breast_cancer import NUM_FOLDS, BreastCancer
from tests.data.prepare.test_wfdb import encode_212, encode_annotations, head

RNG = np.random.default_rng(0)
PEAKS = [40, 400, 700, 1500, 1760, 2000, 2350]
SIGNAL = RNG.integers(900, 1400, (2400, 2))
MEMBERS = {
    "100.hea": head(2400),
    "100.dat": encode_212(SIGNAL),
    "100.atr": encode_annotations([10, *PEAKS], [28, 1, 1, 8, 1, 13, 5, 1], {0: b"(N"}),
}


@pytest.mark.parametrize("fold", range(5))
def test_no_record_is_in_two_splits(fold):
    dataset = mitbih.MitBihBeats(fold)
    records = [record for split in dataset.splits for record in dataset.records(split)]
    assert sorted(records) == sorted({*mitbih.DS1, *mitbih.DS2})
    assert sum(dataset.splits.values()) == sum(mitbih.DS1.values()) + sum(mitbih.DS2.values())
    assert set(dataset.records("test")) == set(mitbih.DS2)


def test_the_folds_are_all_of_ds1():
    assert sorted(record for fold in mitbih.FOLDS for record in fold) == sorted(mitbih.DS1)
    assert sum(mitbih.FREQUENCIES) == sum(mitbih.DS1.values())


def test_records_and_the_packed_beats_are_the_same():
    beats = mitbih._record(100, MEMBERS)
    assert beats.peaks.tolist() == PEAKS[1:-1]  # the first and the last are too near to the ends
    np.testing.assert_array_equal(beats.waves[0], SIGNAL[310:490, 0])
    assert (beats.before[0], beats.after[-1]) == (360, 350)  # the rhythm knows them
    size, packed = len(beats.peaks), io.BytesIO()
    np.savez(
        packed, x_delta=np.diff(beats.waves, axis=1, prepend=np.int16(0)), record=np.full(size, 100, np.int16),
        symbol=np.array([ord(s) for s in beats.symbols], np.uint8), sample=beats.peaks.astype(np.int32),
        rr_pre=beats.before.astype(np.int32), rr_post=beats.after.astype(np.int32),
    )  # fmt: skip
    for ours, theirs in zip(beats, mitbih._from_packed(packed.getvalue())[100], strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_classes_are_the_aamis():
    examples = mitbih._examples(100, mitbih._record(100, MEMBERS))
    assert examples["label"].tolist() == [0, 1, 0, 2]  # N, A, N, V; the Q between is no example
    fields = mitbih.MitBihBeats().fields
    assert {k: (v.shape[1:], v.dtype.name) for k, v in examples.items()} == {
        k: (f.shape, f.dtype) for k, f in fields.items()
    }


def test_other_beats_than_the_published_ones_are_refused():
    with pytest.raises(UserError, match="not those of the published records"):
        mitbih._check({100: mitbih._record(100, MEMBERS)})


def test_a_missing_or_damaged_record_is_named():
    with pytest.raises(UserError, match=r"holds no 101\.hea"):
        mitbih._record(101, MEMBERS)
    with pytest.raises(UserError, match=r"record 100 of .*: it has 2,399 samples"):
        mitbih._record(100, MEMBERS | {"100.dat": MEMBERS["100.dat"][:-3]})


def test_a_beat_is_compared_with_its_own_record():
    """Another gain changes the height alone, another offset nothing."""
    waves = np.sin(np.arange(180) / 9)[None] + RNG.normal(0, 0.1, (60, 180))
    before, after = ecg.intervals_of(np.cumsum(RNG.integers(250, 330, 60)))
    features = jax.jit(jax.vmap(ecg.features))
    plain = features(ecg.with_context(waves, before, after))
    assert plain.shape[1:] == (len(ecg.FEATURES),)
    louder = features(ecg.with_context(2 * waves + 0.7, before, after))
    np.testing.assert_allclose(plain[:, :-1], louder[:, :-1], atol=0.02)
    np.testing.assert_allclose(louder[:, -1] - plain[:, -1], np.log(2), atol=0.01)


def test_the_rhythm_is_the_hearts_own():
    """Twice as slow a heart has the same rhythm, an early beat is early, and a record's ends are its mean."""
    steps = np.full(60, 300)
    steps[30], steps[31] = 180, 420
    peaks = np.cumsum(steps)
    waves = np.ones((60, 180)) * np.arange(180)
    slow, fast = (ecg.with_context(waves, *ecg.intervals_of(k * peaks)) for k in (2, 1))
    rhythm = jax.vmap(ecg.rhythm)
    a, b = (np.asarray(rhythm(x["intervals"], x["usual"])) for x in (slow, fast))
    np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)
    assert b[:, 0].argmin() == 30
    assert b[30, 0] < -20 < 10 < b[30, 1]
    assert fast["intervals"][0, 0] == pytest.approx(fast["usual"][0, 0], rel=1e-2)


@pytest.mark.parametrize(
    "content", ["mv,beat\n" + "0.1,0\n" * 300, "mv,beat\n" + "0.1,0\n" * 20 + "1,1\n" + "0.1,0\n" * 300]
)
def test_a_lead_without_a_whole_beat_is_refused(tmp_path, content):
    (tmp_path / "lead.csv").write_text(content)
    with pytest.raises(UserError, match="has no beat with 90 samples before it"):
        next(mitbih.MitBihBeats().read_file(tmp_path / "lead.csv"))


def test_a_lead_of_ones_own(tmp_path):
    rows = [f"{x:.3f},{int(i in (300, 600))}" for i, x in enumerate(RNG.normal(size=900))]
    (tmp_path / "lead.csv").write_text("\n".join(["mv,beat", *rows]))
    read = dict(mitbih.MitBihBeats().read_file(tmp_path / "lead.csv"))
    assert list(read) == ["lead.csv:300", "lead.csv:600"]
    assert read["lead.csv:600"]["intervals"][0] == pytest.approx(300 / 360)


def test_wrong_folds():
    for make in (mitbih.MitBihBeats, BreastCancer):
        with pytest.raises(UserError, match="fold is 9, expected"):
            make(9)


def test_every_woman_is_tested_once():
    """Five folds are all 569, none twice; each has the whole's share of the ill."""
    sizes, ill = [], []
    for fold in range(NUM_FOLDS):
        dataset = BreastCancer(fold)
        parts = [dataset.open(split).arrays for split in ("train", "test")]
        assert [len(part["label"]) for part in parts] == list(dataset.splits.values())
        assert parts[0]["label"].sum() + parts[1]["label"].sum() == 212
        np.testing.assert_allclose(parts[0]["x"].mean(axis=0), 0, atol=1e-5)  # scaled by the training part alone
        assert abs(parts[1]["x"].mean(axis=0)).max() > 1e-3
        sizes.append(dataset.splits["test"])
        ill.append(parts[1]["label"].sum())
    assert sum(sizes) == 569
    assert max(ill) - min(ill) <= 1
    masks = np.stack([BreastCancer(fold)._table()[2] for fold in range(NUM_FOLDS)])
    assert (masks.sum(axis=0) == 1).all()
