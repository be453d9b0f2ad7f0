"""Scores of training examples against retraining: summary and page of the runs of `experiments.study_influence`."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import deeplab as dl
from deeplab.explain import curvature
from deeplab.explain.examples import influence, retraining
from deeplab.explain.examples.kronecker import ekfac
from deeplab.report.text import Html, table, tag

KEY = jax.random.key(0)
DAMPING = 0.01
MODELS, CHECKPOINTS = 5, 5


def summarize(function: Callable[..., dl.Experiment], rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The linear datamodeling score of each method, with its interval, against the retrainings of the rows.

    The output is minus the loss of a test image, its mean over the seeds. The methods see `MODELS` trainings on all
    images.
    """
    numbers = sorted({row["arguments"]["subset"] for row in rows})
    sums = [np.mean([r["last"]["losses"] for r in rows if r["arguments"]["subset"] == n], axis=0) for n in numbers]
    exp = function(**{**rows[0]["arguments"], "subset": -1.0})
    masks = jax.vmap(lambda n: retraining.random_subset(n, exp.data.num_train))(jnp.array(numbers))
    if (used := rows[0]["num_train"]) != exp.data.num_train:  # a smoke run
        exp = dataclasses.replace(exp, data=exp.data.synthetic(num_steps=rows[0]["steps"]))
        masks = masks[:, :used]
    train, test = (_all(exp.data, split) for split in ("train", exp.data.eval_split))
    found = {}
    for name, scores in methods(exp, train, test):
        agreement = retraining.lds(scores, masks, -jnp.array(sums), key=KEY)
        found[name] = {"mean": float(agreement.mean), "low": float(agreement.low), "high": float(agreement.high)}
    return {
        "subsets": len(numbers),
        "runs": len(rows),
        "tests": len(sums[0]),
        "accuracy": float(np.mean([row["curve"][-1]["evaluation"]["accuracy"] for row in rows])),
        "seconds": sum(row["seconds"] for row in rows),
        "methods": found,
    }


def methods(exp: dl.Experiment, train: Any, test: Any) -> Iterator[tuple[str, jax.Array]]:
    """The scores of each method by its name, [num_test, num_train]."""
    runs = [_trained(exp, seed) for seed in range(MODELS)]
    params = [states[-1].params for states in runs]
    losses = jax.jit(dl.make_losses(exp, runs[0][-1]))

    def outputs(params: Any, batch: Any) -> Any:
        image = exp.data.transform(batch)["image"]
        return exp.model.apply({"params": params}, exp.data.normalize(image) if exp.data.normalize else image)

    def of_logits(logits: jax.Array, batch: Any) -> jax.Array:
        return -jnp.take_along_axis(jax.nn.log_softmax(logits), jnp.asarray(batch["label"])[:, None], axis=1)[:, 0]

    @jax.jit
    def exact(params: Any) -> jax.Array:
        product = curvature.gauss_newton_product(outputs, of_logits, params, train)
        solve = influence.exact_solve(product, params, DAMPING)
        return influence.influence(losses, params, train, test, solve=solve)

    @jax.jit
    def iterative(params: Any) -> jax.Array:
        product = curvature.gauss_newton_product(outputs, of_logits, params, train)
        solve = influence.conjugate_gradients(product, DAMPING, tol=1e-2, iterations=50)
        return influence.influence(losses, params, train, test, solve=solve, chunk=90)

    @jax.jit
    def factored(params: Any) -> jax.Array:
        solve = ekfac(outputs, of_logits, params, train, DAMPING)
        return influence.influence(losses, params, train, test, solve=solve)

    yield "random", jax.random.normal(KEY, (len(test["id"]), len(train["id"])))
    yield "gradient cosine", influence.gradient_similarity(losses, params[0], train, test, cosine=True)
    yield f"TracIn, {CHECKPOINTS} checkpoints", influence.tracin(losses, [s.params for s in runs[0]], train, test)
    yield "TRAK, 1 model", influence.trak(losses, params[:1], train, test, key=KEY, size=256)
    yield f"TRAK, {MODELS} models", influence.trak(losses, params, train, test, key=KEY, size=256)
    yield "influence, conjugate gradients", iterative(params[0])
    yield "influence, EK-FAC", factored(params[0])
    yield "influence, exact inverse", exact(params[0])
    yield f"influence, exact inverse, {MODELS} models", functools.reduce(jnp.add, map(exact, params))


def _trained(exp: dl.Experiment, seed: int) -> list[Any]:
    """The states of a training at equal distances, the last one at its end."""
    state, step = dl.init(exp, jax.random.key(seed)), jax.jit(dl.make_step(exp))
    kept, every = [], max(1, exp.num_steps // CHECKPOINTS)
    for i, batch in enumerate(exp.data.batches("train", seed=seed), 1):
        state, _ = step(state, batch)
        if i == exp.num_steps or (i % every == 0 and len(kept) < CHECKPOINTS - 1):
            kept.append(state)
    return kept


def _all(data: Any, split: str) -> dict[str, Any]:
    return data.fetch(data.open(split), np.arange(data.num_examples(split)))


def sections(summary: Mapping[str, Any]) -> list[Html]:
    """The sections of the page."""
    rows = [
        [name, f"{each['mean']:.3f}", f"{each['low']:.3f} to {each['high']:.3f}"]
        for name, each in summary["methods"].items()
    ]
    told = (
        f"{summary['runs']:,} trainings on {summary['subsets']:,} random halves of the training images; "
        f"{100 * summary['accuracy']:.1f} % of {summary['tests']:,} test images are right. A score of 1 would order "
        "the losses of each test image over the halves as they are; the interval is over halves and test images."
    )
    return [tag("p", told), table(["method", "linear datamodeling score", "95 % interval"], rows)]
