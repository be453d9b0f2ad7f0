"""Time of a gradient, forward and backward: our models, the same in bare Linen, and in PyTorch eager.

Run:     python -m experiments.benchmarks.architectures gpt        (gpt, vit, resnet, convnext, mamba; all by default)
Needs:   pip install torch transformers
Prints:  a row for each: seconds of CPU time, and the ratios. All in one process on one core, random data, float32;
         the peers take turns, and medians are compared. The two in JAX have as many parameters as each other.
Result:  ours over bare Linen, over PyTorch, five repeats: GPT 6 x 384 0.91, 0.93; ViT 12 x 192 0.88, 1.22; ResNet-18
         0.97, 1.22; ConvNeXt atto 0.48, 1.68; Mamba 4 x 256 0.72 to 1.03 in four runs, 0.09 (two repeats: step by step
         there). One AVX-512 core beside other work, GLIBC_TUNABLES=glibc.malloc.hugetlb=1, jax 0.10.2, torch 2.13,
         transformers 5.24
"""

from __future__ import annotations

import importlib
import os
import statistics
import time
from collections.abc import Callable
from typing import Any

import tyro

Run = Callable[[], None]
"""Computes a gradient, and waits for it."""

CLASSES = 65
INPUTS = {  # of a batch: tokens [B, T], images [B, H, W, C]
    "gpt": (8, 256),
    "vit": (8, 224, 224, 3),
    "resnet": (8, 128, 128, 3),
    "convnext": (8, 128, 128, 3),
    "mamba": (4, 256),
}


def data(name: str) -> tuple[Any, Any]:
    """Inputs, and labels of images or of tokens."""
    import numpy as np

    rng, shape = np.random.default_rng(0), INPUTS[name]
    if len(shape) == 2:
        return rng.integers(CLASSES, size=shape), rng.integers(CLASSES, size=shape)
    return rng.normal(size=shape).astype(np.float32), rng.integers(CLASSES, size=shape[:1])


def ours(name: str) -> Run:
    from deeplab.models.text.decoders import gpt
    from deeplab.models.text.recurrent import mamba
    from deeplab.models.vision.convolutional import convnext, resnet
    from deeplab.models.vision.transformers import vit

    if name == "gpt":
        return gradients(name, gpt.GPT(CLASSES, **gpt.VARIANTS["nano"]))
    if name == "vit":
        return gradients(name, vit.ViT(num_classes=CLASSES, num_layers=12, num_heads=3, width=192, hidden=768))
    if name == "resnet":
        return gradients(name, resnet.ResNet(CLASSES, **resnet.VARIANTS["18"]))
    if name == "convnext":
        return gradients(name, convnext.ConvNeXt(num_classes=CLASSES, **convnext.VARIANTS["atto"]))
    return gradients(name, mamba.Mamba(CLASSES, num_layers=4, width=256))


def linen(name: str) -> Run:
    from experiments.benchmarks import architectures_linen as bare

    made = {"gpt": bare.GPT, "vit": bare.ViT, "resnet": bare.ResNet, "convnext": bare.ConvNeXt, "mamba": bare.Mamba}
    return gradients(name, made[name](CLASSES))


def gradients(name: str, model: Any) -> Run:
    """The gradient of the mean cross-entropy by all parameters."""
    import inspect

    import jax
    import optax

    x, y = jax.device_put(data(name))
    variables = jax.jit(model.init)(jax.random.key(0), x)
    params = variables.pop("params")
    trains = {"train": True} if "train" in inspect.signature(model.__call__).parameters else {}

    def loss(params: Any, x: jax.Array) -> Any:
        given = {"params": params, **variables}
        logits, updated = model.apply(given, x, mutable=list(variables), rngs={"dropout": jax.random.key(1)}, **trains)
        return optax.softmax_cross_entropy_with_integer_labels(logits, y).mean(), updated

    print(f"{name}: {sum(leaf.size for leaf in jax.tree.leaves(params)):,} parameters", flush=True)
    gradient = jax.jit(jax.grad(loss, has_aux=True))
    return lambda: jax.block_until_ready(gradient(params, x))


