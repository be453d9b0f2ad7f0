"""What is explained of a batch: a function of one input of a run's model, and the score that its task gives."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from deeplab import explain
from deeplab.core.errors import UserError
from deeplab.core.runtime import Runtime
from deeplab.data.base import Batch
from deeplab.data.features.words import split_words
from deeplab.experiment import Experiment
from deeplab.explain.chunks import fitting
from deeplab.runs.identity.datasets import HasVocabulary
from deeplab.train.bind import bind
from deeplab.train.state import State, eval_key, eval_state, split_params

Function = Callable[..., Any]
ClassScore = Literal["logit", "logprob"]
"""What is explained of a class: its logit, or its log-probability, which falls with the logits of the others."""


class Subject(NamedTuple):
    """What a method explains, for the examples of a batch.

    Attributes:
      f: Function `f(x, batch, where)` to the logits, or to a score for each example.
      x: Input that is explained: the first floating-point one, or else the embedding of the tokens.
      args: The batch, and the class and the region of each example where there are any.
      target: Predicted class of each example, where the outputs are logits; None where f gives scores.
      baseline: Mean of the input over other examples.
      together: Axes of x whose entries are removed together.
      lost: f of the model with shuffled weights.
      told: What the score is, in words.
      tokens: Whether x is the embedding of tokens.
      classes: Class of which the mean logit over a region is explained, [B]; None where it is one logit.
      region: Pixels of that region, [B, H, W].
    """

    f: Function
    x: jax.Array
    args: tuple[Any, ...]
    target: Any
    baseline: jax.Array
    together: tuple[int, ...]
    lost: Function
    told: str
    tokens: bool
    classes: Any
    region: Any


def subject(
    experiment: Experiment,
    state: State,
    raw: Batch,
    others: Batch,
    runtime: Runtime = Runtime(),
    score: ClassScore = "logit",
) -> Subject:
    """What is explained of the examples of a raw batch.

    Args:
      experiment: Experiment of the run.
      state: State of the run.
      raw: Raw batch to explain.
      others: Raw batch whose mean is the baseline.
      runtime: Precision of the model.
      score: What is explained of a class.

    Raises:
      UserError: the task has no score, or no input of the model can be explained.
    """
    state, task = eval_state(state), experiment.task
    batch, background = map(preparer(experiment), (raw, others))
    inputs = tuple(task.inputs(batch))
    without = dataclasses.replace(state, params=_shuffled(state.params))
    model, blank = (model_of(experiment, each, runtime) for each in (state, without))
    place = next((i for i, x in enumerate(inputs) if _is_floating(x)), None)
    if place is None:
        name = embedding(model, inputs)
        (upto, rest), (_, rest_lost) = explain.split(model, name), explain.split(blank, name)
        x = jax.jit(upto)(*inputs)
        base = jax.jit(upto)(*task.inputs(background))
        baseline = jnp.mean(base, axis=tuple(range(base.ndim - 1)), keepdims=True)
        together = tuple(range(2, x.ndim))
    else:
        x = jnp.asarray(inputs[place])
        rest, rest_lost = (_at(each, place) for each in (model, blank))
        baseline = jnp.mean(jnp.asarray(task.inputs(background)[place], x.dtype), axis=0, keepdims=True)
        together = (3,) if x.ndim == 4 else ()
    outputs = jax.eval_shape(model, *inputs)
    predicted = jax.eval_shape(
        lambda: task.predict(bind(experiment, state, batch, runtime), batch, eval_key(state)).get("prediction")
    )
    choose, told = _target(outputs, predicted)

    def read(rest: Function, x: jax.Array, batch: Batch) -> Any:  # some inputs, such as the items to rank, have no rows
        return rest(x, *task.inputs(batch))

    def chosen(base: jax.Array, x: jax.Array, batch: Batch) -> tuple[Any, Any]:
        return choose(model(*task.inputs(batch)), lambda: read(rest, jnp.broadcast_to(base, x.shape), batch))

    target, region = _by_rows(chosen, baseline, (x, batch))
    against = score == "logprob" and target is not None and outputs.shape[-1] > 1
    told_as = jax.nn.log_softmax if against else lambda logits: logits
    told = told.replace("logit", "log-probability") if against else told

    def scored(rest: Function) -> Function:
        if region is not None:
            return lambda x, batch, where: _within(told_as, read(rest, x, batch), *where)
        if target is not None:
            return lambda x, batch, where: told_as(read(rest, x, batch))
        return lambda x, batch, where: task.score(read(rest, x, batch), batch)

    args = (batch, None if region is None else (target, region))
    classes, target = (None, target) if region is None else (target, None)
    return Subject(
        scored(rest), x, args, target, baseline, together, scored(rest_lost), told, place is None, classes, region
    )


def words_of(experiment: Experiment, raw: Batch, subject: Subject, data_dir: Any = None) -> list[list[str]] | None:
    """The words of each example, if tokens are explained: of its text, of the vocabulary, or else their numbers."""
    if not subject.tokens:
        return None
    data, T = experiment.data, subject.x.shape[1] if subject.x.ndim > 2 else 1
    tokens = np.asarray(jax.tree.leaves(experiment.task.inputs(subject.args[0]))[0])
    if isinstance(data, HasVocabulary):
        decode = data.open_vocabulary(data_dir).decode
        return [[decode([int(token)]) for token in row.reshape(-1)[:T]] for row in tokens]
    if tokens.ndim == 3 and "text" in raw:  # parts of words in a row for each word
        texts = [bytes(np.asarray(row)).strip(b" \0").decode(errors="replace") for row in raw["text"]]
        return [split_words(text)[:T] for text in texts]
    return [[str(token) for token in row.reshape(-1)[:T]] for row in tokens]


Choose = Callable[[Any, Callable[[], Any]], tuple[Any, Any]]
"""From outputs, and a function to the outputs for the baseline, to the class of each example and its region."""


def _target(outputs: Any, predicted: Any) -> tuple[Choose, str]:
    """How the class and the region of each example are chosen, None where there is none, and the score in words.

    Args:
      outputs: Shape of the outputs of the model.
      predicted: Shape of what the task predicts, or None.
    """
    axes = getattr(outputs, "ndim", 0)
    numbered = predicted is not None and predicted.ndim == axes - 1 and jnp.issubdtype(predicted.dtype, jnp.integer)
    if axes == 2 and outputs.shape[1] == 1:
        return (lambda outputs, start: (jnp.zeros(len(outputs), jnp.int32), None)), "the model's output"
    if axes == 2 and numbered:
        return (lambda outputs, start: (jnp.argmax(outputs, axis=1), None)), "the logit of the predicted class"
    if axes == 4 and numbered and outputs.shape[-1] > 1:
        told = "the mean logit of a class where it is predicted of the image, and not of the mean of training images"
        return (lambda outputs, start: _largest(outputs, start())), told
    return (lambda outputs, start: (None, None)), "the task's score"


def _by_rows(f: Function, base: Any, rows: tuple[Any, ...]) -> Any:
    """f(base, *rows) of all rows, as many at a time as memory holds: outputs of whole images are large."""
    size = fitting(lambda row: f(base, *jax.tree.map(lambda x: x[None], row)), rows)
    compiled, starts = jax.jit(f), range(0, len(rows[0]), size)
    some = (jax.tree.map(lambda x, i=i: x[i : i + size], rows) for i in starts)
    return jax.tree.map(lambda *parts: jnp.concatenate(parts), *(compiled(base, *each) for each in some))


def _largest(logits: jax.Array, start: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The class of most pixels that the baseline does not give them, [B], and these pixels [B, H, W].

    What the mean image is called too, such as the road below and the sky above, is not due to the image.
    """
    classes, before = jnp.argmax(logits, axis=-1), jnp.argmax(start, axis=-1)
    its = classes[..., None] == jnp.arange(logits.shape[-1])[None, None, None]
    new = its & (classes != before)[..., None]
    regions = jnp.where(jnp.any(new, axis=(1, 2, 3), keepdims=True), new, its)
    most = jnp.argmax(jnp.sum(regions, axis=(1, 2)), axis=1)
    return most, jnp.take_along_axis(regions, most[:, None, None, None], axis=-1)[..., 0]


