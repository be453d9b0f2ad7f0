"""Files of one's own from their folder to predictions: train, evaluate, report and predict, as a user would."""

import functools
import json

import numpy as np
import optax
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile
from PIL import Image

import deeplab as dl
from deeplab.data.features import audio, speech
from deeplab.models.speech.deep_speech import VARIANTS

RNG = np.random.default_rng(0)
RATE = 8000
LEFT_OR_RIGHT = ("left", "right")
MEL = audio.LogMel(rate=RATE, num_mels=16)
LOG_MELS, DRAW = speech.log_mels(MEL), functools.partial(speech.image, MEL)


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    """Forty images whose left or right half is bright, with their masks, and tones of two heights."""
    folder = tmp_path_factory.mktemp("own")
    for name in ("photos", "masks", "clips"):
        (folder / name).mkdir()
    rows = ["file,side,left,right,share,text"]
    for i in range(40):
        mask = np.zeros((16, 16), np.uint8)
        mask[:, 8 * (i % 2) :][:, :8] = 1
        noise = RNG.integers(0, 60, (16, 16, 3))
        Image.fromarray(np.uint8(180 * mask[..., None] + noise)).save(folder / f"photos/{i}.png")
        Image.fromarray(255 * mask).save(folder / f"masks/{i}.png")
        wave = np.sin(2 * np.pi * (400, 2000)[i % 2] * np.arange(RATE // 2) / RATE)
        soundfile.write(folder / f"clips/{i}.wav", 0.5 * wave + 0.01 * RNG.standard_normal(RATE // 2), RATE)
        rows.append(f"{i},{('left', 'right')[i % 2]},{1 - i % 2},{i % 2},{(i % 2) / 2},{('ab', 'ba')[i % 2]}")
    (folder / "labels.csv").write_text("\n".join(rows) + "\n")
    return folder


def labels(own):
    return lambda **options: dl.data.image_table(own / "labels.csv", "file", root=own / "photos", size=8, **options)


def a_class(own):
    def experiment(learning_rate: float = 0.01) -> dl.Experiment:
        data = dl.data.Images(labels(own)(label="side"), batch_size=8, num_steps=60)
        return dl.Experiment(data, dl.models.MLP(2, (8,)), dl.tasks.Classification(), optax.adam(learning_rate))

    return experiment


def several_labels(own):
    def experiment(learning_rate: float = 0.01) -> dl.Experiment:
        data = dl.data.Images(labels(own)(labels=("left", "right")), batch_size=8, num_steps=60)
        task = dl.tasks.MultiLabel(data.class_names)
        return dl.Experiment(data, dl.models.MLP(data.num_classes, (8,)), task, optax.adam(learning_rate))

    return experiment


def a_number(own):
    def experiment(learning_rate: float = 0.01) -> dl.Experiment:
        photos = labels(own)(target="share")
        data = dl.data.Images(photos, batch_size=8, num_steps=60)
        task = dl.tasks.Regression(scale=photos.scale, fields=("image",))
        return dl.Experiment(data, dl.models.MLP(1, (8,)), task, optax.adam(learning_rate))

    return experiment


def a_table_of_the_hub(own):
    images = [{"bytes": (own / f"photos/{i}.png").read_bytes(), "path": None} for i in range(40)]
    for split, part in (("train", slice(0, 32)), ("test", slice(32, 40))):
        rows = pa.table({"image": images[part], "label": [i % 2 for i in range(40)][part]})
        told = {"image": {"_type": "Image"}, "label": {"_type": "ClassLabel", "names": LEFT_OR_RIGHT}}
        rows = rows.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": told}})})
        (own / "hub").mkdir(exist_ok=True)
        pq.write_table(rows, own / f"hub/{split}-00000-of-00001.parquet")

    def experiment(learning_rate: float = 0.01) -> dl.Experiment:
        data = dl.data.Images(dl.data.huggingface(own / "hub"), batch_size=8, num_steps=60)
        return dl.Experiment(data, dl.models.MLP(2, (8,)), dl.tasks.Classification(), optax.adam(learning_rate))

    return experiment


def a_mask(own):
    def experiment(learning_rate: float = 0.03) -> dl.Experiment:
        scenes = dl.data.masks(own / "photos", own / "masks", ("dark", "bright"), size=16)
        data = dl.data.Images(scenes, batch_size=8, num_steps=60)
        task = dl.tasks.Segmentation(data.class_names, void=scenes.void)
        show = dl.report.masks.mask_cards(scenes.palette, scenes.void)
        return dl.Experiment(data, dl.models.UNet(2, width=4, depth=1), task, optax.adam(learning_rate), show=show)

    return experiment


def a_sound(own):
    def experiment(learning_rate: float = 0.01) -> dl.Experiment:
        clips = dl.data.sounds(own / "labels.csv", label="side", root=own / "clips", rate=RATE)
        data = dl.data.Examples(clips, batch_size=8, num_steps=60, prepare=LOG_MELS)
        task = dl.tasks.Classification(fields=("features",))
        model = dl.models.KeywordCNN(2, widths=(4,), hidden=8)
        show = dl.report.sounds.sound_cards(data.class_names, DRAW)
        return dl.Experiment(data, model, task, optax.adam(learning_rate), show=show)

    return experiment


def a_transcript(own):
    def experiment(learning_rate: float = 0.02) -> dl.Experiment:
        clips = dl.data.sounds(own / "clips", transcripts=own / "labels.csv", rate=RATE)
        data = dl.data.Examples(clips, batch_size=8, num_steps=80, prepare=LOG_MELS)
        model = dl.models.DeepSpeech2(data.num_classes + 1, **VARIANTS["test"])
        task = dl.tasks.CTC(data.class_names, separator="")
        show = dl.report.sounds.sound_cards(data.class_names, DRAW)
        return dl.Experiment(data, model, task, optax.adam(learning_rate), show=show)

    return experiment


SLOW = pytest.mark.slow


@pytest.mark.parametrize(
    ("make", "files", "metric", "least", "told"),
    [
        pytest.param(
            *(a_class, "photos", "accuracy", 1.0, lambda i, got: got["prediction"] == LEFT_OR_RIGHT[i % 2]), marks=SLOW
        ),
        pytest.param(
            *(several_labels, "photos", "auc", 0.99, lambda i, got: got["labels"] == LEFT_OR_RIGHT[i % 2]), marks=SLOW
        ),
        pytest.param(
            *(a_number, "photos", "r2", 0.9, lambda i, got: abs(got["prediction"] - (i % 2) / 2) < 0.2), marks=SLOW
        ),
        pytest.param(
            *(a_table_of_the_hub, "photos", "accuracy", 1.0, lambda i, got: got["prediction"] == LEFT_OR_RIGHT[i % 2]),
            marks=SLOW,
        ),
        pytest.param(
            *(a_mask, "photos", "miou", 0.9, lambda i, got: abs(got["bright"] - 0.5) < 0.1 and got["mask"].is_file()),
            marks=SLOW,
        ),
        (a_sound, "clips", "accuracy", 1.0, lambda i, got: got["prediction"] == LEFT_OR_RIGHT[i % 2]),
        pytest.param(
            *(a_transcript, "clips", "exact", 0.9, lambda i, got: got["transcript"] == ("ab", "ba")[i % 2]), marks=SLOW
        ),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_from_files_to_predictions(own, tmp_path, make, files, metric, least, told):
    experiment, run = make(own), ["--run-dir", str(tmp_path / "run")]
    trained = dl.main(experiment, ["train", *run])["metrics"]["test"]
    assert trained[metric] >= least
    page = (tmp_path / "run/report.html").read_text()
    assert make not in (a_mask, a_sound, a_transcript) or page.count('<figure class="card">') == 16  # 8, by loss, too
    given = sorted((own / files).iterdir())[:6]
    found = dl.main(experiment, ["predict", *map(str, given), "--out", str(tmp_path / "out"), *run])
    assert found["failed"] == {}
    for path in given:
        assert told(int(path.stem), found["predictions"][str(path)]), found["predictions"][str(path)]


KINDS = (a_class, several_labels, a_number, a_table_of_the_hub, a_mask, a_sound, a_transcript)


@pytest.mark.parametrize("make", [a_mask, *(pytest.param(make, marks=SLOW) for make in KINDS if make is not a_mask)])
def test_smoke_has_finite_losses(own, make):
    assert np.isfinite(dl.fit(make(own), smoke=True).metrics["test"]["loss"])


@pytest.mark.parametrize("make", KINDS)
def test_the_twin_of_smoke_has_the_same_fields(own, make):
    data = make(own)().data
    shapes = [{name: (s.shape[1:], s.dtype) for name, s in one.spec().items()} for one in (data, data.synthetic())]
    assert shapes[0] == shapes[1]
    assert data.synthetic().class_names == data.class_names
