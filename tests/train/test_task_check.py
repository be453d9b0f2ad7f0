"""A task, a model and data that do not fit are told so before the first step, in terms of the contract."""

import dataclasses

import jax.numpy as jnp
import optax
import pytest

import deeplab as dl
from deeplab.core.errors import UserError
from deeplab.metrics import Mean
from deeplab.tasks import Classification, Loss, Task
from tests import toys


@dataclasses.dataclass(frozen=True)
class Wrong(Task):
    """Returns what it is given a function for."""

    made: object = None
    fields: tuple[str, ...] = ("image",)

    def loss(self, apply, batch, key):
        outputs, variables = apply(*self.inputs(batch), train=True, key=key)
        return self.made(Mean.of(jnp.sum(outputs**2, axis=1), batch["weight"]), variables, batch)


@pytest.mark.parametrize(
    ("made", "text"),
    [
        (
            lambda mean, rest, batch: mean.total,
            r"Wrong.loss returns an array float32\[\]; expected Loss\(loss, met",
        ),
        (lambda mean, rest, batch: (mean, {}), "Wrong.loss returns a tuple"),
        (lambda mean, rest, batch: None, "Wrong.loss returns None"),
        (
            lambda mean, rest, batch: Loss(mean.total, {}, rest),
            "that Wrong.loss returns is an array",
        ),
        (lambda mean, rest, batch: Loss(mean, None, rest), "'metrics' of Wrong.loss is None"),
        (lambda mean, rest, batch: Loss(mean, {"mae": mean.total}, rest), "'mae' of Wrong.loss is an array"),
        (
            lambda mean, rest, batch: batch["target"],
            "looks for 'target', which is not there; a batch of Toy",
        ),
    ],
)
def test_a_wrong_loss(made, text):
    experiment = dataclasses.replace(toys.experiment(), task=Wrong(made))
    with pytest.raises(UserError, match=text):
        dl.fit(experiment)


def test_a_wrong_field():
    experiment = dataclasses.replace(toys.experiment(), task=Classification(fields=("imag",)))
    with pytest.raises(UserError, match=r"(?s)cannot read a batch of Toy.*'imag'.*A batch holds \{'image'"):
        dl.fit(experiment)


def test_a_float_in_an_if_of_a_sweep():
    def experiment(rate: float = 0.1) -> dl.Experiment:
        optimizer = optax.sgd(rate if rate > 0 else 0.1)
        return dl.Experiment(toys.Toy(steps=4), toys.Net(), Classification(), optimizer)

    with pytest.raises(UserError, match=r"one of its floats \(rate\) in `if`.*dl.StaticFloat"):
        dl.sweep(experiment, {"rate": [0.1, 0.2]})


def test_a_loaded_run_is_not_given_other_arguments(tmp_path):
    import functools

    dl.fit(functools.partial(toys.experiment, steps=4), run_dir=tmp_path / "run")
    with pytest.raises(UserError, match="made with steps=4, and load was given steps=8"):
        dl.load(tmp_path / "run", functools.partial(toys.experiment, steps=8))
    assert dl.load(tmp_path / "run", functools.partial(toys.experiment, steps=4)).step == 4
