"""Wrong experiments as users write them: each is told before its first step, in terms of the contract, never by JAX.

Each function below is an experiment with one mistake, and the text that its message must hold: what is at fault, and
the mend.
"""

import dataclasses
import itertools
import re

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import deeplab as dl
from deeplab.core.errors import UserError
from deeplab.metrics import Mean
from deeplab.tasks import Classification, Loss, Regression, Task

X = np.random.default_rng(0).normal(size=(12, 3)).astype(np.float32)
LABEL = np.arange(12) % 3
WRONG = {}


def wrong(*texts):
    """Registers an experiment whose message must match each of the texts, regular expressions."""

    def keep(function):
        WRONG[function.__name__] = (function, texts)
        return function

    return keep


def table(eval_split="test", batch_size=4, **fields):
    fields = fields or {"x": X, "label": LABEL}
    return dl.data.Examples(
        {"train": fields, "test": fields}, batch_size=batch_size, num_steps=2, eval_split=eval_split
    )


def right(data=None, model=None, task=None, optimizer=None, **others):
    data = table() if data is None else data
    model = dl.models.MLP(3, (4,)) if model is None else model
    task = Classification(fields=("x",)) if task is None else task
    return dl.Experiment(data, model, task, optax.sgd(0.1) if optimizer is None else optimizer, **others)


class Net(nn.Module):
    """A dense layer, and what a function makes of its outputs."""

    outputs: int = 3
    made: object = staticmethod(lambda y: y)

    @nn.compact
    def __call__(self, x, train: bool = False):
        return self.made(nn.Dense(self.outputs, name="head")(x))


@dataclasses.dataclass(frozen=True)
class Squares(Task):
    """Squared errors of a number `y`, by a function of the outputs and the batch."""

    made: object
    fields: tuple[str, ...] = ("x",)

    def loss(self, apply, batch, key):
        outputs, variables = apply(*self.inputs(batch), train=True, key=key)
        return self.made(outputs, batch, variables)


def squares(made, outputs=1):
    return right(table(x=X, y=X[:, 0]), Net(outputs), Squares(made))


# What the function returns.


@wrong(
    r"returns_nothing \(.*test_wrong_experiments.py:\d+\) returned NoneType; an experiment returns a dl.Experiment",
    "`return` missing",
)
def returns_nothing():
    right()


@wrong("returned tuple; an experiment returns a dl.Experiment; put the parts into one")
def returns_a_tuple():
    return table(), Net(), Classification(), optax.sgd(0.1)


@wrong("returned Examples; an experiment returns a dl.Experiment")
def returns_data():
    return table()


@wrong("returned the class Experiment, which is not called; an experiment returns")
def returns_a_class():
    return dl.Experiment


@wrong(
    r"test_wrong_experiments.py:\d+: return dl.Experiment\(table\(\), Net\(\), Class.*missing 1 required.*'optimizer'"
)
def lacks_an_optimizer():
    return dl.Experiment(table(), Net(), Classification())


@wrong(r"dl.models.MLP\(num_clases=3\)\): .*unexpected keyword argument 'num_clases'")
def misspells_an_argument_of_a_model():
    return right(model=dl.models.MLP(num_clases=3))


# Its arguments.


@wrong(r"argument 'width' of default_of_another_type .*:\d+\) is 0.5 of type float, expected int")
def default_of_another_type(width: int = 0.5):
    return right(model=dl.models.MLP(3, (width,)))


@wrong("argument 'rate' .* is '0.1' of type str, expected float")
def text_for_a_float(rate: float = "0.1"):
    return right(optimizer=optax.sgd(rate))


@wrong("argument 'width' .* is None of type NoneType, expected int; annotate it int | None")
def none_for_an_integer(width: int = None):  # noqa: RUF013
    return right()


@wrong(r"argument 'scale' .* is an array float32\[3\]; arguments are numbers.* inside the function")
def array_as_default(scale: jax.Array = jnp.ones(3)):  # noqa: B008
    return right()


@wrong("the argument 'width'", "needs a type and a default|has no value; give it a default")
def no_default(width: int):
    return right(model=dl.models.MLP(3, (width,)))


