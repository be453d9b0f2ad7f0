"""Recurrent networks from one sequence to another, with attention.

Bahdanau, Cho and Bengio 2015, "Neural machine translation by jointly learning to align and translate",
https://arxiv.org/abs/1409.0473: the encoder in both directions, and the decoder that begins where the backward one
ends. Luong, Pham and Manning 2015, "Effective approaches to attention-based neural machine translation",
https://arxiv.org/abs/1508.04025: attention after the decoder's step, "general" of section 3.1, without feeding it to
the next step: so the decoder's recurrence runs at the speed of `deeplab.nn.recurrent`, and all else is done at once.
"""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, Float, Int

from deeplab.core import ranges
from deeplab.nn.attention.dot_product import attention_weights
from deeplab.nn.recurrent.layers import LSTM, Bidirectional

RULES = (
    (r"tokens/embedding", P("model", None)),  # [V, E]
    (r"(input|recurrent)_kernel", P(None, "model")),
)


@ranges.checked(
    vocab_size=ranges.COUNT, width=ranges.COUNT, embedding=ranges.COUNT, num_layers=ranges.COUNT, dropout=ranges.RATE
)
class AttentionRNN(nn.Module):
    """A source and the tokens of a target so far, to the logits of the target's next token at each position.

    A bidirectional LSTM h_1 ... h_S reads the source, s_t = LSTM(s_(t-1), E[y_t]) with s_0 of tanh(W h_1) writes. With
    a_t = softmax over the source of (A s_t) . h_j / sqrt(D), and c_t = sum_j a_tj h_j, the logits are
    E tanh(C [c_t; s_t]): one table E [V, E] serves both sides and the output.

    A row holds one source and one target; padding changes nothing. The methods are those of
    `deeplab.models.Transformer`: `start` and `step` of `deeplab.decode.protocol`, and `attention`.

    Args:
      vocab_size: V, of both languages.
      width: D, units of the decoder, and of the encoder's two directions together.
      embedding: E, width of the embedded tokens.
      num_layers: Number of layers of the encoder, and of the decoder.
      dropout: Dropout probability in training, of the embeddings, between layers and before the output; may be a
        tracer.

    Example:
      >>> model = AttentionRNN(vocab_size=11, **VARIANTS["test"])
      >>> source, target = jnp.array([[3, 4, 2, 0]]), jnp.array([[1, 5, 6]])
      >>> inputs = (source, (source > 0).astype(int), target, (target > 0).astype(int))
      >>> model.init_with_output(jax.random.key(0), *inputs)[0].shape
      (1, 3, 11)
    """

    rules = RULES

    vocab_size: int
    width: int = 1000
    embedding: int = 620
    num_layers: int = 1
    dropout: float = 0.0

    def setup(self) -> None:
        D, init = self.width, nn.initializers.normal(self.embedding**-0.5)
        self.tokens = nn.Embed(self.vocab_size, self.embedding, embedding_init=init)
        self.encoder = [
            Bidirectional(LSTM(D // 2, parent=None), LSTM(D // 2, parent=None)) for _ in range(self.num_layers)
        ]
        self.begin = nn.Dense(2 * D * self.num_layers)
        self.decoder = [LSTM(D) for _ in range(self.num_layers)]
        self.query = nn.Dense(D, use_bias=False)
        self.combine = nn.Dense(self.embedding)
        self.drop = nn.Dropout(self.dropout)

    def __call__(
        self,
        source: Int[Array, "B S"],
        source_segments: Int[Array, "B S"],
        target: Int[Array, "B T"],
        target_segments: Int[Array, "B T"],
        train: bool = False,
    ) -> Float[Array, "B T V"]:
        """Logits at each position of `target`, which holds the token before it; segments are 1, or 0 for padding."""
        states, memory = self._read(source, source_segments, train)
        outputs, _ = self._write(target, states, train)
        return self._logits(outputs, memory, train)[0]

    def attention(
        self, source: Any, source_segments: Any, target: Any, target_segments: Any, train: bool = False
    ) -> Float[Array, "B T S"]:
        """Weights of the attention to the source at each target position."""
        states, memory = self._read(source, source_segments, train)
        return self._logits(self._write(target, states, train)[0], memory, train)[1]

    def start(
        self, source: Int[Array, "B S"], source_segments: Int[Array, "B S"], length: int, train: bool = False
    ) -> tuple[Any, Any]:
        """The recurrent state before the first token, whatever the length, and the memory of the sources."""
        return self._read(source, source_segments, train)

    def step(
        self, tokens: Int[Array, "B T"], cache: Any, cache_index: Any, memory: Any, train: bool = False
    ) -> tuple[Float[Array, "B T V"], Any]:
        """Logits of the token after each of the T tokens, and the recurrent state after the last of them."""
        outputs, states = self._write(tokens, cache, train)
        return self._logits(outputs, memory, train)[0], states

    def _embedded(self, tokens: jax.Array, train: bool) -> jax.Array:
        return self.drop(self.embedding**0.5 * self.tokens(tokens), deterministic=not train)

    def _read(self, source: jax.Array, segments: jax.Array, train: bool) -> tuple[Any, Any]:
        """The first state of each decoder layer; and the memory, h and the mask of its padding."""
        x, lengths = self._embedded(source, train), jnp.sum(segments > 0, axis=1)
        for i, layer in enumerate(self.encoder):
            x = layer(x if i == 0 else self.drop(x, deterministic=not train), lengths)
        first = jnp.tanh(self.begin(x[:, 0]))  # the backward direction has read it all by then
        halves = jnp.split(first, 2 * self.num_layers, axis=-1)
        return list(zip(halves[::2], halves[1::2], strict=True)), (x, segments > 0)

    def _write(self, target: jax.Array, states: Any, train: bool) -> tuple[jax.Array, Any]:
        x, after = self._embedded(target, train), []
        for i, (layer, state) in enumerate(zip(self.decoder, states, strict=True)):
            x, state = layer(x if i == 0 else self.drop(x, deterministic=not train), initial=state)
            after.append(state)
        return x, after

    def _logits(self, outputs: jax.Array, memory: Any, train: bool) -> tuple[jax.Array, jax.Array]:
        """[B, T, V], and the attention, [B, T, S]."""
        read, counts = memory
        weights = attention_weights(self.query(outputs)[:, None], read[:, None], counts[:, None, None, :])[:, 0]
        both = jnp.concatenate([jnp.einsum("bts,bsd->btd", weights.astype(read.dtype), read), outputs], axis=-1)
        combined = self.drop(jnp.tanh(self.combine(both)), deterministic=not train)
        rows = combined.reshape(-1, self.embedding)  # B T E -> (B T) E
        return self.tokens.attend(rows).reshape(*outputs.shape[:2], self.vocab_size), weights


VARIANTS: dict[str, dict[str, Any]] = {
    "test": {"width": 8, "embedding": 6},
    # A size for two CPU cores.
    "tiny": {"width": 256, "embedding": 128},
    # Bahdanau et al. 2015, appendix A.2 and B.1 (there the encoder has 1,000 units in each direction, and GRUs).
    "bahdanau": {"width": 1000, "embedding": 620},
    # Luong et al. 2015, section 4.1.
    "luong": {"width": 1000, "embedding": 1000, "num_layers": 4},
}
