"""What a way of training buys: probe, summary and page of the runs of `experiments.study_robustness`."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np

from deeplab.core.runtime import Runtime
from deeplab.data.base import Batch, raw_spec
from deeplab.experiment import Experiment
from deeplab.metrics.base import Metrics
from deeplab.report.text import Html, table, tag
from deeplab.robust.corruptions import common
from deeplab.robust.corruptions.evaluation import on
from deeplab.robust.training.wrapper import Wrapper
from deeplab.scale.plan import costs
from deeplab.train.bind import bind
from deeplab.train.initialize import init
from deeplab.train.state import State, eval_key, eval_state
from deeplab.train.step import make_eval, make_step, prepared

CORRUPTIONS = ("gaussian_noise", "impulse_noise", "defocus_blur", "pixelate", "contrast")
SEVERITY = 3
BINS = 15
FIGURES = {
    "accuracy": "accuracy",
    "attacked_accuracy": "under attack",
    "corrupted_accuracy": "corrupted",
    "ece": "calibration error",
}

Summary = list[dict[str, Any]]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class CalibrationError:
    """The expected calibration error, from sums of each bin of confidence: [3, M] of weights, confidences, hits."""

    sums: Any

    @classmethod
    def of(cls, probability: jax.Array, label: jax.Array, weight: jax.Array) -> CalibrationError:
        """Of probabilities [B, K] and labels [B]."""
        confidence, right = probability.max(-1), probability.argmax(-1) == label
        member = jax.nn.one_hot(jnp.ceil(confidence * BINS).astype(jnp.int32) - 1, BINS)  # [B, M]
        return cls(jnp.stack([weight, weight * confidence, weight * right]) @ member)

    def __add__(self, other: CalibrationError) -> CalibrationError:
        return CalibrationError(self.sums + other.sums)

    def compute(self) -> float:
        """The error."""
        weight, confidence, right = np.asarray(self.sums, np.float64)
        return float(np.abs(confidence - right).sum() / weight.sum())


def probe(experiment: Experiment, runtime: Runtime = Runtime()) -> Callable[[State, Batch], Metrics]:
    """Makes the probe: the metrics of an evaluation, `ece`, and `corrupted_accuracy`, the mean over `CORRUPTIONS`."""
    evaluate, wrapper = make_eval(experiment, runtime), cast(Wrapper, experiment.task)

    def measure(state: State, batch: Batch) -> Metrics:
        averaged, clean = eval_state(state), prepared(experiment.data, batch)
        apply, key = bind(experiment, averaged, clean, runtime), eval_key(averaged)
        of_inner = dataclasses.replace(wrapper, watch=None)
        changed = [on("image", common(name, SEVERITY))(clean, key) for name in CORRUPTIONS]
        corrupted = [of_inner.metrics(apply, one, key)["accuracy"] for one in changed]
        probability = jax.nn.softmax(apply(clean["image"])[0])
        return evaluate(state, batch) | {
            "corrupted_accuracy": sum(corrupted[1:], corrupted[0]),
            "ece": CalibrationError.of(probability, clean["label"], clean["weight"]),
        }

    return measure


def step_flops(experiment: Experiment) -> float:
    """FLOPs of the products of a training step, those of its attack included."""
    state = jax.eval_shape(lambda: init(experiment, jax.random.key(0)))
    program = jax.make_jaxpr(make_step(experiment))(state, raw_spec(experiment.data))
    return costs.flops(costs.operations(program), products_only=True)


def summarize(build: Callable[..., Experiment], rows: Sequence[Mapping[str, Any]]) -> Summary:
    """For each way its figures, as means and standard deviations over seeds, and the cost of a step.

    Args:
      build: The experiment, of whose arguments `way` is one; the first way is the unit of the costs.
      rows: Rows of the runs.
    """
    ways = dict.fromkeys(row["arguments"]["way"] for row in rows)
    flops = {way: step_flops(build(way=way)) for way in ways}
    found: Summary = []
    for way in ways:
        runs = [row for row in rows if row["arguments"]["way"] == way]
        told = {name: [run["last"][name] for run in runs] for name in FIGURES}
        mean = {name: float(np.mean(values)) for name, values in told.items()}
        deviation = {name: float(np.std(x, ddof=1)) if len(x) > 1 else 0.0 for name, x in told.items()}
        cost, seconds = flops[way] / flops[next(iter(ways))], float(np.mean([run["seconds"] for run in runs]))
        found.append({"way": way, "mean": mean, "deviation": deviation, "cost": cost, "seconds": seconds})
    return found


def sections(found: Summary) -> list[Html]:
    """The table."""
    head = ["way", *FIGURES.values(), "cost of a step", "seconds a run"]
    body = [
        [
            each["way"],
            *(f"{each['mean'][name]:.1%} \N{PLUS-MINUS SIGN} {each['deviation'][name]:.1%}" for name in FIGURES),
            f"{each['cost']:.1f}",
            f"{each['seconds']:.0f}",
        ]
        for each in found
    ]
    told = (
        "Means and standard deviations over seeds, of the last step. Costs are the products of a step, in those of "
        f"{found[0]['way']!r}. Corrupted is the mean over {', '.join(CORRUPTIONS)} at severity {SEVERITY} of 5."
    )
    return [tag("h2", "What each way of training buys"), tag("p", told), table(head, body, class_="numbers")]
