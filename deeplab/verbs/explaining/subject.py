"""What is explained of a batch: a function of one input of a run's model, and the score that its task gives."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from deeplab import explain
from deeplab.core.errors import UserError
from deeplab.core.runtime import Runtime
from deeplab.data.base import Batch
from deeplab.data.features.words import split_words
from deeplab.experiment import Experiment
from deeplab.runs.identity.datasets import HasVocabulary
from deeplab.train.bind import bind
from deeplab.train.state import State, eval_state, split_params
from deeplab.train.step import eval_key

Function = Callable[..., Any]


class Subject(NamedTuple):
    """What a method explains, for the examples of a batch.

    Attributes:
      f: Function `f(x, batch, *inputs)` to the logits, or to a score for each example.
      x: Input that is explained: the first floating-point one, or else the embedding of the tokens.
      args: The batch, and the inputs of the model.
      target: Predicted class of each example, where the outputs are logits; None where f gives scores.
      baseline: Mean of the input over other examples.
      together: Axes of x whose entries are removed together.
      lost: f of the model with shuffled weights.
      told: What the score is, in words.
      tokens: Whether x is the embedding of tokens.
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


def subject(experiment: Experiment, state: State, raw: Batch, others: Batch, runtime: Runtime = Runtime()) -> Subject:
    """What is explained of the examples of a raw batch.

    Args:
      experiment: Experiment of the run.
      state: State of the run.
      raw: Raw batch to explain.
      others: Raw batch whose mean is the baseline.
      runtime: Precision of the model.

    Raises:
      UserError: the task has no score, or no input of the model can be explained.
    """
    state, task = eval_state(state), experiment.task
    batch, background = (prepared(experiment, each) for each in (raw, others))
    inputs = tuple(task.inputs(batch))
    lost = dataclasses.replace(state, params=_shuffled(state.params))
    model, blank = (model_of(experiment, each, runtime) for each in (state, lost))
    place = next((i for i, x in enumerate(inputs) if _is_floating(x)), None)
    if place is None:
        name = _embedding(model, inputs)
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
    outputs = jax.jit(model)(*inputs)
    predicted = jax.eval_shape(
        lambda: task.predict(bind(experiment, state, batch, runtime), batch, eval_key(state)).get("prediction")
    )
    target, told = _target(outputs, predicted)

    def scored(rest: Function) -> Function:
        if target is not None:
            return lambda x, batch, *inputs: rest(x, *inputs)
        return lambda x, batch, *inputs: task.score(rest(x, *inputs), batch)

    args = (batch, *inputs)
    return Subject(scored(rest), x, args, target, baseline, together, scored(rest_lost), told, place is None)


def words_of(experiment: Experiment, raw: Batch, subject: Subject, data_dir: Any = None) -> list[list[str]] | None:
    """The words of each example, if tokens are explained: of its text, of the vocabulary, or else their numbers."""
    if not subject.tokens:
        return None
    data, T = experiment.data, subject.x.shape[1] if subject.x.ndim > 2 else 1
    tokens = np.asarray(jax.tree.leaves(subject.args[1])[0])
    if isinstance(data, HasVocabulary):
        decode = data.open_vocabulary(data_dir).decode
        return [[decode([int(token)]) for token in row.reshape(-1)[:T]] for row in tokens]
    if tokens.ndim == 3 and "text" in raw:  # parts of words in a row for each word
        texts = [bytes(np.asarray(row)).strip(b" \0").decode(errors="replace") for row in raw["text"]]
        return [split_words(text)[:T] for text in texts]
    return [[str(token) for token in row.reshape(-1)[:T]] for row in tokens]


def _target(outputs: Any, predicted: Any) -> tuple[Any, str]:
    """The predicted class of each example, or the only output; None where the task scores."""
    if getattr(outputs, "ndim", 0) == 2:
        if outputs.shape[1] == 1:
            return 0, "the model's output"
        if predicted is not None and predicted.ndim == 1 and jnp.issubdtype(predicted.dtype, jnp.integer):
            return jnp.argmax(outputs, axis=1), "the logit of the predicted class"
    return None, "the task's score"


def prepared(experiment: Experiment, raw: Batch) -> Batch:
    """The batch that the task reads; what a user's file lacks is zeros."""
    size = len(next(iter(raw.values())))
    numbered = {"id": jnp.arange(size, dtype=jnp.int32), "weight": jnp.ones(size)}
    batch = jax.jit(experiment.data.transform)(numbered | {name: jnp.asarray(x) for name, x in raw.items()})
    absent = {name: s for name, s in experiment.data.spec().items() if name not in batch}
    return batch | {name: jnp.zeros((size, *s.shape[1:]), s.dtype) for name, s in absent.items()}


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


def _embedding(model: Function, inputs: Sequence[Any]) -> str:
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
