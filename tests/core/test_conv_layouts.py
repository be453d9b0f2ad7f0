"""Convolutions in the layout of a CPU: the same values, and no other layout in the body of a loop."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from deeplab.core.abstract.convolutions import canonical
from deeplab.core.jaxpr import walk

FORMS = {
    "2d": ((2, 8, 6, 3), (3, 2, 3, 5), ("NHWC", "HWIO", "NHWC"), {}),
    "strided, dilated": ((2, 9, 9, 3), (3, 3, 3, 4), ("NHWC", "HWIO", "NHWC"), {"rhs_dilation": (2, 1)}),
    "groups": ((2, 8, 8, 4), (3, 3, 2, 6), ("NHWC", "HWIO", "NHWC"), {"feature_group_count": 2}),
    "1d": ((2, 9, 3), (3, 3, 5), ("NWC", "WIO", "NWC"), {}),
    "channels first": ((2, 3, 8, 6), (5, 3, 3, 2), ("NCHW", "OIHW", "NCHW"), {}),
    "strided": ((2, 11, 14, 1), (4, 3, 1, 5), ("NHWC", "HWIO", "NHWC"), {}),
    "strided, 1d": ((2, 17, 2), (5, 2, 4), ("NWC", "WIO", "NWC"), {}),
    "3d": ((2, 5, 4, 6, 1), (3, 2, 3, 1, 2), ("NHWDC", "HWDIO", "NHWDC"), {}),
    "mixed": ((8, 3, 2, 6), (2, 5, 3, 3), ("HCNW", "HOIW", "CWNH"), {}),
}


def program(name):
    """The gradients of a convolution by its inputs and its kernel, and their inputs."""
    x, kernel, layout, options = FORMS[name]
    stride = (2,) * (len(x) - 2) if "strided" in name else (1,) * (len(x) - 2)

    def f(x, kernel):
        out = lax.conv_general_dilated(x, kernel, stride, "SAME", dimension_numbers=layout, **options)
        return jnp.sum(jnp.sin(out))

    draw = np.random.default_rng(0)
    return jax.grad(f, (0, 1)), [jnp.asarray(draw.normal(size=shape), jnp.float32) for shape in (x, kernel)]


@pytest.mark.parametrize("name", FORMS)
def test_gradients_are_equal(name):
    f, inputs = program(name)
    for found, expected in zip(canonical(jax.jit(f))(*inputs), f(*inputs), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("padding", ["SAME", "VALID", ((0, 3), (2, 0))], ids=["same", "valid", "uneven"])
@pytest.mark.parametrize("stride", [(1, 1), (2, 1), (3, 2)], ids=str)
def test_few_channels_become_blocks_of_pixels_in_the_gradient_too(stride, padding):
    draw = np.random.default_rng(1)
    x, kernel = (jnp.asarray(draw.normal(size=shape), jnp.float32) for shape in ((2, 15, 13, 1), (4, 3, 1, 5)))

    def f(x, kernel):
        return jnp.sum(jnp.sin(lax.conv_general_dilated(x, kernel, stride, padding, dimension_numbers=FORMS["2d"][2])))

    fast = canonical(jax.value_and_grad(canonical(f), (0, 1)))
    (value, grads), (expected, slopes) = fast(x, kernel), jax.value_and_grad(f, (0, 1))(x, kernel)
    np.testing.assert_allclose(value, expected, rtol=1e-4)
    for found, slope in zip(grads, slopes, strict=True):
        np.testing.assert_allclose(found, slope, rtol=1e-4, atol=1e-5)
    equations = [visit.eqn for visit in walk(jax.make_jaxpr(canonical(f))(x, kernel))]
    wide = [eqn.invars[1].aval.shape[2:] for eqn in equations if eqn.primitive.name == "conv_general_dilated"]
    many = [1 if s > 1 else 2 for s in stride]
    assert wide == [(np.prod([s * q for s, q in zip(stride, many, strict=True)]), 5 * np.prod(many))]


@pytest.mark.parametrize("name", sorted({*FORMS} - {"groups"}))  # XLA gives these a layout of its own
def test_the_body_of_a_loop_has_one_layout(name):
    f, inputs = program(name)

    def layouts(f):
        def loop(x, kernel):
            return lax.scan(lambda x, a: (x - f(x, a * kernel)[0], f(x, kernel)[1]), x, jnp.arange(3.0))

        text = jax.jit(loop).lower(*inputs).compile().as_text()
        return set(re.findall(r"dim_labels=(\S+?)[,\s]", text))

    space = "012"[: inputs[0].ndim - 2]
    assert layouts(canonical(f)) == {f"b{space}f_{space}io->b{space}f"}
    assert layouts(f) != layouts(canonical(f))


@pytest.mark.parametrize("wrap", [jax.checkpoint, jax.jit, "scan", "cond"], ids=["remat", "jit", "scan", "cond"])
def test_what_is_called_or_looped_over_has_that_layout_too(wrap):
    _, (x, kernel) = program("2d")
    square = kernel[..., :3]

    def conv(x, kernel):
        return jnp.sin(lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=FORMS["2d"][2]))

    def f(x):
        if wrap == "scan":
            return lax.scan(lambda x, a: (conv(x, a * square), None), x, jnp.arange(2.0))[0].sum()
        if wrap == "cond":
            return lax.cond(x[0, 0, 0, 0] > 0, lambda x: conv(x, square), jnp.cos, x).sum()
        return wrap(conv)(x, square).sum()

    np.testing.assert_allclose(canonical(jax.grad(f))(x), jax.grad(f)(x), rtol=1e-5, atol=1e-5)
    equations = [visit.eqn for visit in walk(jax.make_jaxpr(canonical(jax.grad(f)))(x))]
    numbers = {eqn.params["dimension_numbers"] for eqn in equations if eqn.primitive.name == "conv_general_dilated"}
    assert {(n.lhs_spec, n.rhs_spec, n.out_spec) for n in numbers} == {((0, 3, 1, 2), (3, 2, 0, 1), (0, 3, 1, 2))}


def test_layers_keep_their_names():
    f, inputs = program("1d")

    def named(x, kernel):
        with jax.named_scope("layer"):
            return jax.jit(f)(x, kernel)

    scopes = [{visit.scope for visit in walk(jax.make_jaxpr(g)(*inputs)) if visit.eqn.primitive.name != "jit"}
              for g in (named, canonical(named))]  # fmt: skip
    assert scopes[1] == scopes[0]
    assert any(scope.startswith("layer/") for scope in scopes[0])


def test_derivatives_that_a_function_defines_are_kept():
    @jax.custom_jvp
    def f(x):
        return x

    f.defjvp(lambda x, dx: (x[0], 3 * dx[0]))
    assert float(jax.grad(canonical(jax.jit(lambda x: 2 * f(x))))(1.0)) == 6.0
