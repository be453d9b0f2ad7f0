"""The place of a process, and the rendezvous; tests with real processes are in tests/faults."""

import contextlib
import socket
import threading

import jax
import pytest

from deeplab import scale
from deeplab.core.errors import UserError
from deeplab.scale import processes
from deeplab.scale.processes import exchange
from deeplab.scale.processes.meet import meet as meet_others

SLURM = {
    "SLURM_JOB_ID": "77",
    "SLURM_STEP_NODELIST": "node[003-006]",
    "SLURM_NTASKS": "4",
    "SLURM_PROCID": "2",
    "SLURM_LOCALID": "0",
    "SLURM_STEP_TASKS_PER_NODE": "1(x4)",
}


@pytest.fixture(autouse=True)
def no_cluster(monkeypatch):
    for name in (*SLURM, "JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID", "CUDA_VISIBLE_DEVICES"):
        monkeypatch.delenv(name, raising=False)


def setenv(monkeypatch, variables):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)


def test_one_process_without_flags_variables_or_cluster(monkeypatch):
    assert processes.find_place() is None
    setenv(monkeypatch, {"KUBERNETES_SERVICE_HOST": "10.0.0.1"})  # A pod that is not part of an indexed job.
    assert processes.find_place() is None
    setenv(monkeypatch, SLURM | {"SLURM_NTASKS": "1", "SLURM_PROCID": "0"})
    assert processes.find_place() is None


def test_found_by_slurm(monkeypatch):
    setenv(monkeypatch, SLURM)
    place = processes.find_place()
    assert place == processes.Place("node003:61517", 4, 2, "SLURM")  # JAX derives the port from the job's id.
    setenv(monkeypatch, {"SLURM_STEP_TASKS_PER_NODE": "4", "SLURM_LOCALID": "2"})
    assert processes.find_place().devices == (2,)  # One accelerator for each process of a machine.
    setenv(monkeypatch, {"CUDA_VISIBLE_DEVICES": "3"})
    assert processes.find_place().devices is None  # As by srun --gpus-per-task=1.
    assert processes.find_place("other:1234").coordinator == "other:1234"  # A flag takes precedence.


def test_found_by_flags_and_variables(monkeypatch):
    assert processes.find_place("host:1", 2, 1) == processes.Place("host:1", 2, 1, "flags")
    setenv(monkeypatch, {"JAX_COORDINATOR_ADDRESS": "host:1", "JAX_NUM_PROCESSES": "2", "JAX_PROCESS_ID": "0"})
    assert processes.find_place() == processes.Place("host:1", 2, 0, "environment variables")


@pytest.mark.parametrize(
    ("given", "text"),
    [
        (("host:1", None, None), r"missing: --num-processes \(JAX_NUM_PROCESSES\), --process-id"),
        ((None, 2, 0), "missing: --coordinator"),
        (("host:1", 2, 2), "--process-id 2 of --num-processes 2: expected 0 to 1"),
    ],
)
def test_a_partial_place_is_refused(given, text):
    with pytest.raises(UserError, match=text):
        processes.find_place(*given)


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def meet(*guests, timeout=3.0, port=None):
    """A rendezvous of (rank, count) processes in threads; the error of each, or None."""
    address, errors = f"127.0.0.1:{port or free_port()}", {}

    def connect(number, rank, count):
        errors[number] = None
        try:
            meet_others(address, count, rank, timeout)
        except UserError as error:
            errors[number] = str(error)

    threads = [threading.Thread(target=connect, args=(i, *guest)) for i, guest in enumerate(guests)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [errors[i] for i in range(len(guests))]


def test_all_processes_connect():
    assert meet((0, 3), (1, 3), (2, 3)) == [None] * 3


def test_missing_processes_are_reported_to_all():
    errors = meet((0, 4), (2, 4), timeout=0.5)
    assert all("missing after 0.5 s at 127.0.0.1:" in text and "process 1, 3 of 4" in text for text in errors)


def test_an_unreachable_coordinator():
    (text,) = meet((1, 2), timeout=0.5)
    assert "process 1 of 2 cannot reach process 0 at 127.0.0.1:" in text
    assert "within 0.5 s (Connection refused)" in text
    with pytest.raises(UserError, match=r"process 1 of 2 cannot reach process 0 at no-such-host\.invalid:1 "):
        meet_others("no-such-host.invalid:1", 2, 1, 0.3)
    with pytest.raises(UserError, match="is not HOST:PORT"):
        meet_others("host", 2, 1, 0.3)


def test_equal_ranks_and_different_counts():
    errors = meet((0, 3), (1, 3), (1, 3))
    assert all("two processes have --process-id 1" in text for text in errors)
    errors = meet((0, 2), (1, 4))
    assert all("was started with --num-processes 4, and process 0 with 2" in text for text in errors)


def test_a_port_in_use():
    with socket.create_server(("", 0)) as server:
        (text,) = meet((0, 2), port=server.getsockname()[1])
    assert "process 0 cannot listen at" in text


def test_other_clients_of_the_port_are_ignored():
    port = free_port()

    def send(words):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=2) as client:
            client.sendall(words)

    errors = []
    thread = threading.Thread(target=lambda: errors.extend(meet((0, 2), port=port, timeout=10)))
    thread.start()
    for words in (b"GET / HTTP/1.1\r\n\r\n", b'{"rank": 1}\n', b"[" * 4096, b""):
        send(words)
    meet_others(f"127.0.0.1:{port}", 2, 1, 5)
    thread.join()
    assert errors == [None]


def test_differences_are_shown(monkeypatch):
    values = [{"argument width": 8, "file deeplab/optim.py": "ab", "seed": 1}]
    values.append({"argument width": 16, "file deeplab/optim.py": "cd", "seed": 1, "package jax": "0.10"})
    monkeypatch.setattr(exchange, "allgather_json", lambda value: values)
    with pytest.raises(UserError) as error:
        processes.assert_same_across_processes(values[0])
    text = str(error.value)
    assert "process 1 of 2 does not run the same program as process 0" in text
    assert [line.split() for line in text.splitlines()[2:5]] == [
        ["argument", "width", "8", "16"],
        ["file", "deeplab/optim.py", '"ab"', '"cd"'],
        ["package", "jax", "(none)", '"0.10"'],
    ]
    assert "seed" not in text


def test_a_mesh_over_processes(monkeypatch):
    """The eight devices are treated as those of two processes."""
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    with pytest.raises(UserError, match=r"needs 16 devices, and there are 8.*\(2 processes with 4 devices each\)"):
        processes.global_mesh("data=16")
    with pytest.raises(UserError, match=r"uses 4 of 8 devices, and leaves process 1 of 2 without one"):
        processes.global_mesh("data=4")
    monkeypatch.setattr(jax, "process_count", lambda: 1)
    assert processes.global_mesh("auto").shape == scale.make_mesh("auto").shape
