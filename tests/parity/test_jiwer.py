"""Word and character error rates against jiwer."""

import numpy as np
import pytest

from deeplab.metrics.edits import character_errors
from deeplab.tasks.ctc import CTC

jiwer = pytest.importorskip("jiwer")

WORDS = ("zero", "one", "two", "three", "four", "five")


def test_error_rates():
    rng = np.random.default_rng(0)
    label, given = rng.integers(1, 7, (2, 50, 8), np.int32)
    given = np.where(rng.random((50, 8)) < 0.6, label, given)
    label_length, length = rng.integers(1, 9, (2, 50), np.int32)
    predictions = {
        "label": label, "label_length": label_length, "prediction": given, "prediction_length": length,
    }  # fmt: skip
    task = CTC(WORDS)
    references, texts = task.texts(label, label_length), task.texts(given, length)
    out = task.summarize(predictions)
    assert out["wer_beam"] == pytest.approx(jiwer.wer(references, texts))
    assert out["cer_beam"] == pytest.approx(jiwer.cer(references, texts))
    assert character_errors(references[:1], texts[:1])[0] / len(references[0]) == pytest.approx(
        jiwer.cer(references[0], texts[0])
    )
