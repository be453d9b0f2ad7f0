"""An attention-only transformer of two layers whose weights are set by hand: it completes A B ... A by B."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from deeplab.nn.attention.cache import Reading
from deeplab.nn.attention.grouped import GroupedQueryAttention

V = T = 8  # tokens, positions; the width of a head
TOKEN, PLACE, BEFORE, SAID, UNREAD = (slice(V * i, V * (i + 1)) for i in range(5))  # of the residual stream
CIRCUIT = {  # from heads (or the embedding) to what heads read: (writer, its head, reader, its head)
    ("layer0:in", 0, "attention_values[0]", 0),  # head 0.0 reads the token before
    ("attention_heads[0]", 0, "attention_keys[1]", 0),  # by which head 1.0 finds
    ("layer0:in", 0, "attention_queries[1]", 0),  # the place after its own token,
    ("layer0:in", 0, "attention_values[1]", 0),  # and says what stands there
    ("attention_heads[1]", 0, "output", 0),
}


class Layer(nn.Module):
    @nn.compact
    def __call__(self, x):
        attention = GroupedQueryAttention(num_heads=2, num_kv_heads=2, head_dim=V, scale=1.0, name="attention")
        return x + attention(x, Reading(jnp.arange(x.shape[1])))


class Program(nn.Module):
    @nn.compact
    def __call__(self, tokens):
        x = nn.Embed(V, 5 * V, name="token_embedding")(tokens) + jnp.eye(T, 5 * V, k=PLACE.start)[None]
        for i in range(2):
            x = Layer(name=f"layer{i}")(x)
        return nn.Dense(V, use_bias=False, name="head")(x)


def program(noise=0.0):
    """The function from tokens [B, T] to logits; all of its weights can be disturbed."""
    heads = [  # query, key, value, out: which part of the stream each of them is
        [(PLACE, np.eye(T, k=-1), PLACE, TOKEN, BEFORE), (PLACE, np.eye(T), PLACE, TOKEN, UNREAD)],
        [(TOKEN, np.eye(V), BEFORE, TOKEN, SAID), (TOKEN, np.eye(V), TOKEN, PLACE, UNREAD)],
    ]
    params = {"token_embedding": {"embedding": np.eye(V, 5 * V)}, "head": {"kernel": np.eye(5 * V)[:, SAID]}}
    for i, layer in enumerate(heads):
        kernels = {name: np.zeros((5 * V, 2 * V)) for name in ("query", "key", "value")} | {
            "out": np.zeros((2 * V, 5 * V))
        }
        for h, (query, shift, key, value, out) in enumerate(layer):
            own = slice(V * h, V * (h + 1))
            kernels["query"][query, own] = 9 * shift
            kernels["key"][key, own] = kernels["value"][value, own] = np.eye(V)
            kernels["out"][own, out] = np.eye(V)
        params[f"layer{i}"] = {"attention": {name: {"kernel": kernel} for name, kernel in kernels.items()}}
    rng = np.random.default_rng(0)
    params = jax.tree.map(lambda p: jnp.asarray(p + noise * rng.normal(size=p.shape), jnp.float32), params)
    return lambda tokens: Program().apply({"params": params}, tokens)


def texts(count, seed=0):
    """Texts in which the last token has stood before, and the token that came after it."""
    rng = np.random.default_rng(seed)
    rows = np.stack([rng.permutation(V) for _ in range(count)])
    at = rng.integers(1, T - 2, size=count)  # not the first, before which there is nothing
    rows[:, -1] = rows[np.arange(count), at]
    return jnp.asarray(rows), jnp.asarray(rows[np.arange(count), at + 1])
