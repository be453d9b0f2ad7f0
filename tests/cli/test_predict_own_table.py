"""A table of one's own from its file to predictions: train, evaluate, report and predict, as a user would."""

import json

import numpy as np
import optax
import pytest

import deeplab as dl

RNG = np.random.default_rng(0)
SIZE = RNG.integers(40, 160, 80)
TOWN = RNG.choice(["Ulm", "Bonn"], 80)
PRICE = 1000 + 3 * SIZE + 50 * (TOWN == "Bonn")


@pytest.fixture(scope="module")
def homes(tmp_path_factory):
    path = tmp_path_factory.mktemp("table") / "homes.csv"
    rows = [f"{p},{s},{t},{'yes' if p > 1300 else 'no'}" for p, s, t in zip(PRICE, SIZE, TOWN, strict=True)]
    path.write_text("\n".join(["price,size,town,dear", *rows]) + "\n")
    return path


@pytest.mark.slow
def test_a_number(homes, tmp_path):
    """The straight line is learned, in the unit of the price, and a file without prices is predicted."""

    def experiment(learning_rate: float = 0.05) -> dl.Experiment:
        data = dl.data.table(homes, "price", ignore=("dear",), batch_size=16, epochs=50)
        model = dl.models.TabularResNet(1, data.cardinalities, **dl.models.tabular_resnet.VARIANTS["test"])
        return dl.Experiment(data, model, dl.tasks.Regression(scale=data.scale), optax.adam(learning_rate))

    run = dl.fit(experiment, run_dir=tmp_path / "run")
    metrics = run.metrics["test"]
    assert metrics["rmse"] < 0.2 * PRICE.std()
    assert metrics["r2"] > 0.95
    (tmp_path / "new.csv").write_text("town,size\nUlm,100\nBonn,100\nRom,\n")
    result = dl.main(experiment, ["predict", str(tmp_path / "new.csv"), "--run-dir", str(tmp_path / "run")])
    told = [*result["predictions"].values()]
    assert [list(values) for values in told] == [["prediction"]] * 3
    assert told[0]["prediction"] == pytest.approx(1300, abs=40)
    assert told[1]["prediction"] == pytest.approx(1350, abs=40)
    page = (tmp_path / "run/report.html").read_text()
    assert "Largest residuals" in page
    (block,) = json.loads((tmp_path / "run/artifacts/regression.json").read_text())
    assert block["heading"] == "Predictions of 16 test examples"


@pytest.mark.slow
def test_classes(homes, tmp_path):
    def experiment(learning_rate: float = 0.05) -> dl.Experiment:
        data = dl.data.table(homes, "dear", ignore=("price",), batch_size=16, epochs=30)
        model = dl.models.FTTransformer(2, data.cardinalities, **dl.models.ft_transformer.VARIANTS["test"])
        task = dl.tasks.Classification(fields=("numbers", "categories"), extra_metrics=(dl.metrics.auc,))
        return dl.Experiment(data, model, task, optax.adam(learning_rate))

    run = dl.fit(experiment)
    assert run.experiment.data.class_names == ("no", "yes")
    assert run.metrics["test"]["auc"] > 0.95
    given = run.predict({"numbers": np.zeros((2, 1), np.float32), "categories": np.ones((2, 1), np.int32)})
    assert run.describe(given)[0]["prediction"] in ("no", "yes")
    assert sorted(run.describe(given)[0]) == ["prediction", "probability"]


@pytest.mark.parametrize("target", ["price", pytest.param("dear", marks=pytest.mark.slow)])
def test_smoke(homes, target):
    def experiment(learning_rate: float = 0.05) -> dl.Experiment:
        data = dl.data.table(homes, target)
        classes = len(data.class_names)
        fields = ("numbers",)
        task = dl.tasks.Classification(fields=fields) if classes else dl.tasks.Regression(fields=fields)
        return dl.Experiment(data, dl.models.MLP(classes or 1, (4,)), task, optax.adam(learning_rate))

    assert dl.fit(experiment, smoke=True).step == 4
