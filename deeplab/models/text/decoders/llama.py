"""Decoder-only transformers with rotary positions: Llama, Llama 2 and Llama 3.

Touvron et al. 2023, "LLaMA: open and efficient foundation language models", https://arxiv.org/abs/2302.13971, and
"Llama 2", https://arxiv.org/abs/2307.09288; Llama Team 2024, "The Llama 3 herd of models",
https://arxiv.org/abs/2407.21783.
"""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, Float, Int

from deeplab.core import ranges
from deeplab.nn.attention.cache import Index, KVCache, read_positions
from deeplab.nn.attention.rotary import GroupedQueryAttention, rotary_angles
from deeplab.nn.remat import remat
from deeplab.nn.transformer import INIT

RULES = (
    (r"token_embedding/embedding", P("model", None)),  # [V, D]
    (r"head/kernel", P(None, "model")),  # [D, V]
    # The layers are stacked: the first axis is theirs. Whole heads, whole hidden units; "fsdp" is said here because
    # kernels of more than two axes are left alone by the general rule where they are split already.
    (r"(query|key|value|gate|up)/kernel", P(None, "fsdp", "model")),
    (r"(out|down)/kernel", P(None, "model", "fsdp")),
)


@ranges.checked(hidden=ranges.COUNT)
class SwiGLU(nn.Module):
    """(silu(x W_gate) * (x W_up)) W_down, through `hidden` units.

    Example:
      >>> import jax.numpy as jnp
      >>> SwiGLU(hidden=16).init_with_output(jax.random.key(0), jnp.ones((1, 2, 8)))[0].shape
      (1, 2, 8)

    Source: Shazeer 2020, https://arxiv.org/abs/2002.05202.
    """

    hidden: int
    out_init: jax.nn.initializers.Initializer = INIT

    @nn.compact
    def __call__(self, x: Float[Array, "... D"]) -> Float[Array, "... D"]:
        gate = nn.Dense(self.hidden, use_bias=False, kernel_init=INIT, name="gate")(x)
        up = nn.Dense(self.hidden, use_bias=False, kernel_init=INIT, name="up")(x)
        down = nn.Dense(x.shape[-1], use_bias=False, kernel_init=self.out_init, name="down")
        return down(nn.silu(gate) * up)


class LlamaBlock(nn.Module):
    """x + attention(norm(x)), then x + feed_forward(norm(x)); the body of a scan over layers.

    Args:
      attention: Module called as `GroupedQueryAttention` is.
      feed_forward: Module applied to each position by itself.
    """

    attention: nn.Module
    feed_forward: nn.Module

    @nn.compact
    def __call__(
        self, x: Float[Array, "B T D"], train: bool, angles: Any, cache_index: Any, cache: KVCache | None
    ) -> tuple[Float[Array, "B T D"], KVCache | None]:
        del train  # there is no dropout, so nothing differs
        y: Any = self.attention(nn.RMSNorm(epsilon=1e-5, name="norm1")(x), angles, cache, cache_index)
        if cache is not None:
            y, cache = y
        x = x + y
        return x + self.feed_forward(nn.RMSNorm(epsilon=1e-5, name="norm2")(x)), cache


