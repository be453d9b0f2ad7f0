"""`explain_run`: explains predictions of a run: its worst mistakes, chosen examples, or a user's own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from deeplab import scale
from deeplab.core import ranges
from deeplab.core.errors import UserError
from deeplab.data.base import Batch
from deeplab.explain.trust.compare import STANDARD
from deeplab.report.document import document, save
from deeplab.report.render import Site, render
from deeplab.report.text import join, note, tag
from deeplab.runs.identity.datasets import class_names
from deeplab.train.evaluate import predict
from deeplab.train.feed import make_feed
from deeplab.train.step import make_predict
from deeplab.verbs.explaining.explained import METHODS, Explained, explain_batch
from deeplab.verbs.explaining.subject import ClassScore, subject, words_of
from deeplab.verbs.load import Checkpoint, opened
from deeplab.verbs.run import Run

_BACKGROUND = 128
"""Training examples whose mean is the baseline."""


@ranges.checked(count=ranges.COUNT, measured=ranges.NATURAL, score=ranges.OneOf(ClassScore))
def explain_run(
    run: Run | str | Path,
    inputs: Any = None,
    *,
    ids: Sequence[int] = (),
    count: int = 4,
    measured: int = 0,
    split: str | None = None,
    methods: Sequence[str] = METHODS,
    metrics: Sequence[str] = STANDARD,
    score: ClassScore = "logit",
    titles: Sequence[str] = (),
    checkpoint: Checkpoint = "last",
) -> Explained:
    """Explains predictions of a run: in a notebook, the last line of a cell draws them.

    Of a classifier the logit of the predicted class is explained; of a segmentation the mean logit of the class of most
    pixels that the mean of training images does not give them too, over these; of any other task its score. All from
    the mean of training examples, by several methods beside two controls, each with how far it can be trusted.

    Args:
      run: Run, or its directory.
      inputs: Raw examples [N, ...] to explain, as for `Run.predict`; those of a split when None.
      ids: Examples of the split; its worst mistakes when empty, by the loss of their predictions.
      count: Number of mistakes.
      measured: Number of further examples, spread over the split, on which the methods are measured too.
      split: Name of the split; the one that training evaluates on when None.
      methods: Names of methods.
      metrics: Further columns of the report; see `deeplab.explain.faithfulness`.
      score: What is explained of a class: its logit, or its log-probability, which falls with the logits of the others.
      titles: Title of each of the inputs.
      checkpoint: Name of the checkpoint, if a directory is given.

    Raises:
      UserError: the task has no score, no method explains the model, or an example does not exist.

    Example:
      >>> import deeplab as dl
      >>> from experiments.image_digits import experiment
      >>> found = explain_run(dl.fit(experiment, smoke=True), count=2, methods=("input x gradient",))
      >>> found.told, found.shown, sorted(found.report.rows)
      ('the logit of the predicted class', 2, ['edges', 'input x gradient', 'random'])
    """
    run = opened(run, checkpoint)
    experiment, data_dir = run.experiment, run.recipe.data_dir
    data, split = experiment.data, split or experiment.data.eval_split
    train = data.open("train", data_dir)
    others = data.fetch(train, np.linspace(0, train.size - 1, min(_BACKGROUND, train.size)).astype(np.int32))
    predicts = jax.jit(make_predict(experiment, run.recipe.runtime))
    if inputs is not None:
        raw = dict(inputs) if isinstance(inputs, Mapping) else {experiment.task.fields[0]: np.asarray(inputs)}
        shown = len(next(iter(raw.values())))
        names = list(titles) or [f"example {i}" for i in range(shown)]
    else:
        source = data.open(split, data_dir)
        chosen = np.array(ids, np.int32) if len(ids) else _worst(run, split, source, count)
        if len(chosen) and not 0 <= chosen.min() <= chosen.max() < source.size:
            raise UserError(f"{split} has examples 0 to {source.size - 1}; ids was given {chosen.tolist()}")
        more = np.linspace(0, source.size - 1, measured).astype(np.int32)
        raw, shown = data.fetch(source, np.concatenate([chosen, more]).astype(np.int32)), len(chosen)
        names = [f"{split} {i}" for i in chosen]
    raw = jax.tree.map(np.asarray, raw)
    made = jax.device_get(predicts(run.state, jax.tree.map(lambda x: x[:shown], raw)))
    names = [_title(name, {k: v[i] for k, v in made.items()}, run, inputs is None) for i, name in enumerate(names)]
    what = subject(experiment, run.state, raw, jax.tree.map(np.asarray, others), run.recipe.runtime, score)
    if inputs is not None and what.told == "the task's score" and not _is_complete(experiment, raw):
        raise UserError(
            f"the score of {type(experiment.task).__name__} is that of a label, which examples of your own lack; "
            "explain examples of a split, by ids="
        )
    if what.classes is not None:
        names = [f"{name}: {_named(run, k)}" for name, k in zip(names, what.classes, strict=False)]
    columns = _columns(data, what.x.shape[-1])
    words = words_of(experiment, raw, what, data_dir)
    return explain_batch(what, shown, names, words=words, names=columns, methods=methods, metrics=metrics)


def page(found: Explained, name: str, path: Path) -> Path:
    """Writes the page of explanations.

    Args:
      found: Explanations.
      name: Name of the experiment.
      path: Path of the page.
    """
    drawn = [render(block, Site(f"explained-{i}")) for i, block in enumerate(found.blocks)]
    left_out = [note(f"{method} is left out: {why}") for method, why in found.left_out.items()]
    told = note(
        f"Explained is {found.told}, from the mean of training examples. Orange raises it, blue lowers it. The maps "
        "random and edges know nothing of the model: a method that is no better tells nothing."
    )
    body = join(tag("p", name, class_="eyebrow"), tag("h1", "Explanations"), told, *left_out, *drawn)
    return save(path, document(f"{name} explained", body))


def _worst(run: Run, split: str, source: Any, count: int) -> np.ndarray:
    """The examples of the highest losses, mistakes of classes before others; the first without a loss."""
    feed = make_feed(run.experiment.data, source, scale.make_mesh(run.recipe.runtime.mesh))
    made = predict(run.experiment, run.state, feed, split, run.recipe.runtime)
    if "loss" not in made:
        return made["id"][:count]
    loss = np.where(np.isfinite(made["loss"]), made["loss"], -np.inf)
    if "prediction" in made and "label" in made and made["prediction"].shape == made["label"].shape == loss.shape:
        loss = np.where(made["prediction"] != made["label"], loss, loss - 1e9)
    return made["id"][np.argsort(-loss, kind="stable")[:count]].astype(np.int32)


def _title(name: str, prediction: Mapping[str, np.ndarray], run: Run, labeled: bool) -> str:
    """The example, what is predicted of it and what is right, in the names of classes."""
    told = prediction.get("prediction")
    if told is None or np.ndim(told) or not np.issubdtype(np.asarray(told).dtype, np.integer):
        return name
    label = prediction.get("label")
    wrong = labeled and label is not None and not np.ndim(label) and label != told
    return f"{name}: predicted {_named(run, told)}" + (f", actually {_named(run, label)}" if wrong else "")


def _named(run: Run, number: Any) -> str:
    names = run.class_names or class_names(run.experiment.data)
    return names[int(number)] if 0 <= int(number) < len(names) else str(int(number))


def _is_complete(experiment: Any, raw: Batch) -> bool:
    """Whether a batch has every field that the task reads."""
    return all(name in raw for name in experiment.data.spec() if name in ("label", "target", "mask", "rating"))


def _columns(data: Any, width: int) -> tuple[str, ...]:
    """Names of the columns of a table or of a series, where the data tell as many as there are."""
    for holder in (data, getattr(data, "builder", None)):
        found = getattr(holder, "columns", ()) or getattr(holder, "column_names", ())
        if isinstance(found, Sequence) and not isinstance(found, str) and len(found) >= width:
            return tuple(map(str, found[:width]))
    return ()
