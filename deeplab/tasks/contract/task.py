"""The contract of tasks: pure functions over `(apply, batch, key)` that know no model."""

from __future__ import annotations

import abc
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

import jax
import numpy as np

from deeplab.core.contract import Contract
from deeplab.core.errors import UserError
from deeplab.metrics.base import Mean, Metrics
from deeplab.tasks.contract.apply import Apply

Batch = dict[str, Any]


class Labels(NamedTuple):
    """A field of labels, each of which is the number of an output of the model.

    Attributes:
      outputs: Number K of outputs; labels are 0 to K - 1.
      argument: What sets K, for messages: an argument of the model or of the task.
      ignored: Label that counts nowhere; None if there is none.
      counted: Mask of the labels that count, of the field's shape; None if all do.
      needed: Number of different labels by the shape of the batch; None where it depends on the data's values.
      present: Whether a label is no number of an output, but says that its own is there, 1, or is not, 0.
    """

    outputs: int
    argument: str = "number of outputs of the model"
    ignored: int | None = None
    counted: jax.Array | None = None
    needed: int | None = None
    present: bool = False


class Loss(NamedTuple):
    """Result of `Task.loss`.

    Attributes:
      loss: Summed loss and summed weight; the step divides once, over all microbatches and devices.
      metrics: Further metrics of the training batch, computed from the same outputs.
      variables: Collections of the model after the call.
      state: State of the task after the call; unchanged when None.

    Example:
      >>> import jax.numpy as jnp
      >>> Loss(Mean.of(jnp.array([1.0, 3.0]), jnp.ones(2)), {}, {}).loss.compute()
      2.0
    """

    loss: Mean
    metrics: Metrics
    variables: Any
    state: Any = None


class Trained(NamedTuple):
    """Inputs of `Task.artifacts`: the trained model, its predictions and the data.

    Attributes:
      apply: Function from a number of examples to the model with its evaluation weights.
      predictions: Arrays of `Task.predict` for the evaluation split, [N, ...] by name, and `id`.
      raw: Function from `id`s [M] to the raw fields of these examples, [M, ...].
      split: Name of the evaluation split.
      class_names: Names of the classes, if the data have any.
      decode: Function from tokens to text, if the data have a vocabulary.
      num_steps: Length of the training run, in steps.
      key: Key of all randomness of the artifacts.
      learned: Function from the name of a field and a number n to that field of at most n training examples, spread
        evenly, as the model learned it but for augmentations; None where there is no way to them.

    Example:
      >>> apply, raw = lambda count: None, lambda ids: {"x": ids * 2}  # stand for the model and the data
      >>> trained = Trained(apply, {"id": np.arange(3)}, raw, "test", ("a", "b"), None, 10, jax.random.key(0))
      >>> trained.raw(trained.predictions["id"][:2])["x"].tolist()
      [0, 2]
    """

    apply: Callable[[int], Apply]
    predictions: Mapping[str, np.ndarray]
    raw: Callable[[np.ndarray], Mapping[str, np.ndarray]]
    split: str
    class_names: tuple[str, ...]
    decode: Callable[[Sequence[int]], str] | None
    num_steps: int
    key: jax.Array
    learned: Callable[[str, int], np.ndarray] | None = None


class Task(Contract):
    """The problem that a model learns. Subclasses are final, frozen dataclasses, and must define `loss` only.

    Attributes:
      fields: Names of the batch's fields that the model reads, in the order of its arguments.
      rules: Sharding of the task's own parameters, whose paths begin with "task/".
      headline: Names of the metrics that a report shows first; the monitored one when empty.

    Example:
      >>> import dataclasses
      >>> @dataclasses.dataclass(frozen=True)
      ... class SquaredMistakes(Task):
      ...     fields: tuple[str, ...] = ("x",)
      ...     def loss(self, apply, batch, key):
      ...         outputs, variables = apply(*self.inputs(batch), train=True, key=key)
      ...         return Loss(Mean.of((outputs - batch["y"]) ** 2, batch["weight"]), {}, variables)
      ...
      >>> SquaredMistakes().inputs({"x": 1, "y": 2})
      (1,)
    """

    fields: tuple[str, ...] = ("image",)
    rules: ClassVar[Sequence[Any]] = ()
    headline: ClassVar[tuple[str, ...]] = ()

    def inputs(self, batch: Batch) -> tuple[Any, ...]:
        """Arguments of the model: the batch's `fields`."""
        return tuple(batch[name] for name in self.fields)

    @abc.abstractmethod
    def loss(self, apply: Apply, batch: Batch, key: jax.Array) -> Loss:
        """Training loss, each example weighted by `batch["weight"]`."""

    def metrics(self, apply: Apply, batch: Batch, key: jax.Array) -> Metrics:
        """Metrics of an evaluation batch, with the same weights; one of them is `loss`."""
        out = self.loss(apply.evaluating(), batch, key)
        return {"loss": out.loss, **out.metrics}

    def predict(self, apply: Apply, batch: Batch, key: jax.Array) -> dict[str, jax.Array]:
        """Predictions by name, [B, ...] each; a report orders examples by `loss` [B], if it is defined."""
        return {}

    def score(self, outputs: Any, batch: Batch, target: Any = None) -> jax.Array:
        """Scalar score of each example, [B], that explanations differentiate.

        Args:
          outputs: Outputs of the model for the batch.
          batch: Batch of the outputs.
          target: Class, token or other output to score; the batch's own label when None.
        """
        raise UserError(f"{type(self).__name__} defines no score; add a method score(outputs, batch, target) to it")

    def labels(self, apply: Apply, batch: Batch) -> Mapping[str, Labels]:
        """The fields of labels by name, so that a label without an output is an error before the first step.

        A loss and its metrics would be silently wrong. Called under a trace, where nothing is computed.
        """
        return {}

    def init_params(self, apply: Apply, batch: Batch, key: jax.Array) -> dict[str, Any]:
        """Initial parameters of the task, such as a projector's, trained with the model's under the path "task/".

        Args:
          apply: Model with its initial parameters.
          batch: Batch of zeros, with the shapes that the model reads.
          key: Key of the initial values.
        """
        return {}

    def init_state(self, apply: Apply, batch: Batch, key: jax.Array) -> Any:
        """Initial state of the task, such as a teacher, a queue or a codebook; it is saved and resumed with the run."""
        return ()

    def after_step(self, state: Any, params: Any) -> Any:
        """State of the task after an update of the parameters.

        Args:
          state: State that `loss` returned; the previous one if it returned None.
          params: Updated parameters; the task's own are `params["task"]`.
        """
        return state

    def summarize(self, predictions: Mapping[str, np.ndarray]) -> dict[str, float]:
        """Metrics of a whole split that cannot be merged over batches, such as AUROC, from the arrays of `predict`."""
        return {}

    def warnings(self, metrics: Mapping[str, float]) -> Sequence[str]:
        """What the metrics of an evaluation tell that a user should hear of, such as a collapse; a sentence each."""
        return ()

    def artifacts(self, trained: Trained) -> Mapping[str, Sequence[Mapping[str, Any]]]:
        """Blocks of `deeplab.core.blocks` by file name, which a report shows besides curves and metrics.

        They are made after the run has finished; a failure is a warning.

        Args:
          trained: Trained model, its predictions and the data.
        """
        return {}
