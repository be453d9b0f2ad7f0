"""`predict`: a user's own files, the good ones told and the bad ones named."""

import numpy as np
import pytest
from PIL import Image

import deeplab as dl
from deeplab.core.errors import UserError
from experiments.image_digits import experiment


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    run = tmp_path_factory.mktemp("digits") / "run"
    dl.main(experiment, ["train", "--smoke", "--width", "4", "--run-dir", str(run)])
    return ["--smoke", "--width", "4", "--run-dir", str(run)]


def test_images_of_any_size_and_mode(trained, tmp_path):
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 255, (40, 30, 3), np.uint8)).save(tmp_path / "colour.png")
    Image.fromarray(rng.integers(0, 255, (8, 8), np.uint8)).save(tmp_path / "grey.png")
    (tmp_path / "not.png").write_text("no image")
    (tmp_path / "__MACOSX").mkdir()
    for added in ("__MACOSX/._grey.png", ".DS_Store", "Thumbs.db", "desktop.ini"):  # by systems: nobody's images
        (tmp_path / added).write_text("no image")
    result = dl.main(experiment, ["predict", str(tmp_path), str(tmp_path / "gone.png"), *trained])
    assert set(result["predictions"]) == {"colour.png", "grey.png"}
    assert result["predictions"]["grey.png"]["prediction"] in "0123456789"
    assert 0.1 <= result["predictions"]["grey.png"]["probability"] <= 1
    assert sorted(path.rpartition("/")[2] for path in result["failed"]) == ["gone.png", "not.png"]
    assert "not an image that can be read" in result["failed"][str(tmp_path / "not.png")]
    assert result["exit_code"] == 2


def test_an_example_alone_is_the_example_in_a_batch(trained, tmp_path):
    for i in range(3):
        image = np.random.default_rng(i).integers(0, 255, (8, 8), np.uint8)
        Image.fromarray(image).save(tmp_path / f"{i}.png")
    together = dl.main(experiment, ["predict", str(tmp_path), *trained])["predictions"]
    alone = dl.main(experiment, ["predict", str(tmp_path / "1.png"), *trained])["predictions"]
    assert alone["1.png"]["prediction"] == together["1.png"]["prediction"]
    assert alone["1.png"]["probability"] == pytest.approx(together["1.png"]["probability"], rel=1e-5)


def test_nothing_to_predict(trained, tmp_path):
    with pytest.raises(UserError, match="was given no file"):
        dl.main(experiment, ["predict", *trained])
    with pytest.raises(UserError, match="is an empty folder"):
        dl.main(experiment, ["predict", str(tmp_path), *trained])


def test_a_run_that_is_not_there(tmp_path):
    Image.new("L", (8, 8)).save(tmp_path / "a.png")
    with pytest.raises(UserError, match="train first"):
        dl.main(experiment, ["predict", str(tmp_path / "a.png"), "--run-dir", str(tmp_path / "run")])
