"""What needs more of a model than values and a gradient traces it without kernels of a vendor, on a GPU, too."""

import dataclasses
import functools
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any, cast

import flax.linen as nn
import jax
import jax.numpy as jnp
import pytest

from deeplab import explain
from deeplab.core.jax_compat import operations_are_plain, plain_operations
from deeplab.core.precision import PRECISIONS
from deeplab.core.runtime import Runtime
from deeplab.explain.examples import products
from deeplab.generate import R3GAN, MeanFlow
from deeplab.generate.paths.likelihoods import divergence
from deeplab.models.generative import dit
from deeplab.nn.attention import dot_product, kernels
from deeplab.robust.certify.linear import linear_bounds
from deeplab.train.bind import BoundApply
from deeplab.train.initialize import init
from deeplab.verbs.export import export
from tests import toys
from tests.generate.members import batch_of
from tests.generate.test_adversarial import Pair

HALF = jax.ShapeDtypeStruct((2, 8, 128, 64), jnp.bfloat16)
KEY, X = jax.random.key(0), jnp.linspace(-1.0, 1.0, 64).reshape(2, 4, 8)
IMAGE = jnp.linspace(0.0, 1.0, 128).reshape(2, 8, 8, 1)


@pytest.fixture
def on_a_gpu(monkeypatch):
    """A GPU's choice of the kernel, where there is no such kernel."""

    def refuse(*args):
        raise AssertionError("it reaches cuDNN")

    monkeypatch.setattr(kernels, "_platform", lambda: "cuda")
    monkeypatch.setattr(dot_product, "_cudnn", refuse)
    jax.clear_caches()
    yield
    jax.clear_caches()


def test_no_kernel_of_a_vendor_where_operations_are_plain():
    with plain_operations():
        assert kernels.kernel_of(HALF, HALF, causal=True, platform="cuda") == "product"
        assert kernels.kernel_of(HALF, HALF, causal=True, platform="cuda", block=32) == "blocks"
        with plain_operations():
            pass
        assert operations_are_plain()
        with pytest.raises(ValueError, match="cuDNN does not compute"):
            dot_product.attend(*jnp.ones((3, 1, 1, 2, 8), jnp.bfloat16), kernel="cudnn")
    assert kernels.kernel_of(HALF, HALF, causal=True, platform="cuda") == "cudnn"


@pytest.mark.skipif(not hasattr(jax, "make_user_context"), reason="JAX keeps the first trace before 0.8")
def test_what_was_traced_before_is_traced_anew(on_a_gpu):
    chosen = []

    @jax.jit
    def f(x):
        chosen.append(kernels.kernel_of(x, x))
        return x

    for _ in range(2):
        jax.eval_shape(f, HALF)
        with plain_operations():
            jax.eval_shape(f, HALF)
    assert chosen == ["cudnn", "product"]


def attention(x, w=1.0):
    """A part that reads a stream and writes into it, [B, T, D] to [B]."""
    start = explain.mark(x * w, "start")
    heads = explain.mark(start, "part:in").astype(jnp.bfloat16)[:, None]
    out = dot_product.attend(heads, heads, heads)[:, 0].astype(jnp.float32)
    return jnp.mean(start + explain.mark(out, "part"), axis=(1, 2))


def losses(w, x):
    return attention(x, w) ** 2


def mean_flow():
    model = dit.DiT(**dit.VARIANTS["test"])
    params = model.init(KEY, IMAGE, jnp.ones((2, 2)))["params"]
    apply = BoundApply(model, params, {}, jnp.arange(2), PRECISIONS["bf16"])
    return MeanFlow((8, 8, 1)).loss(apply, batch_of(IMAGE), KEY)


def attacked():
    slope = jax.grad(lambda x: attention(x).sum())
    return explain.attack_explanation(lambda x: x[:, 0, :2], lambda x: x**2, X, steps=1, smoothed=slope)


