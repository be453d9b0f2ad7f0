"""Binary cross-entropy of several labels against PyTorch; metrics against scikit-learn."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn import metrics as sk

import deeplab as dl
from deeplab.core.errors import UserError
from deeplab.tasks import MultiLabel
from deeplab.tasks.contract.task import Trained

torch = pytest.importorskip("torch")
KEY = jax.random.key(0)
RNG = np.random.default_rng(0)
LOGITS, LABELS = RNG.normal(size=(12, 3)).astype(np.float32) * 3, RNG.random((12, 3)) < 0.4
WEIGHT = np.array([1, 2, 0, 1, 3, 0, 1, 1, 1, 2, 1, 1], np.float32)
TASK = MultiLabel(extra_metrics=(dl.metrics.average_precision,))


def _apply(x, *, train=False, key=None):
    return x, {}


def batch(logits=LOGITS, label=LABELS, weight=WEIGHT):
    return {"image": jnp.asarray(logits), "label": jnp.asarray(label), "weight": jnp.asarray(weight)}


@pytest.mark.parametrize("kind", [bool, np.float32, np.int32])
def test_loss_is_pytorchs(kind):
    each = torch.nn.functional.binary_cross_entropy_with_logits(
        torch.tensor(LOGITS), torch.tensor(LABELS, dtype=torch.float32), reduction="none"
    ).mean(1)
    expected = float((each * torch.tensor(WEIGHT)).sum() / WEIGHT.sum())
    dirty = np.where(WEIGHT[:, None] > 0, LOGITS, np.nan)
    out = TASK.loss(_apply, batch(dirty, LABELS.astype(kind)), KEY)
    assert out.loss.compute() == pytest.approx(expected, rel=1e-5)
    assert TASK.metrics(_apply, batch(), KEY)["loss"].compute() == pytest.approx(expected, rel=1e-5)


def test_metrics_are_scikit_learns():
    made = TASK.metrics(_apply, batch(), KEY)
    for average in ("micro", "macro"):
        expected = sk.f1_score(LABELS, LOGITS >= 0, average=average, sample_weight=WEIGHT)
        assert made[f"{average}_f1"].compute() == pytest.approx(expected)
    told = TASK.summarize(jax.device_get(TASK.predict(_apply, batch(), KEY)))
    areas = {"auc": sk.roc_auc_score, "average_precision": sk.average_precision_score}
    assert told == {
        name: pytest.approx(area(LABELS, LOGITS, average="macro", sample_weight=WEIGHT)) for name, area in areas.items()
    }


def test_the_report_has_a_row_for_each_label():
    made = jax.device_get(TASK.predict(_apply, batch(weight=np.ones(12, np.float32)), KEY))
    named = MultiLabel(label_names=("sea", "sky"))
    (block,) = named.artifacts(Trained(None, made, None, "test", (), None, 1, KEY))["labels"]
    body = block["blocks"][0]["body"]
    assert [row[0] for row in body] == ["sea", "sky", "2"]
    assert body[1][1:] == [
        str(LABELS[:, 1].sum()),
        f"{sk.f1_score(LABELS[:, 1], LOGITS[:, 1] >= 0):.3f}",
        f"{sk.roc_auc_score(LABELS[:, 1], LOGITS[:, 1]):.3f}",
    ]


@pytest.mark.parametrize("shape", [(12,), (12, 1), (12, 4)])
def test_labels_of_another_shape_are_refused(shape):
    with pytest.raises(UserError, match=r"logits are \[12, 3\] and labels \[12"):
        TASK.loss(_apply, batch(label=np.zeros(shape)), KEY)


def test_scores_are_logits():
    np.testing.assert_allclose(TASK.score(jnp.asarray(LOGITS), batch(), 2), LOGITS[:, 2])
    np.testing.assert_allclose(TASK.score(jnp.asarray(LOGITS), batch()), (LOGITS * LABELS).sum(1), rtol=1e-5)


def test_metrics_of_nan_are_nan_but_for_padding():
    logits = jnp.array([[1.0, -1.0], [jnp.nan, -1.0]])
    batch = {"image": jnp.zeros((2, 1)), "label": jnp.array([[1, 0], [0, 0]]), "weight": jnp.ones(2)}
    told = MultiLabel().metrics(lambda *inputs, **options: (logits, {}), batch, jax.random.key(0))
    assert all(np.isnan(metric.compute()) for metric in told.values())
    told = MultiLabel().metrics(
        lambda *inputs, **options: (logits, {}), batch | {"weight": jnp.array([1.0, 0.0])}, jax.random.key(0)
    )
    assert (told["micro_f1"].compute(), told["macro_f1"].compute()) == (1.0, 0.5)
