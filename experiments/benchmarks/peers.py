"""Time of a training step: `fit`, a bare JAX loop, Keras 3 on JAX, PyTorch eager and compiled.

Run:     python -m experiments.benchmarks.peers cnn        (cnn, resnet, gpt_small, gpt, lstm; all when none is named)
Needs:   pip install keras torch
Prints:  a row for each peer and model: milliseconds per step, and the ratio to PyTorch eager. All in one process
         on one core, batches of random data, AdamW, float32; the peers take turns, and medians are compared. A row
         gives the reason where a peer could not run.
Result:  CPU milliseconds per step, one AVX-512 core that other work shared, GLIBC_TUNABLES=glibc.malloc.hugetlb=1, jax
         0.10.2, keras 3.15.1, torch 2.13; commit 68ea1a5
         model      torch  compiled  keras   bare    fit   fit/torch
         cnn         75.7     116.6  130.5   57.6   57.9        0.76
         gpt_small   61.9      59.4   76.7   55.7   57.7        0.93
         gpt         1709      1742      -   2003   2024        1.18
         lstm         418       418    502    427    430        1.03
         resnet      1154      1102   1398   1372   1293        1.12
"""

from __future__ import annotations

import os
import statistics
import string
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import tyro

Run = Callable[[int], None]
"""Takes a number of training steps, and waits for them."""


class Setting(NamedTuple):
    """Model and data of a comparison.

    Attributes:
      batch: Batch size.
      shape: Shape of an example: an image, a sequence of vectors, or (T,) of tokens.
      classes: Number of classes, or of tokens in the vocabulary.
      steps: Number of steps of one turn; several, so that the startup of `fit` weighs as little as in a run.
    """

    batch: int
    shape: tuple[int, ...]
    classes: int
    steps: int


SETTINGS = {
    "cnn": Setting(128, (28, 28, 1), 10, 6),
    "resnet": Setting(32, (32, 32, 3), 10, 4),
    "gpt_small": Setting(12, (64,), 65, 10),
    "gpt": Setting(8, (256,), 65, 3),
    "lstm": Setting(64, (100, 256), 10, 2),
}


class Scale(NamedTuple):
    """What differs between machines.

    Attributes:
      times: Number by which batches are multiplied.
      half: Whether products are of bfloat16.
    """

    times: int = 1
    half: bool = False


def setting(name: str, scale: Scale) -> Setting:
    """The setting of a model, with the batch of this machine."""
    return SETTINGS[name]._replace(batch=SETTINGS[name].batch * scale.times)


def experiment(name: str, scale: Scale) -> Any:
    """The experiment of the model on random data."""
    import flax.linen as nn
    import jax
    import numpy as np
    import optax

    import deeplab as dl
    from deeplab.data.sets.fields import Field
    from deeplab.data.sets.synthetic import SyntheticExamples, SyntheticText
    from deeplab.models.text.decoders import gpt
    from deeplab.nn.recurrent.layers import LSTM

    class Recurrent(nn.Module):
        @nn.compact
        def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
            for i in range(2):
                x, _ = LSTM(256, name=f"lstm{i + 1}")(x)
            return nn.Dense(10, name="head")(x[:, -1])

    batch, shape, classes, _ = setting(name, scale)
    size, optimizer = 4 * batch, optax.adamw(1e-3)
    if name.startswith("gpt"):
        characters = string.ascii_letters + string.digits + " .,"
        text = SyntheticText((("train", 64 * batch + shape[0]), ("validation", 2 * shape[0])), characters)
        data = dl.data.Text(text, context=shape[0], batch_size=batch, num_steps=10**6)
        model = dl.models.GPT(classes, **gpt.VARIANTS["nano" if name == "gpt" else "nano_cpu"])
        return dl.Experiment(data=data, model=model, task=dl.tasks.LanguageModeling(), optimizer=optimizer)
    if name == "lstm":
        fields = {"image": Field(shape), "label": Field((), "int32", 0, classes)}
        vectors = SyntheticExamples(fields, (("train", size), ("test", batch)))
        data, model = dl.data.Examples(vectors, batch_size=batch, num_steps=10**6), Recurrent()
    else:
        images = np.random.default_rng(0).integers(0, 256, (size, *shape), np.uint8), np.arange(size) % classes
        data = dl.data.Images(dl.data.arrays({"train": images, "test": images}), batch_size=batch, num_steps=10**6)
        model = dl.models.CNN(classes) if name == "cnn" else dl.models.ResNet(classes)
    return dl.Experiment(data=data, model=model, task=dl.tasks.Classification(), optimizer=optimizer)


def fitted(name: str, scale: Scale) -> Run:
    """`dl.fit`, with its hooks, its NaN checks, and its metrics."""
    import jax

    import deeplab as dl
    from deeplab.core.runtime import Runtime
    from deeplab.train.program import compile_program

    exp, runtime = experiment(name, scale), Runtime(precision=dl.PRECISIONS["bf16" if scale.half else "f32"])
    feed = dl.make_feed(exp.data, exp.data.open("train"), dl.scale.make_mesh("data=1"))
    state = jax.jit(lambda key: dl.init(exp, key, runtime))(jax.random.key(0))
    program, kept = compile_program(exp, state, feed, seed=0, runtime=runtime), [state]

    def run(steps: int) -> None:
        end = dl.train.loop.fit(exp, kept[0], feed, num_steps=int(kept[0].step) + steps, program=program)
        kept[0] = jax.block_until_ready(end.state)

    return run