@wrong("the argument 'options'", "needs a type and a default|has no name of its own")
def any_argument(**options):
    return right(**options)


@wrong(r"gives another experiment each time: model.features.0 is \d+, and then \d+.*np.random.default_rng\(0\)")
def draws_without_a_seed():
    return right(model=dl.models.MLP(3, (int(np.random.default_rng().integers(10**6)),)))


@wrong(r"gives another experiment each time: data.dataset.arrays.train.x is float32\[12, 3\], and then")
def makes_other_data_each_time():
    noise = np.random.default_rng().normal(size=X.shape).astype(np.float32)
    return right(table(x=noise, label=LABEL))


COUNTER = itertools.count(8)


@wrong("gives another experiment each time: model.features.0 is 8, and then 9")
def counts_its_calls():
    return right(model=dl.models.MLP(3, (next(COUNTER),)))


# Its parts.


@wrong("the model of the experiment is MLP, which is not called; expected a Flax Linen module")
def model_is_a_class():
    return right(model=dl.models.MLP)


@wrong("the model of the experiment is <lambda>, which is not called")
def model_is_a_function():
    return right(model=lambda x: x)


@wrong("the task of the experiment is Classification, which is not called")
def task_is_a_class():
    return right(task=Classification)


@wrong("the optimizer of the experiment is adamw, which is not called; expected an Optax optimizer such as")
def optimizer_is_a_function():
    return right(optimizer=optax.adamw)


@wrong("the optimizer of the experiment is the float 0.1; expected an Optax optimizer")
def optimizer_is_a_float():
    return right(optimizer=0.1)


@wrong(r"the data of the experiment is an array float32\[12, 3\]; expected data such as dl.data.Images")
def data_is_an_array():
    return right(X)


@wrong(r"the data of the experiment is a tuple \(float32\[12, 3\], int64\[12\]\); expected data")
def data_is_a_tuple():
    return right((X, LABEL))


@wrong("the monitor of the experiment is the str 'accuracy'; expected a monitor such as dl.Monitor")
def monitor_is_a_text():
    return right(monitor="accuracy")


@wrong("weight_decay is -0.1, expected 0 or more")
def negative_weight_decay(weight_decay: float = -0.1):
    return right(optimizer=optax.adamw(1e-3, weight_decay=weight_decay))


@wrong(r"momentum is 1.5, expected 0 or more and up to 1 \(decay, an argument of trace\)")
def momentum_above_one(momentum: float = 1.5):
    return right(optimizer=optax.sgd(0.1, momentum=momentum))


@wrong("beta is 1.0, expected 0 or more and below 1 .b1, an argument of")
def beta_of_one(beta: float = 1.0):
    return right(optimizer=optax.adam(1e-3, b1=beta))


@wrong("rate is nan, expected a finite number")
def rate_is_nan(rate: float = float("nan")):
    return right(optimizer=optax.sgd(rate))


@wrong("base_rate is -1.0, expected .* .peak, an argument of warmup_cosine")
def rate_below_zero(base_rate: float = -1.0):
    return right(optimizer=optax.sgd(dl.optim.warmup_cosine(base_rate, 10)))


# The model.