PLACES = {
    "MeanFlow": mean_flow,
    "likelihoods": lambda: divergence(lambda x, t: x * attention(x)[:, None, None], X, jnp.array(0.5)),
    "conductance": lambda: explain.conductance(attention, X, 0.0, "part", nodes=2),
    "integrated_hessians": lambda: explain.integrated_hessians(attention, X, 0.0, nodes=2),
    "eap_ig": lambda: explain.eap_ig(attention, X, 0 * X, writers=["start", "part"], readers=["part:in"], steps=2),
    "logit_attribution": lambda: explain.logit_attribution(attention, X, ["start", "part"]),
    "taps": lambda: explain.taps(attention, X),
    "hessian": lambda: explain.hessian_vector_product(losses, 1.0, X)(1.0),
    "hessian in chunks": lambda: explain.hessian_vector_product(losses, 1.0, X, chunk=1)(1.0),
    "gauss_newton": lambda: explain.gauss_newton_product(lambda w, x: attention(x, w), lambda y, _: y**2, 1.0, X)(1.0),
    "ekfac": lambda: [p.shape for p in products.with_products(lambda w, x: attention(x @ w), jnp.eye(8), X)[1]],
    "deeplift": lambda: explain.deeplift(attention, X, 0.0),
    "lrp": lambda: explain.lrp(attention, X),
    "guided_backpropagation": lambda: explain.guided_backpropagation(attention, X),
    "softened": lambda: explain.softened(attention, 10.0)(X),
    "attack_explanation": attacked,
    "bounds": lambda: explain.bounds(attention, X, X + 0.1),
    "linear_bounds": lambda: linear_bounds(attention, X, X + 0.1, intermediate="interval"),
}


@pytest.mark.filterwarnings("ignore:the primitive .dot_general. in .* has no linear bounds")
@pytest.mark.parametrize("place", PLACES.values(), ids=PLACES)
def test_each_place_traces_the_model_of_plain_operations(on_a_gpu, place):
    jax.eval_shape(place)


def test_what_needs_a_gradient_alone_keeps_the_kernel(on_a_gpu):
    with pytest.raises(AssertionError, match="it reaches cuDNN"):
        explain.gradient(attention, X)


def test_a_penalty_of_a_gradient_has_a_gradient(on_a_gpu, monkeypatch):
    """The kernel has a gradient here, which has none, as cuDNN's."""

    @jax.custom_vjp
    def product(q, k, v):
        return q + k + v

    product.defvjp(lambda *x: (product(*x), x), lambda x, g: 3 * (jax.pure_callback(lambda g: g, g, g),))
    monkeypatch.setattr(dot_product, "_cudnn", lambda q, k, v, causal, window: product(q, k, v))
    real, critic = jnp.abs(X[..., :1]), cast(Any, None)

    def loss(w):
        apply: Any = Pair(lambda z: 0 * real + z.mean(), lambda w, x: losses(w, jnp.tile(x, 8)), {"critic": w})
        return R3GAN(critic, 3).loss(apply, batch_of(real), KEY).loss.total

    jax.eval_shape(jax.grad(loss), jnp.ones(()))


class Attentive(nn.Module):
    """Four classes of points."""

    @nn.compact
    def __call__(self, x, train=False):
        heads = nn.Dense(16)(x).astype(jnp.bfloat16).reshape(len(x), 1, 2, 8)
        return nn.Dense(4)(dot_product.attend(heads, heads, heads).reshape(len(x), -1).astype(x.dtype))


@pytest.fixture
def started():
    """An experiment and its state, made before a GPU chooses kernels."""
    experiment = dataclasses.replace(toys.experiment(), model=Attentive())
    return experiment, init(experiment, KEY)


@pytest.mark.parametrize(("platforms", "kernel"), [(("cpu", "cuda"), False), (("cpu",), False), (("cuda",), True)])
def test_an_export_has_the_kernel_where_it_is_for_that_platform_alone(started, on_a_gpu, tmp_path, platforms, kernel):
    recipe: Any = SimpleNamespace(runtime=Runtime())
    run = functools.partial(export, recipe, *started, tmp_path / "program", ["image"], 2, platforms)
    with pytest.raises(AssertionError, match="it reaches cuDNN") if kernel else nullcontext():
        run()
    assert (tmp_path / "program").exists() is not kernel