@ranges.checked(
    vocab_size=ranges.COUNT,
    num_layers=ranges.COUNT,
    num_heads=ranges.COUNT,
    num_kv_heads=ranges.COUNT,
    width=ranges.COUNT,
    hidden=ranges.COUNT,
    context=ranges.COUNT,
    rotary_base=ranges.POSITIVE,
    attention_block=ranges.COUNT,
)
class Llama(nn.Module):
    """Tokens to the logits of the token after each of them.

    Embedded tokens, `num_layers` blocks of grouped-query attention with rotary positions and SwiGLU, a last norm, and
    an output layer of its own; RMS norms (Zhang and Sennrich 2019, https://arxiv.org/abs/1910.07467) and no biases.
    The layers are one block under `nn.scan`, their parameters stacked [L, ...]: 32 compile as fast as one. All weights
    start as N(0, 0.02^2), those that lead back to the residual stream smaller by sqrt(2 L), as GPT-2's.

    Besides `__call__` there are the two methods of `deeplab.decode.protocol`: `start` and `step`.

    Args:
      vocab_size: V.
      num_layers: L, number of blocks.
      num_heads: Attention heads of each block.
      num_kv_heads: Heads of keys and values; each serves `num_heads / num_kv_heads` heads of queries.
      width: D, of the residual stream.
      hidden: Units of the feed-forward layers.
      context: Longest sequence, in tokens.
      rotary_base: Base of the rotations' wavelengths; see `deeplab.nn.attention.rotary.rotary_angles`.
      remat: What a block keeps for its gradient; see `deeplab.nn.remat`.
      attention_block: Number of positions processed at a time for long contexts; see
        `deeplab.nn.attention.dot_product.attend`.

    Raises:
      ValueError: A sequence longer than `context`.

    Example:
      >>> import jax.numpy as jnp
      >>> model = Llama(vocab_size=65, **VARIANTS["test"])
      >>> logits, _ = model.init_with_output(jax.random.key(0), jnp.zeros((2, 16), jnp.int32))
      >>> logits.shape
      (2, 16, 65)
    """

    rules = RULES

    vocab_size: int
    num_layers: int = 32
    num_heads: int = 32
    num_kv_heads: int = 32
    width: int = 4096
    hidden: int = 11008
    context: int = 4096
    rotary_base: float = 10_000.0
    remat: str = "none"
    attention_block: int | None = None

    @nn.compact
    def __call__(
        self,
        tokens: Int[Array, "B T"],
        train: bool = False,
        cache: KVCache | None = None,
        cache_index: Index = 0,
    ) -> Any:
        """Logits [B, T, V]; with a cache, of the tokens from `cache_index` on, and the new cache: see `step`."""
        T = tokens.shape[1]
        if self.context < T:
            raise ValueError(f"sequences have {T} tokens, the model's context is {self.context}")
        angles = rotary_angles(read_positions(cache_index, T), self.width // self.num_heads, self.rotary_base)
        x = nn.Embed(self.vocab_size, self.width, embedding_init=INIT, name="token_embedding")(tokens)
        x, new_cache = self._blocks()(x, train, angles, cache_index, cache)
        x = nn.RMSNorm(epsilon=1e-5, name="norm")(x)
        logits = nn.Dense(self.vocab_size, use_bias=False, kernel_init=INIT, name="head")(x)
        return logits if cache is None else (logits, new_cache)

    def start(self, batch_size: int, length: int, train: bool = False) -> tuple[KVCache, None]:
        """An empty cache for `length` tokens of each example, [B, L, K, S, d], and no memory."""
        dtype = self.get_variable("params", "token_embedding")["embedding"].dtype
        sizes = batch_size, self.num_kv_heads, length, self.width // self.num_heads
        return KVCache.empty(*sizes, dtype=dtype, layers=(self.num_layers,)), None

    def step(
        self,
        tokens: Int[Array, "B T"],
        cache: KVCache,
        cache_index: Index,
        memory: None = None,
        train: bool = False,
    ) -> tuple[Float[Array, "B T V"], KVCache]:
        """Logits of the token after each of the T tokens from position `cache_index` on, and the new cache."""
        return self(tokens, train=train, cache=cache, cache_index=cache_index)

    def _blocks(self) -> nn.Module:
        out_init = nn.initializers.normal(0.02 / (2 * self.num_layers) ** 0.5)
        attention = GroupedQueryAttention(
            self.num_heads, self.num_kv_heads, INIT, out_init, self.attention_block, parent=None
        )
        in_axes: Any = (nn.broadcast, nn.broadcast, nn.broadcast, 1)  # Linen's annotation knows axes alone
        stacked = nn.scan(
            remat(LlamaBlock, self.remat),
            variable_axes={"params": 0, "intermediates": 0, "perturbations": 0},
            split_rngs={"params": True},
            in_axes=in_axes,
            out_axes=1,  # of the cache: the batch stays its first axis, the layers are its second
            length=self.num_layers,
        )
        return stacked(attention, SwiGLU(self.hidden, out_init=out_init, parent=None), name="blocks")


# "7b" and "13b": Touvron et al. 2023, table 2, with Llama 2's context; the hidden units are their code's. "llama3_8b":
# Llama Team 2024, table 3. Their vocabularies hold 32,000 and 128,256 tokens. "tiny" is ours, for two CPU cores.
VARIANTS: dict[str, dict[str, Any]] = {
    "test": {
        "num_layers": 2, "num_heads": 4, "num_kv_heads": 2, "width": 32, "hidden": 48, "context": 16,
    },
    "tiny": {
        "num_layers": 4, "num_heads": 4, "num_kv_heads": 2, "width": 128, "hidden": 344, "context": 64,
    },
    "7b": {
        "num_layers": 32, "num_heads": 32, "num_kv_heads": 32, "width": 4096, "hidden": 11008, "context": 4096,
    },
    "13b": {
        "num_layers": 40, "num_heads": 40, "num_kv_heads": 40, "width": 5120, "hidden": 13824, "context": 4096,
    },
    "llama3_8b": {
        "num_layers": 32, "num_heads": 32, "num_kv_heads": 8, "width": 4096, "hidden": 14336, "context": 8192,
        "rotary_base": 500_000.0,
    },
}  # fmt: skip
