"""Attention in blocks is attention at once: values and gradients, on a mesh too, and with less memory."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from deeplab import scale
from deeplab.models.text.decoders import gpt, llama
from deeplab.nn.attention.dot_product import attend_in_blocks
from deeplab.nn.attention.self_attention import SelfAttention
from deeplab.scale.plan.collectives import find_collectives

SEGMENTS = jnp.array([[1] * 10 + [2] * 6, [1] * 3 + [2] * 12 + [0]])
FAMILIES = {"gpt": (gpt.GPT, gpt.VARIANTS), "llama": (llama.Llama, llama.VARIANTS)}
MODELS = {name: make(vocab_size=11, **variants["test"]) for name, (make, variants) in FAMILIES.items()}
TOKENS = jax.random.randint(jax.random.key(1), (2, 16), 0, 11)


@functools.cache
def params(name):
    return jax.jit(MODELS[name].init)(jax.random.key(0), TOKENS)["params"]


def gradient(name, block, **more):
    """Of the mean squared logit."""
    make, variants = FAMILIES[name]
    model = make(vocab_size=11, **variants["test"], attention_block=block)

    def loss(params):
        return jnp.mean(model.apply({"params": params}, TOKENS, **more) ** 2)

    return jax.jit(jax.value_and_grad(loss))(params(name))


def assert_near(ours, theirs):
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-6), ours, theirs)


@pytest.mark.parametrize(("name", "more"), [("gpt", {}), ("gpt", {"segment_ids": SEGMENTS}), ("llama", {})])
@pytest.mark.parametrize("block", [4, 16])
def test_blocks_are_the_whole(name, block, more):
    assert_near(gradient(name, block, **more), gradient(name, None, **more))


@pytest.mark.parametrize("name", MODELS)
def test_each_device_works_through_its_own_part(name):
    with jax.set_mesh(scale.make_mesh("data=2,sequence=2,model=2")):
        ours = gradient(name, 4)
    assert_near(ours, gradient(name, None))


@pytest.mark.slow
def test_more_blocks_send_no_more():
    """Keys are gathered, and their gradients added up over devices, once for all blocks."""

    def sent(block):
        model = gpt.GPT(vocab_size=11, **gpt.VARIANTS["test"], attention_block=block)
        loss = jax.grad(lambda params: jnp.mean(model.apply({"params": params}, TOKENS) ** 2))
        with jax.set_mesh(scale.make_mesh("data=2,sequence=4")):
            program = jax.jit(loss).lower(params("gpt")).compile().as_text()
        return sum(one.received_bytes for one in find_collectives(program, 8)[0])

    assert sent(4) > 0
    assert sent(1) == sent(4)


def test_less_memory_is_needed():
    """1,024 positions by 64 at a time: the scores of all pairs, 4 MiB a head, are never there."""
    x = jax.ShapeDtypeStruct((1, 1024, 32), jnp.float32)

    def needed(block):
        layer = SelfAttention(num_heads=2, causal=True, block=block)
        params = jax.eval_shape(layer.init, jax.random.key(0), x)
        loss = jax.grad(lambda params, x: jnp.sum(layer.apply(params, x)))
        return jax.jit(loss).lower(params, x).compile().memory_analysis().temp_size_in_bytes

    assert needed(None) > 8 * 2**20
    assert needed(64) < needed(None) / 4


@pytest.mark.parametrize(("block", "nearest"), [(4, 3), (0, 1), (-2, 1), (7, 6)])
def test_blocks_that_do_not_divide(block, nearest):
    q = jnp.ones((1, 1, 6, 2))
    with pytest.raises(
        ValueError, match=f"blocks of {block} do not divide the 6 positions of a device; .* {nearest} do"
    ):
        attend_in_blocks(q, q, q, lambda positions: jnp.arange(6)[None] <= positions[:, None], block)


def test_positions_are_counted_and_not_the_queries_of_a_group():
    with pytest.raises(ValueError, match="blocks of 5 do not divide the 16 positions of a device; blocks of 4 do"):
        gradient("llama", 5)
