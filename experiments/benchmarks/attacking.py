"""Time and strength of AutoAttack: deeplab's beside that of its authors, on the same weights and images.

Run:     python -m experiments.benchmarks.attacking --data-dir DIR      (needs: pip install torch, and the authors'
         package `autoattack` of https://github.com/fra31/auto-attack on the PYTHONPATH; DIR holds the files of MNIST)
         Of a run of `experiments.robust_mnist`: --run-dir FOLDER --radius 0.3
Prints:  clean accuracy, the accuracy after each attack and after all, with its interval; the images of which one finds
         an adversarial example and the other does not; the seconds of both, with compiling, and their ratio; and the
         gates. The network is a small one that is trained against FGSM from random points of the ball, Wong et al.
         2020, or one that is not trained against anything (`--train-radius 0`), or that of a run.
Result:  `experiments.robust_mnist`, radius 0.3, the first 1,000 images, two cores beside other work (commit d1d6e65):
         clean 99.7 %; ours after each attack 92.4, 91.9, 91.6, 90.4 % (88.4 to 92.1), some 15 CPU minutes; theirs
         92.9, 92.1, 91.6 and 90.4 % when it was ended before Square's last 166 images, 49 CPU minutes.
         The network that is trained here, --gates: ours 30.3, 27.5, 27.5, 27.5 % (24.8 to 30.3), theirs 29.8, 27.7,
         27.7, 27.7 %; 8 images that only ours breaks, 6 that only theirs; 354 and 894 s of CPU time (commit 1fd3d8c).
         CPU ms of 256 images, one core that other work shared, ours and PyTorch's (and ours before convolutions of few
         channels were brought into blocks): outputs 19.3 and 15.3 (34.6), a gradient 55.3 and 41.7 (58.2); with 8 and
         16 kernels of 4 x 4 and stride 2: 4.5 and 4.1 (7.9), 12.3 and 26.9 (18.5).
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

import deeplab as dl
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
    run_dir: Path | None = None,
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
      run_dir: Folder of a run of `experiments.robust_mnist`, whose network is attacked; none is trained then.
    """
    import torch  # pyright: ignore[reportMissingImports]  # extras that only this benchmark and tests/parity need
    from autoattack import AutoAttack  # pyright: ignore[reportMissingImports]

    torch.set_num_threads(threads)
    test = pictures(data_dir, "t10k")
    x, y = test[0][:images], test[1][:images]
    batch = {"image": jnp.asarray(x), "label": jnp.asarray(y), "weight": jnp.ones(len(x)), "id": jnp.arange(len(x))}
    if run_dir:
        run = dl.load(run_dir)
        apply, params, scale = run.bound(len(x)), run.state.params, run.experiment.data.normalize
    else:
        params = trained(*pictures(data_dir, "train"), train_radius, steps)
        apply, scale = BoundApply(MODEL, params, {}, batch["id"], Precision()), None

    began, busy = time.perf_counter(), time.process_time()
    ours = attacks.auto_attack(apply)([batch], radius, jax.random.key(0))
    took, busy = time.perf_counter() - began, time.process_time() - busy
    print(f"deeplab   {ours.clean:.4f} clean, {ours.robust:.4f} robust, {ours.interval}, {ours.after}", flush=True)
    net, pixels, labels = network(params, scale), torch.tensor(x.transpose(0, 3, 1, 2)), torch.tensor(y).long()
    apart = np.abs(net(pixels[:100]).detach().numpy() - np.asarray(apply(batch["image"])[0][:100])).max()
    print(f"the logits of both differ by {apart:.1e} at most")
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


def network(params: Any, scale: Any = None) -> Any:
    """The same network in PyTorch, whose images are [B, C, H, W]: `MODEL`, or that of `experiments.robust_mnist`."""
    import torch  # pyright: ignore[reportMissingImports]

    nn, (a, b), side = (
        torch.nn,
        (params[f"conv{i}"]["kernel"].shape[3] for i in (1, 2)),
        params["conv1"]["kernel"].shape[0],
    )
    stride = 2 if side == 4 else 1  # the strided one does not pool
    units = params["hidden"]["kernel"].shape[1]
    parts = {
        "conv1": nn.Conv2d(1, a, side, stride, padding=1), "conv2": nn.Conv2d(a, b, side, stride, padding=1),
        "hidden": nn.Linear(49 * b, units), "head": nn.Linear(units, 10),
    }  # fmt: skip
    first = nn.Conv2d(1, 1, 1)  # the normalization
    mean, std = (scale.mean[0], scale.std[0]) if scale else (0.0, 1.0)
    with torch.no_grad():
        first.weight.fill_(1 / std)
        first.bias.fill_(-mean / std)
        for name, part in parts.items():
            kernel = np.asarray(params[name]["kernel"])
            if name == "hidden":  # its inputs are flattened channels last here, and first there
                kernel = kernel.reshape(7, 7, b, -1).transpose(2, 0, 1, 3).reshape(49 * b, -1)
            part.weight.copy_(torch.tensor(kernel.transpose((3, 2, 0, 1) if kernel.ndim == 4 else (1, 0)).copy()))
            part.bias.copy_(torch.tensor(np.asarray(params[name]["bias"])))
    pools = [nn.MaxPool2d(2)] if stride == 1 else []
    convolutions = [layer for i in (1, 2) for layer in (parts[f"conv{i}"], *pools, nn.ReLU())]
    ends = [nn.Flatten(), parts["hidden"], nn.ReLU(), parts["head"]]
    return nn.Sequential(*([first] if scale else []), *convolutions, *ends).eval()


if __name__ == "__main__":
    tyro.cli(main)
