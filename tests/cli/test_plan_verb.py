"""`plan`: what a user mistypes, and more devices than this process has."""

import dataclasses
import threading

import flax.linen as nn
import pytest

import deeplab as dl
from deeplab.core.errors import UserError
from tests import toys


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--accelerator", "h101"], "did you mean 'h100'"),
        (["--mesh", "rows=2"], "AXIS=SIZE"),
        (["--mesh", "data=x"], "AXIS=SIZE"),
        (["--mesh", "data=3"], "use 15 or 18"),
    ],
)
def test_what_is_mistyped(flags, said):
    with pytest.raises(UserError, match=said):
        dl.main(toys.experiment, ["plan", *flags])


def test_more_devices_than_there_are_in_a_process_of_its_own(capsys):
    """Of a model and an experiment that the process cannot import, as in a notebook."""

    class Own(nn.Module):
        @nn.compact
        def __call__(self, x, train: bool = False):
            return nn.Dense(4, name="head")(x)

    def experiment(steps: int = 8) -> dl.Experiment:
        return dataclasses.replace(toys.experiment(steps=steps), model=Own())

    result = dl.main(experiment, ["plan", "--mesh", "data=4,fsdp=4", "--accelerator", "l4", "--precision", "bf16"])
    assert result["mesh"] == {"data": 4, "fsdp": 4, "expert": 1, "sequence": 1, "model": 1}
    assert result["accelerator"] == "L4"
    assert result["fits"]
    assert result["memory"]["batch"] == 20
    assert result["num_params"] == 2 * 4 + 4
    assert "16 x L4" in capsys.readouterr().out


def test_what_cannot_be_sent_there_says_which_line_to_begin_with():
    experiment = dataclasses.replace(toys.experiment(), show=threading.Lock())
    with pytest.raises(UserError, match=r'os.environ\["JAX_NUM_CPU_DEVICES"\] = "16"'):
        dl.plan(experiment, runtime=dl.Runtime(mesh="data=16"))


@pytest.mark.slow
def test_an_error_over_there_is_told_here():
    with pytest.raises(UserError, match=r"^--batch-size 16 is not a multiple of the 32 devices"):
        dl.main(toys.experiment, ["plan", "--mesh", "data=32"])
