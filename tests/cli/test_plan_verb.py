"""`plan`: what a user mistypes, and more devices than this process has."""

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
    result = dl.main(toys.experiment, ["plan", "--mesh", "data=4,fsdp=4", "--accelerator", "l4", "--precision", "bf16"])
    assert result["mesh"] == {"data": 4, "fsdp": 4, "expert": 1, "sequence": 1, "model": 1}
    assert result["accelerator"] == "L4"
    assert result["fits"]
    assert result["memory"]["batch"] == 20
    assert "16 x L4" in capsys.readouterr().out


@pytest.mark.slow
def test_an_error_over_there_is_told_here():
    with pytest.raises(UserError, match=r"^--batch-size 16 is not a multiple of the 32 devices"):
        dl.main(toys.experiment, ["plan", "--mesh", "data=32"])
