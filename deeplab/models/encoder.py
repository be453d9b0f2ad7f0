"""One encoder of transformers, composed of parts, of which the families are tables: of text, of images."""

from __future__ import annotations

from typing import Any, NamedTuple

import flax.linen as nn
import jax.numpy as jnp
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, Bool, Float

from deeplab.nn.parts.stack import Stack, stacked

RULES = (
    # The layers are stacked: the first axis is theirs. Whole heads, whole hidden units.
    (r"(query|key|value|gate|up)/kernel", P(None, "fsdp", "model")),
    (r"(out|down)/kernel", P(None, "model", "fsdp")),
)
TEXT_RULES = ((r"embed/tokens/embedding", P("model", None)), *RULES)  # [V, D]


class Encoded(NamedTuple):
    """What a sequence is turned into.

    Attributes:
      states: The residual stream after the last layer, and its norm.
      pooled: The whole sequence as one vector; None where the model makes none.
      mask: True where a position is no padding; None where there is no padding.

    Example:
      >>> import jax
      >>> from deeplab.models.text.encoders import bert
      >>> model, tokens = bert.Bert(vocab_size=65, **bert.VARIANTS["test"]), jnp.zeros((2, 7), jnp.int32)
      >>> encoded = jax.eval_shape(model.init_with_output, jax.random.key(0), tokens)[0]
      >>> encoded.states.shape, encoded.mask.shape
      ((2, 7, 32), (2, 7))
    """

    states: Float[Array, "B T D"]
    pooled: Float[Array, "B P"] | None
    mask: Bool[Array, "B T"] | None


class TransformerEncoder(nn.Module):
    """Inputs to what a head makes of all positions, each of which reads all others.

    Each stack is one block under `nn.scan`: 24 layers compile as fast as one. Parts are values, and a part that occurs
    twice is two values: Linen shares the parameters of one.

    Args:
      embed: Module from the inputs to the residual stream and its `deeplab.nn.attention.cache.Reading`.
      stacks: Layers, in their order.
      norm: Norm after the last layer, if any.
      head: Module from (`Encoded` without `pooled`, `embed`, train) to the outputs, such as `Classifier`.
      rules: Sharding of the parameters.
      remat: What a block keeps for its gradient; see `deeplab.nn.remat`.
      bias: Module from positions and their number to what all layers add to their scores, such as
        `deeplab.nn.attention.relative.RelativeBias`, if any.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from deeplab.models.text.encoders import bert
      >>> model = bert.Bert(vocab_size=65, num_classes=3, **bert.VARIANTS["test"])
      >>> model.init_with_output(jax.random.key(0), jnp.zeros((2, 16), jnp.int32))[0].shape
      (2, 3)
    """

    embed: nn.Module
    stacks: tuple[Stack, ...]
    norm: nn.Module | None
    head: nn.Module
    rules: tuple[tuple[str, P], ...] = RULES
    remat: str = "none"
    bias: nn.Module | None = None

    @nn.compact
    def __call__(self, *inputs: Any, train: bool = False) -> Any:
        x, reading = self.embed(*inputs, train=train)
        if self.bias is not None:
            reading = reading._replace(bias=self.bias(jnp.arange(x.shape[1]), x.shape[1]))
        for stack in self.stacks:
            x, _ = stacked(stack, self.remat)(x, train, reading, None)
        x = x if self.norm is None else self.norm(x)
        mask = None if reading.segment_ids is None else reading.segment_ids > 0
        return self.head(Encoded(x, None, mask), self.embed, train)
