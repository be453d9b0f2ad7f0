"""Activation functions, in a table with their ranges and matching initializations.

With z ~ N(0, 1), weights of variance gain^2 / fan_in and no bias, pre-activations of variance 1 keep that variance
from layer to layer when

  gain = 1 / sqrt(E f(z)^2),

and the squared gradient is multiplied by chi = gain^2 E |f'(z)|^2 per layer in the backward pass. A network of depth D
is hard to train when chi^D is far from 1. The gain of the ReLU is He's sqrt(2), that of the SELU LeCun's 1. The
condition is not E f(gain z)^2 = 1: that is the same for homogeneous functions, and has no solution for some bounded
ones such as tanh.

Source: He et al. 2015, https://arxiv.org/abs/1502.01852; Poole et al. 2016, https://arxiv.org/abs/1606.05340;
  Schoenholz et al. 2017, https://arxiv.org/abs/1611.01232.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

Name = Literal[
    "identity", "relu", "leaky_relu", "prelu", "relu6", "squared_relu", "star_relu", "elu", "celu", "selu", "gelu",
    "gelu_tanh", "silu", "hard_silu", "mish", "softplus", "squareplus", "sigmoid", "hard_sigmoid", "tanh", "lecun_tanh",
    "hard_tanh", "softsign", "soft_shrink", "snake", "sine", "gaussian", "glu", "bilinear", "reglu", "geglu", "swiglu",
    "maxout",
]  # fmt: skip
"""The names of the table as a type, which a command line shows as choices."""

Function = Callable[[jax.Array], jax.Array]


class Activation(NamedTuple):
    """A row of the table.

    Attributes:
      function: Elementwise function, or one from [..., 2 C] to [..., C] if `inputs` is 2.
      formula: Formula in x, or in the halves a and b of the features if `inputs` is 2.
      low: Infimum of the values.
      high: Supremum of the values.
      gain: 1 / sqrt(E f(z)^2) for z ~ N(0, 1). `kernel_init` makes an initialization of it.
      source: Authors, year and link.
      monotone: Whether the function is nondecreasing.
      inputs: Number of input features per output feature.

    Example:
      >>> ACTIVATIONS["relu6"].high, ACTIVATIONS["relu6"].function(jnp.array([-1.0, 4.0, 9.0])).tolist()
      (6, [0.0, 4.0, 6.0])
    """

    function: Function
    formula: str
    low: float
    high: float
    gain: float
    source: str
    monotone: bool = True
    inputs: int = 1


def _prelu(x: jax.Array) -> jax.Array:
    """max(x, 0) + min(x, 0) / 4: PReLU at its initial slope. `flax.linen.PReLU` learns the slope."""
    return jax.nn.leaky_relu(x, 0.25)


def _squared_relu(x: jax.Array) -> jax.Array:
    """max(x, 0)^2."""
    return jnp.square(jax.nn.relu(x))


def _star_relu(x: jax.Array) -> jax.Array:
    """0.8944 max(x, 0)^2 - 0.4472, which has mean 0 and variance 1 for x ~ N(0, 1)."""
    return 0.8944 * _squared_relu(x) - 0.4472


def _celu(x: jax.Array) -> jax.Array:
    """max(x, 0) + min(0, 2 (exp(x / 2) - 1)): alpha is 2, because alpha 1 gives the ELU."""
    return jax.nn.celu(x, 2.0)


def gelu(x: jax.Array) -> jax.Array:
    """x Phi(x), with the exact normal distribution function.

    Example:
      >>> [round(float(gelu(x)), 2) for x in (-1.0, 0.0, 1.0)]  # Phi(1) is 0.84
      [-0.16, 0.0, 0.84]
    """
    return jax.nn.gelu(x, approximate=False)


def lecun_tanh(x: jax.Array) -> jax.Array:
    """1.7159 tanh(2 x / 3): f(1) = 1, where the curvature is largest.

    Example:
      >>> [round(float(lecun_tanh(x)), 3) for x in (-1.0, 1.0, 9.0)]
      [-1.0, 1.0, 1.716]
    """
    return 1.7159 * jnp.tanh(x * (2 / 3))


def _soft_shrink(x: jax.Array) -> jax.Array:
    """sign(x) max(|x| - 1/2, 0)."""
    return x - jnp.clip(x, -0.5, 0.5)


def _snake(x: jax.Array) -> jax.Array:
    """x + sin(x)^2."""
    return x + jnp.square(jnp.sin(x))


def _gaussian(x: jax.Array) -> jax.Array:
    """exp(-x^2 / 2)."""
    return jnp.exp(-jnp.square(x) / 2)


def gated(gate: Function) -> Function:
    """Gated linear unit a gate(b), with a and b the halves of the last axis.

    Example:
      >>> gated(jnp.square)(jnp.array([2.0, 3.0, 5.0, -1.0])).tolist()
      [50.0, 3.0]
    """

    def function(x: Float[Array, "... 2*C"]) -> Float[Array, "... C"]:
        a, b = jnp.split(x, 2, axis=-1)
        return a * gate(b)

    return function


def _maxout(x: Float[Array, "... 2*C"]) -> Float[Array, "... C"]:
    """max(a, b), with a and b the halves of the last axis."""
    return jnp.maximum(*jnp.split(x, 2, axis=-1))


INF = math.inf
BARRON17, BARRON21 = "Barron 2017, https://arxiv.org/abs/1704.07483", "Barron 2021, https://arxiv.org/abs/2112.11687"
CLEVERT = "Clevert et al. 2016, https://arxiv.org/abs/1511.07289"
COLLOBERT = "Collobert 2004, https://ronan.collobert.com/pub/matos/2004_phdthesis_lip6.pdf"
DAUPHIN = "Dauphin et al. 2017, https://arxiv.org/abs/1612.08083"
DUGAS = "Dugas et al. 2001, https://papers.nips.cc/paper/1920"
ELFWING = "Elfwing et al. 2018, https://arxiv.org/abs/1702.03118; swish: Ramachandran et al. 2017, arXiv 1710.05941"
GLOROT = "Glorot and Bengio 2010, https://proceedings.mlr.press/v9/glorot10a.html"
GOODFELLOW = "Goodfellow et al. 2013, https://arxiv.org/abs/1302.4389"
GREGOR = "Gregor and LeCun 2010, https://icml.cc/Conferences/2010/papers/449.pdf"
HE = "He et al. 2015, https://arxiv.org/abs/1502.01852"
HENDRYCKS = "Hendrycks and Gimpel 2016, https://arxiv.org/abs/1606.08415"
HOWARD = "Howard et al. 2019, https://arxiv.org/abs/1905.02244"
KLAMBAUER = "Klambauer et al. 2017, https://arxiv.org/abs/1706.02515"
KRIZHEVSKY = "Krizhevsky 2010, https://www.cs.toronto.edu/~kriz/conv-cifar10-aug2010.pdf"
LECUN = "LeCun et al. 1998, http://yann.lecun.com/exdb/publis/pdf/lecun-98b.pdf"
MAAS = "Maas et al. 2013, https://ai.stanford.edu/~amaas/papers/relu_hybrid_icml2013_final.pdf"
MISRA = "Misra 2020, https://arxiv.org/abs/1908.08681"
NAIR = "Nair and Hinton 2010, https://icml.cc/Conferences/2010/papers/432.pdf; initialization: He et al. 2015"
RAMASINGHE = "Ramasinghe and Lucey 2022, https://arxiv.org/abs/2111.15135"
RUMELHART = "Rumelhart et al. 1986, https://doi.org/10.1038/323533a0"
SHAZEER = "Shazeer 2020, https://arxiv.org/abs/2002.05202"
SITZMANN = "Sitzmann et al. 2020, https://arxiv.org/abs/2006.09661 (gain 1.4142 there, and 30 x in the first layer)"
SO = "So et al. 2021, https://arxiv.org/abs/2109.08668"
YU, ZIYIN = "Yu et al. 2022, https://arxiv.org/abs/2210.13452", "Ziyin et al. 2020, https://arxiv.org/abs/2006.08195"

ACTIVATIONS: dict[Name, Activation] = {
    "identity": Activation(jax.nn.identity, "x", -INF, INF, 1.0, LECUN),
    "relu": Activation(jax.nn.relu, "max(x, 0)", 0, INF, 1.4142, NAIR),
    "leaky_relu": Activation(jax.nn.leaky_relu, "max(x, 0.01 x)", -INF, INF, 1.4141, MAAS),
    "prelu": Activation(_prelu, "max(x, 0) + a min(x, 0), a = 0.25 or learned", -INF, INF, 1.372, HE),
    "relu6": Activation(jax.nn.relu6, "min(max(x, 0), 6)", 0, 6, 1.4142, KRIZHEVSKY),
    "squared_relu": Activation(_squared_relu, "max(x, 0)^2", 0, INF, 0.8165, SO),
    "star_relu": Activation(_star_relu, "0.8944 max(x, 0)^2 - 0.4472", -0.4472, INF, 1.0, YU),
    "elu": Activation(jax.nn.elu, "x if x > 0 else exp(x) - 1", -1, INF, 1.2452, CLEVERT),
    "celu": Activation(_celu, "x if x > 0 else a (exp(x / a) - 1), a = 2", -2, INF, 1.1552, BARRON17),
    "selu": Activation(jax.nn.selu, "1.0507 (x if x > 0 else 1.6733 (exp(x) - 1))", -1.7581, INF, 1.0, KLAMBAUER),
    "gelu": Activation(gelu, "x Phi(x)", -0.16997, INF, 1.5335, HENDRYCKS, monotone=False),
    "gelu_tanh": Activation(
        jax.nn.gelu, "x (1 + tanh(0.798 (x + 0.0447 x^3))) / 2", -0.17004, INF, 1.5336, HENDRYCKS, monotone=False
    ),
    "silu": Activation(jax.nn.silu, "x / (1 + exp(-x))", -0.27846, INF, 1.6765, ELFWING, monotone=False),
    "hard_silu": Activation(
        jax.nn.hard_silu, "x min(max(x + 3, 0), 6) / 6", -0.375, INF, 1.7367, HOWARD, monotone=False
    ),
    "mish": Activation(jax.nn.mish, "x tanh(log(1 + exp(x)))", -0.30884, INF, 1.4868, MISRA, monotone=False),
    "softplus": Activation(jax.nn.softplus, "log(1 + exp(x))", 0, INF, 1.0419, DUGAS),
    "squareplus": Activation(jax.nn.squareplus, "(x + sqrt(x^2 + 4)) / 2", 0, INF, 0.8165, BARRON21),
    "sigmoid": Activation(jax.nn.sigmoid, "1 / (1 + exp(-x))", 0, 1, 1.8462, RUMELHART),
    "hard_sigmoid": Activation(jax.nn.hard_sigmoid, "min(max(x + 3, 0), 6) / 6", 0, 1, 1.8978, HOWARD),
    "tanh": Activation(jnp.tanh, "tanh(x)", -1, 1, 1.5925, LECUN),
    "lecun_tanh": Activation(lecun_tanh, "1.7159 tanh(2 x / 3)", -1.7159, 1.7159, 1.1544, LECUN),
    "hard_tanh": Activation(jax.nn.hard_tanh, "min(max(x, -1), 1)", -1, 1, 1.392, COLLOBERT),
    "softsign": Activation(jax.nn.soft_sign, "x / (1 + |x|)", -1, 1, 2.3375, GLOROT),
    "soft_shrink": Activation(_soft_shrink, "sign(x) max(|x| - 0.5, 0)", -INF, INF, 1.5444, GREGOR),
    "snake": Activation(_snake, "x + sin(a x)^2 / a, a = 1", -INF, INF, 0.8746, ZIYIN),
    "sine": Activation(jnp.sin, "sin(x)", -1, 1, 1.5209, SITZMANN, monotone=False),
    "gaussian": Activation(_gaussian, "exp(-x^2 / 2)", 0, 1, 1.3161, RAMASINGHE, monotone=False),
    "glu": Activation(gated(jax.nn.sigmoid), "a / (1 + exp(-b))", -INF, INF, 1.8462, DAUPHIN, monotone=False, inputs=2),
    "bilinear": Activation(gated(jax.nn.identity), "a b", -INF, INF, 1.0, SHAZEER, monotone=False, inputs=2),
    "reglu": Activation(gated(jax.nn.relu), "a max(b, 0)", -INF, INF, 1.4142, SHAZEER, monotone=False, inputs=2),
    "geglu": Activation(gated(gelu), "a b Phi(b)", -INF, INF, 1.5335, SHAZEER, monotone=False, inputs=2),
    "swiglu": Activation(
        gated(jax.nn.silu), "a b / (1 + exp(-b))", -INF, INF, 1.6765, SHAZEER, monotone=False, inputs=2
    ),
    "maxout": Activation(_maxout, "max(a, b)", -INF, INF, 1.0, GOODFELLOW, inputs=2),
}


def moments(activation: Activation) -> tuple[float, float]:
    """E f(z)^2 and E |f'(z)|^2 for z ~ N(0, 1), by the trapezoidal rule on [-8, 8].

    Example:
      >>> [round(moment, 3) for moment in moments(ACTIVATIONS["relu"])]
      [0.5, 0.5]
    """
    # Even numbers of points that differ between the axes: none lies at a kink (0, or a = b).
    axes = [np.linspace(-8, 8, n) for n in ((16_000,) if activation.inputs == 1 else (800, 802))]
    points = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, activation.inputs)
    mass = np.exp(-np.square(points).sum(axis=-1) / 2)
    both = jax.vmap(jax.value_and_grad(lambda x: activation.function(x)[0]))
    value, slope = (np.asarray(x, np.float64) for x in both(jnp.asarray(points, jnp.float32)))
    return float(mass @ value**2 / mass.sum()), float(mass @ (slope**2).sum(axis=-1) / mass.sum())


def gradient_factor(activation: Activation) -> float:
    """chi: factor of the squared gradient per layer, with the matching initialization.

    Example:
      >>> round(gradient_factor(ACTIVATIONS["relu"]), 2), round(gradient_factor(ACTIVATIONS["sigmoid"]), 2)
      (1.0, 0.15)
    """
    return activation.gain**2 * moments(activation)[1]


def kernel_init(activation: Activation, scale: float | jax.Array = 1.0) -> nn.initializers.Initializer:
    """Matching initialization: a truncated normal distribution of variance (scale gain)^2 / fan_in.

    Args:
      activation: Activation that follows the layer.
      scale: Factor of the standard deviation; may be a tracer.

    Example:
      >>> kernel = kernel_init(ACTIVATIONS["relu"])(jax.random.key(0), (200, 100))
      >>> round(float(200 * jnp.var(kernel)), 1)  # He's 2 / fan_in
      2.0
    """
    return nn.initializers.variance_scaling((scale * activation.gain) ** 2, "fan_in", "truncated_normal")
