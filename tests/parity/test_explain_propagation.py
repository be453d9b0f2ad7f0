"""Propagation rules against captum, shap and zennit with the same weights, in double precision."""

import functools
import importlib
import sys
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from deeplab.explain.compiler.layers import AlphaBeta, Epsilon, Flat, Gamma, WSquare, ZBox, ZPlus
from deeplab.explain.propagation import deeplift
from deeplab.explain.rectified import deconvolution, guided_backpropagation
from deeplab.explain.relevance import lrp
from tests.precision import float64

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.filterwarnings("ignore:Setting .*hooks:UserWarning")
B, CLASS = 4, 1


@pytest.fixture(autouse=True)
def double():
    with float64():
        yield


@pytest.fixture(scope="module")
def zennit():
    """The library, which asks torchvision for the names of two of its models."""
    names = {"vgg": ["VGG"], "resnet": ["ResNet", "Bottleneck", "BasicBlock"]}
    stubs = {"torchvision": types.ModuleType("torchvision"), "torchvision.models": types.ModuleType("models")}
    for name, classes in names.items():
        stub = types.ModuleType(name)
        for each in classes:
            setattr(stub, each, type(each, (), {}))
        stubs[f"torchvision.models.{name}"] = stub
        setattr(stubs["torchvision.models"], name, stub)
    stubs["torchvision"].models = stubs["torchvision.models"]
    with pytest.MonkeyPatch.context() as patch:
        for name, stub in stubs.items():
            patch.setitem(sys.modules, name, stub)
        try:
            parts = ("rules", "types", "attribution", "composites", "canonizers")
            return types.SimpleNamespace(**{part: importlib.import_module(f"zennit.{part}") for part in parts})
        except ImportError:
            pytest.skip("zennit is not installed")


def mlp():
    layers = [torch.nn.Linear(8, 16), torch.nn.ReLU(), torch.nn.Linear(16, 16), torch.nn.Tanh(), torch.nn.Linear(16, 3)]
    return torch.nn.Sequential(*layers)


