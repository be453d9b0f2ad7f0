"""Metrics reach every sink, and a resumed session hides what it takes back."""

import importlib
import json
import sys
import types
import warnings

import numpy as np
import pytest

from deeplab.core.errors import UserError
from deeplab.runs import writers
from deeplab.runs.record import Run

MANIFEST = {"experiment": "toy", "arguments": {"width": 8}, "seed": 3}


def events(directory):
    """The events of all files, checksums verified, by tensorboardX' own reader."""
    with warnings.catch_warnings(action="ignore"):
        from tensorboardX.proto import event_pb2
        from tensorboardX.record_writer import masked_crc32c
    found = []
    for path in sorted(directory.iterdir()):
        data = path.read_bytes()
        while data:
            length = int(np.frombuffer(data[:8], "<u8")[0])
            assert np.frombuffer(data[8:12], "<u4")[0] == masked_crc32c(data[:8])
            assert np.frombuffer(data[12 + length : 16 + length], "<u4")[0] == masked_crc32c(data[12 : 12 + length])
            found.append(event_pb2.Event.FromString(data[12 : 12 + length]))
            data = data[16 + length :]
    return found


def test_rows_and_events(tmp_path):
    with Run.open(tmp_path, MANIFEST, "") as run:
        run.restore(0)
        with writers.open(run) as write:
            write(1, "train", {"loss": 0.5, "nan": float("nan")})
            write(1, "test", {"loss": 0.25})
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [(row["step"], row["split"], row["loss"]) for row in rows] == [(1, "train", 0.5), (1, "test", 0.25)]
    version, train, test = events(tmp_path / "tensorboard")
    assert version.file_version == "brain.Event:2"
    assert (train.summary.value[0].tag, train.summary.value[0].simple_value) == ("train/loss", 0.5)
    assert np.isnan(train.summary.value[1].simple_value)
    assert (test.step, test.summary.value[0].tag) == (1, "test/loss")


def test_a_resumed_session_says_where_it_begins(tmp_path):
    tensorboard = writers.TensorBoard(tmp_path, step=7)
    tensorboard.close()
    start = events(tmp_path)[1]
    assert (start.step, start.session_log.status) == (8, start.session_log.START)


def test_wandb_is_asked_for_by_name(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with Run.open(tmp_path / "toy/1", MANIFEST, "") as run:
        run.restore(0)
        with pytest.raises(UserError, match=r"pip install 'deeplab\[wandb\]'"), writers.open(run, wandb="mine"):
            pass
        said = []
        fake = types.SimpleNamespace(
            define_metric=lambda *args, **kwargs: None, log=said.append, finish=lambda: said.append("finished")
        )
        module = types.SimpleNamespace(init=lambda **kwargs: said.append(kwargs) or fake)
        monkeypatch.setitem(sys.modules, "wandb", module)
        with writers.open(run, wandb="mine") as write:
            write(5, "test", {"loss": 1.0})
    asked = {"project": "mine", "id": "toy-1", "name": "toy-1", "resume": "allow"}
    assert said[0] == asked | {"dir": str(tmp_path / "toy/1"), "config": {"width": 8, "seed": 3}}
    assert said[1:] == [{"step": 5, "test/loss": 1.0}, "finished"]


def test_the_package_around_the_messages_is_left_to_those_who_ask_for_it(tmp_path, monkeypatch):
    """It would load PyTorch; whoever imports it later has all of it."""
    monkeypatch.delitem(sys.modules, "tensorboardX", raising=False)
    writers.TensorBoard(tmp_path).close()
    assert "tensorboardX" not in sys.modules
    assert [event.file_version for event in events(tmp_path)] == ["brain.Event:2"]
    assert importlib.import_module("tensorboardX").SummaryWriter
