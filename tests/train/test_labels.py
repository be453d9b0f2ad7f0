"""A label without an output is an error before the first step, by declaration or by one look at the labels."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import optax
import pytest

import deeplab as dl
from deeplab.core.errors import UserError
from deeplab.tasks import (
    CTC,
    Classification,
    Clinical,
    LanguageModeling,
    Ranking,
    RatingPrediction,
    Segmentation,
    Softmax,
)
from deeplab.train.contracts.checked import checked as check_all
from tests import toys


def checked(data, model, task):
    made = dl.Experiment(data, model, task, optax.sgd(0.1))
    check_all(made)


def table(**fields):
    return dl.data.Examples({"train": fields, "test": fields}, batch_size=4, num_steps=2)


X, LABEL = np.zeros((8, 3), np.float32), np.arange(8) % 4


def test_fewer_outputs_than_declared_classes():
    digits = dl.data.Images("digits", batch_size=8, num_steps=2)
    text = "the data declare labels up to 9 in 'label', which need 10 outputs, and MLP has 7 .*num_classes of MLP to 10"
    with pytest.raises(UserError, match=text):
        dl.fit(dl.Experiment(digits, dl.models.MLP(7, (8,)), Classification(), optax.sgd(0.1)))
    checked(digits, dl.models.MLP(10, (8,)), Classification())
    checked(digits, dl.models.MLP(12, (8,)), Classification())  # more outputs than classes are allowed


@pytest.mark.parametrize(
    ("data", "model", "task", "text"),
    [
        (table(x=X, label=LABEL), dl.models.MLP(3, (4,)), Classification(fields=("x",)), "labels up to 3 in 'label'"),
        (table(x=X, label=LABEL), dl.models.MLP(3, (4,)), Clinical(("a", "b", "c")), "labels up to 3 in 'label'"),
        (
            table(x=X, label=LABEL),
            dl.models.MLP(4, (4,)),
            Clinical(("a", "b")),
            "4 outputs, and the task 2 class names",
        ),
        (
            table(x=X, label=np.zeros((8, 5), np.float32)),
            dl.models.MLP(4, (4,)),
            Classification(fields=("x",)),
            "labels up to 4 in 'label'.*MLP has 4",
        ),
        (
            dl.data.Text("tiny_shakespeare", context=8, batch_size=2),
            dl.models.GPT(60, 1, 1, 8, 8),
            LanguageModeling(),
            "labels up to 64 in 'targets'.*number of outputs of the model to 65",
        ),
    ],
)
def test_each_task_with_labels(data, model, task, text):
    with pytest.raises(UserError, match=text):
        checked(data, model, task)


class Fixed:
    """An `Apply` of fixed outputs."""

    def __init__(self, outputs, **module):
        self.outputs, self.module = outputs, type("Module", (), module)

    def __call__(self, *inputs, **_):
        return self.outputs, {}


@pytest.mark.parametrize(
    ("task", "apply", "batch", "field", "outputs"),
    [
        (
            CTC(("a", "b", "c")),
            Fixed(jnp.zeros((4, 6, 3))),
            {
                "features": np.zeros((4, 6, 1)),
                "frames": np.full(4, 6),
                "label": np.ones((4, 2)),
                "label_length": np.ones(4),
            },
            "label",
            (3, None),
        ),
        (
            CTC(("a",)),
            Fixed(jnp.zeros((4, 6, 3))),
            {
                "features": np.zeros((4, 6, 1)),
                "frames": np.full(4, 6),
                "label": np.ones((4, 2)),
                "label_length": np.ones(4),
            },
            "label",
            (2, None),
        ),
        (Segmentation(("a", "b"), void=9), Fixed(jnp.zeros((4, 2, 2, 2))), {"image": 0, "mask": 0}, "mask", (2, None)),
        (
            Ranking(Softmax(), fields=()),
            Fixed((jnp.zeros((4, 1, 9)),), num_items=5),
            {"seen": np.zeros((4, 9), bool)},
            "targets",
            (5, 9),
        ),
        (RatingPrediction(fields=()), Fixed(jnp.zeros((4, 5))), {"rating": np.zeros((4, 9))}, "rating", (5, 9)),
    ],
)
def test_the_number_of_outputs_of_a_task(task, apply, batch, field, outputs):
    found = task.labels(apply, {name: jnp.asarray(x) for name, x in batch.items()})[field]
    assert (found.outputs, found.needed) == outputs


def test_a_rating_of_0_needs_a_mask():
    task = RatingPrediction(fields=(), low=-10, high=10)
    with pytest.raises(UserError, match="ratings are from -10 to 10, and 0 stands for no rating"):
        task.labels(Fixed(jnp.zeros((4, 5))), {"rating": jnp.zeros((4, 5))})
    assert task.labels(Fixed(jnp.zeros((4, 5))), {"rating": jnp.zeros((4, 5)), "rated": jnp.ones((4, 5), bool)})


def test_labels_of_which_nothing_is_declared_are_looked_at():
    """The toy's labels are 0 to 3, and its data say so nowhere."""
    made = toys.experiment(steps=2)
    dl.fit(made)
    few = dataclasses.replace(made, model=dl.models.MLP(3, (4,)))
    with pytest.raises(
        UserError, match="split 'train' holds labels up to 3 in 'label', which need 4 outputs, and MLP has 3"
    ):
        dl.fit(few)


