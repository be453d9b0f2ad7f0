"""`deeplab doctor` on machines made up in a folder: what each lacks, and the command that mends it."""

import json

import pytest

from deeplab.cli import index
from deeplab.cli.tools import doctor
from deeplab.cli.tools.machine import Machine


def machine(folder, **files):
    """A machine whose files are made in a folder: name and text each, None for a folder."""
    given = {}
    for name in ("devices", "driver", "huge_pages", "cgroup", "cache"):
        given[name] = folder / name
    for name, text in files.items():
        path = folder / name.replace("__", "/").replace("_dot_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return Machine(**given, environment={}, requirements=("jax>=0.7.2", "numpy>=2.1", 'wandb>=0.19; extra == "wandb"'))


def found(where):
    return {check.name: check for check in doctor.checks(where)}


def test_a_sound_machine(tmp_path):
    told = found(machine(tmp_path))
    assert {check.state for check in told.values() if not check.name.startswith("extra ")} == {"ok"}
    assert told["gpu"].told == "none on this machine"
    assert not any(check.prevents for check in told.values())
    assert all(check.mend for check in told.values() if check.state != "ok")


def test_a_gpu_that_jax_does_not_see(tmp_path, monkeypatch):
    monkeypatch.delenv("JAX_PLATFORMS", raising=False)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    check = found(machine(tmp_path, devices__nvidia0="", driver="NVRM Module  575.51.03  x"))["gpu"]
    assert check.state == "missing"
    assert check.mend.startswith('pip install "jax[cuda12]==')
    assert not check.prevents


def test_a_gpu_that_the_environment_hides(tmp_path, monkeypatch):
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    where = machine(tmp_path, devices__nvidia0="")
    check = found(where.__class__(**vars(where) | {"environment": {"JAX_PLATFORMS": "cpu"}}))["gpu"]
    assert (check.state, check.mend) == ("note", "unset JAX_PLATFORMS")
    assert "JAX_PLATFORMS=cpu hides" in check.told


def test_colab_without_a_gpu(tmp_path):
    where = machine(tmp_path)
    check = found(where.__class__(**vars(where) | {"environment": {"COLAB_RELEASE_TAG": "x"}}))["gpu"]
    assert (check.state, check.mend[:7]) == ("note", "Runtime")


@pytest.mark.parametrize(
    ("requirements", "name", "told", "mend"),
    [
        (("jax>=99.1",), "jax", "and deeplab needs 99.1 or later", 'pip install "jax>=99.1"'),
        (("no-such-package>=1.0",), "no-such-package", "not installed", 'pip install "no-such-package>=1.0"'),
    ],
)
def test_what_prevents_training(requirements, name, told, mend, tmp_path):
    where = machine(tmp_path)
    check = found(where.__class__(**vars(where) | {"requirements": requirements}))[name]
    assert (check.state, check.mend, check.prevents) == ("missing", mend, True)
    assert told in check.told


def test_an_extra_that_is_not_installed(tmp_path):
    where = machine(tmp_path)
    requirements = ('no-such-package; extra == "more"', 'numpy>=2.1; extra == "there"')
    told = found(where.__class__(**vars(where) | {"requirements": requirements}))
    assert told["extra more"][1:4] == ("note", "without no-such-package", 'pip install "deeplab[more]"')
    assert told["extras"].told == "there installed"


def test_a_cache_that_cannot_be_written(tmp_path):
    check = found(machine(tmp_path, cache="a file"))["cache"]
    assert (check.state, check.prevents) == ("missing", True)
    assert check.mend.startswith("export DEEPLAB_CACHE=")


def test_sizes_and_limits(tmp_path):
    where = machine(tmp_path, cgroup__cpu_dot_max="50000 100000", cgroup__memory_dot_max="1000000000",
                    cache__compiled__x="a" * 200_000, cache__set__y="b" * 1_000_000)  # fmt: skip
    told = found(where)
    assert told["processor"].told.endswith("of which the container may use 0.5")
    assert told["memory"].state == "note"
    assert "of which the container may use 1.0 GB" in told["memory"].told
    assert told["cache"].told.endswith("1.0 MB of data and 0.2 MB of compiled programs")


def test_large_pages_on_request(tmp_path, monkeypatch):
    monkeypatch.delenv("GLIBC_TUNABLES", raising=False)
    monkeypatch.setattr("platform.libc_ver", lambda: ("glibc", "2.39"))
    check = found(machine(tmp_path, huge_pages="always [madvise] never"))["large pages"]
    assert (check.state, check.mend) == ("note", "export GLIBC_TUNABLES=glibc.malloc.hugetlb=1")


def test_the_command(capsys):
    result = index.run(["doctor", "--json"])
    line = capsys.readouterr().out
    assert json.loads(line) == result["checks"]
    assert result["exit_code"] == 0
    index.run(["doctor"])
    lines = capsys.readouterr().out.splitlines()
    assert {line.split()[0] for line in lines} <= {"ok", "note", "missing", "->"}
    assert any(line.startswith("ok       python: 3.") for line in lines)
