"""Llama against a forward pass in PyTorch with the same weights: its own attention, rotations as complex numbers."""

import jax
import numpy as np
import pytest

from deeplab.models.text.decoders.llama import VARIANTS, Llama

torch = pytest.importorskip("torch")

SIZES = VARIANTS["test"]
H, K, T = SIZES["num_heads"], SIZES["num_kv_heads"], SIZES["context"]


def norm(x, scale):
    return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-5) * scale


def turned(x, base):
    """x [B, H, T, d]; the pair (i, i + d / 2) as one complex number."""
    half = x.shape[-1] // 2
    angles = torch.outer(torch.arange(x.shape[2]).double(), base ** (-torch.arange(half).double() / half))
    turned = torch.complex(x[..., :half], x[..., half:]) * torch.polar(torch.ones_like(angles), angles)
    return torch.cat([turned.real, turned.imag], dim=-1)


def reference(params, tokens, base):
    blocks = params["blocks"]
    x = params["token_embedding"]["embedding"][tokens]
    for i in range(SIZES["num_layers"]):

        def kernel(part, name, i=i):
            return blocks[part][name]["kernel"][i]

        y = norm(x, blocks["norm1"]["scale"][i])
        q, k, v = (
            (y @ kernel("attention", name)).unflatten(-1, (heads, -1)).transpose(1, 2)
            for name, heads in (("query", H), ("key", K), ("value", K))
        )
        attended = torch.nn.functional.scaled_dot_product_attention(
            turned(q, base), turned(k, base), v, is_causal=True, enable_gqa=True
        )
        x = x + attended.transpose(1, 2).flatten(2) @ kernel("attention", "out")
        y = norm(x, blocks["norm2"]["scale"][i])
        hidden = torch.nn.functional.silu(y @ kernel("feed_forward", "gate")) * (y @ kernel("feed_forward", "up"))
        x = x + hidden @ kernel("feed_forward", "down")
    return norm(x, params["norm"]["scale"]) @ params["head"]["kernel"]


@pytest.mark.parametrize("base", [10_000.0, 500_000.0])
def test_forward_pass_is_the_one_in_torch(base):
    model = Llama(vocab_size=11, **{**SIZES, "rotary_base": base})
    tokens = jax.random.randint(jax.random.key(1), (2, T), 0, 11)
    params = jax.jit(model.init)(jax.random.key(0), tokens)["params"]
    keys = jax.random.split(jax.random.key(2), len(jax.tree.leaves(params)))
    keys = jax.tree.unflatten(jax.tree.structure(params), list(keys))
    params = jax.tree.map(lambda p, k: p * 4 + 0.1 * jax.random.normal(k, p.shape), params, keys)
    weights = jax.tree.map(lambda p: torch.tensor(np.asarray(p)).double(), params)
    theirs = reference(weights, torch.tensor(np.asarray(tokens)), base)
    ours = jax.jit(model.apply)({"params": params}, tokens)
    np.testing.assert_allclose(ours, theirs.numpy(), rtol=1e-4, atol=1e-4)
