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
    result = dl.main(experiment, ["predict", str(tmp_path), str(tmp_path / "gone.png"), *trained])
    assert set(result["predictions"]) == {str(tmp_path / "colour.png"), str(tmp_path / "grey.png")}
    grey = result["predictions"][str(tmp_path / "grey.png")]
    assert grey["prediction"] in "0123456789"
    assert 0.1 <= grey["probability"] <= 1
    assert sorted(path.rpartition("/")[2] for path in result["failed"]) == ["gone.png", "not.png"]
    assert "not an image that can be read" in result["failed"][str(tmp_path / "not.png")]
    assert result["exit_code"] == 2


def test_an_example_alone_is_the_example_in_a_batch(trained, tmp_path):
    for i in range(3):
        image = np.random.default_rng(i).integers(0, 255, (8, 8), np.uint8)
        Image.fromarray(image).save(tmp_path / f"{i}.png")
    together = dl.main(experiment, ["predict", str(tmp_path), *trained])["predictions"]
    alone = dl.main(experiment, ["predict", str(tmp_path / "1.png"), *trained])["predictions"]
    assert list(together) == [str(tmp_path / f"{i}.png") for i in range(3)]
    ((name, one),) = alone.items()
    assert one["prediction"] == together[name]["prediction"]
    assert one["probability"] == pytest.approx(together[name]["probability"], rel=1e-5)


def test_files_of_one_name_are_told_apart_by_their_paths(trained, tmp_path, monkeypatch):
    """Also those that differ in their suffix; a file that is given twice, or in its folder, counts once."""
    monkeypatch.chdir(tmp_path)
    given = ["a/1.png", "b/1.png", "b/1.bmp"]
    for i, name in enumerate(given):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.fromarray(np.random.default_rng(i).integers(0, 255, (8, 8), np.uint8)).save(name)
    together = dl.main(experiment, ["predict", "a/1.png", "b/1.png", "./b/1.png", "b", *trained])["predictions"]
    assert sorted(together) == sorted(given)
    for name in given:
        alone = dl.main(experiment, ["predict", name, *trained])["predictions"]
        assert alone[name]["probability"] == pytest.approx(together[name]["probability"], rel=1e-5)
    assert len({told["probability"] for told in together.values()}) == 3


def test_nothing_to_predict(trained, tmp_path):
    with pytest.raises(UserError, match="was given no file"):
        dl.main(experiment, ["predict", *trained])
    with pytest.raises(UserError, match="is an empty folder"):
        dl.main(experiment, ["predict", str(tmp_path), *trained])


def test_a_run_that_is_not_there(tmp_path):
    Image.new("L", (8, 8)).save(tmp_path / "a.png")
    with pytest.raises(UserError, match="train first"):
        dl.main(experiment, ["predict", str(tmp_path / "a.png"), "--run-dir", str(tmp_path / "run")])
