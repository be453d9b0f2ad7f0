"""Every experiment: runs in seconds by --smoke, and obeys the law of its floats."""

import ast
import dataclasses
import functools
import importlib
import json
import math
import runpy
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import deeplab as dl
import experiments
from deeplab.experiment import traced_arguments
from deeplab.train.initialize import init
from deeplab.train.step import make_step

FOLDER = Path(experiments.__path__[0])
NAMES = sorted(path.stem for path in FOLDER.glob("[!_]*.py"))
# What shapes the program, made small: neither the way nor the law depends on it, and compiling does.
SMALL = {
    "health_conformal": {"width": 16},
    "health_ecg": {"width": 16},
    "driving_finetune": {"variant": "test", "batch_size": 2},
    "driving_segmentation": {"width": 4, "depth": 2, "batch_size": 2},
    "health_cells": {"trunk": "resnet", "height": 48, "width": 8, "depth": 1},
    "health_membrane": {"width": 4, "depth": 2, "patch": 32},
    "image_cifar10": {"variant": "test"},
    "image_diffusion": {"variant": "test", "steps": 2},
    "image_digits": {"width": 8},
    "image_fashion": {"width": 8},
    "image_finetune": {"variant": "test", "enlarged": 1},
    "image_flow": {"num_layers": 1, "width": 4},
    "image_gan": {"width": 4, "latents": 4},
    "image_mnist": {"width": 8},
    "image_pixelcnn": {"levels": 4, "width": 8, "depth": 1},
    "image_vq": {"width": 4, "num_codes": 8},
    "image_vae": {"width": 16, "latents": 4},
    "recsys_ctr": {"width": 4},
    "recsys_ranking": {"width": 8},
    "recsys_ratings": {"width": 8},
    "robust_certified": {"width": 4},
    "robust_fashion": {"width": 4, "steps": 2},
    "robust_mnist": {"width": 4, "hidden": 16, "steps": 2},
    "self_images": {"width": 8},
    "self_speech": {"variant": "test"},
    "self_text": {"num_layers": 1, "width": 16, "context": 16},
    "series_ett": {"context": 96, "horizon": 24},
    "speech_digit_strings": {"variant": "test"},
    "study_activations": {"depth": 3, "width": 16},
    "study_data_scaling": {"width": 16},
    "study_influence": {"width": 8},
    "study_representation": {"width": 4},
    "study_robustness": {"width": 4},
    "table_diabetes": {"variant": "test"},
    "text_classification": {"width": 8},
    "text_diffusion": {"num_layers": 1, "context": 16, "width": 16, "steps": 2},
    "text_finetune": {"variant": "test", "length": 16},
    "text_generate": {"variant": "test", "context": 16},
    "text_shakespeare": {"num_layers": 1, "num_heads": 2, "width": 16, "context": 16},
    "text_stdlib": {"num_layers": 1, "num_heads": 2, "width": 16, "context": 16},
    "text_llama": {"variant": "test", "num_steps": 10},
    "text_translation": {"variant": "test", "vocab_size": 64},
    "text_wikitext": {"vocab_size": 300, "num_layers": 1, "num_heads": 2, "width": 16, "context": 16},
    "words": {"vocab_size": 300, "width": 8, "context": 16},
}
# For the law, which is of an experiment's floats, a model that compiles in half of the time; the default is smoke-run.
LIGHTER = {"text_translation": {"model": "lstm"}}
SCRIPTS = sorted((FOLDER / "benchmarks").glob("[!_]*.py"))


def test_there_are_experiments():
    assert {"image_digits", "image_mnist", "image_fashion", "text_shakespeare", "text_stdlib"} <= set(NAMES)


# Each compiles a network of dozens of layers; what they start from is tested every day, in models/test_trunks.py.
DEEP = ("driving_finetune", "health_cells", "image_finetune")
# Brothers of one of their field that goes the whole way in the gate: of these a step is traced, and nothing compiled.
TRACED = (
    "driving_segmentation", "health_conformal", "health_ecg", "image_cifar10", "image_diffusion", "image_fashion",
    "image_flow", "image_gan", "image_mnist", "image_pixelcnn", "image_vq", "recsys_ctr", "recsys_ranking",
    "robust_certified", "robust_fashion", "robust_speech", "self_images", "self_speech", "self_text",
    "speech_digit_strings", "study_activations", "study_data_scaling", "study_representation", "study_robustness",
    "table_diabetes", "text_classification", "text_diffusion", "text_finetune", "text_generate", "text_llama",
    "text_shakespeare", "text_translation", "text_wikitext", "words",
)  # fmt: skip


@pytest.mark.parametrize("name", TRACED)
def test_a_step_fits_the_data_and_keeps_the_state(name):
    experiment = importlib.import_module(f"experiments.{name}").experiment(**SMALL.get(name, {}))
    data = experiment.data.synthetic()
    experiment = dataclasses.replace(experiment, data=data, weights=())
    batch = data.fetch(data.open("train"), data.train_ids(0, 0)[0])
    state = jax.eval_shape(functools.partial(init, experiment), jax.random.key(0))
    after, metrics = jax.eval_shape(make_step(experiment), state, batch)
    assert after == state
    assert metrics["loss"].total.shape == ()


