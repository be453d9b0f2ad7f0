"""A run directory that is foreign, full, locked or damaged is reported before anything in it is changed."""

import errno
import json
import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import optax
import pytest

import deeplab as dl
from deeplab.core.errors import UserError
from deeplab.report.document import save
from deeplab.runs.files import cut_rows, replace
from deeplab.runs.record import Run
from deeplab.verbs.answers.rows import append

MANIFEST = {"experiment": "toy", "arguments": {"width": 8}, "seed": 0}
PRELUDE = """
import sys, time, jax
jax.config.update("jax_num_cpu_devices", 8)
from deeplab.runs.record import Run
"""


def open_run(directory, **change):
    return Run.open(directory, MANIFEST | change, "def experiment(width=8): ...")


def test_a_foreign_directory_is_refused_and_unchanged(tmp_path):
    (tmp_path / "thesis.tex").write_text("chapter 1")
    with pytest.raises(UserError, match=r"no run directory, and not empty \(thesis.tex\): nothing written"):
        open_run(tmp_path)
    with pytest.raises(UserError, match="no run directory"):
        Run.open(tmp_path, MANIFEST, "", fresh=True)
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize("where", ["a file", "below a file", "no permission"])
def test_an_unwritable_directory_is_reported_at_the_start(tmp_path, where):
    if where == "no permission" and os.geteuid() == 0:
        pytest.skip("root may write anywhere")
    (tmp_path / "file").write_text("")
    directory = {"a file": tmp_path / "file", "below a file": tmp_path / "file/run", "no permission": tmp_path / "run"}
    tmp_path.chmod(0o500 if where == "no permission" else 0o700)
    try:
        with pytest.raises(UserError, match=r"cannot write to .*--run-dir"):
            open_run(directory[where])
    finally:
        tmp_path.chmod(0o700)


@pytest.mark.parametrize("failing", ["mkdir", "open", "pwrite", "replace"])
@pytest.mark.parametrize("code", [errno.EROFS, errno.ENOSPC])
def test_a_read_only_or_full_disk_is_reported_at_the_start(tmp_path, monkeypatch, failing, code):
    """System calls fail, since a read-only mount needs root."""

    def fail(*args, **kwargs):
        raise OSError(code, os.strerror(code))

    with monkeypatch.context() as patch:
        patch.setattr(os, failing, fail)
        with pytest.raises(UserError, match=os.strerror(code)):
            open_run(tmp_path / "run")
    open_run(tmp_path / "run").close()  # The failed attempt leaves nothing in the way.


def test_a_full_disk_ends_the_run_with_a_reason(tmp_path, monkeypatch):
    """The next session removes the partial row."""
    with open_run(tmp_path) as run:
        run.restore(0)
        run.append(1, "train", {"loss": 1.0})
        write = os.write
        with monkeypatch.context() as patch:
            patch.setattr(os, "write", lambda descriptor, data: write(descriptor, data[:5]))
            with pytest.raises(UserError, match="No space left"):
                run.append(2, "train", {"loss": 0.5})
    with open_run(tmp_path) as run:
        run.restore(2)
    assert (tmp_path / "metrics.jsonl").read_text() == '{"step": 1, "split": "train", "loss": 1.0}\n'


@pytest.mark.parametrize("failing", ["write_bytes", "write_text", "fsync"])
def test_a_full_disk_is_told_wherever_a_file_is_written(tmp_path, monkeypatch, failing):
    """It was a raw OSError, and left a part of the file."""

    def fail(*args, **kwargs):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os if failing == "fsync" else Path, failing, fail)
    write = {
        "write_bytes": lambda: replace(tmp_path / "a", b"a"),
        "write_text": lambda: save(tmp_path / "a", "a"),
        "fsync": lambda: append(tmp_path / "members.jsonl", [{"arguments": {}, "seed": 0}]),
    }
    with pytest.raises(UserError, match=r"cannot write .*No space left"):
        write[failing]()
    assert not [path for path in tmp_path.iterdir() if path.name != "members.jsonl"]


