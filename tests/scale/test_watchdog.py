"""The watch of processes over each other, with a blackboard in the coordinator's place."""

import os
import subprocess
import sys
import threading
import time

import pytest

from deeplab.scale.processes import watch as watch_module
from deeplab.scale.processes.watch import Watch


class Board:
    """The coordinator's store."""

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
def left(monkeypatch):
    """The verdicts by which processes left."""
    verdicts = []

    def leave(watch, verdict):
        verdicts.append((watch._rank, verdict))
        watch._ended.set()

    monkeypatch.setattr(Watch, "_leave", leave)
    monkeypatch.setattr(watch_module, "PULSE", 0.02)
    return verdicts


def wait_for(condition):
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def pair(**options):
    board = Board()
    watches = [Watch(board, rank, 2, **options) for rank in range(2)]
    for watch in watches:
        watch.start()
    return watches


def test_alone_it_hands_on_the_wish():
    watch = Watch()
    assert watch.boundary() is None
    watch.ask(2)
    assert watch.boundary() == 2


@pytest.mark.parametrize("asked", [0, 1])
def test_all_stop_at_the_same_dispatch(left, asked):
    """Row 18: the loops are at most one dispatch apart, as those that exchange what they compute."""
    watches, sent, signals = pair(), [0, 0], [None, None]
    together = threading.Barrier(2)

    def loop(rank):
        while (signal := watches[rank].boundary()) is None:
            sent[rank] += 1
            time.sleep(0.003 * rank)
            together.wait(10)
        signals[rank] = signal

    threads = [threading.Thread(target=loop, args=(rank,)) for rank in range(2)]
    for thread in threads:
        thread.start()
    wait_for(lambda: sent[0] > 20)
    watches[asked].ask(15)
    for thread in threads:
        thread.join(10)
    assert signals == [15, 15]
    assert sent[0] == sent[1]
    assert not left
    for watch in watches:
        watch.close()


def test_the_dead_are_named(left):
    """Row 34."""
    watches = pair(silence=0.3)
    wait_for(lambda: len(watches[0]._beats()) == 2)
    watches[1]._ended.set()
    wait_for(lambda: left)
    rank, verdict = left[0]
    assert (rank, verdict["code"], verdict["ranks"]) == (0, 75, [1])
    assert f"process 1 of 2 ({os.uname().nodename}, pid" in verdict["text"]
    assert "no sign of life for 0.3 s" in verdict["text"]


def test_the_one_that_is_behind_is_stuck(left):
    """Row 36."""
    watches = pair(stall=1.0, silence=0.8)
    for _ in range(3):
        watches[0].boundary()
        watches[1].boundary()
    watches[0].boundary()  # sent one more, and waits for the other
    wait_for(lambda: {rank for rank, _ in left} == {0, 1})
    assert left[0][1] == left[1][1]
    verdict = left[0][1]
    assert (verdict["code"], verdict["ranks"]) == (75, [1])
    assert "process 1 (" in verdict["text"]
    assert "is stuck: behind the others, and nothing has moved for 1 s in training" in verdict["text"]


def test_what_is_slow_by_nature_is_not_stuck(left):
    watch = Watch(stall=0.1)
    watch.start()
    watch.boundary()
    with watch.slow("an evaluation"):
        time.sleep(0.4)
    watch.boundary()
    assert not left
    wait_for(lambda: left)
    assert "in training, at dispatch 2" in left[0][1]["text"]


def test_an_error_is_told_to_the_others_and_the_first_counts(left):
    """Row 35."""
    watches = pair()
    assert watches[1].fail("process 1: ValueError", 75)["text"] == "process 1: ValueError"
    wait_for(lambda: left)
    assert left[0] == (0, {"text": "process 1: ValueError", "code": 75, "ranks": [1]})
    assert watches[0].fail("process 0: its own trouble", 2)["ranks"] == [1]


def test_a_consequence_waits_for_the_cause(left):
    """A collective that breaks off is not the reason: the one that was killed is."""
    watches = pair(silence=0.3)
    wait_for(lambda: len(watches[0]._beats()) == 2)
    watches[1]._ended.set()
    assert watches[0].fail("process 0: connection closed by peer", 75, consequence=True)["ranks"] == [1]


def test_a_stopped_coordinator(left):
    """Row 37."""
    watches = pair(silence=0.3)
    watches[1]._beat = lambda: time.sleep(1)  # its question to the coordinator stays without an answer
    wait_for(lambda: left)
    assert left[0][0] == 1
    assert "process 0, the coordinator, has not answered" in left[0][1]["text"]
    watches[0].close()


def test_a_stuck_process_dumps_its_stacks_and_leaves(tmp_path):
    """Row 36, to the end: exit code 75."""
    code = (
        "import time\nfrom deeplab.scale.processes.watch import Watch\nwatch = Watch(stall=0.2)\nwatch.start()\n"
        "watch.boundary()\ndef stuck():\n    time.sleep(60)\nstuck()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 75
    assert "nothing has moved for 0.2 s in training" in done.stderr
    assert "in stuck" in done.stderr
