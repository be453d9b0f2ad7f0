"""`predict` of a segmentation: masks as image files, whatever a file's size and mode; bad files are named."""

import dataclasses
from collections.abc import Mapping
from typing import ClassVar

import jax.numpy as jnp
import numpy as np
import optax
import pytest
from PIL import Image

import deeplab as dl
from deeplab.data.prepare.images import load
from deeplab.data.sets.base import ExampleSet
from deeplab.data.sets.fields import Field
from deeplab.data.sets.image.masks import colored

PALETTE = ((255, 255, 255), (200, 0, 0))


@dataclasses.dataclass(frozen=True)
class Halves(ExampleSet):
    """Noise whose bright half is class 1."""

    name: str = "halves"
    version: str = "1.0.0"
    citation: str = ""
    cached: ClassVar[bool] = False
    class_names: tuple[str, ...] = ("dark", "bright")

    @property
    def splits(self) -> Mapping[str, int]:
        return {"train": 32, "test": 3}

    @property
    def fields(self):
        return {"image": Field((16, 16, 1), "uint8"), "mask": Field((16, 16), "uint8", below=2)}

    def read(self, split, content):
        image = np.random.default_rng(self.splits[split]).integers(0, 256, (self.splits[split], 16, 16, 1), np.uint8)
        return {"image": image, "mask": (image[..., 0] > 127).astype(np.uint8)}

    def read_file(self, path, data_dir=None):
        yield path.name, {"image": load(path, (16, 16, 1))}

    def describe(self, prediction):
        return {"mask": colored(prediction["prediction"], PALETTE)}


def experiment(learning_rate: float = 0.03) -> dl.Experiment:
    def prepare(example, key):
        return example | {"image": example["image"].astype(jnp.float32) / 255}

    data = dl.data.Examples(Halves(), batch_size=4, num_steps=80, prepare=prepare)
    return dl.Experiment(
        data=data,
        model=dl.models.UNet(num_classes=2, width=4, depth=1),
        task=dl.tasks.Segmentation(data.class_names),
        optimizer=optax.adam(learning_rate),
        show=dl.report.masks.mask_cards(PALETTE),
    )


@pytest.mark.slow
def test_a_mask_becomes_a_file(tmp_path):
    run = ["--run-dir", str(tmp_path / "run")]
    trained = dl.main(experiment, ["train", *run])["metrics"]["test"]
    assert trained["miou"] > 0.8
    assert {"iou_dark", "iou_bright", "pixel_error", "loss"} < set(trained)
    page = (tmp_path / "run" / "report.html").read_text()
    assert page.count('<figure class="card">') == 6  # each of three, by its loss and in order

    grey = np.random.default_rng(1).integers(0, 256, (16, 24), np.uint8)  # of which the middle is read
    picture = np.stack([grey] * 3, axis=-1)
    files = tmp_path / "files"
    files.mkdir()
    Image.fromarray(picture).save(files / "noise.png")
    (files / "not.png").write_text("no image")
    result = dl.main(experiment, ["predict", str(files), "--out", str(tmp_path / "out"), *run])
    assert list(result["predictions"]) == [str(files / "noise.png")]
    assert [path.rpartition("/")[2] for path in result["failed"]] == ["not.png"]
    mask = np.asarray(Image.open(tmp_path / "out" / "noise-mask.png"))
    assert mask.shape == (16, 16, 3)
    assert {tuple(colour) for row in mask.tolist() for colour in row} == set(PALETTE)
    bright = np.all(mask == PALETTE[1], axis=-1)
    assert np.mean(bright == (grey[:, 4:20] > 127)) > 0.8
    others = [tmp_path / "a/1.png", tmp_path / "b/1.png"]
    for i, other in enumerate(others):
        other.parent.mkdir()
        Image.fromarray(picture[::-1] if i else picture).save(other)
    result = dl.main(experiment, ["predict", *map(str, others), "--out", str(tmp_path / "out"), *run])
    made = [told["mask"] for told in result["predictions"].values()]
    assert made == [tmp_path / "out/a/1-mask.png", tmp_path / "out/b/1-mask.png"]
    np.testing.assert_array_equal(np.asarray(Image.open(made[0])), mask)
    assert np.mean(np.asarray(Image.open(made[1])) != mask) > 0.1
