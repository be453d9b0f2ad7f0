"""Synthetic run directories: `make_run(name, ...)` writes the files of a training run."""

import json
from pathlib import Path

import numpy as np
import pytest

SOURCE = '''"""Handwritten digits with a small residual network.

Run: python -m experiments.image_digits
"""


def experiment(width: int = 32, learning_rate: float = 3e-3):
    return "<script>alert(1)</script>"
'''


@pytest.fixture
def make_run(tmp_path):
    """`make_run("image_digits/3f9c2a", num_steps=300)` -> its path; see `write_classifier` and `write_language`."""

    def make(name="image_digits/3f9c2a", kind="classification", **changes) -> Path:
        return WRITERS[kind](tmp_path / "runs" / name, **changes)

    return make


def write_classifier(
    directory: Path, *, num_steps=300, classes=10, size=360, shape=(8, 8, 1), seed=0, rate=3e-3, **record
) -> Path:
    rng = np.random.default_rng(seed)
    class_names = [str(k) for k in range(classes)]
    label = np.arange(size) % classes
    wrong = rng.choice(size, max(3, size // 60), replace=False)
    prediction = label.copy()
    prediction[wrong] = (label[wrong] + rng.integers(1, 3, len(wrong))) % classes
    loss = rng.exponential(0.02, size)
    loss[wrong] += 2
    worst = np.argsort(-loss)[:24]
    accuracy = float(np.mean(label == prediction))
    predictions = {
        "id": np.arange(size), "label": label, "prediction": prediction, "loss": loss.astype(np.float32),
        "probability": rng.uniform(0.4, 1, size).astype(np.float32), "worst_id": worst,
        "worst_image": rng.integers(0, 255, (24, *shape), dtype=np.uint8),
    }  # fmt: skip
    rows = _rows(rng, num_steps, rate, start=np.log(classes), floor=0.03)
    rows[-1] |= {"accuracy": accuracy}
    _write(
        directory,
        rows,
        _record("Classification", rate, seed, num_steps, "images", 128) | {"class_names": class_names} | record,
    )
    np.savez(directory / "predictions.npz", **predictions)
    return directory


def write_language(directory: Path, *, num_steps=300, seed=0, rate=3e-3, **record) -> Path:
    rng = np.random.default_rng(seed)
    rows = _rows(rng, num_steps, rate, start=4.17, floor=1.6)
    for row in rows:
        if row["split"] != "train":
            row |= {"perplexity": float(np.exp(row["loss"]))}
    _write(directory, rows, _record("LanguageModeling", rate, seed, num_steps, "tokens", 768) | record)
    token_loss = (1.6 + 2 / np.sqrt(np.arange(1, 65)) + rng.normal(0, 0.2, (200, 64))).astype(np.float32)
    token_loss[-1, 40:] = 0
    np.savez(directory / "predictions.npz", id=np.arange(200), token_loss=token_loss, loss=token_loss.mean(1))
    samples = [
        {"prompt": "ROMEO:", "text": "ROMEO:\nWhat is <b>the</b> matter?\n"},
        {"prompt": "To be", "text": ", or not"},
    ]
    (directory / "samples.json").write_text(json.dumps(samples))
    return directory


WRITERS = {"classification": write_classifier, "language": write_language}


def _rows(rng, num_steps, rate, start, floor):
    rows = []
    for step in range(10, num_steps + 1, 10):
        loss = floor + (start - floor) * np.exp(-step * rate * 6)
        noisy = float(loss * rng.lognormal(0, 0.15))
        timing = {"seconds": step / 41.5, "steps_per_second": float(rng.normal(41.5, 1))}
        accuracy = float(1 - loss / start * 0.9)
        rows.append({"step": step, "split": "train", "loss": noisy, "accuracy": accuracy} | timing)
        if step % 50 == 0:
            held_out = {"loss": float(loss * 1.1 + 0.01), "accuracy": accuracy - 0.004}
            rows.append({"step": step, "split": "test", **held_out})
    return rows


def _record(task, rate, seed, num_steps, unit, units_per_step):
    name = "experiments.image_digits" if unit == "images" else "experiments.text_shakespeare"
    return {
        "experiment": name,
        "arguments": {"width": 32, "batch_size": 128, "learning_rate": rate, "weight_decay": 1e-4},
        "seed": seed, "command": f"python -m {name} train --learning-rate {rate} --seed {seed}",
        "started": "2025-03-01T12:30:00+00:00", "versions": {"jax": "0.10.2", "flax": "0.12.8"}, "devices": ["cpu:0"],
        "device_kind": "cpu", "mesh": "data=1", "git": {"commit": "8e559d2c0ffee", "dirty": True}, "task": task,
        "num_steps": num_steps, "batch_size": 128, "steps_per_dispatch": 10, "num_params": 69994, "monitor": "-loss",
        "class_names": None, "unit": unit, "units_per_step": units_per_step,
    }  # fmt: skip


def _write(directory, rows, record):
    directory.mkdir(parents=True)
    (directory / "run.json").write_text(json.dumps(record))
    (directory / "source.py").write_text(SOURCE)
    (directory / "diff.patch").write_text("-old <line>\n+new <line>\n")
    (directory / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    position = ("step", "split", "seconds", "steps_per_second")
    last = {row["split"]: {k: row[k] for k in row if k not in position} for row in rows}
    step, seconds = rows[-1]["step"], rows[-2]["seconds"]
    result = {"step": step, "metrics": last, "seconds": seconds, "steps": step, "resumed": 1}
    (directory / "result.json").write_text(json.dumps(result))
