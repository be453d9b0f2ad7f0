"""The input pipeline alone, beside PyTorch's DataLoader on the same files: examples a second.

Run:     python -m experiments.benchmarks.inputs           (needs PyTorch: pip install torch)
Prints:  32 x 32 images with crop and flip, from arrays in memory; 224 x 224 photographs, from a folder of JPEG files
         made up on the spot and from records (ArrayRecord), without augmentation. All in one process on one core; the
         readers take turns, and medians are compared. Then the share of the time that `fit` waits for a set on the
         device. With `--workers N`, on as many cores, processes read the records besides.
Result:  examples a second, one AVX-512 core that other work shared, 3 turns (commit 13fbf76). 32 x 32: PyTorch 16,069,
         ours on the device 212,677 (13 x), from the host 163,092. 224 x 224: PyTorch 587, ours in the first pass 684,
         once decoded 149,037 (254 x), from records 661. Training waits 0.000 % of the time for a set on the device.
         Two processes on two cores: PyTorch 899 (885), records 860 (864), of two runs.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tyro

Read = Callable[[], int]
"""Reads on; gives the number of examples."""

_BATCH, _PHOTOS, _SIDE = 128, 64, 224


def small(steps: int = 20) -> dict[str, Read]:
    """32 x 32, padded by 4, cropped at random and mirrored half of the time; as normalised floats, batches of 128."""
    import jax

    import deeplab as dl
    from deeplab.data import augment

    images = np.random.default_rng(0).integers(0, 256, (5000, 32, 32, 3), np.uint8), np.arange(5000) % 10
    recipe = augment.chain(augment.crop(4), augment.flip())
    dataset = dl.data.arrays({"train": images, "test": images})
    data = dl.data.Images(dataset, batch_size=_BATCH, num_steps=10**6, augment=recipe)
    source, key = data.open("train"), jax.random.key(0)
    resident = dl.make_feed(data, source, dl.scale.make_mesh("data=1"))

    def ready(batch: Any) -> Any:
        batch = data.transform(batch, key)
        assert data.normalize is not None
        return batch | {"image": data.normalize(batch["image"])}

    on_device = jax.jit(lambda arrays, ids: ready(resident.fetch(arrays, ids)))
    from_host = jax.jit(ready)
    at = [0]

    def read(one: Callable[[np.ndarray], Any]) -> int:
        batch = None
        for ids in data.train_ids(at[0], 0, steps):
            batch = one(ids)
        at[0] += steps
        jax.block_until_ready(batch)
        return steps * _BATCH

    return {
        "PyTorch": torch_reader(_Small, images[0], images[1], batch=_BATCH, limit=steps),
        "deeplab, on the device": lambda: read(lambda ids: on_device(resident.resident, ids)),
        "deeplab, from the host": lambda: read(lambda ids: from_host(data.fetch(source, ids))),
    }


class _Small:
    """A map-style data set: the same operations, example by example, as torchvision's on arrays."""

    def __init__(self, images: np.ndarray, labels: np.ndarray):
        self.images, self.labels, self.rng = images, labels, np.random.default_rng(0)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, i: int) -> tuple[np.ndarray, int]:
        padded = np.pad(self.images[i], ((4, 4), (4, 4), (0, 0)))
        top, left = self.rng.integers(0, 9, 2)
        image = padded[top : top + 32, left : left + 32]
        if self.rng.random() < 0.5:
            image = image[:, ::-1]
        return ((image.astype(np.float32) / 255 - 0.5) / 0.25).transpose(2, 0, 1), int(self.labels[i])


class _Photos:
    """Files, decoded by Pillow, scaled to 224 and cropped at the centre."""

    def __init__(self, files: list[Path]):
        self.files = files

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, i: int) -> tuple[np.ndarray, int]:
        from deeplab.data.prepare.images import load

        image = load(self.files[i], (_SIDE, _SIDE, 3))
        return ((image.astype(np.float32) / 255 - 0.5) / 0.25).transpose(2, 0, 1), i % 2


def torch_reader(dataset: Any, *arguments: Any, batch: int, limit: int) -> Read:
    """PyTorch's DataLoader, shuffled, in this process: one core is all there is."""
    from torch.utils.data import DataLoader  # pyright: ignore[reportMissingImports]

    loader = DataLoader(dataset(*arguments), batch, shuffle=True, drop_last=True)

    def read() -> int:
        count = 0
        for step, (_, label) in enumerate(loader, start=1):
            count += len(label)
            if step == limit:
                break
        return count

    return read