def _within(told_as: Function, logits: jax.Array, classes: jax.Array, region: jax.Array) -> jax.Array:
    """The mean logit of a class over the region of each image, [B]."""
    inside = jnp.where(region[..., None], logits, 0)
    means = jnp.sum(inside, axis=(1, 2)) / jnp.maximum(jnp.sum(region, axis=(1, 2)), 1)[:, None]
    return jnp.take_along_axis(told_as(means), classes[:, None], axis=1)[:, 0]


def preparer(experiment: Experiment) -> Callable[[Batch], Batch]:
    """Makes the function from a raw batch to the batch that the task reads; what a user's file lacks is zeros.

    It compiles once for all batches of a shape: a run makes one.
    """
    transform = jax.jit(experiment.data.transform)

    def prepare(raw: Batch) -> Batch:
        size = len(next(iter(raw.values())))
        numbered = {"id": jnp.arange(size, dtype=jnp.int32), "weight": jnp.ones(size)}
        batch = transform(numbered | {name: jnp.asarray(x) for name, x in raw.items()})
        absent = {name: s for name, s in experiment.data.spec().items() if name not in batch}
        return batch | {name: jnp.zeros((size, *s.shape[1:]), s.dtype) for name, s in absent.items()}

    return prepare


def model_of(experiment: Experiment, state: State, runtime: Runtime) -> Function:
    """The model as a function of its inputs, for any number of examples."""

    def model(*inputs: Any) -> Any:
        size = len(jax.tree.leaves(inputs)[0])
        return bind(experiment, state, {"id": jnp.arange(size)}, runtime)(*inputs)[0]

    return model


def _at(model: Function, place: int) -> Function:
    """The model as a function of one input, and of all inputs, among which that one is not read."""
    return lambda x, *inputs: model(*inputs[:place], x, *inputs[place + 1 :])


def _shuffled(params: Any) -> Any:
    """Parameters without what the model has learnt; the task's own stay."""
    model, _ = split_params(params)
    return {**params, **explain.shuffled(model, jax.random.key(0))}


def _is_floating(x: Any) -> bool:
    return hasattr(x, "dtype") and jnp.issubdtype(x.dtype, jnp.floating) and x.ndim > 1


def embedding(model: Function, inputs: Sequence[Any]) -> str:
    """Name of the tap of the tokens' vectors: the first that is called an embedding, or else the first with a width."""
    size = len(jax.tree.leaves(inputs)[0])
    found = {
        name: tap
        for name, tap in explain.taps(model, *inputs).items()
        if hasattr(tap, "ndim")
        and tap.ndim >= 2
        and tap.shape[0] == size
        and jnp.issubdtype(tap.dtype, jnp.floating)
        and tap.shape[-1] > 1
    }
    named = [name for name, tap in found.items() if "embed" in name.lower() and tap.ndim > 2]
    if not found:
        raise UserError("no input of the model is floating-point, and it has no tap of vectors to explain")
    return (named or list(found))[0]
