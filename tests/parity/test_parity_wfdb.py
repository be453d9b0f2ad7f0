"""Records that the `wfdb` package writes are read as they were given."""

import numpy as np
import pytest

from deeplab.data.prepare import wfdb as ours

wfdb = pytest.importorskip("wfdb")


@pytest.mark.filterwarnings("ignore:The inplace keyword:DeprecationWarning")  # of wfdb's own calls of pandas
def test_a_written_record_is_read(tmp_path):
    signal = np.random.default_rng(0).integers(-2047, 2048, (5000, 2))
    wfdb.wrsamp(
        "900", fs=360, units=["mV", "mV"], sig_name=["V5", "MLII"], d_signal=signal, fmt=["212", "212"],
        adc_gain=[200.0, 200.0], baseline=[1024, 1024], write_dir=str(tmp_path),
    )  # fmt: skip
    samples, symbols = np.array([18, 77, 370, 2000, 4500, 4999]), ["+", "N", "A", "V", "~", "R"]
    wfdb.wrann(
        "900", "atr", samples, symbols, aux_note=["(AFIB", "", "", "(N", "", ""], num=np.array([0, 0, 1, 0, 2, 0]),
        subtype=np.array([0, 0, 0, 0, 1, 0]), chan=np.array([0, 0, 1, 0, 0, 0]), write_dir=str(tmp_path),
    )  # fmt: skip
    header, content, annotated = ((tmp_path / f"900.{suffix}").read_bytes() for suffix in ("hea", "dat", "atr"))
    for i, name in enumerate(("V5", "MLII")):
        np.testing.assert_array_equal(ours.lead(header, content, name), signal[:, i])
    np.testing.assert_array_equal(ours.marks(annotated)[0], samples)
    assert ours.beats(annotated)[1] == ["N", "A", "V", "R"]
