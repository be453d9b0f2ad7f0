"""From a signature to a command line, and what is said of a wrong one."""

import json
import shlex
import subprocess
import sys
import types
from pathlib import Path

import pytest

import deeplab as dl
from deeplab.cli import arguments, index
from deeplab.cli.main import VERBS
from deeplab.core.errors import UserError
from deeplab.core.text import dumps
from tests import toys


def parse(*argv, function=toys.experiment):
    return arguments.parse(function, "tests.toys", VERBS, argv)


def test_every_argument_is_a_flag():
    call = parse("--steps", "7", "--learning-rate", "0.5", "--no-norm", "--seed", "3")
    assert (call.verb, call.arguments["steps"], call.arguments["learning_rate"]) == ("train", 7, 0.5)
    assert call.arguments["norm"] is False
    assert call.flags.seed == 3
    assert call.recipe.experiment().data.steps == 7


def test_the_command_parses_to_the_same_call():
    changed = ["--steps", "7", "--no-norm", "--learning-rate", "1e-05"]
    call = parse("train", *changed, "--run-dir", "a b", "--mesh", "data=2")
    words = shlex.split(call.command("train"))[3:]
    assert parse(*words) == call


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["--lerning-rate", "1"], "learning-rate"),  # row 1
        (["--learning-rate", "abc"], "abc"),  # row 2
        (["--steps", "1.5"], "1.5"),
        (["eval", "--checkpoint", "worst"], "worst"),
    ],
)
def test_a_wrong_flag_or_value_exits_with_2_and_names_it(argv, said, capsys):
    with pytest.raises(SystemExit) as caught:
        parse(*argv)
    assert caught.value.code == 2
    assert said in capsys.readouterr().err


def test_a_wrong_flag_of_a_notebook_is_an_error_and_help_is_none(capsys):
    """It ended the process, against what `main` promises."""
    with pytest.raises(UserError, match=r"(?s)the flags are not understood:.*--lerning-rate"):
        dl.main(toys.experiment, ["train", "--lerning-rate", "1"])
    assert not capsys.readouterr().err
    with pytest.raises(SystemExit) as end:
        dl.main(toys.experiment, ["train", "--help"])
    assert not end.value.code


def test_an_experiment_that_is_half_written_is_left_out_of_the_list(tmp_path, monkeypatch, capsys):
    """It ended the list."""
    (tmp_path / "half.py").write_text("def experiment(:\n")
    (tmp_path / "whole.py").write_text("def experiment(): ...\n")
    spec = types.SimpleNamespace(submodule_search_locations=[str(tmp_path)])
    monkeypatch.setattr("importlib.util.find_spec", lambda name: spec)
    assert index.run(["list"]) == {"experiments": ["whole"]}
    assert "half.py is left out, since it cannot be read" in capsys.readouterr().out


def test_an_unknown_verb_names_the_nearest():
    with pytest.raises(UserError, match="'trian' is no verb; did you mean 'train'"):
        parse("trian")


def test_an_argument_without_type_or_default_is_told():
    def untyped(width, depth: int = 2): ...

    with pytest.raises(UserError, match="'width' needs a type and a default"):
        parse(function=untyped)


def test_an_argument_that_shadows_a_flag_is_told():
    def shadowing(seed: int = 0): ...

    with pytest.raises(UserError, match=r"\['seed'\] are flags"):
        parse(function=shadowing)


def test_json_is_strict():
    text = dumps({"a": float("nan"), "b": Path("x"), "c": [1, None, float("inf")], "d": True})
    assert json.loads(text) == {"a": "NaN", "b": "x", "c": [1, None, "Infinity"], "d": True}


def test_nothing_is_made_for_a_wrong_flag(tmp_path):
    """Row 1, in a process: exit code 2, a hint, and an empty folder."""
    command = [sys.executable, "-m", "experiments.image_digits", "--epoch", "3"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=None)
    assert done.returncode == 2
    assert "--epochs" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_main_in_a_notebook_raises_and_returns(tmp_path):
    with pytest.raises(UserError, match="no verb"):
        dl.main(toys.experiment, ["nonsense"])
    result = dl.main(toys.experiment, ["summary"])
    assert result["num_params"] == 2 * 8 + 8 + 8 + 8 + 8 * 4 + 4


@pytest.mark.parametrize(("old", "new"), [("--how", "--search"), ("--at-once=2", "--members-per-program")])
def test_an_old_flag_names_the_new_one(old, new):
    with pytest.raises(UserError, match=f"{old.partition('=')[0]} is called {new} now"):
        arguments.parse(toys.experiment, "tests.toys", VERBS, ["sweep", old, "random"])


def test_help_keeps_the_lines_of_the_note(capsys):
    from experiments import image_digits

    with pytest.raises(SystemExit):
        arguments.parse(image_digits.experiment, "experiments.image_digits", VERBS, ["--help"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[: len(image_digits.__doc__.splitlines())] == image_digits.__doc__.splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("verbs (train when none is given)"))
    assert [line.split()[0] for line in lines[start + 1 : start + 1 + len(VERBS)]] == list(VERBS)
    assert all(len(line.split()) > 3 for line in lines[start + 1 : start + 1 + len(VERBS)])
    assert any("--learning-rate FLOAT" in line for line in lines)
