"""Arguments of every type: the recorded command makes this very run, and the record gives them back."""

import dataclasses
import enum
import functools
import inspect
import json
import math
import shlex
from pathlib import Path
from typing import Annotated, Literal

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

import deeplab as dl
from deeplab import report
from deeplab.cli import arguments as cli
from deeplab.cli.main import VERBS, main
from deeplab.core.arguments import from_json, same, to_json, told
from deeplab.core.entry import Entry
from deeplab.core.errors import UserError
from deeplab.core.text import dumps, loads
from deeplab.core.words import python_text
from deeplab.runs.identity import provenance
from deeplab.verbs.recipe import Recipe
from tests import toys


class Color(enum.Enum):
    RED = "r"
    NAN = "NaN"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


@dataclasses.dataclass(frozen=True)
class Inner:
    depth: int | None = 3
    hue: Color = Color.RED


@dataclasses.dataclass  # its instances are mutable, and have no hash
class Config:
    rate: float = 0.1
    inner: Inner = dataclasses.field(default_factory=Inner)
    folder: Path = Path("a")


numbers = st.integers(-(10**20), 10**20)
floats = st.floats() | st.sampled_from([1e-300, -1e-300, math.inf, -math.inf, math.nan, -0.0, 5e-324])
tricky = ["", " ", "-", "--", "-x", "--run-dir", "--x=y", "None", "True", "1", "nan", "a\nb", "'\"`$(", "[b]", "\\",
          "é", "a,b", "1..2", "=", "#", "@", "NaN"]  # fmt: skip
texts = st.text(st.characters(exclude_characters="\0", codec="utf-8")) | st.sampled_from(tricky)
paths = texts.map(Path)
colors, levels = st.sampled_from(Color), st.sampled_from(Level)
inners = st.builds(Inner, st.none() | numbers, colors)
configs = st.builds(Config, floats, inners, paths)
TYPES = [
    (int, numbers), (float, floats), (str, texts), (bool, st.booleans()), (Path, paths), (Color, colors),
    (Level, levels), (int | None, st.none() | numbers), (float | None, st.none() | floats),
    (str | None, st.none() | texts), (bool | None, st.none() | st.booleans()), (Path | None, st.none() | paths),
    (Color | None, st.none() | colors), (int | str, numbers | texts), (float | str, floats | texts),
    (Path | str, paths | texts), (Color | Level, colors | levels),
    (Literal["a", "-b", 3, None], st.sampled_from(["a", "-b", 3, None])),
    (Literal[1, "1"], st.sampled_from([1, "1"])), (Annotated[float, "static"], floats),
    (tuple[int, ...], st.lists(numbers, max_size=3).map(tuple)),
    (tuple[float, ...], st.lists(floats, max_size=3).map(tuple)),
    (tuple[str, ...], st.lists(texts, max_size=3).map(tuple)),
    (tuple[Path, ...] | None, st.none() | st.lists(paths, max_size=3).map(tuple)),
    (tuple[int, str], st.tuples(numbers, texts)), (list[int], st.lists(numbers, max_size=3)),
    (list[Color], st.lists(colors, max_size=3)), (Inner, inners), (Config, configs),
    (tuple[tuple[int, int], ...], st.lists(st.tuples(numbers, numbers), max_size=2).map(tuple)),
    (dict[str, float], st.dictionaries(texts, floats, max_size=2)),
    (tuple[Inner, ...], st.lists(inners, max_size=2).map(tuple)),
]  # fmt: skip


@st.composite
def signatures(draw):
    """A function of up to three parameters, with defaults, and values for them."""
    chosen = draw(st.lists(st.sampled_from(TYPES), min_size=1, max_size=3))
    if sum(kind in (Inner, Config) for kind, _ in chosen) > 1:
        chosen = chosen[:1]  # the flags of two dataclasses have the same names
    names = ["x", "long_name", "z9"][: len(chosen)]
    parameters = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=draw(values), annotation=kind)
        for name, (kind, values) in zip(names, chosen, strict=True)
    ]

    def experiment(**arguments): ...

    experiment.__signature__ = inspect.Signature(parameters)
    experiment.__annotations__ = {p.name: p.annotation for p in parameters}
    return experiment, {name: draw(values) for name, (_, values) in zip(names, chosen, strict=True)}


