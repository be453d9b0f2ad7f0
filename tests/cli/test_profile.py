"""`profile`: a trace that others can load, a table in the names of layers; a run beside it stays as it was."""

import gzip
import json

import pytest

import deeplab as dl
from deeplab.core.errors import UserError
from deeplab.runs import trace
from tests import toys

PROGRAM = """
%fused (p: f32[4]) -> f32[4] {
  %p = f32[4]{0} parameter(0)
  ROOT %add.1 = f32[4]{0} add(%p, %p), metadata={op_name="jit(run)/jvp(Net)/hidden/add" stack_frame_id=3}
}

%body (s: (f32[4])) -> (f32[4]) {
  ROOT %dot.2 = f32[4]{0} dot(%s, %s), metadata={op_name="jit(run)/while/body/transpose(jvp(Net))/head/dot_general"}
}

ENTRY %main.9 (x: f32[4]) -> f32[4] {
  %x = f32[4]{0} parameter(0)
  %fusion.3 = f32[4]{0} fusion(%x), kind=kLoop, calls=%fused
  %copy.7 = f32[4]{0} copy(%fusion.3)
  ROOT %mul.4 = f32[4]{0} multiply(%copy.7, %x), metadata={op_name="jit(run)/optimizer/jit(_where)/mul"}
}
"""


def test_an_instruction_is_named_by_the_layer_it_came_from():
    names = trace.op_names(PROGRAM)
    assert names["fusion.3"] == "jit(run)/jvp(Net)/hidden/add"  # by what it calls
    found = trace.costs({"fusion.3": 1, "copy.7": 2, "mul.4": 4, "dot.2": 8}, names, "Net", steps=1000)
    assert found == [
        trace.Cost("head", "dot_general", 0, 8),
        trace.Cost("optimizer", "mul", 4, 0),
        trace.Cost("added by the compiler", "copy", 2, 0),
        trace.Cost("hidden", "add", 1, 0),
    ]
    assert trace.totals(found) == {"forward": 1, "backward": 8, "optimizer": 4, "other": 2}


def test_what_runs_inside_an_instruction_is_counted_once():
    events = [trace.Event("while", 0, 100e9), trace.Event("dot", 10e9, 30e9), trace.Event("dot", 30e9, 80e9)]
    events += [trace.Event("add", 40e9, 45e9), trace.Event("mul", 100e9, 101e9)]
    assert trace.self_seconds(events) == {"while": 30, "dot": 65, "add": 5, "mul": 1}


def test_profile_beside_a_run(tmp_path):
    directory = tmp_path / "run"
    trained = dl.main(toys.experiment, ["train", "--run-dir", str(directory)])
    before = (directory / "run.json").read_bytes()
    result = dl.main(toys.experiment, ["profile", "--trace-steps", "2", "--run-dir", str(directory)])
    assert (directory / "run.json").read_bytes() == before
    layers = {cost["layer"] for cost in result["costliest"]}
    assert layers & {"hidden", "norm", "head", "optimizer"}
    assert len(result["costliest"]) == 10
    assert 0 < sum(result["split"].values()) < 10 * result["milliseconds"]
    assert all(part > 0 for part in result["split"].values())
    assert list(directory.glob("profile/plugins/profile/*/*.xplane.pb"))
    (perfetto,) = directory.glob("profile/plugins/profile/*/perfetto_trace.json.gz")
    assert json.loads(gzip.decompress(perfetto.read_bytes()))["traceEvents"]
    page = dl.main(toys.experiment, ["report", "--run-dir", str(directory)])["report"].read_text()
    assert "Most expensive operations" in page
    assert result["costliest"][0]["layer"] in page
    again = dl.main(toys.experiment, ["train", "--run-dir", str(directory)])
    assert again["metrics"] == trained["metrics"]


@pytest.mark.slow
def test_profile_before_any_run(tmp_path):
    dl.main(toys.experiment, ["profile", "--trace-steps", "1", "--run-dir", str(tmp_path / "run")])
    assert dl.main(toys.experiment, ["train", "--run-dir", str(tmp_path / "run")])["steps"] == 20


def test_no_steps_are_no_profile(tmp_path):
    with pytest.raises(UserError, match="trace_steps is 0, expected 1 or more"):
        dl.main(toys.experiment, ["profile", "--trace-steps", "0", "--run-dir", str(tmp_path / "run")])