class Untrained(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.Dense(3)(x)


@wrong(r"Untrained \(.*:\d+\) cannot be called with `train`.* def __call__\(self, x, train: bool = False\)")
def model_without_train():
    return right(model=Untrained())


class Uncallable(nn.Module):
    width: int = 3


@wrong("Uncallable .* cannot be called with `train`")
def model_without_call():
    return right(model=Uncallable())


@wrong(r"the model returns None, expected one array \[4, K\]")
def model_returns_nothing():
    return right(model=Net(made=lambda y: None))


@wrong(r"the model returns a tuple \(float32\[4, 3\], float32\[4, 3\]\), expected one array \[4, K\]")
def two_outputs():
    return right(model=Net(made=lambda y: (y, y)))


@wrong(r"the model returns a dict \{'logits': float32\[4, 3\]\}, expected one array \[4, K\]")
def model_returns_a_dict():
    return right(model=Net(made=lambda y: {"logits": y}))


@wrong(r"the model returns an array float32\[3\], expected one array \[4, K\]")
def model_averages_the_batch():
    return right(model=Net(made=lambda y: y.mean(axis=0)))


@wrong(
    "a value of the batch or of the model is used in `if`",
    r"test_wrong_experiments.py:\d+: return right\(model=Net\(made=lambda y: y if y.sum",
)
def branches_on_a_value():
    return right(model=Net(made=lambda y: y if y.sum() > 0 else -y))


@wrong("labels up to 2 in 'label', which need 3 outputs, and Net has 2 .*outputs of Net to 3")
def fewer_logits_than_classes():
    return right(model=Net(2))


@wrong("MLP reads x, and Classification passes the fields x, label; give the task the fields that the model reads")
def model_of_fewer_inputs():
    return right(task=Classification(fields=("x", "label")))


# The data.


@wrong("labels up to 3 in 'label', which need 4 outputs", "number the labels from 0 if they begin at 1")
def classes_from_one():
    return right(table(x=X, label=LABEL + 1))


@wrong(r"'label' is float32\[4\], and Classification reads it as the numbers of classes; give integers from 0 on")
def labels_are_floats():
    return right(table(x=X, label=LABEL.astype(np.float32)))


@wrong(r"'label' is \[4, 1\] for 3 outputs of the model, expected the numbers of classes \[4\], as by label\[:, 0\]")
def labels_have_an_axis_more():
    return right(table(x=X, label=LABEL[:, None]))


@wrong(r"an image is \[3, 8, 8\], expected \[H, W, C\]: its channels come first; give np.moveaxis\(images, 1, -1\)")
def channels_first():
    images = {"image": np.zeros((12, 3, 8, 8), np.uint8), "label": LABEL}
    return right(dl.data.Images({"train": images, "test": images}, 4, num_steps=2), task=Classification())


@wrong(r"an image is \[8, 8\], expected \[H, W, C\]; add a channel by images\[..., None\]")
def images_without_channels():
    images = {"image": np.zeros((12, 8, 8), np.uint8), "label": LABEL}
    return right(dl.data.Images({"train": images, "test": images}, 4, num_steps=2), task=Classification())


@wrong("differ in length: 'x' 12, 'label' 11")
def unequal_arrays():
    return right(table(x=X, label=LABEL[:11]))


@wrong("'x' .*has dtype <U1, expected numbers or booleans; encode it as numbers")
def texts_as_inputs():
    return right(table(x=np.array(list("abcdefghijkl")), label=LABEL))


@wrong("arrays has no split 'val', only train, test")
def no_such_split():
    return right(table(eval_split="val"))


@wrong("data have epochs=None and num_steps=None, expected exactly one of them")
def endless_data():
    return right(dl.data.Examples({"train": {"x": X, "label": LABEL}}, 4))


@wrong("weights from nowhere: head/bias is .1, 3., expected .3.; skip it .skip=..head/bias")
def weights_of_other_shapes():
    def load(abstract):
        return jax.tree.map(lambda leaf: np.zeros((1, *leaf.shape), np.float32), abstract)

    return right(weights=dl.Weights("nowhere", load))


# The task.


class Lossless(Task):
    def los(self, apply, batch, key): ...


@wrong(
    r"Lossless \(.*:\d+\) has no `loss`, which a Task must define: def loss\(self, apply, batch, key\)",
    "did you mean 'loss'",
)
def task_without_a_loss():
    return right(task=Lossless())


@wrong("(?s)cannot read a batch of Examples.*'images'.*A batch holds .*'x'")
def no_such_field():
    return right(task=Classification(fields=("images",)))


@wrong("fields of Classification is the text 'x', expected names: fields=.'x',.")
def fields_are_a_text():
    return right(task=Classification(fields="x"))


@wrong("Squares.loss looks for 'target', which is not there; a batch of Examples holds .*y float32.4.")
def no_such_target():
    return squares(lambda out, batch, rest: Loss(Mean.of(out[:, 0] - batch["target"]), {}, rest))


@wrong(
    r"arrays \[4, 1\] and \[4\] become \[4, 4\], every example against every other",
    r"test_wrong_experiments.py:\d+",
    r"x\[:, 0\]",
)
def broadcasts_in_the_loss():
    def loss(out, batch, rest):
        return Loss(Mean.of(jnp.mean((out - batch["y"]) ** 2, axis=-1), batch["weight"]), {}, rest)

    return squares(loss)


@wrong(r"values \[4, 4\] of a mean have weights \[4\]|every example against every other")
def broadcasts_in_a_mean():
    return squares(lambda out, batch, rest: Loss(Mean.of((out - batch["y"][None]) ** 2, batch["weight"]), {}, rest))


@wrong(r"the model's outputs are \[4, 3\] for targets \[4\], expected \[4, 1\]")
def three_outputs_for_a_number():
    return right(table(x=X, target=X[:, 0]), Net(3), Regression(fields=("x",)))


@wrong(r"the loss that Squares.loss returns is an array float32\[\]; expected Loss\(loss, metrics, variables\)")
def loss_is_a_scalar():
    return squares(lambda out, batch, rest: Loss(jnp.mean(out), {}, rest))


@wrong(r"Squares.loss returns a tuple \(float32\[\], dict {}\); expected Loss")
def loss_is_a_pair():
    return squares(lambda out, batch, rest: (jnp.mean(out), {}))


@wrong(r"values \[\] of a mean have weights \[4\], expected the same shape")
def mean_of_a_scalar():
    return squares(lambda out, batch, rest: Loss(Mean.of(jnp.mean(out), batch["weight"]), {}, rest))


@wrong(r"'loss' of Squares.loss is a mean of an array float32\[4\] by .*expected two scalars")
def mean_that_is_not_summed():
    return squares(lambda out, batch, rest: Loss(Mean(out[:, 0], batch["weight"]), {}, rest))


@wrong(r"'mae' of Squares.loss is an array float32\[4\]; expected metrics by name")
def metric_is_an_array():
    return squares(lambda out, batch, rest: Loss(Mean.of(out[:, 0], batch["weight"]), {"mae": out[:, 0]}, rest))


@wrong("the variables that Squares.loss returns are None, expected those of the model, .*apply.*train=True")
def forgets_the_variables():
    return squares(lambda out, batch, rest: Loss(Mean.of(out[:, 0], batch["weight"]), {}, None))


@wrong(
    r"Squares.loss cannot use what Net returns, an array float32\[4, 1\]: .*incompatible shapes",
    r"test_wrong_experiments.py:\d+",
)
def shapes_that_never_fit():
    return squares(lambda out, batch, rest: Loss(Mean.of(out[:, 0] - batch["x"][:3, 0]), {}, rest))


@dataclasses.dataclass(frozen=True)
class Predicting(Classification):
    fields: tuple[str, ...] = ("x",)
    made: object = None

    def predict(self, apply, batch, key):
        return self.made(apply(*self.inputs(batch))[0])

    def metrics(self, apply, batch, key):
        return Task.metrics(self, apply, batch, key)


@wrong(r"Predicting.predict returns an array float32\[4, 3\]; expected arrays .B, .... by name")
def predictions_without_a_name():
    return right(task=Predicting(made=lambda out: out))


@wrong(r"'mean' of Predicting.predict is an array float32\[\], expected an array \[4, ...\]: a row for each example")
def prediction_of_the_whole_batch():
    return right(task=Predicting(made=lambda out: {"mean": out.mean()}))


@wrong("the monitor 'acuracy' is no metric of the evaluation; did you mean 'accuracy'")
def monitors_no_metric():
    return right(monitor=dl.Monitor("acuracy", "max"))


@wrong("class_weights is nan, expected 0 or more")
def class_weight_is_nan():
    return right(task=Classification(fields=("x",), class_weights=(1.0, float("nan"), 1.0)))


@wrong("2 class_weights for 3 classes; give one for each")
def too_few_class_weights():
    return right(task=Classification(fields=("x",), class_weights=(1.0, 2.0)))


def told(call, function, texts, directory, monkeypatch):
    """Asserts that a call ends with a message that matches the texts, before the first step."""
    monkeypatch.chdir(directory)
    with pytest.raises(UserError) as caught:
        call(function)
    message = str(caught.value)
    assert all(re.search(text, message) for text in texts), message
    assert not re.search(r"Tracer|jaxlib|flax\.|site-packages|http", message), message
    assert not list(directory.glob("run/metrics.jsonl"))


@pytest.mark.parametrize("name", WRONG)
def test_is_told_before_the_first_step(name, tmp_path, monkeypatch):
    told(dl.fit, *WRONG[name], tmp_path, monkeypatch)


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (momentum_above_one, "--momentum is 1.5, expected 0 or more and up to 1 .decay, an argument of trace"),
        (rate_below_zero, "--base-rate is -1.0, expected .* .peak, an argument of warmup_cosine"),
    ],
    ids=["optax", "deeplab"],
)
def test_a_command_line_names_the_flag(function, words, tmp_path, monkeypatch):
    told(lambda f: dl.main(f, ["train", "--run-dir", "run"]), function, (words,), tmp_path, monkeypatch)


