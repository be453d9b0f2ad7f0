"""Products that have to be exact are so on a GPU, too: of what is solved, adds up, or is rounded afterwards."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import deeplab as dl
from deeplab import explain
from deeplab.core.precision import exact
from deeplab.explain.curvature import spectrum, trace
from deeplab.explain.examples.gradients import empirical_ntk
from deeplab.explain.examples.influence import exact_solve, trak
from deeplab.explain.examples.kronecker import ekfac
from deeplab.generate import log_likelihood, normal_log_prob
from deeplab.metrics.confusion import Confusion
from deeplab.robust.corruptions.compression import jpeg
from deeplab.robust.corruptions.digital import elastic
from deeplab.robust.corruptions.filters import correlate
from tests.precision import inexact_products

KEY, X, IMAGE = jax.random.key(0), jnp.ones((2, 3)), jnp.ones((8, 8, 3))


def score(x):
    """Without a product of its own."""
    return jnp.tanh(x).sum(axis=1)


def network(x):
    return jnp.tanh(x @ jnp.ones((3, 3))).sum(axis=1)


def losses(w, x):
    return jnp.sum(jnp.square(x * w[None]), axis=1) / 2


def vector_quantized(x):
    """The task's own products: the model and the decoder have none."""

    class Apply:
        task_state = {"count": jnp.ones(4), "total": jnp.ones((4, 3))}  # noqa: RUF012

        def __call__(self, image, **_):
            return jnp.tanh(image), {}

    task = dl.generate.VQVAE(None, num_codes=4)
    chosen, codes = task._chosen(Apply(), x)
    return codes[chosen]


class Flow:
    """A matrix as a flow, there and back."""

    normalize = None

    def __call__(self, x, method=None):
        return (x @ jnp.eye(3) if method else (x @ jnp.eye(3), jnp.zeros(len(x)))), {}


FLOW = dl.generate.NormalizingFlow((3,), field="x", levels=None).generative(Flow())

METHODS = {
    "Kernel SHAP": lambda x: explain.kernel_shap(score, x, 0.0)[0],
    "Kernel SHAP of draws": lambda x: explain.kernel_shap(score, jnp.tile(x, 2), 0.0, key=KEY, draws=24)[::2],
    "LIME": lambda x: explain.lime(score, x, 0.0, key=KEY, draws=8).values,
    "integrated gradients": lambda x: explain.integrated_gradients(network, x, 0.0, nodes=4).values,
    "DeepLIFT": lambda x: explain.deeplift(network, x, 0.0).values,
    "TRAK": lambda x: trak(losses, [jnp.ones(3)], x, x, key=KEY, size=2),
    "an inverse": lambda x: exact_solve(lambda v: x.T @ (x @ v), jnp.ones(3))(jnp.ones(3)),
    "EK-FAC": lambda x: ekfac(exact(lambda w, x: x @ w), lambda y, _: y[:, 0] ** 2, jnp.ones((3, 1)), x)(
        jnp.ones((3, 1))
    ),
    "a kernel": lambda x: empirical_ntk(lambda w, x: (x * w[None]).sum(axis=1), jnp.ones(3), x),
    "a spectrum": lambda x: spectrum(lambda v: x[0] * v, jnp.ones(3), key=KEY, steps=2).eigenvalues,
    "a trace": lambda x: trace(lambda v: x[0] * v, jnp.ones(3), key=KEY, probes=2).value,
    "a likelihood": lambda x: log_likelihood(
        lambda x, t: x @ jnp.eye(3), x, jnp.linspace(0.0, 1.0, 3), normal_log_prob
    ),
    "a flow's density": lambda x: FLOW.log_prob(x, KEY),
    "a flow's sample": lambda x: FLOW.decode(x),
    "a confusion": lambda x: Confusion.of(jnp.array([0, 1]), jnp.array([0, 1]), 2, np.trace, x[:, 0]).counts,
    "nearest codes": lambda x: vector_quantized(x[:, None, None]),
    "JPEG": lambda x: jpeg(50)(KEY, x[0, 0] * IMAGE),
    "elastic": lambda x: elastic(by=0.1, sigma=0.5, affine=0.05)(KEY, x[0, 0] * IMAGE),
    "a filter": lambda x: correlate(x[0, 0] * IMAGE, np.ones((3, 3))),
}


@pytest.mark.parametrize("name", METHODS)
def test_no_product_has_the_precision_of_the_device(name):
    assert not inexact_products(METHODS[name], X)
