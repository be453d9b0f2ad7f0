"""Ctrl-C while XLA compiles: exit code 130, never a crash; the second one ends at once."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

SOURCE = '''"""An experiment whose function compiles for long."""

import jax
import jax.numpy as jnp

import deeplab as dl
from tests import toys


def experiment(steps: int = 4) -> dl.Experiment:
    def long(x):
        for _ in range(3000):
            x = jnp.sin(x @ x) + jnp.cumsum(x, axis=0)
        return x

    lowered = jax.jit(long).lower(jnp.ones((8, 8)))
    print("compiling", flush=True)
    lowered.compile()
    print("compiled", flush=True)
    return toys.experiment(steps=steps)


if __name__ == "__main__":
    dl.main(experiment)
'''


def interrupted(folder: Path, words: list[str], seconds: float, signals: int) -> tuple[int, float, str]:
    """Exit code, seconds from the last signal to the end, and output of a command with Ctrl-C while it compiles."""
    (folder / "slow.py").write_text(SOURCE, encoding="utf-8")
    root = Path(__file__).parents[2]
    environment = os.environ | {"PYTHONPATH": f"{root}:{folder}", "DEEPLAB_CACHE": str(folder / "cache")}
    environment.pop("JAX_DISABLE_MOST_OPTIMIZATIONS", None)
    command = [sys.executable, "-m", "slow", *words]
    process = subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding="utf-8"
    )
    assert process.stdout is not None
    try:
        while (line := process.stdout.readline()) and "compiling" not in line:
            pass
        time.sleep(seconds)
        for _ in range(signals):
            process.send_signal(signal.SIGINT)
            time.sleep(0.3)
        began = time.monotonic()
        output = process.communicate(timeout=300)[0]
        return process.returncode, time.monotonic() - began, output
    finally:
        process.kill()


@pytest.mark.parametrize(("verb", "signals"), [pytest.param("summary", 1, marks=pytest.mark.slow), ("train", 2)])
def test_ctrl_c_while_compiling_ends_at_once(tmp_path, verb, signals):
    code, seconds, output = interrupted(tmp_path, [verb, "--run-dir", "run"], 0.5, signals)
    assert code == 130, output
    assert seconds < 5
    assert "compiled" not in output


@pytest.mark.slow
@pytest.mark.parametrize("moment", [0.0, 0.1, 0.2, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0])
@pytest.mark.parametrize("words", [["train"], ["sweep", "--seeds", "2"], ["eval"], ["profile"]], ids=lambda w: w[0])
def test_ctrl_c_at_several_moments(tmp_path, words, moment):
    code, _, output = interrupted(tmp_path, [*words, "--run-dir", "run"], moment, 1)
    assert code == 130, output
