"""Scores and rates of unusual examples equal those of pytorch-ood on the same features."""

import importlib.abc
import importlib.machinery
import sys
import types
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from deeplab.robust import shift
from deeplab.robust.head import Head

torch = pytest.importorskip("torch")


class Absent(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Makes modules of torchvision with any name in them: the library names classes that are not used here."""

    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "torchvision":
            return importlib.machinery.ModuleSpec(name, self, is_package=True)
        return None

    def create_module(self, spec):
        made = types.ModuleType(spec.name)
        made.__getattr__ = lambda name: type(name, (torch.nn.Module,), {})
        return made

    def exec_module(self, module):
        pass


@pytest.fixture(scope="module")
def theirs():
    absent = Absent()
    sys.meta_path.insert(0, absent)
    known = set(sys.modules)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            pytest.importorskip("pytorch_ood.metrics")
            return pytest.importorskip("pytorch_ood.detector")
    finally:
        sys.meta_path.remove(absent)
        for name in [name for name in sys.modules if name.startswith("torchvision") and name not in known]:
            del sys.modules[name]


RNG = np.random.default_rng(0)
D, K = 8, 4
LABEL = RNG.integers(0, K, 400)
TRAIN = np.abs(RNG.normal(size=(400, D)) + np.eye(D)[LABEL] * 3).astype(np.float32)
INSIDE = np.abs(RNG.normal(size=(150, D)) + np.eye(D)[RNG.integers(0, K, 150)] * 3).astype(np.float32)
OUTSIDE = np.abs(RNG.normal(size=(130, D)) * 1.7).astype(np.float32)
HEAD = Head(RNG.normal(size=(D, K)).astype(np.float32) + 2 * np.eye(D, K), RNG.normal(size=K).astype(np.float32))


def _t(x):
    return torch.tensor(np.asarray(x, np.float64))


WEIGHT, BIAS = _t(HEAD.kernel.T), _t(HEAD.bias)


def _head(x):
    return x.flatten(1) @ WEIGHT.T + BIAS


def _fit(detector, **options):
    return detector.fit_features(_t(TRAIN), torch.tensor(LABEL), **options)


def _maps(x):
    return _t(x)[:, :, None, None]


def _react(t, x):
    detector = t.ReAct(None, _head, percentile=0.9)
    return detector.fit_feature_maps(_maps(TRAIN), torch.tensor(LABEL)).predict_feature_maps(_maps(x))


SCORES = {
    "msp": (lambda x: shift.msp(HEAD(x)), lambda t, x: t.MaxSoftmax.score(_head(_t(x)))),
    "max_logit": (lambda x: shift.max_logit(HEAD(x)), lambda t, x: t.MaxLogit.score(_head(_t(x)))),
    "energy": (lambda x: shift.energy(HEAD(x)), lambda t, x: t.EnergyBased.score(_head(_t(x)))),
    "energy, T = 3": (
        lambda x: shift.energy(HEAD(x), 3.0),
        lambda t, x: t.EnergyBased.score(_head(_t(x)), 3.0),
    ),
    "gen": (lambda x: shift.gen(HEAD(x)) / K, lambda t, x: t.GEN.score(_head(_t(x)))),
    "gen, top 2": (
        lambda x: shift.gen(HEAD(x), 0.5, 2) / 2,
        lambda t, x: t.GEN.score(_head(_t(x)), gamma=0.5, M=2),
    ),
    # Their covariances are sums over the examples, ours means; and the one score is half of the squared distance.
    "mahalanobis": (
        lambda x: shift.mahalanobis(TRAIN, LABEL)(x) / 2 / 400,
        lambda t, x: _fit(t.Mahalanobis(None)).predict_features(_t(x)),
    ),
    "relative": (
        lambda x: shift.mahalanobis(TRAIN, LABEL, relative=True)(x) / 400,
        lambda t, x: _fit(t.RMD(None)).predict_features(_t(x)),
    ),
    "knn": (
        lambda x: shift.knn_score(TRAIN, x, 7),
        lambda t, x: _fit(t.KNN(None, k=7)).predict_features(_t(x)),
    ),
    "vim": (
        lambda x: shift.vim(TRAIN, HEAD, 3)(x),
        lambda t, x: _fit(t.ViM(None, 3, WEIGHT, BIAS)).predict_features(_t(x)),
    ),
    "react": (lambda x: shift.energy(HEAD(shift.react(TRAIN)(x))), _react),
    **{
        f"ash-{kind}": (
            lambda x, kind=kind: shift.energy(HEAD(shift.ash(x, 0.6, kind))),
            lambda t, x, kind=kind: t.ASH(None, _head, f"ash-{kind}", 0.6).predict_feature_maps(_maps(x)),
        )
        for kind in "spb"
    },
}


@pytest.fixture
def _double():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.mark.usefixtures("_double")
@pytest.mark.parametrize("name", SCORES)
def test_scores_and_rates(theirs, name):
    """Within 1e-6; ViM computes in float32, whatever it is given, so that of its scores the areas are."""
    from pytorch_ood.metrics import OODMetrics

    ours, reference = SCORES[name]
    found = [ours(x) for x in (INSIDE, OUTSIDE)]
    expected = [reference(theirs, x).double().numpy() for x in (INSIDE, OUTSIDE)]
    for mine, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(mine, other, atol=1e-6, rtol=1e-4 if name == "vim" else 1e-6)
    labels = torch.cat([torch.zeros(150), -torch.ones(130)]).long()
    metrics = OODMetrics()
    metrics.update(scores=torch.tensor(np.concatenate(expected)), labels=labels)
    told = metrics.compute()
    mine = shift.detect(*found)
    assert mine.auroc == pytest.approx(told["AUROC"], abs=1e-6)
    assert shift.fpr_at_tpr(*found, positive="out") == pytest.approx(told["FPR95TPR"], abs=1e-6)


def test_odin(theirs):
    """The same step in the input, of a network of two layers."""
    w = RNG.normal(size=(D, 16)).astype(np.float32), RNG.normal(size=(16, K)).astype(np.float32)

    def ours(x):
        return jnp.tanh(x @ w[0]) @ w[1], {}

    def network(x):
        return torch.tanh(x @ torch.tensor(w[0])) @ torch.tensor(w[1])

    for temperature, radius in ((1000.0, 0.0014), (2.0, 0.05)):
        expected = theirs.ODIN(network, eps=radius, temperature=temperature).predict(torch.tensor(INSIDE))
        found = jax.jit(lambda x, t=temperature, r=radius: shift.odin(ours, x, temperature=t, radius=r))(INSIDE)
        np.testing.assert_allclose(found, expected.detach().numpy(), atol=1e-6)