def photographs(folder: Path, workers: int) -> dict[str, Read]:
    """224 x 224 from JPEG files of 320 x 256, batches of 16."""
    import deeplab as dl
    from deeplab.data.prepare.images import load

    files = make_photographs(folder / "photos")
    dataset = dl.data.image_folder(folder / "photos", size=_SIDE)
    data = dl.data.Images(dataset, batch_size=16, num_steps=10**6)
    source = data.open("train")
    path = dl.data.write(dataset, folder / "records", num_shards=2)
    kept = dl.data.Images(dl.data.tfds(path, keep="records"), batch_size=16, num_steps=10**6)
    opened, at = kept.open("train"), [0]

    def read(of: dl.data.Examples, source: dl.data.Source, steps: int) -> int:
        for ids in of.train_ids(at[0], 0, steps):
            of.fetch(source, ids)
        at[0] += steps
        return 16 * steps

    def first() -> int:
        for file in files:
            load(file, (_SIDE, _SIDE, 3))
        return len(files)

    if workers:
        _by_processes(kept, opened, files, workers)
    return {
        "PyTorch": torch_reader(_Photos, files, batch=16, limit=4),
        "deeplab, first pass": first,
        "deeplab, once decoded": lambda: read(data, source, 40),
        "deeplab, records": lambda: read(kept, opened, 4),
    }


def _by_processes(data: Any, source: Any, files: list[Path], workers: int, steps: int = 300) -> None:
    """Prints how fast processes read, once they run and their buffers are full."""
    from torch.utils.data import DataLoader  # pyright: ignore[reportMissingImports]

    from deeplab.data import records

    def measure(name: str, batches: Iterator[Any]) -> None:
        for _ in range(4 * workers):
            next(batches)
        began = time.perf_counter()
        count = 16 * sum(1 for _ in batches)
        speed = count / (time.perf_counter() - began)
        print(f"{f'{name}, {workers} processes':<34} {speed:12,.0f} examples/s", flush=True)

    photos: Any = _Photos(files * (16 * steps // len(files)))
    measure("PyTorch", iter(DataLoader(photos, 16, num_workers=workers)))
    with records.in_processes(data, source, 0, 0, steps, workers) as batches:
        measure("deeplab, records", batches)


def make_photographs(folder: Path) -> list[Path]:
    """JPEG files of smooth noise, in two classes: of the size and the content that photographs have, roughly."""
    from PIL import Image

    files, rng = [], np.random.default_rng(0)
    for i in range(_PHOTOS):
        small = Image.fromarray(rng.integers(0, 256, (32, 40, 3), np.uint8))
        files.append(folder / "ab"[i % 2] / f"{i}.jpg")
        files[-1].parent.mkdir(parents=True, exist_ok=True)
        small.resize((320, 256), Image.Resampling.BICUBIC).save(files[-1], quality=90)
    return files


def compare(readers: dict[str, Read], repeats: int) -> None:
    """Prints a row for each reader, and its ratio to the first one's."""
    rates: dict[str, list[float]] = {name: [] for name in readers}
    for repeat in range(repeats + 1):
        for name, read in readers.items():
            began = time.perf_counter()
            count = read()
            if repeat:  # the first one compiles
                rates[name].append(count / (time.perf_counter() - began))
    medians = {name: statistics.median(values) for name, values in rates.items()}
    reference = next(iter(medians.values()))
    for name, rate in medians.items():
        print(f"{name:<34} {rate:12,.0f} examples/s   {rate / reference:7.1f} x", flush=True)


def stall(steps: int = 60) -> None:
    """Prints the share of the time that training waits for a set on the device."""
    import jax
    import optax

    import deeplab as dl
    from deeplab.train.program import compile_program

    data = dl.data.Images("digits", batch_size=128, num_steps=steps)
    model = dl.models.CNN(10)
    exp = dl.Experiment(data=data, model=model, task=dl.tasks.Classification(), optimizer=optax.adamw(1e-3))
    feed = dl.make_feed(data, data.open("train"), dl.scale.make_mesh("data=1"))
    state = dl.init(exp, jax.random.key(0))
    program = compile_program(exp, state, feed, seed=0)
    began = time.perf_counter()
    stalled = dl.train.loop.fit(exp, state, feed, program=program).stalled
    print(f"fit on the device's own arrays waits {100 * stalled / (time.perf_counter() - began):.3f} % of the time")


def main(repeats: int = 5, workers: int = 0) -> None:
    """Measures.

    Args:
      repeats: Turns of each reader.
      workers: Processes that read the records besides; they need cores of their own.
    """
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: max(1, workers)])
    import torch  # pyright: ignore[reportMissingImports]

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["DEEPLAB_CACHE"] = folder
        print("32 x 32, crop and flip")
        compare(small(), repeats)
        print("224 x 224")
        compare(photographs(Path(folder), workers), repeats)
    stall()


if __name__ == "__main__":
    tyro.cli(main)
