"""Time of a recurrent layer: a training step of deeplab's LSTM and GRU, of torch.nn's, and of Linen's.

Run:     python -m experiments.benchmarks.recurrent                (needs PyTorch: pip install torch)
Prints:  a row for each, 2 layers of 256, batch 64 x 100 steps of 256: forward, backward and AdamW. The programs take
         turns, so that a machine whose speed drifts slows all; the ratio is that of the minima. `--cores 1` is the
         steadier measure where other work shares the machine: threads that wait for one another cost more than they
         compute.
Result:  none yet
"""

from __future__ import annotations

import functools
import os
import statistics
import time
from collections.abc import Callable
from typing import Any

import tyro

BATCH, TIMES, WIDTH, LAYERS = 64, 100, 256, 2


def ours(layer: Any) -> Callable[[], None]:
    """A training step; `layer(name=...)` makes a module that gives (outputs, state) or outputs."""
    import flax.linen as nn
    import jax
    import jax.numpy as jnp
    import optax

    class Stack(nn.Module):
        @nn.compact
        def __call__(self, x: jax.Array) -> jax.Array:
            for i in range(LAYERS):
                out = layer(name=f"layer{i}")(x)
                x = out[0] if isinstance(out, tuple) else out
            return x

    x = jax.random.normal(jax.random.key(0), (BATCH, TIMES, WIDTH))
    model, tx = Stack(), optax.adamw(1e-3)
    params = jax.jit(model.init)(jax.random.key(1), x)
    carry = [params, tx.init(params)]

    @functools.partial(jax.jit, donate_argnums=(0, 1))
    def step(params: Any, opt_state: Any, x: jax.Array) -> tuple[Any, Any]:
        grads = jax.grad(lambda p: jnp.mean(jnp.square(model.apply(p, x))))(params)  # pyright: ignore[reportArgumentType]  # apply gives one array here
        updates, opt_state = tx.update(grads, opt_state, params)
        return optax.apply_updates(params, updates), opt_state

    def run() -> None:
        carry[:] = jax.block_until_ready(step(*carry, x))

    return run


def theirs(kind: str) -> Callable[[], None]:
    """The same training step in PyTorch."""
    import torch  # pyright: ignore[reportMissingImports]  # an extra that only this benchmark and tests/parity need

    model = getattr(torch.nn, kind)(WIDTH, WIDTH, LAYERS, batch_first=True)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    x = torch.randn(BATCH, TIMES, WIDTH)

    def run() -> None:
        optimizer.zero_grad()
        model(x)[0].square().mean().backward()
        optimizer.step()

    return run


def main(repeats: int = 20, cores: int = 2) -> None:
    """Measures each program.

    Args:
      repeats: Number of steps of each program.
      cores: Number of processor cores for all programs.
    """
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:cores])  # before the libraries start their threads
    import flax.linen as nn
    import torch  # pyright: ignore[reportMissingImports]

    from deeplab.nn.recurrent.layers import GRU, LSTM

    torch.set_num_threads(cores)
    layers = {"LSTM": (LSTM, nn.OptimizedLSTMCell), "GRU": (GRU, nn.GRUCell)}
    for kind, (layer, cell) in layers.items():
        runs = {
            f"torch.nn.{kind}": theirs(kind),
            f"deeplab {kind}": ours(functools.partial(layer, WIDTH)),
            f"nn.RNN(nn.{cell.__name__})": ours(lambda name, cell=cell: nn.RNN(cell(WIDTH), name=name)),
        }
        compare(runs, repeats)


def compare(runs: dict[str, Callable[[], None]], repeats: int) -> None:
    """Prints a row for each program, with its ratio to the first."""
    wall, spent = ({name: [] for name in runs} for _ in range(2))
    for repeat in range(repeats + 1):
        for name, run in runs.items():
            began = time.perf_counter(), time.process_time()
            run()
            if repeat:  # the first run compiles
                wall[name].append(time.perf_counter() - began[0])
                spent[name].append(time.process_time() - began[1])
    reference = next(iter(runs))
    for name in runs:
        print(
            f"{name:<30} {min(wall[name]) * 1e3:7.1f} ms (median {statistics.median(wall[name]) * 1e3:7.1f})   "
            f"CPU {min(spent[name]) * 1e3:7.1f} ms   ratio {min(wall[name]) / min(wall[reference]):.2f}, "
            f"CPU {min(spent[name]) / min(spent[reference]):.2f}",
            flush=True,
        )


if __name__ == "__main__":
    tyro.cli(main)
