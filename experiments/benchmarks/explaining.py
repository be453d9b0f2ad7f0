"""Time of explanations: deeplab's beside captum's and shap's, of networks of the same sizes.

Run:     python -m experiments.benchmarks.explaining               (needs: pip install captum shap)
Prints:  a row for each, with the ratio to the other library. The programs take turns, and compiling is not counted.
         Images of 28 x 28, a network of two convolutions: integrated gradients with 64 nodes of 256 images, windows of
         4 x 4 at every second place of 32 images, KernelSHAP of 49 tiles with 1,024 coalitions of 8 images; of both
         with as many perturbations at once as captum is fastest with, and with its default of one. A table's row of 14
         columns, two layers of 16: Shapley values of all 16,384 coalitions. Then the memory of integrated gradients,
         and 1,000 images with one program.
Result:  see README.md
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import tyro

from deeplab import explain
from deeplab.models import CNN, MLP

NODES, IMAGES = 64, 256


def main(repeats: int = 3, only: tuple[str, ...] = ()) -> None:
    """Measures each method.

    Args:
      repeats: Number of times that each program runs after its first.
      only: Methods to measure; all when there are none.
    """
    import captum.attr as captum  # pyright: ignore[reportMissingImports]  # extras that only this benchmark and tests/parity need
    import shap  # pyright: ignore[reportMissingImports]
    import torch  # pyright: ignore[reportMissingImports]

    torch.set_num_threads(2)
    warnings.simplefilter("ignore")
    f, theirs, x = network()
    tx, tiles = torch.tensor(np.asarray(x.transpose(0, 3, 1, 2))), explain.superpixels((28, 28), (4, 4))
    mask = torch.tensor(tiles.transpose(2, 0, 1))[None]
    g, row = table()
    run_g = jax.jit(g)
    kernel = shap.KernelExplainer(lambda x: np.asarray(run_g(x)), np.zeros((1, 14), np.float32))

    ig = jax.jit(lambda x: explain.integrated_gradients(f, x, 0.0, 3, nodes=NODES).values)
    occlude = jax.jit(lambda x: explain.occlusion(f, x, 0.0, 3, window=(4, 4), stride=2).values)
    fit = jax.jit(lambda x: explain.kernel_shap(f, x, 0.0, 3, groups=tiles, draws=1024, key=jax.random.key(0)).values)
    exact = jax.jit(lambda x: explain.shapley(g, x, 0.0).values)

    def fit_theirs(at_once: int) -> None:
        for i in range(8):
            captum.KernelShap(theirs).attribute(
                tx[i : i + 1], 0, 3, feature_mask=mask, n_samples=1024, perturbations_per_eval=at_once
            )

    def occlude_theirs(at_once: int) -> None:
        captum.Occlusion(theirs).attribute(
            tx[:32], (1, 4, 4), (1, 2, 2), baselines=0, target=3, perturbations_per_eval=at_once
        )

    rows: dict[str, tuple[Callable[[], Any], Callable[[], Any]]] = {
        "integrated gradients": (
            lambda: ig(x),
            lambda: captum.IntegratedGradients(theirs).attribute(tx, 0, 3, n_steps=NODES, internal_batch_size=IMAGES),
        ),
        "occlusion": (lambda: occlude(x[:32]), lambda: occlude_theirs(8)),
        "occlusion, defaults": (lambda: occlude(x[:32]), lambda: occlude_theirs(1)),
        "kernel shap": (lambda: fit(x[:8]), lambda: fit_theirs(64)),
        "kernel shap, defaults": (lambda: fit(x[:8]), lambda: fit_theirs(1)),
        "shapley, 14 players": (
            lambda: exact(row),
            lambda: kernel.shap_values(np.asarray(row), nsamples=2**14, l1_reg=False, silent=True),
        ),
    }
    for name in only or rows:
        compare(name, rows[name], repeats)
    memory(f)
    one_program(ig, x)


def compare(name: str, runs: tuple[Callable[[], Any], Callable[[], Any]], repeats: int) -> None:
    """Prints the least time of both, and how many times the other's that is."""
    taken: tuple[list[float], list[float]] = ([], [])
    for repeat in range(repeats + 1):
        for run, times in zip(runs, taken, strict=True):
            began = time.perf_counter()
            jax.block_until_ready(run())
            if repeat:  # the first run compiles
                times.append(time.perf_counter() - began)
    ours, theirs = map(min, taken)
    print(f"{name:<22} deeplab {ours:8.3f} s   other {theirs:8.3f} s   ratio {theirs / ours:6.2f}", flush=True)


def network() -> tuple[Callable[[jax.Array], jax.Array], Any, jax.Array]:
    """A convolutional network, one of the same sizes in PyTorch, and images."""
    import torch  # pyright: ignore[reportMissingImports]

    model = CNN(num_classes=10)
    x = jax.random.uniform(jax.random.key(0), (IMAGES, 28, 28, 1))
    variables = model.init(jax.random.key(1), x[:1])
    parts: list[Any] = []
    for wide, out in (1, 32), (32, 64):
        parts += [torch.nn.Conv2d(wide, out, 3, padding="same"), torch.nn.MaxPool2d(2), torch.nn.ReLU()]
    theirs = torch.nn.Sequential(
        *parts, torch.nn.Flatten(), torch.nn.Linear(3136, 256), torch.nn.ReLU(), torch.nn.Linear(256, 10)
    )
    return lambda x: model.apply(variables, x), theirs, x  # pyright: ignore[reportReturnType]  # apply gives one array here


def table() -> tuple[Callable[[Any], jax.Array], jax.Array]:
    """A small network over 14 columns, and a row."""
    model, row = MLP(num_classes=1, features=(16, 16)), jax.random.normal(jax.random.key(2), (1, 14))
    variables = model.init(jax.random.key(3), row)
    return lambda x: jnp.asarray(model.apply(variables, jnp.asarray(x)))[:, 0], row


def memory(f: Callable[[jax.Array], jax.Array]) -> None:
    """Prints the bytes of intermediate values by the number of nodes."""
    for nodes in (4, 32, 512):
        run = jax.jit(lambda x, nodes=nodes: explain.integrated_gradients(f, x, 0.0, 3, nodes=nodes, chunk=1).values)
        needed: Any = run.lower(jnp.zeros((32, 28, 28, 1))).compile().memory_analysis()
        size = needed.temp_size_in_bytes
        print(f"integrated gradients of 32 images, {nodes:>4} nodes, one at a time: {size / 2**20:.1f} MiB", flush=True)


def one_program(ig: Any, x: jax.Array) -> None:
    """Prints the number of programs for 1,000 images, in batches of 250."""
    traced: list[int] = []
    run = jax.jit(lambda x: traced.append(1) or ig(x))
    for _ in range(4):
        jax.block_until_ready(run(x[:250]))
    print(f"1,000 images: traced {len(traced)} times", flush=True)


if __name__ == "__main__":
    tyro.cli(main)
