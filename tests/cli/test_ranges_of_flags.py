"""Numbers out of their range on the command line: an error of the user, before anything is trained or written."""

import pytest

import deeplab as dl
from deeplab.core.errors import UserError
from tests import toys


@pytest.mark.parametrize(
    "verb", ["train", "eval", "sweep", "plan", "summary", "profile", "verify", "predict", "report"]
)
@pytest.mark.parametrize("seed", [-1, 2**32, 2**63, 2**64, 10**40])
def test_seeds_that_not_all_randomness_tells_apart(tmp_path, verb, seed):
    with pytest.raises(UserError, match=f"seed is {seed}, expected 0 or more and below 4294967296"):
        dl.main(toys.experiment, [verb, "--seed", str(seed), "--run-dir", str(tmp_path / "run")])
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ("train --log-every -1", "log_every is -1, expected 1 or more"),
        ("train --log-every 0", "log_every is 0, expected 1 or more"),
        ("train --checkpoint-every -5", "checkpoint_every is -5, expected 1 or more"),
        ("train --keep 0", "keep is 0, expected 1 or more"),
        ("train --accumulate -1", "accumulate is -1, expected 1 or more"),
        ("train --steps-per-dispatch 0", "steps_per_dispatch is 0, expected 1 or more"),
        ("train --workers -1", "workers is -1, expected 0 or more"),
        ("train --connect-timeout nan", "connect_timeout is nan, expected above 0"),
        ("train --watchdog -1", "watchdog is -1.0, expected above 0"),
        ("train --num-processes 0", "num_processes is 0, expected 1 or more"),
        ("train --process-id -1", "process_id is -1, expected 0 or more"),
        ("train --dropout 1.5", "dropout"),
        ("train --dropout nan", "dropout"),
        ("sweep --dropout 0.1,1.5", "dropout"),
        ("sweep --dropout 0.1..1.5:3", "dropout"),
        ("sweep --dropout 0.1..1.5 --search random", "dropout"),
        ("sweep --seeds -1", "seeds is -1, expected 1 or more"),
        ("sweep --seeds 2 --members-per-program 0", "members_per_program is 0, expected 1 or more"),
        ("sweep --seeds 2 --halving 1", "halving is 1, expected 2 or more"),
        ("sweep --seeds 2 --seed 4294967295", "the seed of the last run is 4294967296"),
        ("sweep --seeds 2 --search random --num-trials -3", "num_trials is -3, expected 1 or more"),
        ("profile --trace-steps 0", "trace_steps is 0, expected 1 or more"),
        ("profile --top -1", "top is -1, expected 1 or more"),
        ("verify --kills 0", "kills is 0, expected 1 or more"),
    ],
)
def test_numbers_out_of_their_range(tmp_path, words, text):
    with pytest.raises(UserError, match=text):
        dl.main(toys.experiment, [*words.split(), "--run-dir", str(tmp_path / "run")])
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_the_largest_seed_is_a_seed():
    first, same = (dl.fit(toys.experiment, seed=2**32 - 1, smoke=True) for _ in range(2))
    other = dl.fit(toys.experiment, seed=0, smoke=True)
    assert first.metrics == same.metrics != other.metrics


@pytest.mark.parametrize("call", [dl.fit, lambda experiment, seed: dl.sweep(experiment, {}, seeds=2, seed=seed)])
@pytest.mark.parametrize("seed", [-1, 2**32])
def test_seeds_in_python(call, seed):
    with pytest.raises(UserError, match=f"seed is {seed}, expected 0 or more and below 4294967296"):
        call(toys.experiment, seed=seed)
