"""Advice on a CPU's memory is given where it helps, and nowhere else."""

import platform

import pytest

from deeplab.core.backend import huge_page_hint, known_xla_flags

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
