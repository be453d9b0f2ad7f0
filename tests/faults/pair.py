"""Results of one of two processes on the toy experiment, for comparison with a single process.

`python -m tests.faults.pair ADDRESS RANK FOLDER` runs one of two processes with four devices each.
"""

import dataclasses
import json
import sys
from pathlib import Path

import jax

from deeplab import scale
from deeplab.runs.checkpoint import Checkpoints
from deeplab.runs.fingerprint import fingerprints
from deeplab.scale.processes.find import Place
from deeplab.scale.processes.join import join
from deeplab.train.evaluate import make_evaluator, predict
from deeplab.train.loop import fit, on_log
from tests import toys


def abstract(exp, mesh):
    """The abstract state of the toy experiment on a mesh."""
    state = jax.eval_shape(lambda key: toys.init(exp, key), jax.random.key(0))
    shardings = scale.state_shardings(state, exp.sharding_rules, mesh)
    return jax.tree.map(lambda s, where: jax.ShapeDtypeStruct(s.shape, s.dtype, sharding=where), state, shardings)


def report(folder: Path, mine: str, other: str, mesh: str) -> dict:
    """Trains 20 steps on a mesh, saves as `mine`, loads `other` if it exists, and returns digests of all."""
    exp = toys.experiment()
    exp = dataclasses.replace(exp, data=dataclasses.replace(exp.data, epochs=2))  # the batch of step 7 is padded
    state, feed, test_feed = toys.start(exp, mesh)
    host = dataclasses.replace(feed, resident=None)
    fetch = jax.jit(feed.fetch)
    ids = exp.data.train_ids(3, 0)[0]
    out = {
        "initial": fingerprints(state),
        "resident batch": fingerprints(fetch(feed.resident, feed.put(ids))),
        "host batch": fingerprints(host.put(host.read(ids))),
        "rows read": len(host.read(ids)["id"]),
        "evaluation": make_evaluator(exp, test_feed, "test")(state),
        "predictions": predict(exp, state, test_feed, "test")["prediction"].tolist(),
        "losses": [],
    }
    log = on_log(lambda p: out["losses"].append(p.metrics["loss"].compute()))
    last = fit(exp, state, feed, hooks=[log], log_every=1, num_steps=20)
    again, *_ = toys.start(exp, mesh)
    out["host losses"] = []
    log = on_log(lambda p: out["host losses"].append(p.metrics["loss"].compute()))
    fit(exp, again, host, hooks=[log], log_every=1, num_steps=7)
    out["state"] = fingerprints(last.state)
    with Checkpoints(folder / mine) as checkpoints:
        assert checkpoints.latest(last.state) is None
        checkpoints.save(20, last.state, extra={"from": mine})
    if (folder / other).exists():
        with Checkpoints(folder / other) as checkpoints:
            loaded, extra = checkpoints.latest(abstract(exp, feed.mesh))
        out["loaded"] = [fingerprints(loaded), extra]
    return out


if __name__ == "__main__":
    address, rank, directory = sys.argv[1:]
    join(Place(address, 2, int(rank), "a test"), timeout=60, heartbeat=30)
    result = report(Path(directory), "two", "one", "data=8")
    (Path(directory) / f"{rank}.json").write_text(json.dumps(result))
