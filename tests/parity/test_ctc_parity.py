"""CTC against torch: each loss, and loss and gradient of a batch with impossible transcripts."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from deeplab.tasks.ctc import CTC

torch = pytest.importorskip("torch")

B, T, K, L = 24, 7, 4, 5
KEY = jax.random.key(0)
TASK = CTC(("a", "b", "c"), fields=("features", "frames"))


@pytest.mark.parametrize("seed", range(10))
def test_losses_and_gradients(seed):
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(B, T, K)).astype(np.float32)
    batch = {"frames": rng.integers(1, T + 1, B), "label": rng.integers(1, K, (B, L))}
    batch["label_length"] = rng.integers(0, L + 1, B)
    batch = {name: jnp.asarray(x, jnp.int32) for name, x in batch.items()}
    batch |= {"features": jnp.asarray(logits), "weight": jnp.ones(B), "id": jnp.arange(B)}

    def value(logits):
        loss = TASK.loss(lambda *_, **__: (logits, {}), batch, KEY).loss
        return loss.total / loss.count

    theirs = torch.tensor(logits, requires_grad=True)
    lengths = [torch.tensor(np.asarray(batch[name])).long() for name in ("label", "frames", "label_length")]
    log_probs = theirs.log_softmax(-1).transpose(0, 1)
    each = torch.nn.functional.ctc_loss(log_probs, *lengths, reduction="none")
    possible = torch.isfinite(each)
    assert 0 < possible.sum() < B

    ours = TASK.predict(lambda *_, **__: (jnp.asarray(logits), {}), batch, KEY)["loss"]
    np.testing.assert_allclose(ours, each.detach().numpy(), rtol=1e-4, atol=1e-4)
    summed = torch.nn.functional.ctc_loss(log_probs, *lengths, reduction="sum", zero_infinity=True)
    mean = summed / possible.sum()
    mean.backward()
    loss, gradient = jax.value_and_grad(value)(jnp.asarray(logits))
    assert float(loss) == pytest.approx(mean.item(), rel=1e-4)
    np.testing.assert_allclose(gradient, theirs.grad.numpy(), atol=1e-5)
    metric = TASK.metrics(lambda *_, **__: (jnp.asarray(logits), {}), batch, KEY)["impossible"]
    assert metric.compute() == pytest.approx(1 - possible.float().mean().item())
