"""Every architecture has the tensors that timm's network of that name has: their names and shapes, nothing computed."""

import pytest

from deeplab.hub.families import ARCHITECTURES, family_of, variable_shapes
from deeplab.hub.mapping import leaves, tensors

torch = pytest.importorskip("torch")
from tests.parity.vision import timm  # noqa: E402  (needs torch)


@pytest.mark.slow
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_the_tensors_are_theirs(name):
    config = {"architecture": name, "num_classes": 1000}
    family = family_of(config)
    shapes = leaves(variable_shapes(family.model(config), family.inputs(config)))
    ours, nameless = tensors(family.names(config), shapes)
    with torch.device("meta"):
        theirs = timm.create_model(name, num_classes=1000).state_dict()
    assert not nameless
    expected = {name: tuple(x.shape) for name, x in theirs.items() if not name.endswith("num_batches_tracked")}
    assert {name: tensor.shape for name, tensor in ours.items()} == expected