def test_a_second_process_is_refused_and_a_killed_one_frees_the_directory(tmp_path):
    directory = tmp_path / "run"
    code = PRELUDE + f"run = Run.open(sys.argv[1], {MANIFEST!r}, '')\nprint('held', flush=True)\ntime.sleep(60)"
    holder = subprocess.Popen([sys.executable, "-c", code, directory], stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout.readline() == "held\n"
        before = (directory / "run.json").read_bytes()
        who = re.escape(f"process {holder.pid} on {socket.gethostname()}")
        with pytest.raises(UserError, match=f"in use by {who}") as error:
            open_run(directory)
        assert error.value.exit_code == 2
        assert (directory / "run.json").read_bytes() == before
    finally:
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        holder.stdout.close()
    Run.open(directory, MANIFEST, "").close()


def test_partial_rows_are_removed(tmp_path):
    """A process is killed while it writes rows; then the last row is cut at every byte."""
    code = PRELUDE + (
        f"run = Run.open(sys.argv[1], {MANIFEST!r}, '')\nrun.restore(0)\nprint('held', flush=True)\n"
        "for step in range(1, 10**9):\n    run.append(step, 'train', {'loss': 1 / step})"
    )
    child = subprocess.Popen([sys.executable, "-c", code, tmp_path], stdout=subprocess.PIPE, text=True)
    assert child.stdout.readline() == "held\n"
    path = tmp_path / "metrics.jsonl"
    while path.stat().st_size < 1000:
        pass
    child.send_signal(signal.SIGKILL)
    child.wait()
    child.stdout.close()
    cut_rows(path, 20)
    clean = b"".join(json.dumps({"step": s, "split": "train", "loss": 1 / s}).encode() + b"\n" for s in range(1, 21))
    assert path.read_bytes() == clean
    last = clean.rstrip(b"\n").rindex(b"\n") + 1
    for end in range(last, len(clean)):
        path.write_bytes(clean[:end])
        cut_rows(path, 20)
        assert path.read_bytes() == clean[:last]


def test_a_damaged_row_is_dropped_with_a_warning(tmp_path):
    """A kill damages the last row only."""
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1, "split": "a"}\n\x00\x00garbage\n{"step": 2, "split": "a"}\n')
    with pytest.warns(UserWarning, match=r"lines \[2\] are not rows"):
        cut_rows(path, 5)
    assert path.read_text() == '{"step": 1, "split": "a"}\n{"step": 2, "split": "a"}\n'


@pytest.mark.parametrize("text", ["", "{", "[3]", '{"history": 3}', "[" * 100_000, "\x00"])
def test_a_damaged_manifest_is_reported(tmp_path, text):
    open_run(tmp_path).close()
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(UserError, match=r"run.json is damaged.*--fresh"):
        open_run(tmp_path)
    assert (tmp_path / "run.json").read_text() == text


@pytest.mark.parametrize("text", ["raise SystemExit", "import os; os.mkdir('exploded')", "(" * 50_000, "\x00"])
def test_the_source_of_a_run_is_never_executed(tmp_path, monkeypatch, text):
    monkeypatch.chdir(tmp_path)
    with open_run(tmp_path / "run") as run:
        run.restore(0)
        run.append(1, "train", {"loss": 1.0})
    (tmp_path / "run/source.py").write_text(text)
    with pytest.raises(UserError, match="source"):
        open_run(tmp_path / "run")
    assert [p.name for p in tmp_path.iterdir()] == ["run"]


def test_a_directory_with_only_a_lock_is_empty(tmp_path):
    """As after a kill before the manifest is written."""
    (tmp_path / "run.lock").write_text("process 1 on elsewhere")
    (tmp_path / "run.json.tmp").write_text("{")
    open_run(tmp_path).close()
    assert json.loads((tmp_path / "run.json").read_text())["seed"] == 0


def test_a_model_that_cannot_read_the_data_is_reported(tmp_path):
    def experiment(context: int = 16, learning_rate: float = 1e-3) -> dl.Experiment:
        data = dl.data.Text("tiny_shakespeare", context=2 * context, batch_size=8, num_steps=4)
        model = dl.models.GPT(65, num_layers=1, num_heads=1, width=8, context=context)
        return dl.Experiment(data, model, dl.tasks.LanguageModeling(), optax.sgd(learning_rate))

    with pytest.raises(
        UserError, match=r"Decoder cannot read a batch of Text.*32 tokens.*context is 16[\s\S]*int32\[8, 32\]"
    ):
        dl.main(experiment, ["train", "--smoke", "--run-dir", str(tmp_path / "run")])