def bare(name: str, scale: Scale) -> Run:
    """The same model in a hand-written loop: data on the device, a jitted and donated step, no metric but the loss."""
    import jax
    import optax

    import deeplab as dl

    if scale.half:
        raise ValueError("the hand-written loop has one precision")
    exp = experiment(name, scale)
    data, source = exp.data, exp.data.open("train")
    raw = jax.device_put(data.fetch(source, data.train_ids(0, 0)[0]))
    start = jax.jit(lambda key: dl.init(exp, key))(jax.random.key(0))

    def step(params: Any, variables: Any, opt_state: Any, raw: Any) -> Any:
        batch = data.transform(raw)
        inputs, targets = (batch["tokens"], batch["targets"]) if "tokens" in batch else (batch["image"], batch["label"])
        inputs = inputs if data.normalize is None else data.normalize(inputs)

        def objective(params: Any) -> Any:
            bound = {"params": params, **variables}
            logits, updated = exp.model.apply(bound, inputs, train=True, mutable=list(variables))
            return optax.softmax_cross_entropy_with_integer_labels(logits, targets).mean(), updated

        (loss, updated), grads = jax.value_and_grad(objective, has_aux=True)(params)
        updates, opt_state = exp.optimizer.update(grads, opt_state, params)
        return optax.apply_updates(params, updates), {**variables, **updated}, opt_state, loss

    jitted = jax.jit(step, donate_argnums=(0, 1, 2))
    kept = [[start.params, start.variables, start.opt_state]]

    def run(steps: int) -> None:
        loss = None
        for _ in range(steps):
            *kept[0], loss = jitted(*kept[0], raw)
        jax.block_until_ready(loss)

    return run


def keras(name: str, scale: Scale) -> Run:
    from experiments.benchmarks import peers_keras

    return peers_keras.run(name, *setting(name, scale)[:3])


def torch(name: str, scale: Scale) -> Run:
    from experiments.benchmarks import peers_torch

    return peers_torch.run(name, *setting(name, scale)[:3], compiled=False, half=scale.half)


def torch_compiled(name: str, scale: Scale) -> Run:
    from experiments.benchmarks import peers_torch

    return peers_torch.run(name, *setting(name, scale)[:3], compiled=True, half=scale.half)


PEERS = {"torch": torch, "torch_compiled": torch_compiled, "keras": keras, "bare": bare, "fit": fitted}


def compare(name: str, peers: tuple[str, ...], repeats: int, scale: Scale) -> None:
    """Prints a row for each peer on one model."""
    runs: dict[str, Run] = {}
    for peer in peers:
        try:
            runs[peer] = PEERS[peer](name, scale)
            runs[peer](1)  # compiles
            runs[peer](1)
        except Exception as error:  # a peer that is not installed, or cannot compile here, is reported
            runs.pop(peer, None)
            print(f"{name:<10} {peer:<15} not run: {str(error).splitlines()[0][:100]}", flush=True)
    steps = SETTINGS[name].steps * scale.times
    times: dict[str, list[tuple[float, float]]] = {peer: [] for peer in runs}
    for _ in range(repeats):
        for peer, run in runs.items():
            began = time.perf_counter(), time.process_time()
            run(steps)
            times[peer].append((time.perf_counter() - began[0], time.process_time() - began[1]))
    medians = {
        peer: [1e3 / steps * statistics.median(column) for column in zip(*pairs, strict=True)]
        for peer, pairs in times.items()
    }
    reference = medians.get("torch") or next(iter(medians.values()))
    for peer, (wall, cpu) in medians.items():
        print(
            f"{name:<10} {peer:<15} {wall:8.1f} ms per step, {cpu:8.1f} of CPU time   ratio {wall / reference[0]:.2f}, "
            f"CPU {cpu / reference[1]:.2f}",
            flush=True,
        )


def main(
    models: tyro.conf.Positional[tuple[str, ...]] = tuple(SETTINGS),
    peers: tuple[str, ...] = tuple(PEERS),
    repeats: int = 5,
    cores: int = 1,
    times: int = 1,
    half: bool = False,
) -> None:
    """Measures the peers on each model.

    Args:
      models: Names of the models.
      peers: Names of the peers; the first one present is the reference.
      repeats: Number of turns of each peer.
      cores: Number of processor cores for all peers.
      times: Number by which batches and the steps of a turn are multiplied, for a GPU.
      half: Whether products are of bfloat16, by torch.autocast and by --precision bf16.
    """
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:cores])  # before the libraries start their threads
    os.environ |= {"KERAS_BACKEND": "jax", "OMP_NUM_THREADS": str(cores)}
    for name in models:
        compare(name, peers, repeats, Scale(times, half))


if __name__ == "__main__":
    tyro.cli(main)
