"""Advice on memory and GPUs is given where it helps, and nowhere else; no flag of XLA ends the process."""

import platform
import shutil

import jax
import pytest

from deeplab.core.backend import compile_lowered, gpu_hint, huge_page_hint, known_xla_flags, same_bits_hint
from deeplab.verbs.profile import NO_GRAPHS

ASKED = "always [madvise] never"


@pytest.fixture
def glibc(monkeypatch):
    monkeypatch.setattr(platform, "libc_ver", lambda: ("glibc", "2.36"))
    monkeypatch.delenv("GLIBC_TUNABLES", raising=False)


def hint(tmp_path, setting=ASKED, temporary=1 << 28):
    pages = tmp_path / "enabled"
    pages.write_text(setting)
    return huge_page_hint(temporary, pages)


def test_large_steps_are_told_the_variable(glibc, tmp_path):
    assert "GLIBC_TUNABLES=glibc.malloc.hugetlb=1" in hint(tmp_path)


def test_silent_where_it_would_not_help(glibc, tmp_path, monkeypatch):
    assert hint(tmp_path, temporary=1 << 20) is None
    assert hint(tmp_path, setting="[always] madvise never") is None
    assert huge_page_hint(1 << 28, tmp_path / "absent") is None
    monkeypatch.setattr(platform, "libc_ver", lambda: ("glibc", "2.31"))
    assert hint(tmp_path) is None


def test_silent_where_it_is_set(glibc, tmp_path, monkeypatch):
    monkeypatch.setenv("GLIBC_TUNABLES", "glibc.malloc.hugetlb=1")
    assert hint(tmp_path) is None


def test_flags_that_xla_does_not_know_are_left_out():
    known = ["--xla_force_host_platform_device_count=3", "--xla_cpu_parallel_codegen_split_count=1"]
    assert known_xla_flags([known[0], "--xla_gone=false", known[1], "--xla_gone_too=1"]) == known


def test_a_gpu_is_told_how_it_gives_the_same_bits(monkeypatch):
    monkeypatch.delenv("XLA_FLAGS", raising=False)
    hint = same_bits_hint("gpu")
    assert hint is not None
    flags = hint.split()[0].removeprefix("XLA_FLAGS=")
    assert known_xla_flags([flags]) == [flags]
    assert same_bits_hint("cpu") is None
    for known in (flags, "--xla_gpu_deterministic_ops=true", "--xla_gpu_exclude_nondeterministic_ops=false"):
        monkeypatch.setenv("XLA_FLAGS", known)
        assert same_bits_hint("gpu") is None


def test_xla_knows_the_options_of_a_profile():
    """The compiler of any backend reads all options, and refuses unknown ones."""
    lowered = jax.jit(lambda x: x + 1).lower(1.0)
    lowered.compile(compiler_options=NO_GRAPHS)
    with pytest.raises(jax.errors.JaxRuntimeError, match="xla_no_such_option"):
        lowered.compile(compiler_options={"xla_no_such_option": True})
    assert compile_lowered(lowered, {"xla_no_such_option": True})(1.0) == 2


@pytest.fixture
def no_gpu(monkeypatch):
    """A machine without a GPU, whose environment chooses no platform."""
    monkeypatch.setattr(shutil, "which", lambda name: None)
    for name in ("CUDA_VISIBLE_DEVICES", "JAX_PLATFORMS"):
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


@pytest.mark.parametrize(("version", "cuda"), [("535.104.05", 12), ("575.57.08", 12), ("580.65.06", 13), (None, 13)])
def test_a_gpu_that_jax_does_not_see_is_told(no_gpu, tmp_path, version, cuda):
    (tmp_path / "nvidiactl").touch()
    driver = tmp_path / "version"
    if version:
        driver.write_text(
            f"NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  {version}  Sat\nGCC version:  gcc 12.2.0\n"
        )
    assert f'`pip install "jax[cuda{cuda}]=={jax.__version__}"`' in gpu_hint(tmp_path, driver)


def test_a_gpu_is_known_by_the_command_too(no_gpu, tmp_path):
    assert gpu_hint(tmp_path) is None
    no_gpu.setattr(shutil, "which", {"nvidia-smi": "/usr/bin/nvidia-smi"}.get)
    assert "jax[cuda" in gpu_hint(tmp_path)


def test_silent_about_the_gpu_where_the_environment_chooses(no_gpu, tmp_path):
    (tmp_path / "nvidia0").touch()
    no_gpu.setenv("CUDA_VISIBLE_DEVICES", "-1")
    assert gpu_hint(tmp_path) is None
    no_gpu.delenv("CUDA_VISIBLE_DEVICES")
    no_gpu.setenv("JAX_PLATFORMS", "cpu")
    assert gpu_hint(tmp_path) is None
