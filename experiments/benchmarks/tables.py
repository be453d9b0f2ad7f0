"""One recipe, that of `experiments.table_diabetes`, on three tables, compared with gradient boosting and other models.

Run:     OMP_NUM_THREADS=1 python -m experiments.benchmarks.tables
         Five folds of each table, the same for all models. The settings of gradient boosting are chosen for each fold
         by cross-validation in its training part; ours are the defaults of the experiment. The difference is paired
         by fold, with a 95 % interval by Student's t (4 degrees of freedom).
Result:  means of five folds, seed 0, and the difference ours - boosting with its interval (commit 81c2340):
                                  ours     boosting  forest   linear   difference
         diabetes, RMSE           54.77    55.56     56.45    54.41    -0.78 (-2.27 to 0.71)
         breast_cancer, log loss  0.0721   0.1119    0.1412   0.0784   -0.0399 (-0.0586 to -0.0211)
         breast_cancer, error     2.28 %   4.04 %    4.57 %   2.11 %   -1.76 % (-2.84 to -0.67 %)
         wine, log loss           0.0938   0.1047    0.1389   0.0630   -0.0109 (-0.0748 to 0.0531)
         wine, error              2.79 %   3.35 %    1.67 %   2.25 %   -0.56 % (-3.50 to 2.39 %)
         No interval is above 0: the network is not behind boosting on any of the three. Linear models are as good on
         such small tables. The recipe was set on diabetes (see there), and then used once on the other two
Source:  scikit-learn's `HistGradientBoosting`, `RandomForest` and linear models; Gorishniy et al. 2021,
         https://arxiv.org/abs/2106.11959, and Grinsztajn et al. 2022, https://arxiv.org/abs/2207.08815
"""

import argparse
import functools
import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
import optax
from scipy import stats
from sklearn import datasets, ensemble, linear_model, metrics, model_selection, pipeline, preprocessing

import deeplab as dl
from deeplab import scale
from experiments import table_diabetes

TABLES = ("diabetes", "breast_cancer", "wine")
GRID = {"learning_rate": (0.03, 0.1), "max_leaf_nodes": (4, 15), "max_iter": (60, 150)}
RECIPE = {name: p.default for name, p in inspect.signature(table_diabetes.experiment).parameters.items()}


def experiment(name: str, fold: int) -> dl.Experiment:
    """The recipe of `table_diabetes` on one of the tables."""
    if name == "diabetes":
        return table_diabetes.experiment(fold=fold)
    found: Any = getattr(datasets, f"load_{name}")()
    columns = dict(zip(found.feature_names, found.data.T, strict=True)) | {"class": found.target}
    options: Any = {name: RECIPE[name] for name in ("batch_size", "epochs")}
    options |= {"classes": range(found.target.max() + 1), "prepare": table_diabetes.noisy(RECIPE["noise"])}
    data = dl.data.table(columns, "class", fold=fold, **options)
    size: Any = {name: RECIPE[name] for name in ("dropout", "sigma")}
    size = dl.models.tabular_resnet.VARIANTS[RECIPE["variant"]] | size
    rate = dl.optim.warmup_cosine(RECIPE["learning_rate"], data.num_steps)
    return dl.Experiment(
        data=data,
        model=dl.models.TabularResNet(data.num_classes, **size),
        task=dl.tasks.Classification(fields=("numbers", "categories"), extra_metrics=(dl.metrics.auc,)),
        optimizer=optax.adamw(rate, weight_decay=RECIPE["weight_decay"], mask=dl.optim.matrices_only),
    )


def ours(name: str, fold: int, seed: int) -> np.ndarray:
    """Predictions for the test part: numbers [N], or probabilities [N, K]."""
    exp = experiment(name, fold)
    mesh = scale.make_mesh("auto")
    train, test = (dl.make_feed(exp.data, exp.data.open(split), mesh) for split in ("train", "test"))
    state = jax.jit(functools.partial(dl.init, exp))(jax.random.key(seed))
    trained = dl.train.loop.fit(exp, state, train, seed=seed).state
    assert trained is not None
    out = dl.train.evaluate.predict(exp, trained, test, "test")
    return out["probabilities" if "probabilities" in out else "prediction"]


def theirs(model: str, name: str, fold: int, seed: int) -> np.ndarray:
    """Predictions of a model of scikit-learn for the same rows, encoded alike."""
    train, test = (experiment(name, fold).data.open(split).arrays for split in ("train", "test"))
    number = "target" in train
    x, x_test = (np.concatenate([rows["numbers"], rows["categories"]], axis=1) for rows in (train, test))
    kind = "Regressor" if number else "Classifier"
    forest = getattr(ensemble, f"RandomForest{kind}")(n_estimators=300, random_state=seed)
    boosting = getattr(ensemble, f"HistGradientBoosting{kind}")(random_state=seed)
    score = "neg_root_mean_squared_error" if number else "neg_log_loss"
    linear = linear_model.Ridge() if number else linear_model.LogisticRegression(max_iter=2000)
    made = {
        "linear": pipeline.make_pipeline(preprocessing.StandardScaler(), linear),
        "forest": forest,
        "boosting": model_selection.GridSearchCV(boosting, GRID, scoring=score, cv=3),
    }[model]
    made.fit(x, train["target" if number else "label"])
    return made.predict(x_test) if number else made.predict_proba(x_test)


def error(name: str, fold: int, predicted: np.ndarray) -> dict[str, float]:
    """Errors of the test part, the smaller the better."""
    test = experiment(name, fold).data.open("test").arrays
    if "target" in test:
        return {"rmse": float(metrics.root_mean_squared_error(test["target"], predicted))}
    p = np.asarray(predicted, np.float64)
    p = np.clip(p / p.sum(axis=1, keepdims=True), 1e-7, None)
    p /= p.sum(axis=1, keepdims=True)
    wrong = float(np.mean(p.argmax(axis=1) != test["label"]))
    return {"log_loss": float(metrics.log_loss(test["label"], p, labels=range(p.shape[1]))), "wrong": wrong}


def paired(a: Sequence[float], b: Sequence[float]) -> tuple[float, float, float]:
    """Mean difference a - b over folds, and its 95 % interval.

    Example:
      >>> [round(x, 3) for x in paired([1.0, 2.0, 3.0], [1.0, 1.0, 1.0])]
      [1.0, -1.484, 3.484]
    """
    difference = np.subtract(a, b)
    half = stats.t.ppf(0.975, len(difference) - 1) * stats.sem(difference)
    return float(difference.mean()), float(difference.mean() - half), float(difference.mean() + half)


def compare(name: str, seed: int, folds: int) -> None:
    """Prints the mean error of each model, and the paired difference between ours and boosting."""
    models: Mapping[str, Any] = {"ours": ours} | {
        model: functools.partial(theirs, model) for model in ("boosting", "forest", "linear")
    }
    found = {
        model: [error(name, fold, predict(name, fold, seed)) for fold in range(folds)]
        for model, predict in models.items()
    }
    for measure in found["ours"][0]:
        each = {model: [row[measure] for row in rows] for model, rows in found.items()}
        means = ", ".join(f"{model} {np.mean(values):.4f}" for model, values in each.items())
        mean, low, high = paired(each["ours"], each["boosting"])
        print(f"{name} {measure}: {means}; ours - boosting {mean:+.4f} ({low:+.4f} to {high:+.4f})", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--tables", nargs="+", default=TABLES, choices=TABLES)
    flags = parser.parse_args()
    for table in flags.tables:
        compare(table, flags.seed, flags.folds)