def equal(a, b):
    """Equality by value and type, in which NaN is NaN; a text of its own, not the code under test."""
    if isinstance(a, tuple | list):
        return type(a) is type(b) and len(a) == len(b) and all(map(equal, a, b))
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(equal(a[k], b[k]) for k in a)
    if dataclasses.is_dataclass(a):
        return type(a) is type(b) and all(equal(x, y) for x, y in zip(vars(a).values(), vars(b).values(), strict=True))
    return type(a) is type(b) and (a == b or (a != a and b != b)) and repr(a) == repr(b)


@settings(max_examples=40, deadline=None, phases=[Phase.generate])  # a parser takes 0.1 s
@given(signatures(), st.integers(0, 9))
def test_the_recorded_command_makes_this_very_run(signature, seed):
    """Or it is the Python call, which does."""
    function, values = signature
    recipe = Recipe(function, values, "toys", seed)
    command = recipe.command("train", run_dir=Path("runs/-x [1]"))
    if command.startswith("# No command line gives these arguments"):
        call = command.splitlines()[-1]
        known = {"dl": fake_dl(), "functools": functools, "experiment": function, "Path": Path}
        known |= {kind.__name__: kind for kind in (Color, Level, Inner, Config)}
        made, options = eval(call, known)
        assert options == {"run_dir": "runs/-x [1]", "seed": seed}
        defaults = {p.name: p.default for p in inspect.signature(function).parameters.values()}
        found = defaults | getattr(made, "keywords", {})
    else:
        words = shlex.split(command)
        assert words[1:4] == ["-m", "toys", "train"]
        call = cli.parse(function, "toys", VERBS, words[3:])
        found = call.arguments
        assert (call.flags.seed, call.flags.run_dir) == (seed, Path("runs/-x [1]"))
    assert found.keys() == values.keys()
    assert all(equal(found[name], value) for name, value in values.items()), command


def fake_dl():
    class Module:
        @staticmethod
        def fit(made, **options):
            return made, options

    return Module


@pytest.mark.parametrize(
    ("kind", "default", "value", "words"),
    [
        (int | None, 3, None, "--x None"),
        (tuple[int, ...], (1, 2), (), "--x"),
        (tuple[float, ...], (1.0,), (-1e-300, -math.inf), "--x -1e-300 -inf"),
        (float, 1.0, math.nan, "--x nan"),
        (str, "a", "--seed", "--x=--seed"),
        (str, "a", "it's\n[b]", "--x 'it'\"'\"'s\n[b]'"),
        (str, "a", "", "--x ''"),
        (bool, True, False, "--no-x"),
        (bool | None, None, False, "--x False"),
        (Color, Color.RED, Color.NAN, "--x NAN"),
        (Path, Path("a"), Path("-b c"), "'--x=-b c'"),
        (Config, Config(), Config(inner=Inner(None)), "--depth None"),
        (Literal["1", 2], 2, "1", "--x 1"),
    ],
    ids=repr,
)
def test_the_words_of_each_type(kind, default, value, words):
    def experiment(x=default): ...

    experiment.__annotations__ = {"x": kind}
    command = Recipe(experiment, {"x": value}, "toys").command("train")
    assert command.partition("toys train ")[2] == words


def test_what_no_command_line_gives_is_a_python_call():
    def experiment(name: str | None = "a", more: tuple[str, ...] = (), width: int = 3): ...

    recipe = Recipe(experiment, {"name": "None", "more": ("--a",), "width": 3}, "toys", seed=2)
    assert recipe.command("train", run_dir=Path("runs/1")) == (
        "# No command line gives these arguments; in Python:\nimport functools\n"
        "dl.fit(functools.partial(experiment, name='None', more=('--a',)), run_dir='runs/1', seed=2)"
    )
    with pytest.raises(UserError, match="no command line gives them these arguments"):
        dl.verify(dataclasses.replace(recipe, entry=Entry(("-m", "toys"))), kills=1)


@pytest.mark.parametrize("name", ["straight", "killed"])
def test_a_second_verify_in_the_folder_of_a_first_is_refused(tmp_path, name):
    """It compared what was there, and called runs equal of which none was killed."""
    (tmp_path / name).mkdir()
    with pytest.raises(UserError, match=f"holds {name} of an earlier verify"):
        dl.verify(toys.experiment, kills=1, run_dir=tmp_path)


@settings(max_examples=300, deadline=None, phases=[Phase.generate])
@given(st.sampled_from(TYPES).flatmap(lambda pair: st.tuples(st.just(pair[0]), pair[1])))
def test_a_record_gives_every_argument_back(pair):
    kind, value = pair
    text = dumps(to_json(value))
    json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    found = from_json(loads(text), kind)
    assert equal(found, value)
    assert same(found, value)
    told(to_json(value))


