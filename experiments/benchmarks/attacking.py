"""Time and strength of AutoAttack: deeplab's beside that of its authors, on the same weights and images.

Run:     python -m experiments.benchmarks.attacking --data-dir DIR      (needs: pip install torch, and the authors'
         package `autoattack` of https://github.com/fra31/auto-attack on the PYTHONPATH; DIR holds the files of MNIST)
Prints:  clean accuracy, the accuracy after each attack and after all, with its interval; the images of which one finds
         an adversarial example and the other does not; the seconds of both, with compiling, and their ratio; and the
         gates. The network is a small one that is trained against FGSM from random points of the ball, Wong et al.
         2020, or one that is not trained against anything (`--train-radius 0`).
Result:  none yet on a quiet machine
"""

from __future__ import annotations

import gzip
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import tyro

from deeplab.core.precision import Precision
from deeplab.data.sets.image.mnist import parse
from deeplab.models import CNN
from deeplab.robust import attacks
from deeplab.train.bind import BoundApply

MODEL = CNN(num_classes=10, widths=(16, 32), hidden=64)


def main(
    data_dir: Path,
    radius: float = 0.2,
    train_radius: float = 0.25,
    steps: int = 1500,
    images: int = 1000,
    threads: int = 2,
    gates: bool = False,
) -> None:
    """Trains, attacks and compares.

    Args:
      data_dir: Folder of MNIST's files.
      radius: Radius in the maximum norm.
      train_radius: Radius of the training; 0 for none.
      steps: Number of training steps.
      images: Number of test images, the first ones.
      threads: Number of threads of PyTorch.
      gates: Whether the gates are looked at, too.
    """
    import torch  # pyright: ignore[reportMissingImports]  # extras that only this benchmark and tests/parity need
    from autoattack import AutoAttack  # pyright: ignore[reportMissingImports]

    torch.set_num_threads(threads)
    train, test = (pictures(data_dir, split) for split in ("train", "t10k"))
    params = trained(*train, train_radius, steps)
    x, y = test[0][:images], test[1][:images]
    batch = {"image": jnp.asarray(x), "label": jnp.asarray(y), "weight": jnp.ones(len(x)), "id": jnp.arange(len(x))}
    apply = BoundApply(MODEL, params, {}, batch["id"], Precision())

    began, busy = time.perf_counter(), time.process_time()
    ours = attacks.auto_attack(apply)([batch], radius, jax.random.key(0))
    took, busy = time.perf_counter() - began, time.process_time() - busy
    print(f"deeplab   {ours.clean:.4f} clean, {ours.robust:.4f} robust, {ours.interval}, {ours.after}", flush=True)
    net, pixels, labels = network(params), torch.tensor(x.transpose(0, 3, 1, 2)), torch.tensor(y).long()
    began, other_busy = time.perf_counter(), time.process_time()
    adversarial = AutoAttack(net, eps=radius, device="cpu", seed=0).run_standard_evaluation(pixels, labels, bs=250)
    other, other_busy = time.perf_counter() - began, time.process_time() - other_busy
    right = (net(adversarial).argmax(1) == labels).numpy()
    print(f"authors'  {right.mean():.4f} robust; apart are the images {np.flatnonzero(right != ours.right).tolist()}")
    print(f"deeplab {took:8.1f} s   other {other:8.1f} s   ratio {other / took:6.2f}")
    print(
        f"deeplab {busy:8.1f} s   other {other_busy:8.1f} s   ratio {other_busy / busy:6.2f}   of processors",
        flush=True,
    )
    if gates:
        for gate in attacks.gates(attacks.figures_of(apply, [batch], radius, jax.random.key(1))):
            print("holds " if gate.holds else "FAILS ", gate.name, "-", gate.told, flush=True)


def pictures(data_dir: Path, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Images [N, 28, 28, 1] in [0, 1], and their labels."""
    kinds = ("images-idx3", "labels-idx1")
    x, y = (parse(gzip.decompress((data_dir / f"{name}-{kind}-ubyte.gz").read_bytes())) for kind in kinds)
    return (x.reshape(-1, 28, 28, 1) / 255).astype(np.float32), y.astype(np.int32)


def trained(x: np.ndarray, y: np.ndarray, radius: float, steps: int) -> Any:
    """Parameters after training against one step from a random point."""
    images, labels = jnp.asarray(x), jnp.asarray(y)
    params = MODEL.init(jax.random.key(0), images[:1])["params"]
    optimizer = optax.adam(optax.cosine_onecycle_schedule(steps, 2e-3))
    attack = attacks.fgsm(radius, random=True)

    @jax.jit
    def step(params: Any, opt: Any, images: jax.Array, labels: jax.Array, key: jax.Array) -> tuple[Any, Any]:
        rows = jax.random.randint(key, (128,), 0, len(images))
        batch = {"image": images[rows], "label": labels[rows], "weight": jnp.ones(128), "id": rows}
        moved = attack(BoundApply(MODEL, params, {}, rows, Precision()), batch, key)["image"]

        def loss(params: Any) -> jax.Array:
            logits = MODEL.apply({"params": params}, moved)
            return attacks.CROSS_ENTROPY.value(logits, batch).mean()

        updates, opt = optimizer.update(jax.grad(loss)(params), opt)
        return optax.apply_updates(params, updates), opt

    opt = optimizer.init(params)
    for key in jax.random.split(jax.random.key(1), steps):
        params, opt = step(params, opt, images, labels, key)
    return params


def network(params: Any) -> Any:
    """The same network in PyTorch, whose images are [B, C, H, W]."""
    import torch  # pyright: ignore[reportMissingImports]

    nn, (a, b) = torch.nn, MODEL.widths
    parts = {
        "conv1": nn.Conv2d(1, a, 3, padding=1), "conv2": nn.Conv2d(a, b, 3, padding=1),
        "hidden": nn.Linear(49 * b, MODEL.hidden), "head": nn.Linear(MODEL.hidden, 10),
    }  # fmt: skip
    with torch.no_grad():
        for name, part in parts.items():
            kernel = np.asarray(params[name]["kernel"])
            if name == "hidden":  # its inputs are flattened channels last here, and first there
                kernel = kernel.reshape(7, 7, b, -1).transpose(2, 0, 1, 3).reshape(49 * b, -1)
            part.weight.copy_(torch.tensor(kernel.transpose((3, 2, 0, 1) if kernel.ndim == 4 else (1, 0)).copy()))
            part.bias.copy_(torch.tensor(np.asarray(params[name]["bias"])))
    convolutions = [layer for i in (1, 2) for layer in (parts[f"conv{i}"], nn.MaxPool2d(2), nn.ReLU())]
    return nn.Sequential(*convolutions, nn.Flatten(), parts["hidden"], nn.ReLU(), parts["head"]).eval()


if __name__ == "__main__":
    tyro.cli(main)
