"""--mesh, --precision, --accumulate and --offload, on any experiment."""

import dataclasses
import io

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import PartitionSpec as P
from rich.console import Console

import deeplab as dl
from deeplab import models, scale
from deeplab.cli import arguments, summary
from deeplab.cli.main import VERBS
from deeplab.core.errors import UserError
from deeplab.models.text.decoders import gpt
from deeplab.runs import session
from deeplab.runs.checkpoint import Checkpoints
from tests import toys


def experiment(steps: int = 20, learning_rate: float = 1e-2) -> dl.Experiment:
    model = models.MLP(num_classes=4, features=(64, 64))
    return dataclasses.replace(toys.experiment(steps=steps, learning_rate=learning_rate), model=model)


def parse(*argv):
    return arguments.parse(toys.experiment, "tests.toys", VERBS, argv)


def test_flags_change_the_experiment_and_the_run_directory():
    call = parse("--precision", "bf16", "--accumulate", "4", "--offload")
    assert call.recipe.runtime == dl.Runtime(precision=dl.PRECISIONS["bf16"], accumulate=4, offload=True)
    assert call.recipe.recorded == call.arguments | {"precision": "bf16", "accumulate": 4}
    assert parse().recipe.recorded == parse().arguments
    assert "--precision bf16 --accumulate 4 --offload" in call.command("train")
    with pytest.raises(UserError, match="accumulate is 0, expected 1 or more"):
        _ = parse("--accumulate", "0").recipe.runtime


@pytest.mark.slow
def test_another_precision_is_another_run(tmp_path):
    def run(*flags):
        return dl.main(toys.experiment, ["train", "--run-dir", str(tmp_path / "run"), *flags])

    flags = ("--precision", "f16", "--accumulate", "2", "--mesh", "data=2,fsdp=2")
    assert run(*flags)["steps"] == 20
    assert dl.main(toys.experiment, ["eval", "--run-dir", str(tmp_path / "run"), *flags])["step"] == 20
    with pytest.raises(UserError, match=r'precision\s+"f16"\s+"bf16"'):
        run("--precision", "bf16", "--accumulate", "2")
    with pytest.raises(UserError, match="times the 3 microbatches"):
        dl.main(toys.experiment, ["train", "--accumulate", "3"])


@pytest.mark.slow
def test_offloaded_optimizer_state_gives_the_same_bits(tmp_path):
    """Also after a resume from a checkpoint."""

    def run(offload, stop_at=None):
        runtime, mesh = dl.Runtime(offload=offload, steps_per_dispatch=1), scale.make_mesh("fsdp=2")
        with Checkpoints(tmp_path / str(offload)) as checkpoints:
            ready = session.prepare(
                experiment(),
                checkpoints,
                mesh,
                seed=0,
                open_source=lambda data, split: data.open(split),
                runtime=runtime,
            )
            seen = iter(range(20))
            stop = (lambda: next(seen) == stop_at) if stop_at else (lambda: False)
            return session.train(ready, checkpoints, lambda *row: None, seed=0, stop=stop)[0].state

    run(True, stop_at=7)
    state, plain = run(True), run(False)
    assert int(state.step) == 20
    kinds = {x.sharding.memory_kind for x in jax.tree.leaves(state.opt_state) if x.size >= 1024}
    assert kinds == {"pinned_host"}
    assert toys.same(state, plain)


def test_a_rule_that_matches_nothing_is_reported_at_the_start(tmp_path):
    def mistaken(steps: int = 20):
        return dataclasses.replace(toys.experiment(steps=steps), rules=[("hiden/kernel", P(None, "model"))])

    with pytest.warns(UserWarning, match="matches no parameter; did you mean 'hidden/kernel'"):
        dl.main(mistaken, ["train", "--run-dir", str(tmp_path / "run"), "--mesh", "data=2", "--steps", "2"])


def test_summary_shows_the_sharding():
    """On a mesh without devices; the bytes are those of the shards."""

    def language():
        tokens, ids = jnp.zeros((8, 16), jnp.int32), jnp.arange(8)
        return dataclasses.replace(
            toys.experiment(),
            data=toys.Given({"tokens": tokens, "targets": tokens, "id": ids, "weight": jnp.ones(8)}),
            model=models.GPT(vocab_size=64, num_layers=2, num_heads=2, width=64, context=16),
            task=dl.tasks.LanguageModeling(),
            rules=gpt.RULES,
        )

    call = arguments.parse(language, "tests.language", VERBS, ["summary", "--mesh", "data=8,fsdp=8,model=2"])
    console = Console(file=io.StringIO(), width=140)
    result = summary.run(call, console)
    text = console.file.getvalue()
    row = next(line for line in text.splitlines() if "up/kernel" in line and "of them" in line)
    assert "block#/feed_forward/up/kernel  (2 of them)" in row
    assert "64 x 256" in row
    assert "fsdp 8 x model 2" in row
    assert f"{2 * 64 * 256 * 4 // 16:,}" in row
    assert "each of 128 devices holds" in text

    state = jax.eval_shape(lambda key: dl.init(language(), key), jax.random.key(0))
    alone = sum(x.size * 4 for x in jax.tree.leaves((state.params, state.opt_state)))
    assert alone / 16 < result["bytes_per_device"] < alone / 10
