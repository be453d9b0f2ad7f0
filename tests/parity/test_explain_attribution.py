"""Attributions equal those of captum, shap and PAIR's saliency on the same weights.

Where the other library is wrong, our value equals the definition, written out by hand.
"""

import contextlib
import itertools
import math
import warnings

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from deeplab import explain
from tests.precision import float64

torch = pytest.importorskip("torch")
captum = pytest.importorskip("captum.attr")
KEY = jax.random.key(3)
RNG = np.random.default_rng(0)
T = lambda x: torch.tensor(np.asarray(x))  # noqa: E731
CHANNELS_FIRST, CHANNELS_LAST = (0, 3, 1, 2), (0, 2, 3, 1)


class MLP(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = nn.relu(nn.Dense(16, name="l1")(x))
        return nn.Dense(3, name="l3")(jnp.tanh(nn.Dense(16, name="l2")(x)))


class CNN(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = nn.max_pool(nn.relu(nn.Conv(4, (3, 3), name="c1")(x)), (2, 2), (2, 2))
        x = nn.relu(nn.Conv(5, (3, 3), padding="VALID", name="c2")(x))
        return nn.Dense(3, name="l1")(x.transpose(CHANNELS_FIRST).reshape(len(x), -1))


class Text(nn.Module):
    @nn.compact
    def __call__(self, ids):
        return nn.Dense(3, name="head")(jnp.tanh(nn.Dense(6, name="l1")(nn.Embed(11, 5, name="emb")(ids))).mean(axis=1))


class Twice(nn.Module):
    @nn.compact
    def __call__(self, x):
        shared = nn.Dense(8, name="shared")
        return (jnp.tanh(shared(x)) * shared(x[:, ::-1])).sum(axis=1, keepdims=True)


class TorchMLP(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.l1, self.l2, self.l3 = torch.nn.Linear(8, 16), torch.nn.Linear(16, 16), torch.nn.Linear(16, 3)

    def forward(self, x):
        return self.l3(torch.tanh(self.l2(torch.relu(self.l1(x)))))


class TorchCNN(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.c1, self.c2 = torch.nn.Conv2d(2, 4, 3, padding=1), torch.nn.Conv2d(4, 5, 3)
        self.l1 = torch.nn.Linear(80, 3)

    def forward(self, x):
        x = torch.nn.functional.max_pool2d(torch.relu(self.c1(x)), 2)
        return self.l1(torch.relu(self.c2(x)).flatten(1))


class TorchText(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.emb, self.l1, self.head = torch.nn.Embedding(11, 5), torch.nn.Linear(5, 6), torch.nn.Linear(6, 3)

    def forward(self, ids):
        return self.head(torch.tanh(self.l1(self.emb(ids))).mean(1))


class TorchTwice(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.shared = torch.nn.Linear(8, 8)

    def forward(self, x):
        return (torch.tanh(self.shared(x)) * self.shared(x.flip(1))).sum(1, keepdim=True)


def pair(ours, theirs, x):
    """Our function and their module, with random weights and biases that are the same."""
    params = jax.eval_shape(ours.init, jax.random.key(0), x)["params"]
    params = jax.tree.map(lambda p: jnp.asarray(RNG.normal(size=p.shape) / p.shape[0] ** 0.5, jnp.float32), params)
    with torch.no_grad():
        for name, layer in params.items():
            module = getattr(theirs, name)
            for kind, value in layer.items():
                order = {4: (3, 2, 0, 1), 2: (1, 0), 1: (0,)}[value.ndim] if kind == "kernel" else range(value.ndim)
                getattr(module, "bias" if kind == "bias" else "weight").copy_(T(value.transpose(*order)))
    return (lambda x: ours.apply({"params": params}, x)), theirs.eval()


X, X0 = (jnp.asarray(RNG.normal(size=(4, 8)), jnp.float32) for _ in range(2))
IMG, IMG0 = (jnp.asarray(RNG.normal(size=(3, 12, 12, 2)), jnp.float32) for _ in range(2))
IDS, IDS0 = jnp.asarray(RNG.integers(11, size=(2, 6))), jnp.zeros((2, 6), int)
Y, YI = jnp.array([0, 2, 1, 2]), jnp.array([2, 0, 1])
f, tf = pair(MLP(), TorchMLP(), X)
g, tg = pair(CNN(), TorchCNN(), IMG)
h, th = pair(Text(), TorchText(), IDS)
twice, ttwice = pair(Twice(), TorchTwice(), X)
TX, TX0, TY = T(X), T(X0), T(Y).long()
TI, TI0, TYI = T(IMG.transpose(CHANNELS_FIRST)), T(IMG0.transpose(CHANNELS_FIRST)), T(YI).long()
GROUPS = np.array([0, 1, 1, 2, 0, 3, 3, 2])
TILES = explain.superpixels((12, 12), (4, 6))
MASKS = jax.random.bernoulli(KEY, 0.5, (60, 8))


def back(values):
    """Images of torch, channels last."""
    return values.detach().numpy().transpose(CHANNELS_LAST)


def middle(n):
    return (np.arange(n) + 0.5) / n, np.full(n, 1 / n)


@contextlib.contextmanager
def replaced(owner, name, value):
    kept = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, kept)


def tunnel(kind, draws=6):
    """captum's noise tunnel with the noise that our key draws, for every example."""
    noise = np.stack([jax.random.normal(jax.random.split(key, 1)[0], (8,)) for key in jax.random.split(KEY, draws)])
    with replaced(torch, "normal", lambda mean, std: T(np.tile(noise * 0.1, (4, 1)))):
        run = captum.NoiseTunnel(captum.Saliency(tf)).attribute
        return run(TX, nt_type=kind, nt_samples=draws, stdevs=0.1, target=TY, abs=False)


def smoothed(moment):
    return explain.smoothgrad(f, X, Y, key=KEY, draws=6, moment=moment).values


def gradient_shap(draws=6):
    """captum's with the baselines and points that our key draws, for every example."""
    keys = [jax.random.split(key) for key in jax.random.split(KEY, draws)]
    rows = np.tile([int(jax.random.randint(which, (), 0, 4)) for which, _ in keys], 4)
    points = np.tile([float(jax.random.uniform(where)) for _, where in keys], 4)
    with replaced(np.random, "choice", lambda *_: rows), replaced(np.random, "uniform", lambda *_: points):
        return captum.GradientShap(tf).attribute(TX, TX0, n_samples=draws, stdevs=0.0, target=TY)


def lime_of_captum():
    from captum._utils.models.linear_model import SkLearnLinearModel

    def near(x, perturbed, mask, **_):
        share = mask.float().mean()
        return torch.exp(-((1 - share.sqrt()) ** 2) / (2 * 0.25**2))

    def perturbed(x, **_):
        yield from (T(mask[None]).float() for mask in np.asarray(MASKS))

    rows = []
    for i in range(2):
        base = TX0[i : i + 1]
        from_mask = lambda mask, x, base=base, **_: mask * x + (1 - mask) * base  # noqa: E731
        method = captum.LimeBase(tf, SkLearnLinearModel("linear_model.Ridge"), near, perturbed, True, from_mask, None)
        rows.append(method.attribute(TX[i : i + 1], target=int(Y[i]), n_samples=len(MASKS))[0])
    return torch.stack(rows)


def shap_kernel():
    shap = pytest.importorskip("shap")
    rows = []
    for i in range(2):
        run = lambda x, i=i: tf(torch.tensor(x, dtype=torch.float32)).detach().numpy()[:, int(Y[i])]  # noqa: E731
        explainer = shap.KernelExplainer(run, np.asarray(X0[i : i + 1]))
        rows.append(explainer.shap_values(np.asarray(X[i]), nsamples=2**8, l1_reg=False, silent=True))
    return np.stack(rows)


def kernel_in_double():
    """Scores in float32, as shap gets them, and the fit in float64, as shap's is."""
    with float64():
        of_score = lambda x: f(x.astype(jnp.float32)).astype(jnp.float64)  # noqa: E731
        return explain.kernel_shap(of_score, *(jnp.asarray(x, jnp.float64) for x in (X, X0)), Y).values[:2]


def pair_ig():
    saliency = pytest.importorskip("saliency.core")

    def call(x, call_model_args=None, expected_keys=None):
        del call_model_args, expected_keys
        return {saliency.INPUT_OUTPUT_GRADIENTS: np.asarray(jax.grad(lambda x: f(x)[:, 0].sum())(jnp.asarray(x)))}

    run = saliency.IntegratedGradients().GetMask
    x, base = np.asarray(X, np.float32), np.asarray(X0, np.float32)
    return np.stack([run(x[i], call, x_steps=50, x_baseline=base[i], batch_size=10) for i in range(4)])


def permuted():
    orders = [np.asarray(jax.random.permutation(key, 4)) for key in jax.random.split(KEY, 2)]
    methods = [
        captum.FeaturePermutation(tf, lambda x, mask, order=order: torch.where(mask.bool(), x[order], x))
        for order in orders
    ]
    return sum(method.attribute(TX, target=1).mean(0) for method in methods) / 2


def unit(k):
    return lambda y: jnp.tanh(jax.nn.relu(y))[:, k]


IG, LIG = captum.IntegratedGradients, captum.LayerIntegratedGradients
l1, _ = explain.split(f, "l1")
c1, _ = explain.split(g, "c1")
upto, rest = explain.split(h, "emb")
of_layer, from_layer = explain.split(f, "l2")

ROWS = {  # ours, theirs, relative to the largest
    "gradient": (
        lambda: explain.gradient(f, X, Y).values,
        lambda: captum.Saliency(tf).attribute(TX, TY, abs=False),
        2e-6,
    ),
    "gradient, images": (
        lambda: explain.gradient(g, IMG, YI).values,
        lambda: back(captum.Saliency(tg).attribute(TI, TYI, abs=False)),
        2e-6,
    ),
    "input x gradient": (
        lambda: explain.input_x_gradient(f, X, Y).values,
        lambda: captum.InputXGradient(tf).attribute(TX, TY),
        2e-6,
    ),
    "input x gradient, images": (
        lambda: explain.input_x_gradient(g, IMG, YI).values,
        lambda: back(captum.InputXGradient(tg).attribute(TI, TYI)),
        2e-6,
    ),
    "integrated gradients": (
        lambda: explain.integrated_gradients(f, X, X0, Y, nodes=50).values,
        lambda: IG(tf).attribute(TX, TX0, TY, n_steps=50, method="gausslegendre"),
        1e-6,
    ),
    "integrated gradients, images": (
        lambda: explain.integrated_gradients(g, IMG, IMG0, YI, nodes=50, chunk=7).values,
        lambda: back(IG(tg).attribute(TI, TI0, TYI, n_steps=50, method="gausslegendre")),
        2e-6,
    ),
    "integrated gradients, middles": (
        lambda: explain.integrated_gradients(f, X, X0, Y, nodes=middle(50)).values,
        lambda: IG(tf).attribute(TX, TX0, TY, n_steps=50, method="riemann_middle"),
        1e-6,
    ),
    "integrated gradients, left ends": (
        lambda: explain.integrated_gradients(f, X, X0, Y, nodes=(np.arange(20) / 20, np.full(20, 0.05))).values,
        lambda: IG(tf).attribute(TX, TX0, TY, n_steps=20, method="riemann_left"),
        1e-6,
    ),
    "integrated gradients, right ends": (
        lambda: explain.integrated_gradients(f, X, X0, Y, nodes=(np.arange(1, 21) / 20, np.full(20, 0.05))).values,
        lambda: IG(tf).attribute(TX, TX0, TY, n_steps=20, method="riemann_right"),
        1e-6,
    ),
    "integrated gradients of PAIR": (
        lambda: explain.integrated_gradients(f, X, X0, 0, nodes=(np.linspace(0, 1, 50), np.full(50, 1 / 50))).values,
        pair_ig,
        1e-5,
    ),
    "smoothgrad": (lambda: smoothed("mean"), lambda: tunnel("smoothgrad"), 1e-6),
    "smoothgrad squared": (lambda: smoothed("square"), lambda: tunnel("smoothgrad_sq"), 2e-6),
    "vargrad": (lambda: smoothed("variance"), lambda: tunnel("vargrad"), 1e-4),  # theirs cancels
    "gradient shap": (
        lambda: explain.expected_gradients(f, X, X0, Y, key=KEY, draws=6).values,
        gradient_shap,
        1e-5,  # the points of theirs are of another precision
    ),
    "grad-cam": (
        lambda: explain.grad_cam(g, IMG, "c2", YI, positive=False).values,
        lambda: captum.LayerGradCam(tg, tg.c2).attribute(TI, TYI)[:, 0],
        1e-6,
    ),
    "grad-cam, positive": (
        lambda: explain.grad_cam(g, IMG, "c1", YI).values,
        lambda: captum.LayerGradCam(tg, tg.c1).attribute(TI, TYI, relu_attributions=True)[:, 0],
        2e-6,
    ),
    "hires-cam": (
        lambda: explain.hires_cam(g, IMG, "c2", YI, positive=False).values,
        lambda: captum.LayerGradientXActivation(tg, tg.c2).attribute(TI, TYI).sum(1),
        2e-6,
    ),
    "occlusion 3 x 3": (
        lambda: explain.occlusion(g, IMG, 0.0, YI, window=(3, 3)).values,
        lambda: back(captum.Occlusion(tg).attribute(TI, (2, 3, 3), 1, baselines=0, target=TYI)),
        3e-6,
    ),
    "occlusion 4 x 3, strides 3 x 2": (
        lambda: explain.occlusion(g, IMG, IMG0, YI, window=(4, 3), stride=(3, 2)).values,
        lambda: back(captum.Occlusion(tg).attribute(TI, (2, 4, 3), (2, 3, 2), baselines=TI0, target=TYI)),
        3e-6,
    ),
    "occlusion of a channel": (
        lambda: explain.occlusion(g, IMG, 0.0, YI, window=(5, 5, 1), stride=(3, 3, 1)).values,
        lambda: back(captum.Occlusion(tg).attribute(TI, (1, 5, 5), (1, 3, 3), baselines=0, target=TYI)),
        3e-6,
    ),
    "ablation": (
        lambda: explain.ablation(f, X, X0, Y).values,
        lambda: captum.FeatureAblation(tf).attribute(TX, TX0, TY),
        2e-6,
    ),
    "ablation of groups": (
        lambda: explain.spread(explain.ablation(f, X, X0, Y, groups=GROUPS).values, GROUPS, X),
        lambda: captum.FeatureAblation(tf).attribute(TX, TX0, TY, feature_mask=T(GROUPS)[None]),
        2e-6,
    ),
    "ablation of tiles": (
        lambda: explain.spread(explain.ablation(g, IMG, 0.0, YI, groups=TILES).values, TILES, IMG),
        lambda: back(captum.FeatureAblation(tg).attribute(TI, 0, TYI, feature_mask=T(TILES.transpose(2, 0, 1))[None])),
        2e-6,
    ),
    "permutation": (
        lambda: explain.permutation_importance(f, X, 1, key=KEY, draws=2).values,
        permuted,
        3e-6,
    ),
    "shapley": (lambda: explain.shapley(f, X, X0, Y).values[:2], shap_kernel, 1e-6),
    "shapley of captum, groups": (
        lambda: explain.spread(explain.shapley(f, X, X0, Y, groups=GROUPS).values, GROUPS, X),
        lambda: captum.ShapleyValues(tf).attribute(TX, TX0, TY, feature_mask=T(GROUPS)[None]),
        5e-6,
    ),
    "shapley of captum, tiles": (
        lambda: explain.spread(explain.shapley(g, IMG, 0.0, YI, groups=TILES).values, TILES, IMG),
        lambda: back(captum.ShapleyValues(tg).attribute(TI, 0, TYI, feature_mask=T(TILES.transpose(2, 0, 1))[None])),
        5e-6,
    ),
    "kernel shap of all coalitions": (kernel_in_double, shap_kernel, 1e-6),
    "lime": (lambda: explain.lime(f, X, X0, Y, masks=MASKS).values[:2], lime_of_captum, 3e-6),
    "integrated gradients at an embedding": (
        lambda: explain.integrated_gradients(rest, upto(IDS), upto(IDS0), 1, args=(IDS,), nodes=50).values,
        lambda: LIG(th, th.emb).attribute(T(IDS), T(IDS0), target=1, n_steps=50),
        2e-6,
    ),
    "integrated gradients at a layer": (
        lambda: explain.integrated_gradients(from_layer, of_layer(X), of_layer(X0), Y, (X,), nodes=50).values,
        lambda: LIG(tf, tf.l2).attribute(TX, TX0, TY, n_steps=50),
        2e-6,
    ),
    "gradient x value of a layer": (
        lambda: explain.input_x_gradient(from_layer, of_layer(X), Y, (X,)).values,
        lambda: captum.LayerGradientXActivation(tf, tf.l2).attribute(TX, TY),
        2e-6,
    ),
    "conductance": (  # theirs takes differences of the layer instead of its derivative
        lambda: explain.conductance(f, X, X0, "l1", Y, nodes=1000).values,
        lambda: captum.LayerConductance(tf, tf.l1).attribute(TX, TX0, TY, n_steps=2000, method="riemann_right"),
        5e-3,
    ),
    "conductance, images": (
        lambda: explain.conductance(g, IMG, IMG0, "c2", YI, nodes=64).values,
        lambda: back(captum.LayerConductance(tg, tg.c2).attribute(TI, TI0, TYI, n_steps=500, method="riemann_right")),
        2e-2,
    ),
    "internal influence": (
        lambda: explain.internal_influence(f, X, X0, "l1", Y, nodes=50).values,
        lambda: captum.InternalInfluence(tf, tf.l1).attribute(TX, TX0, TY, n_steps=50, method="gausslegendre"),
        2e-6,
    ),
    "internal influence, images": (
        lambda: explain.internal_influence(g, IMG, IMG0, "c2", YI, nodes=20).values,
        lambda: back(captum.InternalInfluence(tg, tg.c2).attribute(TI, TI0, TYI, n_steps=20, method="gausslegendre")),
        2e-6,
    ),
    "gradient of a neuron": (
        lambda: explain.gradient(of_layer, X, 5).values,
        lambda: captum.NeuronGradient(tf, tf.l2).attribute(TX, 5),
        2e-6,
    ),
    "integrated gradients of a neuron": (
        lambda: explain.integrated_gradients(c1, IMG, IMG0, lambda y: y[:, 4, 6, 1], nodes=20).values,
        lambda: back(captum.NeuronIntegratedGradients(tg, tg.c1).attribute(TI, (1, 4, 6), TI0, n_steps=20)),
        2e-6,
    ),
    "ablation of a neuron": (
        lambda: explain.ablation(of_layer, X, 0.0, 7).values,
        lambda: captum.NeuronFeatureAblation(tf, tf.l2).attribute(TX, 7, 0),
        3e-6,
    ),
    "ablation of a layer": (
        lambda: explain.ablation(from_layer, of_layer(X), 0.0, Y, (X,)).values,
        lambda: captum.LayerFeatureAblation(tf, tf.l2).attribute(TX, 0, TY),
        3e-6,
    ),
}


@pytest.mark.parametrize("name", ROWS)
def test_equal(name):
    ours, theirs, tolerance = ROWS[name]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # theirs
        expected = theirs()
    expected = expected.detach().numpy() if isinstance(expected, torch.Tensor) else np.asarray(expected)
    found = np.asarray(ours())
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance * np.abs(expected).max())


def test_the_trapezoid_rule_where_captum_is_wrong():
    """Its weights add up to (n - 1) / n: of a linear score it loses that share. Ours are the rule's, and exact."""
    w, n = jnp.asarray(RNG.normal(size=(8,)), jnp.float32), 50
    model = lambda x: (x * T(w)[None]).sum(1)  # noqa: E731
    theirs = IG(model).attribute(TX, TX0, n_steps=n, method="riemann_trapezoid").numpy()
    by_hand = np.asarray((X - X0) * w[None])
    np.testing.assert_allclose(theirs, by_hand * (n - 1) / n, rtol=1e-4, atol=1e-6)
    weights = np.full(n, 1 / (n - 1))
    weights[[0, -1]] /= 2
    ours = explain.integrated_gradients(lambda x: x @ w, X, X0, nodes=(np.linspace(0, 1, n), weights)).values
    np.testing.assert_allclose(ours, by_hand, rtol=1e-4, atol=1e-6)


def test_a_layer_that_is_called_twice_where_captum_is_wrong():
    """It puts one tensor in the place of both calls, which does not add up; each call is a tap of ours."""
    theirs = LIG(ttwice, ttwice.shared).attribute(TX, TX0, target=0, n_steps=50).detach().numpy()
    difference = np.asarray(twice(X) - twice(X0))[:, 0]
    assert np.abs(theirs.sum(axis=1) - difference).max() > 1e-2
    at = lambda x: explain.read(twice, ["shared"])(x)[1]["shared"]  # noqa: E731

    def rest(values, x):
        return explain.edited(twice, {f"shared[{i}]": lambda _, i=i: values[i] for i in range(2)})(x)

    found = explain.integrated_gradients(rest, at(X), at(X0), 0, (X,), nodes=50).values
    np.testing.assert_allclose(sum(found).sum(axis=1), difference, rtol=1e-4, atol=1e-5)


def test_kernel_shap_by_default_where_captum_is_wrong():
    """It takes 25 coalitions of 254 unless told otherwise, and is far off; ours are the mean over all orders."""
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = captum.KernelShap(tf).attribute(TX[:1], TX0[:1], int(Y[0]))[0].numpy()
    worth, score = {}, jax.jit(f)
    for rows in itertools.product([False, True], repeat=8):
        worth[rows] = float(score(np.where(np.asarray(rows)[None], X[:1], X0[:1]))[0, int(Y[0])])
    by_hand = np.zeros(8)
    for rows, value in worth.items():
        for i in np.flatnonzero(~np.asarray(rows)):
            more = tuple(j == i or there for j, there in enumerate(rows))
            by_hand[i] += (worth[more] - value) / (8 * math.comb(7, sum(rows)))
    ours = explain.kernel_shap(f, X[:1], X0[:1], Y[:1]).values[0]
    np.testing.assert_allclose(ours, by_hand, atol=2e-6 * np.abs(by_hand).max())
    assert np.abs(theirs - by_hand).max() > 1e-2 * np.abs(by_hand).max()