def test_a_label_that_prepare_changes_is_looked_at():
    def halves(example, key):
        return example | {"label": example["label"] // 2}

    data = dataclasses.replace(table(x=X, label=LABEL), prepare=halves)
    dl.fit(dl.Experiment(data, dl.models.MLP(2, (4,)), Classification(fields=("x",)), optax.sgd(0.1)))
    lower = dataclasses.replace(data, prepare=lambda example, key: example | {"label": example["label"] - 1})
    with pytest.raises(UserError, match="split 'train' holds the label -1 in 'label', which Classification would read"):
        dl.fit(dl.Experiment(lower, dl.models.MLP(4, (4,)), Classification(fields=("x",)), optax.sgd(0.1)))


@pytest.mark.parametrize("kind", [np.int32, np.float32])
@pytest.mark.parametrize("bad", [-1, 2])
def test_a_label_that_is_neither_there_nor_not(kind, bad):
    """Its cross-entropy has no bound: -1 and 1, as of a hinge loss, trained in silence."""
    several = np.tile(np.array([0, 1, 1], kind), (8, 1))

    def trained(label):
        data = table(x=X, label=label)
        task = dl.tasks.MultiLabel(fields=("x",))
        dl.fit(dl.Experiment(data, dl.models.MLP(3, (4,)), task, optax.sgd(0.1)))

    trained(several)
    trained(several > 0)
    several[3, 1] = bad
    with pytest.raises(UserError, match=rf"split 'train' holds the label {bad}.* in 'label', and MultiLabel reads "
                       "whether each label is there; give truth values"):  # fmt: skip
        trained(several)


def test_masked_labels_may_be_anything():
    tokens = np.tile(np.arange(4), (8, 1))
    targets, mask = np.where(tokens == 0, -100, tokens), (tokens > 0).astype(np.float32)
    data = table(tokens=tokens, targets=targets, mask=mask)
    dl.fit(dl.Experiment(data, dl.models.GPT(4, 1, 1, 8, 4), LanguageModeling(), optax.sgd(0.1)))
    with pytest.raises(UserError, match="holds labels up to 3 in 'targets'"):
        dl.fit(dl.Experiment(data, dl.models.GPT(3, 1, 1, 8, 4), LanguageModeling(), optax.sgd(0.1)))


def test_a_sweep_is_checked_too():
    def experiment(learning_rate: float = 0.1) -> dl.Experiment:
        return dl.Experiment(toys.Toy(steps=2), dl.models.MLP(3, (4,)), Classification(), optax.sgd(learning_rate))

    with pytest.raises(UserError, match="which need 4 outputs, and MLP has 3"):
        dl.sweep(experiment, {"learning_rate": [0.1, 0.2]})
