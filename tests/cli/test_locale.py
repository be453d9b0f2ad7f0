"""An experiment with umlauts where the locale knows none."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = '''"""Ein Versuch mit Größe → ☃."""

import dataclasses

import deeplab as dl
from tests import toys


class Bälle(dl.tasks.Classification):
    def metrics(self, apply, batch, key):
        found = super().metrics(apply, batch, key)
        return found | {"güte": found["accuracy"]}


def experiment(größe: int = 8) -> dl.Experiment:
    """Ein Versuch.

    Args:
      größe: Größe →.
    """
    return dataclasses.replace(toys.experiment(steps=4), task=Bälle())


if __name__ == "__main__":
    dl.main(experiment)
'''


def run(folder: Path, *words: str) -> subprocess.CompletedProcess:
    root = Path(__file__).parents[2]
    ascii_only = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONIOENCODING": "ascii", "PYTHONPATH": f"{root}:{folder}"}
    command = [sys.executable, "-m", "versuch", *words]
    return subprocess.run(command, cwd=folder, env=os.environ | ascii_only, capture_output=True, encoding="ascii")


@pytest.mark.slow
def test_a_run_with_umlauts(tmp_path):
    (tmp_path / "versuch.py").write_text(SOURCE, encoding="utf-8")
    done = run(tmp_path, "train", "--run-dir", "run")
    assert done.returncode == 0, done.stderr
    assert "g\\xfcte" in done.stdout
    assert (tmp_path / "run/source.py").read_text(encoding="utf-8").startswith(SOURCE)
    assert "güte" in (tmp_path / "run/report.html").read_text(encoding="utf-8")


def test_a_word_that_the_locale_cannot_read_is_refused(tmp_path):
    (tmp_path / "versuch.py").write_text(SOURCE, encoding="utf-8")
    done = run(tmp_path, "train", "--run-dir", "öä")
    assert done.returncode == 2
    assert "error: \\xf6\\xe4 cannot be read in this locale; set PYTHONUTF8=1" in done.stderr
