"""Faults of one of two processes at random times: detection, its delay, and equality of the final state.

Run:     python -m experiments.benchmarks.process_faults --times 10
Result:  two CPU cores that a training shared, commit 84484c4. --times 10 --kinds kill raise freeze: the other process
         had ended after 0.1 to 10.5 s (kill), 0.1 to 3.0 s (raise), 7.7 to 10.3 s (freeze); each of the 30 was named,
         and no leaf and no row of the 4,960 steps differs. A hang, with --watchdog 5, ended the other after 5.4 s.

Faults are injected into one run of two processes under a supervisor: `kill` (SIGKILL), `raise` (an exception), `freeze`
(SIGSTOP) and `hang` (an infinite loop, its threads alive). For each fault the benchmark measures the seconds until the
other process has ended, and searches the log for the name of the faulty process. At the end the run must equal that of
an undisturbed pair, bit by bit: fingerprints of every leaf of the state, and every row of metrics.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import optax

import deeplab as dl
from deeplab.verbs.verify import WALL

FAULTS = "DEEPLAB_BENCHMARK_FAULTS"  # the folder in which an empty file KIND-RANK requests a fault
KINDS = ("kill", "raise", "freeze", "hang")
_PAUSE = 0.05  # seconds per dispatch of four steps
_MODULE = "experiments.benchmarks.process_faults"


class Faulty(dl.data.Examples):
    """Digits; reading the next examples triggers the fault requested for a process.

    Each dispatch waits, so that the run outlasts all faults.
    """

    def train_ids(self, step: int, seed: int, count: int = 1) -> np.ndarray:
        time.sleep(_PAUSE)
        for kind in ("raise", "hang"):
            order = Path(os.environ.get(FAULTS, "/nowhere")) / f"{kind}-{os.environ.get('JAX_PROCESS_ID')}"
            if step and order.exists():
                order.unlink()
                if kind == "raise":
                    raise RuntimeError("an injected fault")
                time.sleep(3600)
        return super().train_ids(step, seed, count)


def experiment(width: int = 16, num_steps: int = 2000, learning_rate: float = 1e-3) -> dl.Experiment:
    digits = dl.data.Images("digits", batch_size=32, num_steps=num_steps)
    data = Faulty("digits", 32, num_steps=num_steps, prepare=digits.prepare, normalize=digits.normalize)
    model = dl.models.MLP(num_classes=10, features=(width,))
    return dl.Experiment(data, model, dl.tasks.Classification(), optax.adam(learning_rate), eval_every=num_steps)


def measure(times: int, kinds: tuple[str, ...], root: Path, num_steps: int, seed: int = 0) -> dict:
    """Runs a pair undisturbed, and one with `times` faults of each kind.

    Returns:
      seconds: Seconds until the other process had ended, by kind; unnamed: faults whose process no message named;
      differing: leaves and rows that differ from those of the undisturbed pair.
    """
    rng = random.Random(seed)
    faults = [kind for kind in kinds for _ in range(times)]
    rng.shuffle(faults)
    straight = _start(root / "straight", root, num_steps, restarts=0)
    if code := straight.wait():
        raise RuntimeError(
            f"the undisturbed pair ended with {code}: {(root / 'straight.log').read_text(encoding='utf-8')[-2000:]}"
        )
    run = _start(root / "faulty", root, num_steps, restarts=len(faults))
    seconds: dict[str, list[float]] = {kind: [] for kind in kinds}
    unnamed, last = [], {}
    for kind in faults:
        last = _training(run, root / "faulty", last)
        time.sleep(rng.uniform(0, 1))
        rank = rng.randrange(2)
        log = (root / "faulty.log").stat().st_size
        seconds[kind].append(_hit(kind, rank, last, root))
        time.sleep(1)
        text = (root / "faulty.log").read_bytes()[log:].decode(errors="replace")
        if f"process {rank}" not in text:
            unnamed.append(f"{kind} {rank}")
        print(f"{kind} in process {rank}: the other ended after {seconds[kind][-1]:.1f} s", flush=True)
    if code := run.wait():
        raise RuntimeError(f"the run ended with {code}: {(root / 'faulty.log').read_text(encoding='utf-8')[-2000:]}")
    return {"seconds": seconds, "unnamed": unnamed, "differing": _differing(root, num_steps)}


def _start(directory: Path, root: Path, num_steps: int, restarts: int) -> subprocess.Popen:
    command = [sys.executable, "-m", _MODULE, "train", "--processes", "2", "--devices-per-process", "1"]
    command += ["--restarts", restarts, "--watchdog", 5, "--num-steps", num_steps, "--checkpoint-every", 20]
    command += ["--steps-per-dispatch", 4, "--log-every", 20, "--run-dir", directory]
    with open(root / f"{directory.name}.log", "wb") as log:
        return subprocess.Popen(
            [*map(str, command)], stdout=log, stderr=subprocess.STDOUT, env=os.environ | {FAULTS: str(root)}
        )


def _training(run: subprocess.Popen, directory: Path, last: dict[int, int]) -> dict[int, int]:
    """The process ids of a new pair by rank, after its training has begun."""
    rows, began, pair = directory / "metrics.jsonl", time.time(), {}
    while len(pair) < 2 or not rows.exists() or rows.stat().st_mtime < began:
        if run.poll() is not None:
            raise RuntimeError(f"the run ended before all faults; {directory}.log has: {_tail(directory)}")
        time.sleep(0.05)
        pair = {rank: pid for rank, pid in process_ids(run.pid).items() if last.get(rank) != pid}
    return pair


def _tail(directory: Path) -> str:
    return directory.with_name(f"{directory.name}.log").read_text(errors="replace", encoding="utf-8")[-2000:]


def process_ids(supervisor: int) -> dict[int, int]:
    """The id of each process that a supervisor has started, by rank."""
    found = {}
    for pid in Path(f"/proc/{supervisor}/task/{supervisor}/children").read_text(encoding="utf-8").split():
        try:
            variables = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        except OSError:
            continue
        ranks = [int(v.partition(b"=")[2]) for v in variables if v.startswith(b"JAX_PROCESS_ID=")]
        found |= {rank: int(pid) for rank in ranks}
    return found


def _hit(kind: str, rank: int, pair: dict[int, int], root: Path) -> float:
    """Injects a fault, and returns the seconds until the other process has ended."""
    if kind in ("raise", "hang"):
        (root / f"{kind}-{rank}").touch()
    else:
        os.kill(pair[rank], signal.SIGKILL if kind == "kill" else signal.SIGSTOP)
    began, other = time.monotonic(), Path(f"/proc/{pair[1 - rank]}/stat")
    while True:
        try:
            if other.read_text(encoding="utf-8").rpartition(")")[2].split()[0] == "Z":
                break
        except OSError:
            break
        if time.monotonic() - began > 120:
            raise RuntimeError(f"{kind} in process {rank}: after 120 s the other has not ended")
        time.sleep(0.02)
    return time.monotonic() - began


def _differing(root: Path, num_steps: int) -> list[str]:
    """The leaves of the last state, and the rows of metrics, that differ between the two runs."""
    leaves, rows = [], []
    for name in ("straight", "faulty"):
        manifest = json.loads(
            (root / name / "checkpoints" / str(num_steps) / "manifest.json").read_text(encoding="utf-8")
        )["manifest"]
        leaves.append({path: leaf["fingerprint"] for path, leaf in manifest["leaves"].items()})
        lines = (root / name / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
        rows.append([{k: v for k, v in json.loads(line).items() if k not in WALL} for line in lines])
    differing = [path for path in leaves[0] if leaves[0][path] != leaves[1].get(path)]
    differing += [f"row {i}" for i, (a, b) in enumerate(zip(*rows, strict=False)) if a != b]
    return differing + (["number of rows"] if len(rows[0]) != len(rows[1]) else [])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=10, help="faults of each kind")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS)
    parser.add_argument("--num-steps", type=int, default=0, help="steps of the run; 160 for each fault when 0")
    parser.add_argument("--seed", type=int, default=0)
    flags = parser.parse_args()
    num_steps = flags.num_steps or 160 * (flags.times * len(flags.kinds) + 1)
    with tempfile.TemporaryDirectory(prefix="deeplab-faults-") as root:
        result = measure(flags.times, tuple(flags.kinds), Path(root), num_steps, flags.seed)
    for kind, seconds in result["seconds"].items():
        print(f"{kind:7} {len(seconds)} times: the other ended after {min(seconds):.1f} to {max(seconds):.1f} s")
    print(f"not named: {result['unnamed'] or 'none'}; differing leaves and rows: {result['differing'] or 'none'}")


if __name__ == "__main__":
    if sys.argv[1:2] == ["train"]:
        dl.main(experiment)
    else:
        main()
