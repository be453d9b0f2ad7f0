"""Numbers out of their range are refused where they are used, in Python and on the command line."""

import ast
import dataclasses
import math
import re
from pathlib import Path

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import deeplab as dl
from deeplab.core import ranges
from deeplab.core.errors import UserError
from deeplab.core.ranges import Range

NUMBERS = st.one_of(st.integers(-(2**70), 2**70), st.floats(allow_nan=True), st.booleans())


@given(NUMBERS, st.floats(-5, 5), st.floats(-5, 5))
def test_a_range_is_its_inequalities(value, low, high):
    assert (value in Range(at_least=low, below=high)) == (math.isfinite(value) and low <= value < high)
    assert (value in Range(above=low, at_most=high)) == (math.isfinite(value) and low < value <= high)


@pytest.mark.parametrize(
    ("interval", "text"),
    [
        (ranges.COUNT, "1 or more"),
        (ranges.RATE, "0 or more and below 1"),
        (ranges.FRACTION, "0 or more and up to 1"),
        (ranges.POSITIVE, "above 0"),
        (ranges.SEED, "0 or more and below 4294967296"),
    ],
)
def test_a_range_tells_its_ends(interval, text):
    assert str(interval) == text


@dataclasses.dataclass(frozen=True)
@ranges.checked(rate=ranges.RATE, widths=ranges.COUNT)
class Record:
    rate: float = 0.0
    widths: tuple[int, ...] = ()
    made: list = dataclasses.field(default_factory=list)

    def __post_init__(self):
        self.made.append(self.rate)


@ranges.checked(rate=ranges.RATE)
class Net(nn.Module):
    rate: float = 0.0

    @nn.compact
    def __call__(self, x):
        return nn.Dense(1)(x) * (1 - self.rate)


@ranges.checked(rate=ranges.RATE)
def function(first, rate=0.0):
    return first, rate


@pytest.mark.parametrize("made", [Record, Net, lambda rate: function(1, rate), lambda rate: function(1, rate=rate)])
@pytest.mark.parametrize("value", [1.5, -1e-9, 1, math.nan, math.inf, np.float32(2), np.array(1.0), jnp.array(-1.0)])
def test_a_number_out_of_its_range_is_refused(made, value):
    with pytest.raises(UserError, match=r"rate is .*, expected 0 or more and below 1 "):
        made(rate=value)
    assert made(rate=0.5)


def test_each_number_of_a_sequence_is_checked():
    with pytest.raises(UserError, match=r"widths is 0, expected 1 or more \(an argument of Record\)"):
        Record(widths=(4, 0))
    assert Record(0.25, (4, 2)).made == [0.25]


def test_a_tracer_passes():
    x = jnp.ones((1, 2))
    variables = jax.jit(Net().init)(jax.random.key(0), x)
    out = jax.jit(lambda rate: Net(rate).apply(variables, x))(0.5)
    np.testing.assert_allclose(out, 0.5 * Net().apply(variables, x), rtol=1e-6)


def test_a_range_of_no_argument_is_refused():
    with pytest.raises(TypeError, match="Record has no argument 'other'"):
        ranges.checked(other=ranges.RATE)(Record)


@pytest.mark.parametrize(
    "make",
    [
        lambda: dl.models.MLP(num_classes=2, dropout=1.5),
        lambda: dl.models.GPT(vocab_size=5, width=0),
        lambda: dl.models.ResNet(num_classes=2, width=-8),
        lambda: dl.models.CNN(num_classes=2, widths=(8, 0)),
        lambda: dl.tasks.Classification(label_smoothing=1.5),
        lambda: dl.tasks.Translation(str, beam=0),
        lambda: dl.optim.warmup_cosine(1e-3, 100, warmup_fraction=2.0),
        lambda: dl.optim.warmup_linear(-1e-3, 100),
        lambda: dl.optim.clip(0.0),
        lambda: dl.data.Images("digits", batch_size=0, epochs=1),
        lambda: dl.data.Images("digits", epochs=0),
        lambda: dl.data.Images("digits", epochs=1, train_fraction=0.0),
        lambda: dl.data.Images("digits", epochs=1.5),
        lambda: dl.data.Images("digits", batch_size=8.5, epochs=1),
        lambda: dl.data.augment.flip(1.5),
        lambda: dl.data.augment.resized_crop(4, 4, area=(0.1, 2.0)),
        lambda: dl.tasks.RatingPrediction(low=5, high=1),
        lambda: dl.tasks.errors.Huber(-1.0),
        lambda: dl.data.augment.shift(-1),
        lambda: dl.Runtime(accumulate=0),
        lambda: dl.Many(seeds=0),
        lambda: dl.Trials(halving=1),
    ],
)
def test_the_library_refuses_what_makes_no_sense(make):
    with pytest.raises(UserError, match="expected"):
        make()


DROPPED = re.compile(r"(.+_)?dropout")
COUNTED = re.compile(r"width|hidden|num_(?!best)\w+|batch_size|context|kernel_size")


def test_every_model_and_layer_gives_its_rates_and_sizes_a_range():
    """So that none is forgotten: fields of these names, and the decorator above their class."""
    package, without = Path(dl.__file__).parent, []
    for path in sorted([*package.glob("nn/**/*.py"), *package.glob("models/**/*.py")]):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.ClassDef) or "NamedTuple" in map(ast.unparse, node.bases):
                continue
            given = {k.arg for call in node.decorator_list if isinstance(call, ast.Call) for k in call.keywords}
            fields = {
                f.target.id: f for f in node.body if isinstance(f, ast.AnnAssign) and isinstance(f.target, ast.Name)
            }
            sizes = {k for k, f in fields.items() if COUNTED.fullmatch(k) and ast.unparse(f.annotation) == "int"}
            rates = {k for k in fields if DROPPED.fullmatch(k)}
            without += [f"{path.relative_to(package)}:{node.name}.{name}" for name in sorted((sizes | rates) - given)]
    assert not without


@pytest.mark.parametrize(
    ("function", "argument"),
    [
        (dl.representation.neighbors, "metric"),
        (dl.robust.calibration.reliability, "bins"),
        (dl.robust.shift.fpr_at_tpr, "positive"),
        (dl.robust.shift.ash, "kind"),
        (dl.robust.conformal.cross_sets, "per"),
        (dl.robust.conformal.threshold, "few"),
        (dl.robust.conformal.learn_then_test, "test"),
        (dl.robust.certify.linear_bounds, "intermediate"),
        (dl.robust.fairness.equalizing_thresholds, "constraint"),
        (dl.explain.smoothgrad, "moment"),
        (dl.data.augment.erase, "fill"),
        (dl.load, "checkpoint"),
    ],
    ids=lambda x: x if isinstance(x, str) else x.__name__,
)
def test_a_word_that_is_no_choice_is_not_taken_for_the_other_one(function, argument):
    with pytest.raises(UserError, match=rf"{argument} is 'nonsense', expected '\w+' or .* of {function.__name__}\)"):
        function(**{argument: "nonsense"})
