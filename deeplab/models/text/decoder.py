"""One decoder-only transformer, composed of parts, of which the families are tables."""

from __future__ import annotations

from typing import Any

import flax.linen as nn
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, Float, Int

from deeplab.core import ranges
from deeplab.nn.attention.cache import Index, Reading, read_positions
from deeplab.nn.attention.masking import segment_positions
from deeplab.nn.layout import rows
from deeplab.nn.parts.stack import Stack, check_caches, empty, stacked
from deeplab.nn.parts.wiring import dropped

RULES = (
    (r"token_embedding/embedding", P("model", None)),  # [V, D]
    (r"head/kernel", P(None, "model")),  # [D, V]
    # The layers are stacked: the first axis is theirs. Whole heads, whole hidden units; "fsdp" is said here because
    # kernels of more than two axes are left alone by the general rule where they are split already.
    (r"(query|key|value|gate|up)/kernel", P(None, "fsdp", "model")),
    (r"(out|down)/kernel", P(None, "model", "fsdp")),
)
EXPERT_RULES = (
    (r"experts/(gate|up)_kernel", P(None, "expert", "fsdp", "model")),  # [L, E, D, F]
    (r"experts/down_kernel", P(None, "expert", "model", "fsdp")),  # [L, E, F, D]
    (r"router/gate/kernel", P()),  # [L, D, E]
)


def rules_of(*, tied: bool = False, experts: bool = False) -> tuple[tuple[str, P], ...]:
    """The rules of a decoder whose head has no kernel, or that has experts."""
    rules = tuple(rule for rule in RULES if not (tied and rule[0].startswith("head")))
    return EXPERT_RULES + rules if experts else rules


@ranges.checked(context=ranges.COUNT)
class Decoder(nn.Module):
    """Tokens to the logits of the token after each of them.

    A stack is one block under `nn.scan`, so that 32 layers compile as fast as one, or a block by itself. Parts are
    values, and a part that occurs twice is two values: Linen shares the parameters of one.

    Besides `__call__` there are the two methods of `deeplab.decode.protocol`: `start` and `step`.

    Args:
      token_embedding: Module from tokens and positions to the residual stream, with its `width`.
      stacks: Layers, in their order.
      norm: Norm after the last layer.
      head: Module from the residual stream and the embedding to logits.
      context: Longest sequence, in tokens; any when None.
      rules: Sharding of the parameters.
      remat: What a block keeps for its gradient; see `deeplab.nn.remat`.
      recurrent: Whether a cache is a state that cannot go back, so that prompts of unequal lengths are read token by
        token.
      drop: Dropout of what the layers read, if any.

    Raises:
      ValueError: A sequence longer than `context`.
      UserError: A block gives back no cache, or tells none.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from deeplab.models.text.decoders import llama
      >>> model = llama.Llama(vocab_size=65, **llama.VARIANTS["test"])
      >>> logits, _ = model.init_with_output(jax.random.key(0), jnp.zeros((2, 16), jnp.int32))
      >>> logits.shape
      (2, 16, 65)
    """

    token_embedding: nn.Module
    stacks: tuple[Stack, ...]
    norm: nn.Module
    head: nn.Module
    context: int | None
    rules: tuple[tuple[str, P], ...] = RULES
    remat: str = "none"
    recurrent: bool = False
    drop: nn.Dropout | None = None

    @nn.compact
    def __call__(
        self,
        tokens: Int[Array, "B T"],
        segment_ids: Int[Array, "B T"] | None = None,
        train: bool = False,
        cache: tuple[Any, ...] | None = None,
        cache_index: Index = 0,
    ) -> Any:
        """Logits [B, T, V]; with a cache, of the tokens from `cache_index` on, and the new cache: see `step`.

        With `segment_ids` (see `dl.data.Packed`) a row holds several documents: each is read as if it were alone.
        """
        T = tokens.shape[1]
        if self.context is not None and self.context < T:
            raise ValueError(f"sequences have {T} tokens, the model's context is {self.context}")
        positions = read_positions(cache_index, T) if segment_ids is None else segment_positions(segment_ids)
        reading = Reading(positions, cache_index, segment_ids)
        x = dropped(self.drop, self.token_embedding(tokens, positions), train)
        caches = []
        for i, stack in enumerate(self.stacks):
            x, new = stacked(stack, self.remat)(x, train, reading, None if cache is None else cache[i])
            caches.append(new)
        if cache is not None:
            check_caches(self.stacks, cache, caches)
        logits = self.head(self.norm(rows(x)).reshape(x.shape), self.token_embedding)  # (B T) D, as in the blocks
        return logits if cache is None else (logits, tuple(caches))

    def start(self, batch_size: int, length: int, train: bool = False) -> tuple[tuple[Any, ...], None]:
        """An empty cache for `length` tokens of each example, the batch before the layers in every leaf; no memory."""
        dtype = self.get_variable("params", "token_embedding")["embedding"].dtype
        width = self.token_embedding.width
        return tuple(empty(stack, batch_size, length, width, dtype) for stack in self.stacks), None

    def step(
        self, tokens: Int[Array, "B T"], cache: tuple[Any, ...], cache_index: Index, memory: None = None,
        train: bool = False,
    ) -> tuple[Float[Array, "B T V"], tuple[Any, ...]]:  # fmt: skip
        """Logits of the token after each of the T tokens from position `cache_index` on, and the new cache."""
        return self(tokens, train=train, cache=cache, cache_index=cache_index)