def marks_of(name):
    return pytest.mark.slow if name in DEEP + TRACED else () if name == "image_digits" else pytest.mark.gate


@pytest.mark.parametrize("name", [pytest.param(name, marks=marks_of(name)) for name in NAMES])
def test_smoke(name, tmp_path, monkeypatch, capsys):
    """The whole way, as `python -m` goes it: train, evaluate, report; here, where the libraries are loaded."""
    small = SMALL.get(name, {})
    flags = [word for argument, value in small.items() for word in (f"--{argument.replace('_', '-')}", str(value))]
    monkeypatch.setattr(sys, "argv", ["", "train", "--smoke", "--json", "--run-dir", str(tmp_path / "run"), *flags])
    monkeypatch.delitem(sys.modules, f"experiments.{name}", raising=False)
    with pytest.raises(SystemExit) as end:
        runpy.run_module(f"experiments.{name}", run_name="__main__", alter_sys=True)
    assert end.value.code == 0
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert result["steps"] == 4
    assert all(np.isfinite(value) for split in result["metrics"].values() for value in split.values())
    assert Path(result["report"]).stat().st_size > 10_000


STUDIES = ("study_activations", "study_data_scaling", "study_influence", "study_representation", "study_robustness")


@pytest.mark.slow  # each trains many members; every day the verb studies the toy, in cli/test_study.py
@pytest.mark.parametrize("name", STUDIES)
def test_study_smoke(name, tmp_path):
    """The experiment's own verb: every run of the smoke axes, once, and a page of them."""
    module = importlib.import_module(f"experiments.{name}")
    flags = ["study", "--smoke", "--seeds", "2", "--run-dir", str(tmp_path / "study")]
    result = dl.main(module.experiment, flags, study=module.STUDY)
    assert result["trained"] == result["members"] == 2 * math.prod(map(len, module.STUDY.smoke.values()))
    study = json.loads((tmp_path / "study/study.json").read_text())
    assert len(study["members"]) == result["members"]
    assert study["summary"]
    assert result["report"].stat().st_size > 10_000
    assert dl.main(module.experiment, flags, study=module.STUDY)["trained"] == 0


# Each compiles twice: one of each field is enough for every day.
VMAPPED = ("image_digits", "recsys_ratings", "series_ett", "table_diabetes", "text_stdlib")


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in VMAPPED else pytest.mark.slow) for name in NAMES]
)
def test_vmapped_over_all_floats_is_the_solo_runs(name):
    """The law of experiments: a population is `vmap` of the function, and its members are solo runs."""
    function = importlib.import_module(f"experiments.{name}").experiment
    floats, small = traced_arguments(function), SMALL.get(name, {}) | LIGHTER.get(name, {})
    assert "learning_rate" in floats
    data = function(**small).data.synthetic(batch_size=small.get("batch_size", 4))
    batch = data.fetch(data.open("train"), data.train_ids(0, 0)[0])

    def losses(floats, batch):  # an argument: XLA would fold what it can of a constant
        experiment = function(**small, **floats)

        def step(state, _):  # in a loop, which compiles the step once
            state, metrics = make_step(experiment)(state, batch)
            return state, metrics["loss"].total / metrics["loss"].count

        return jax.lax.scan(step, init(experiment, jax.random.key(0)), length=2)[1]

    members = {name: jnp.array([1.0, 0.5]) * value + jnp.array([0.0, 1e-3]) for name, value in floats.items()}
    jit = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})  # it runs but twice
    together = jit(jax.vmap(losses, in_axes=(0, None)))(members, batch)
    # A solo run's floats are Python's: constants of the program, where the population's are traced.
    numbers = {name: float(v[1]) for name, v in members.items()}
    solo = jit(functools.partial(losses, numbers))(batch)
    np.testing.assert_allclose(together[1], solo, rtol=2e-4)
    assert not np.allclose(together[0], solo, rtol=2e-4)


@pytest.mark.parametrize("name", NAMES)
def test_a_page_of_notes(name):
    """The docstring is the lab note, and the experiment one screen."""
    path = FOLDER / f"{name}.py"
    note = ast.get_docstring(ast.parse(path.read_text())) or ""
    assert "Run:" in note
    assert "Result:" in note
    assert f"experiments.{name}" in note
    assert len(path.read_text().splitlines()) <= 90


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda p: p.stem)
def test_benchmarks_load(path):
    """All that they import is there, and they say how they are run; what they measure takes minutes, and is no test."""
    try:
        module = importlib.import_module(f"experiments.benchmarks.{path.stem}")
    except ModuleNotFoundError as error:
        if error.name not in ("keras", "tensorflow", "torch"):  # Keras asks for TensorFlow, left alone
            raise
        pytest.skip(f"{error.name} is not installed")
    command, whole = f"experiments.benchmarks.{path.stem}", f"`{path.stem.split('_')[0]}`"
    assert command in module.__doc__ or whole in module.__doc__, "its docstring gives its command, or whose part it is"