def test_what_may_be_a_mistake_is_remarked(tmp_path, capsys):
    def experiment(batch_size: int = 64, num_classes: int = 5) -> dl.Experiment:
        return right(table(batch_size=batch_size), Net(num_classes))

    dl.main(experiment, ["train", "--run-dir", str(tmp_path / "run")])
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("hint: ")]
    assert lines == [
        "hint: a batch of 64 is larger than the 12 training examples, so that one step reads an example several times; "
        "a --batch-size of 12 or less does not",
        "hint: Net has 5 outputs, and 'label' has 3 classes: the others can only be wrong",
    ]
    dl.main(experiment, ["train", "--batch-size", "12", "--num-classes", "3", "--run-dir", str(tmp_path / "other")])
    assert "hint: " not in capsys.readouterr().out


MANY = ["returns_nothing", "default_of_another_type", "model_is_a_class", "model_without_train", "two_outputs",
        "broadcasts_in_the_loss", "task_without_a_loss", "momentum_above_one", "draws_without_a_seed"]  # fmt: skip


@pytest.mark.parametrize("name", MANY)
@pytest.mark.parametrize(
    "call",
    [
        lambda function: dl.main(function, ["train", "--run-dir", "run"]),
        lambda function: dl.main(function, ["sweep", "--seeds", "2", "--run-dir", "run"]),
        lambda function: dl.sweep(function, {}, seeds=2),
        dl.summary,
        dl.plan,
    ],
    ids=["train", "sweep", "dl.sweep", "summary", "plan"],
)
def test_is_told_by_every_verb(name, call, tmp_path, monkeypatch):
    if name == "draws_without_a_seed" and call in (dl.summary, dl.plan):
        pytest.skip("A summary of one of them is right.")
    told(call, *WRONG[name], tmp_path, monkeypatch)


def in_an_if(scale: float = 1.0, rate: float = 0.1):
    return right(optimizer=optax.sgd(rate if rate > 0 else 0.1))


def in_int(scale: float = 8.0, rate: float = 0.1):
    return right(model=dl.models.MLP(3, (int(8 * rate),)))


def in_a_range(scale: float = 1.0, rate: float = 4.0):
    return right(model=Net(made=lambda y: sum((y for _ in range(int(rate))), y)))


def in_numpy(scale: float = 1.0, rate: float = 0.1):
    return right(optimizer=optax.sgd(np.exp(rate)))


@pytest.mark.parametrize("function", [in_an_if, in_int, in_a_range, in_numpy], ids=lambda f: f.__name__)
def test_a_float_that_cannot_be_traced_is_told_by_a_sweep(function, tmp_path, monkeypatch):
    text = r"uses one of its floats \(rate\) in `if`, int\(\) or a shape, .*: declare that argument dl.StaticFloat"
    line = r"test_wrong_experiments.py:\d+: return right\(.*rate"
    told(lambda f: dl.sweep(f, {"rate": [0.5, 1.5]}), function, (text, line), tmp_path, monkeypatch)


def test_there_are_thirty_at_least():
    assert len(WRONG) >= 30
