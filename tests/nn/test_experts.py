"""Mixtures: each token is the weighted sum of its experts, none is dropped, and a mesh changes nothing."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P

from deeplab import scale
from deeplab.models.text.decoders import deepseek, gpt_oss, qwen
from deeplab.nn.experts.mixture import Experts, clamped_swiglu, swiglu
from deeplab.nn.experts.routers import ChosenSoftmaxRouter, GroupedSigmoidRouter, SoftmaxRouter
from deeplab.scale.rules import state_shardings

X = jax.random.normal(jax.random.key(0), (10, 6))


def random(module, *args):
    params = module.init(jax.random.key(1), *args)["params"]
    keys = iter(jax.random.split(jax.random.key(2), len(jax.tree.leaves(params))))
    return {"params": jax.tree.map(lambda x: jax.random.normal(next(keys), x.shape), params)}


@pytest.mark.parametrize(("combine", "use_bias"), [(swiglu, False), (clamped_swiglu, True)])
def test_tokens_are_sums_of_their_experts(combine, use_bias):
    """Expert 3 is asked by nobody, expert 0 by all."""
    chosen = jnp.stack([jnp.zeros(10, int), jnp.arange(10) % 2 + 1], axis=1)
    weights = jax.random.uniform(jax.random.key(3), (10, 2))
    layer = Experts(4, 5, combine, use_bias)
    variables = random(layer, X, weights, chosen)
    p = variables["params"]

    def product(name, y, e):
        return y @ p[f"{name}_kernel"][e] + (p[f"{name}_bias"][e] if use_bias else 0)

    def one(x, weight, chosen):
        outs = (product("down", combine(product("gate", x, e), product("up", x, e)), e) for e in chosen)
        return sum(w * out for w, out in zip(weight, outs, strict=True))

    expected = [one(x, w, c.tolist()) for x, w, c in zip(X, weights, chosen, strict=True)]
    np.testing.assert_allclose(layer.apply(variables, X, weights, chosen), np.stack(expected), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("router", [SoftmaxRouter(4, 2), ChosenSoftmaxRouter(4, 2), GroupedSigmoidRouter(4, 2, 2, 1)])
def test_weights_add_up_to_one_and_experts_differ(router):
    weights, chosen = router.apply(random(router, X), X)
    np.testing.assert_allclose(weights.sum(axis=1), 1, rtol=1e-5)
    assert (chosen[:, 0] != chosen[:, 1]).all()


def test_only_the_best_groups_are_asked():
    """The balance moves the choice, and not the weights."""
    router = GroupedSigmoidRouter(6, 2, num_groups=3, top_groups=1, normalize=False)
    variables = random(router, X)
    variables["params"]["balance"] = jnp.array([0.0, 0, 0, 0, 9, 9])
    weights, chosen = router.apply(variables, X)
    assert set(np.unique(chosen)) == {4, 5}
    assert (weights < 1).all()


def test_experts_on_several_devices_answer_as_one():
    """Also tokens that the devices do not divide, and an expert that nobody asks."""
    layer = Experts(4, 8, clamped_swiglu, use_bias=True)
    chosen = jnp.stack([jnp.zeros(10, int), jnp.arange(10) % 2 + 1], axis=1)
    weights = jax.random.uniform(jax.random.key(3), (10, 2))
    variables = random(layer, X, weights, chosen)

    def loss(variables, x, weights):
        return jnp.sum(jnp.sin(layer.apply(variables, x, weights, chosen)))

    gradient = jax.jit(jax.value_and_grad(loss, argnums=(0, 1, 2)))
    expected = gradient(variables, X, weights)
    rules = (("gate_kernel", P("expert", None, "model")), ("down_kernel", P("expert", "model")))
    for shape in ("expert=4,model=2", "data=2,expert=2,model=2", "expert=8"):  # the last one holds them all
        mesh = scale.make_mesh(shape)
        with jax.set_mesh(mesh):
            found = gradient(jax.device_put(variables, state_shardings(variables, rules, mesh)), X, weights)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4), found, expected)


@pytest.mark.slow
@pytest.mark.parametrize("shape", ["data=2,fsdp=2,model=2", "data=2,expert=2,model=2", "fsdp=2,expert=4"])
@pytest.mark.parametrize("make", [
    lambda: qwen.Qwen(vocab_size=8, **qwen.VARIANTS["test_moe"]),
    lambda: deepseek.DeepSeekV3(vocab_size=8, **deepseek.VARIANTS["test"]),
    lambda: gpt_oss.GPTOss(vocab_size=8, **gpt_oss.VARIANTS["test"]),
])  # fmt: skip
def test_a_mesh_changes_nothing(make, shape):
    model, tokens = make(), jax.random.randint(jax.random.key(1), (8, 16), 0, 8)
    params = jax.jit(model.init)(jax.random.key(0), tokens)["params"]
    params = jax.tree.map(lambda p: p * 6 if p.ndim > 2 else p, params)
    gradient = jax.jit(jax.value_and_grad(lambda params, x: jnp.mean(model.apply({"params": params}, x) ** 2)))
    expected = gradient(params, tokens)
    mesh = scale.make_mesh(shape)
    placed = jax.device_put(params, state_shardings(params, model.rules, mesh))
    with jax.set_mesh(mesh):
        found = gradient(placed, jax.device_put(tokens, scale.rules.batch_sharding(mesh)))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5), found, expected)