def cnn():
    layers = [
        *(torch.nn.Conv2d(2, 5, 3, padding=1), torch.nn.ReLU(), torch.nn.MaxPool2d(2)),
        *(torch.nn.Conv2d(5, 6, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(6 * 16, 3)),
    ]
    return torch.nn.Sequential(*layers)


def normed():
    layers = [torch.nn.Conv2d(2, 5, 3, padding=1), torch.nn.BatchNorm2d(5, eps=1e-12), torch.nn.ReLU()]
    return torch.nn.Sequential(*layers, torch.nn.Flatten(), torch.nn.Linear(5 * 144, 3))


def rectified():
    return torch.nn.Sequential(*[torch.nn.ReLU() if isinstance(m, torch.nn.Tanh) else m for m in mlp()])


class Flattened(torch.nn.Module):
    """A sequence whose flattening is no module, for which captum has no rule."""

    def __init__(self, sequence):
        super().__init__()
        self.layers = torch.nn.ModuleList(m for m in sequence if not isinstance(m, torch.nn.Flatten))

    def forward(self, x):
        for m in self.layers:
            x = m(x.flatten(1) if isinstance(m, torch.nn.Linear) else x)
        return x


MODELS = {"mlp": (mlp, (8,)), "relu mlp": (rectified, (8,)), "cnn": (cnn, (2, 12, 12)), "norm": (normed, (2, 12, 12))}


def ours(model):
    """The same function of arrays."""
    dims = ("NCHW", "OIHW", "NCHW")
    steps = []
    for m in model:
        p = {k: np.asarray(v.detach()) for k, v in m.state_dict().items()}
        if isinstance(m, torch.nn.Linear):
            steps.append(lambda x, p=p: x @ p["weight"].T + p["bias"][None])
        elif isinstance(m, torch.nn.Conv2d):
            pad = [(m.padding[0],) * 2] * 2
            steps.append(
                lambda x, p=p, pad=pad: (
                    lax.conv_general_dilated(x, p["weight"], (1, 1), pad, dimension_numbers=dims)
                    + p["bias"][None, :, None, None]
                )
            )
        elif isinstance(m, torch.nn.BatchNorm2d):
            wide = {k: v.reshape(1, -1, 1, 1) for k, v in p.items() if v.ndim}
            steps.append(
                lambda x, w=wide: (x - w["running_mean"]) * lax.rsqrt(w["running_var"]) * w["weight"] + w["bias"]
            )
        elif isinstance(m, torch.nn.MaxPool2d):
            window = (1, 1, 2, 2)
            steps.append(lambda x, window=window: lax.reduce_window(x, -jnp.inf, lax.max, window, window, "VALID"))
        else:
            known = {torch.nn.ReLU: jax.nn.relu, torch.nn.Tanh: jnp.tanh}
            steps.append(known.get(type(m), lambda x: x.reshape(len(x), -1)))
    return lambda x: functools.reduce(lambda x, step: step(x), steps, x)


def pair(name):
    """A model of torch with random parameters and buffers, the same function, and inputs."""
    make, shape = MODELS[name]
    torch.manual_seed(0)
    model = make().double().eval()
    for buffer in model.state_dict().values():
        if buffer.is_floating_point():
            buffer.copy_(torch.randn_like(buffer) / 2)
    for m in model:
        if isinstance(m, torch.nn.BatchNorm2d):
            m.running_var.uniform_(0.5, 2.0)
    x = np.random.default_rng(1).normal(size=(B, *shape))
    f = ours(model)
    np.testing.assert_allclose(f(x), model(torch.tensor(x)).detach(), rtol=1e-9, atol=1e-12)
    return model, f, x


def close(found, expected, tolerance):
    expected = np.asarray(expected)
    assert np.abs(np.asarray(found) - expected).max() <= tolerance * np.abs(expected).max()


def by_zennit(zennit, model, x, composite):
    seed = torch.eye(3, dtype=torch.float64)[[CLASS] * B]
    with zennit.attribution.Gradient(model, composite) as attributor:
        return attributor(torch.tensor(x, requires_grad=True), lambda out: out.detach() * seed)[1]


LAYERS = {
    "Epsilon": (Epsilon(1e-6), {"epsilon": 1e-6}),
    "Epsilon 0.1": (Epsilon(0.1), {"epsilon": 0.1}),
    "Gamma": (Gamma(0.25, 1e-9), {"gamma": 0.25, "stabilizer": 1e-9}),
    "AlphaBeta 1 0": (AlphaBeta(1.0, 0.0, 1e-9), {"alpha": 1.0, "beta": 0.0, "stabilizer": 1e-9}),
    "AlphaBeta": (AlphaBeta(2.0, 1.0, 1e-9), {"alpha": 2.0, "beta": 1.0, "stabilizer": 1e-9}),
    "ZPlus": (ZPlus(1e-9), {"stabilizer": 1e-9}),
}


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("name", LAYERS)
def test_layers_of_zennit(zennit, name, model):
    rule, options = LAYERS[name]
    torch_model, f, x = pair(model)
    theirs, kinds = getattr(zennit.rules, name.split()[0])(**options), zennit.types
    table = [(kinds.Activation, zennit.rules.Pass()), (kinds.Linear, theirs), (kinds.Convolution, theirs)]
    canonizers = [zennit.canonizers.SequentialMergeBatchNorm()] if model == "norm" else []
    composite = zennit.composites.LayerMapComposite(table, canonizers=canonizers)
    expected = by_zennit(zennit, torch_model, x, composite)
    close(jax.jit(lambda x: lrp(f, x, rule, CLASS).values)(x), expected, 1e-9)


FIRST = {
    "Flat": (Flat(), {}),
    "WSquare": (WSquare(), {"zero_params": "bias"}),
    "ZBox": (ZBox(lower=-3.0, upper=3.0), {"low": -3.0, "high": 3.0}),
}


@pytest.mark.parametrize("model", ["mlp", "cnn"])
@pytest.mark.parametrize("name", FIRST)
def test_first_layers_of_zennit(zennit, name, model):
    rule, options = FIRST[name]
    torch_model, f, x = pair(model)
    kinds, rules = zennit.types, zennit.rules
    wide = {k: torch.full((1, *x.shape[1:]), v, dtype=torch.float64) for k, v in options.items() if name == "ZBox"}
    theirs, layers = getattr(rules, name)(**options | wide), (kinds.Linear, kinds.Convolution)
    table = [(kinds.Activation, rules.Pass()), *[(kind, rules.Epsilon()) for kind in layers]]
    first = [(kind, theirs) for kind in layers]
    expected = by_zennit(zennit, torch_model, x, zennit.composites.SpecialFirstLayerMapComposite(table, first))
    found = lrp(f, x, lambda place: rule if place.depth == 0 else Epsilon(1e-6), CLASS).values
    close(found, expected, 1e-9)


@pytest.mark.parametrize("model", ["relu mlp", "mlp", "cnn"])
def test_lrp_of_captum(model):
    attr = pytest.importorskip("captum.attr")
    torch_model, f, x = pair(model)
    expected = attr.LRP(Flattened(torch_model)).attribute(torch.tensor(x, requires_grad=True), target=CLASS).detach()
    close(lrp(f, x, Epsilon(1e-9), CLASS).values, expected, 1e-6)


METHODS = [(guided_backpropagation, "GuidedBackprop"), (deconvolution, "Deconvolution")]


@pytest.mark.parametrize("model", ["relu mlp", "cnn", "norm"])
@pytest.mark.parametrize(("ours", "theirs"), METHODS)
def test_rectifiers_of_captum(ours, theirs, model):
    attr = pytest.importorskip("captum.attr")
    torch_model, f, x = pair(model)
    expected = getattr(attr, theirs)(torch_model).attribute(torch.tensor(x, requires_grad=True), target=CLASS)
    close(ours(f, x, CLASS).values, expected.detach(), 1e-12)


@pytest.mark.parametrize("model", ["relu mlp", "cnn", "norm"])
def test_deeplift_of_shap(model):
    shap = pytest.importorskip("shap")
    torch_model, f, x = pair(model)
    base = np.random.default_rng(2).normal(size=(1, *x.shape[1:]))
    explainer = shap.DeepExplainer(torch_model, torch.tensor(base))
    expected = explainer.shap_values(torch.tensor(x), check_additivity=False)[..., CLASS]
    close(deeplift(f, x, base, CLASS).values, expected, 1e-9)


@pytest.mark.parametrize("model", ["mlp", "relu mlp"])
def test_deeplift_of_captum(model):
    attr = pytest.importorskip("captum.attr")
    torch_model, f, x = pair(model)
    base = np.random.default_rng(2).normal(size=x.shape)
    expected = attr.DeepLift(torch_model).attribute(
        torch.tensor(x, requires_grad=True), torch.tensor(base), target=CLASS
    )
    close(deeplift(f, x, base, CLASS).values, expected.detach(), 1e-9)