def torch(name: str) -> Run:
    import torch  # pyright: ignore[reportMissingImports]  # an extra that only benchmarks and tests/parity need
    import torch.nn.functional as F  # pyright: ignore[reportMissingImports]

    torch.set_num_threads(len(os.sched_getaffinity(0)))
    x, y = (torch.tensor(array) for array in data(name))
    model = published(name)
    x = x if x.ndim == 2 else x.permute(0, 3, 1, 2).contiguous()

    def run() -> None:
        for parameter in model.parameters():
            parameter.grad = None
        F.cross_entropy(model(x).logits.flatten(0, -2), y.flatten()).backward()

    return run


def published(name: str) -> Any:
    """A model of transformers, whose outputs have logits."""
    # Where it is installed, its own types lack the arguments that its configurations take.
    transformers: Any = importlib.import_module("transformers")

    if name == "gpt":
        sizes = {"n_positions": 256, "n_embd": 384, "n_layer": 6, "n_head": 6}
        dropout = dict.fromkeys(("resid_pdrop", "embd_pdrop", "attn_pdrop"), 0.0)
        return transformers.GPT2LMHeadModel(
            transformers.GPT2Config(vocab_size=CLASSES, **sizes, **dropout, use_cache=False)
        )
    if name == "resnet":
        sizes = {"hidden_sizes": [64, 128, 256, 512], "depths": [2, 2, 2, 2], "layer_type": "basic"}
        return transformers.ResNetForImageClassification(transformers.ResNetConfig(**sizes, num_labels=CLASSES))
    if name == "mamba":
        config = transformers.MambaConfig(vocab_size=CLASSES, hidden_size=256, num_hidden_layers=4, use_cache=False)
        return transformers.MambaForCausalLM(config)
    if name == "vit":
        config = transformers.ViTConfig(
            hidden_size=192, num_attention_heads=3, intermediate_size=768, num_labels=CLASSES
        )
        return transformers.ViTForImageClassification(config)
    config = transformers.ConvNextConfig(hidden_sizes=[40, 80, 160, 320], depths=[2, 2, 6, 2], num_labels=CLASSES)
    return transformers.ConvNextForImageClassification(config)


PEERS = {"ours": ours, "linen": linen, "torch": torch}


def compare(name: str, peers: tuple[str, ...], repeats: int) -> None:
    """Prints a row for each peer on one model."""
    runs: dict[str, Run] = {}
    for peer in peers:
        try:
            run = PEERS[peer](name)
            began = time.process_time()
            run()
            print(f"{name:<10} {peer:<8} first {time.process_time() - began:8.1f} s of CPU time", flush=True)
            runs[peer] = run
        except ImportError as error:
            print(f"{name:<10} {peer:<8} not run: {str(error).splitlines()[0][:100]}", flush=True)
    times: dict[str, list[float]] = {peer: [] for peer in runs}
    for _ in range(repeats):
        for peer, run in runs.items():
            run()  # the first after PyTorch finds memory in pieces: the GPT's takes 2.9 s of CPU time, and 2.0 after it
            began = time.process_time()
            run()
            times[peer].append(time.process_time() - began)
    medians = {peer: statistics.median(found) for peer, found in times.items()}
    for peer, seconds in medians.items():
        ratio = statistics.median(a / b for a, b in zip(times["ours"], times[peer], strict=True))
        print(f"{name:<10} {peer:<8} {seconds:8.3f} s   ours / {peer} {ratio:.2f}", flush=True)


def main(
    models: tyro.conf.Positional[tuple[str, ...]] = tuple(INPUTS),
    peers: tuple[str, ...] = tuple(PEERS),
    repeats: int = 7,
) -> None:
    """Measures the peers on each model.

    Args:
      models: Names of the models.
      peers: Names of the peers, "ours" among them.
      repeats: Number of turns of each peer.
    """
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:1])  # before the libraries start their threads
    os.environ["OMP_NUM_THREADS"] = "1"
    for name in models:
        compare(name, peers, repeats)


if __name__ == "__main__":
    tyro.cli(main)
