"""What the tests against other libraries share: their models with random numbers, their gradients as ours."""

import jax
import numpy as np
import pytest

from deeplab import hub
from deeplab.hub.files import read_tensor
from deeplab.hub.folder import folder_headers
from deeplab.hub.mapping import flat

torch = pytest.importorskip("torch")  # which skips the file that imports this one


def randomized(model, gain=None):
    """The model in float32 with all parameters and buffers random: many start constant, which would hide a place.

    Kernels have the standard deviation gain / sqrt(inputs), where a gain is given.
    """
    model, generator = model.float().eval(), torch.Generator().manual_seed(1)
    persistent = set(model.state_dict())
    with torch.no_grad():
        for path, tensor in [*model.named_parameters(), *model.named_buffers()]:
            if path in persistent and tensor.is_floating_point():
                size = 0.2 if tensor.ndim < 2 else 0.3 if gain is None else gain / tensor[0].numel() ** 0.5
                tensor.copy_(size * torch.randn(tensor.shape, generator=generator) + (tensor.ndim == 1))
    return model


def relative(ours, theirs):
    """The largest difference, relative to the largest of their numbers."""
    return np.abs(np.asarray(ours) - np.asarray(theirs)).max() / np.abs(np.asarray(theirs)).max()


def gradient_errors(theirs, their_loss, ours, our_loss, folder, save=None):
    """For each parameter of ours the error of its gradient, the gradient's largest component, and that of all.

    Theirs are written as if they were weights, and read back as ours.
    """
    theirs.zero_grad()
    their_loss().backward()
    saved = theirs.state_dict(keep_vars=True)
    saved = {path: tensor for path, tensor in saved.items() if tensor.is_floating_point()}
    values = {path: tensor.detach().clone() for path, tensor in saved.items()}
    with torch.no_grad():
        for tensor in saved.values():
            tensor.copy_(torch.zeros_like(tensor) if tensor.grad is None else tensor.grad)
        (save or theirs.save_pretrained)(folder)
        for path, tensor in saved.items():
            tensor.copy_(values[path])
    expected = {path: np.asarray(leaf) for path, leaf in flat(hub.load(folder).params).items()}
    found = flat(jax.jit(jax.grad(our_loss))(ours.params))
    largest = max(np.abs(leaf).max() for leaf in expected.values())
    return {p: (np.abs(found[p] - leaf).max(), np.abs(leaf).max(), largest) for p, leaf in expected.items()}


def assert_same_tensors(before, after):
    """Both folders hold the same names with the same bits."""
    before, after = folder_headers(before)[0], folder_headers(after)[0]
    assert set(after) == set(before)
    for name, header in after.items():
        np.testing.assert_array_equal(read_tensor(header), read_tensor(before[name]))
