"""The watchdog of several processes, with a dictionary in place of the coordinator."""

import os
import subprocess
import sys
import threading
import time

import pytest

from deeplab.scale.processes import watch
from deeplab.scale.processes.watch import Watchdog


class Client:
    """The key-value store of the coordinator."""

    def __init__(self):
        self.values, self.lock = {}, threading.Lock()

    def key_value_set(self, key, value, allow_overwrite=False):
        with self.lock:
            if key in self.values and not allow_overwrite:
                raise RuntimeError("ALREADY_EXISTS")
            self.values[key] = value

    def key_value_dir_get(self, prefix):
        with self.lock:
            return [(key, value) for key, value in self.values.items() if key.startswith(prefix)]

    def wait_at_barrier(self, name, timeout_in_ms):
        pass


@pytest.fixture
def exits(monkeypatch):
    """The rank and the verdict of each process that ended."""
    seen = []

    def record(watchdog, verdict):
        seen.append((watchdog._rank, verdict))
        watchdog._ended.set()

    monkeypatch.setattr(Watchdog, "_exit", record)
    monkeypatch.setattr(watch, "HEARTBEAT", 0.02)
    return seen


def wait_for(condition):
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def pair(**options):
    client = Client()
    watchdogs = [Watchdog(client, rank, 2, **options) for rank in range(2)]
    for watchdog in watchdogs:
        watchdog.start()
    return watchdogs


def test_one_process_passes_on_the_request():
    watchdog = Watchdog()
    assert watchdog.boundary() is None
    watchdog.request_stop(2)
    assert watchdog.boundary() == 2


@pytest.mark.parametrize("requested", [0, 1])
def test_all_stop_at_the_same_dispatch(exits, requested):
    """The loops are at most one dispatch apart, like those of processes that exchange results."""
    watchdogs, sent, signals = pair(), [0, 0], [None, None]
    barrier = threading.Barrier(2)

    def loop(rank):
        while (signal := watchdogs[rank].boundary()) is None:
            sent[rank] += 1
            time.sleep(0.003 * rank)
            barrier.wait(10)
        signals[rank] = signal

    threads = [threading.Thread(target=loop, args=(rank,)) for rank in range(2)]
    for thread in threads:
        thread.start()
    wait_for(lambda: sent[0] > 20)
    watchdogs[requested].request_stop(15)
    for thread in threads:
        thread.join(10)
    assert signals == [15, 15]
    assert sent[0] == sent[1]
    assert not exits
    for watchdog in watchdogs:
        watchdog.close()


def test_a_dead_process_is_reported_by_rank(exits):
    watchdogs = pair(silence=0.3)
    wait_for(lambda: len(watchdogs[0]._store.heartbeats()) == 2)
    watchdogs[1]._ended.set()
    wait_for(lambda: exits)
    rank, verdict = exits[0]
    assert (rank, verdict["code"], verdict["ranks"]) == (0, 75, [1])
    assert f"process 1 of 2 ({os.uname().nodename}, pid" in verdict["text"]
    assert "has sent no heartbeat for 0.3 s" in verdict["text"]


def test_a_process_that_is_behind_is_stuck(exits):
    watchdogs = pair(stall=1.0, silence=0.8)
    for _ in range(3):
        watchdogs[0].boundary()
        watchdogs[1].boundary()
    watchdogs[0].boundary()  # One dispatch further, where it waits for the other.
    wait_for(lambda: {rank for rank, _ in exits} == {0, 1})
    assert exits[0][1] == exits[1][1]
    verdict = exits[0][1]
    assert (verdict["code"], verdict["ranks"]) == (75, [1])
    assert "process 1 (" in verdict["text"]
    assert "is stuck behind the others: no progress for 1 s during training" in verdict["text"]


def test_a_slow_phase_is_not_stuck(exits):
    watchdog = Watchdog(stall=0.1)
    watchdog.start()
    watchdog.boundary()
    with watchdog.slow("an evaluation"):
        time.sleep(0.4)
    watchdog.boundary()
    assert not exits
    wait_for(lambda: exits)
    assert "during training, at dispatch 2" in exits[0][1]["text"]


def test_the_first_error_ends_the_others(exits):
    watchdogs = pair()
    assert watchdogs[1].fail("process 1: ValueError", 75)["text"] == "process 1: ValueError"
    wait_for(lambda: exits)
    assert exits[0] == (0, {"text": "process 1: ValueError", "code": 75, "ranks": [1]})
    assert watchdogs[0].fail("process 0: another error", 2)["ranks"] == [1]


def test_a_consequence_waits_for_the_cause(exits):
    """A collective fails because the other process was killed, which is the reason to report."""
    watchdogs = pair(silence=0.3)
    wait_for(lambda: len(watchdogs[0]._store.heartbeats()) == 2)
    watchdogs[1]._ended.set()
    assert watchdogs[0].fail("process 0: connection closed by peer", 75, consequence=True)["ranks"] == [1]


def test_a_stopped_coordinator(exits):
    watchdogs = pair(silence=0.3)
    watchdogs[1]._beat = lambda: time.sleep(1)  # Waits for an answer of the coordinator.
    wait_for(lambda: exits)
    assert exits[0][0] == 1
    assert "process 0, the coordinator, has not answered" in exits[0][1]["text"]
    watchdogs[0].close()


def test_a_stuck_process_prints_its_stacks_and_exits():
    code = (
        "import time\nfrom deeplab.scale.processes.watch import Watchdog\nw = Watchdog(stall=0.2)\nw.start()\n"
        "w.boundary()\ndef stuck():\n    time.sleep(60)\nstuck()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 75
    assert "no progress for 0.2 s during training" in done.stderr
    assert "in stuck" in done.stderr