def test_a_record_tells_what_it_cannot_hold():
    with pytest.raises(UserError, match=r"of type object, which the record of a run cannot hold; give numbers"):
        to_json({"a": (object(),)})


def test_what_is_not_typed_is_given_back_by_its_default():
    def experiment(shape=(1, 2), root=Path("a"), color=Color.RED): ...

    given = {"shape": (3,), "root": Path("b"), "color": Color.NAN}
    from deeplab.core.arguments import kinds_of

    kinds = kinds_of(experiment)
    assert {name: from_json(to_json(value), kinds[name]) for name, value in given.items()} == given


def typed(
    root: Path = Path("a"),
    color: Color = Color.RED,
    config: Config = Config(),  # noqa: B008
    pace: float | None = 0.5,
    shape: tuple[int, ...] = (1,),
    note: str = "[red]",
) -> dl.Experiment:
    assert isinstance(root, Path)
    assert isinstance(color, Color)
    assert isinstance(config, Config)
    assert isinstance(shape, tuple)
    return toys.experiment()


@pytest.mark.slow
def test_a_run_with_paths_enums_and_dataclasses(tmp_path, capsys):
    """It is recorded, resumed, loaded, evaluated, reported and compared."""
    given = {"root": Path("b"), "color": Color.NAN, "config": Config(math.inf, Inner(None)), "pace": math.nan,
             "shape": (), "note": "[/b] NaN"}  # fmt: skip
    changed = functools.partial(typed, **given)
    run = dl.fit(changed, run_dir=tmp_path / "run", smoke=True)
    json.loads((tmp_path / "run/run.json").read_text(), parse_constant=pytest.fail)
    assert dl.fit(changed, run_dir=tmp_path / "run", smoke=True).step == run.step
    loaded = dl.load(tmp_path / "run", typed)
    assert all(equal(loaded.recipe.arguments[name], value) for name, value in given.items())
    assert dl.load(tmp_path / "run", changed).step == run.step
    with pytest.raises(UserError, match=r"made with pace=nan, and load was given pace=0\.5"):
        dl.load(tmp_path / "run", functools.partial(typed, pace=0.5))
    program = dataclasses.replace(run.recipe, entry=Entry(("-m", "typed")))
    flags = program.words("train", run_dir=tmp_path / "run")[3:]
    main(typed, ["eval", *flags, "--json"])
    main(typed, ["report", *flags])
    page = (tmp_path / "run/report.html").read_text()
    assert "Config(rate=inf, inner=Inner(depth=None, hue=RED), folder=a)" in page
    dl.fit(typed, run_dir=tmp_path / "other", smoke=True)
    with pytest.raises(UserError, match=r'config +\{"Config": .*"Infinity"') as error:
        dl.fit(typed, run_dir=tmp_path / "run", smoke=True)
    assert "NaN" in str(error.value)
    report.compare([tmp_path / "run", tmp_path / "other"], tmp_path / "comparison.html")
    assert report.table(report.find(tmp_path)).row_count == 2


def test_an_integer_for_a_float_is_the_same_run():
    runs = [{"seed": 0, "arguments": {"rate": rate, "more": [rate]}} for rate in (1, 1.0)]
    assert provenance.differences(*runs, "", "") == ""
    assert provenance.differences({"arguments": {"x": True}}, {"arguments": {"x": 1}}, "", "") != ""


def test_python_text_gives_the_value_back():
    value = ((Config(math.nan, Inner(None), Path("it's")),), [Color.NAN], {"a": -math.inf})
    assert python_text(value) == (
        "((Config(rate=float('nan'), inner=Inner(depth=None, hue=Color.RED), folder=Path(\"it's\")),), [Color.NAN], "
        "{'a': float('-inf')})"
    )


def test_fields_of_a_dataclass_that_shadow_a_flag_are_told():
    def experiment(depth: int = 3, inner: Inner = Inner()): ...

    with pytest.raises(UserError, match=r"toys: two arguments.*give the same flag.*other names"):
        cli.parse(experiment, "toys", VERBS, ["train"])
    assert (
        Recipe(experiment, {"depth": 3, "inner": Inner(1)}, "toys")
        .command("train")
        .endswith("dl.fit(functools.partial(experiment, inner=Inner(depth=1, hue=Color.RED)), seed=0)")
    )
