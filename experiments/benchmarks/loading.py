"""Time and memory of loading a folder of weights: `dl.hub.load`, also into the shards of a mesh, and transformers.

Run:     python -m experiments.benchmarks.loading DIR     (a folder of a language model)
Needs:   pip install torch transformers
Prints:  for each, seconds of wall and CPU time and the peak of host memory above the start, beside the bytes of the
         model and of its largest tensor; each load is a process of its own, they take turns, and medians are shown.
         Imports don't count; the files are in the page cache, and float32, as stored.
Result:  SmolLM2-135M, 513 MiB, its largest tensor 108: 2.69 s (2.81 of CPU time), peak 577 MiB; into eight shards 2.37
         (2.76), 578 MiB; transformers, which maps the files, 3.44 (3.71), 111 MiB; medians of five turns (commit
         917f95b). Others: 1.06 and 0.76 of its speed
"""

from __future__ import annotations

import json
import resource
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import tyro


def deeplab(folder: str, mesh: str = "") -> Callable[[], Any]:
    import jax

    if mesh:
        jax.config.update("jax_num_cpu_devices", 8)
    import deeplab as dl

    jax.block_until_ready(jax.numpy.zeros(1) + 1)
    devices = dl.scale.make_mesh(mesh) if mesh else None
    return lambda: jax.block_until_ready(dl.hub.load(folder, mesh=devices).params)


def theirs(folder: str) -> Callable[[], Any]:
    import torch  # pyright: ignore[reportMissingImports]  # an extra that only benchmarks and tests/parity need
    import transformers  # pyright: ignore[reportMissingImports]

    model = transformers.AutoModelForCausalLM

    def load() -> None:
        whole = model.from_pretrained(folder, dtype=torch.float32)
        for parameter in whole.parameters():  # which are views of the files until they are read
            parameter.sum()

    return load


KINDS = {"deeplab": deeplab, "fsdp=8": lambda folder: deeplab(folder, "fsdp=8"), "transformers": theirs}


def measured(kind: str, folder: str) -> dict[str, float]:
    """One load in this process: wall and CPU seconds, and the peak of memory above the start, in bytes."""
    load = KINDS[kind](folder)
    page, peak, done = resource.getpagesize(), [0], threading.Event()

    def held() -> int:
        # What is shared with a file is the page cache's, which the system takes back.
        _, resident, shared, *_ = Path("/proc/self/statm").read_text(encoding="utf-8").split()
        return (int(resident) - int(shared)) * page

    def watch() -> None:
        while not done.is_set():
            peak[0] = max(peak[0], held())
            time.sleep(0.002)

    start = held()
    thread = threading.Thread(target=watch)
    thread.start()
    began = time.perf_counter(), time.process_time()
    kept = load()
    found = {"wall": time.perf_counter() - began[0], "cpu": time.process_time() - began[1]}
    done.set()
    thread.join()
    del kept
    return {**found, "peak": peak[0] - start}


def sizes(folder: str) -> tuple[int, int]:
    """Bytes of the model, and of its largest tensor."""
    found = []
    for path in Path(folder).glob("*.safetensors"):
        with path.open("rb") as file:
            header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        found += [b - a for name, one in header.items() if name != "__metadata__" for a, b in [one["data_offsets"]]]
    return sum(found), max(found)


def main(folder: tyro.conf.Positional[str], repeats: int = 5, kind: str = "") -> None:
    """Compares the loaders.

    Args:
      folder: Folder in the layout of Hugging Face.
      repeats: Number of turns of each.
      kind: Loader that this process measures; all, in processes of their own, when empty.
    """
    if kind:
        print(json.dumps(measured(kind, folder)))
        return
    model, largest = sizes(folder)
    print(f"model {model / 2**20:.0f} MiB, largest tensor {largest / 2**20:.0f} MiB")
    found: dict[str, list[dict[str, float]]] = {kind: [] for kind in KINDS}
    for _ in range(repeats):
        for name, rows in found.items():
            call = [sys.executable, "-m", "experiments.benchmarks.loading", folder, "--kind", name]
            out = subprocess.run(call, capture_output=True, encoding="utf-8", check=True)
            rows.append(json.loads(out.stdout.splitlines()[-1]))
    for name, rows in found.items():
        wall, cpu, peak = (statistics.median(row[key] for row in rows) for key in ("wall", "cpu", "peak"))
        print(f"{name:<13} {wall:6.2f} s, {cpu:6.2f} of CPU time, peak {peak / 2**20:6.0f} MiB", flush=True)


if __name__ == "__main__":
    tyro.cli(main)
