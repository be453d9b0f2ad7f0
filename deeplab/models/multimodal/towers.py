"""Two towers: an encoder of images and one of text, whose vectors are compared. CLIP and SigLIP.

Radford et al. 2021, "Learning transferable visual models from natural language supervision",
https://arxiv.org/abs/2103.00020; Zhai et al. 2023, "Sigmoid loss for language image pre-training",
https://arxiv.org/abs/2303.15343; Tschannen et al. 2025, "SigLIP 2", https://arxiv.org/abs/2502.14786.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from deeplab.models.encoder import TEXT_RULES, TransformerEncoder
from deeplab.models.text.layers import Sizes
from deeplab.nn.attention.grouped import GroupedQueryAttention
from deeplab.nn.norm import layer_norm
from deeplab.nn.parts.feed_forward import Elementwise, Plain
from deeplab.nn.parts.heads import Pooled, Projection, Read, States, first
from deeplab.nn.parts.inputs import PatchEmbedding, Resize, TextEmbedding
from deeplab.nn.parts.stack import Stack, stacks
from deeplab.nn.parts.vocabulary import LearnedPositions
from deeplab.nn.parts.wiring import PreNorm
from deeplab.nn.pooling import AttentionPool
from deeplab.nn.transformer import INIT


class Compared(NamedTuple):
    """Images and texts beside each other.

    Attributes:
      logits: How well image i and text j belong together, I x T.
      image: Vectors of the images, of length 1.
      text: Vectors of the texts, of length 1.
    """

    logits: Float[Array, "I T"]
    image: Float[Array, "I P"]
    text: Float[Array, "T P"]


class TwoTowerEncoder(nn.Module):
    """exp(scale) <image, text> + bias, for each image and each text.

    Args:
      vision: Encoder of images, which pools.
      text: Encoder of tokens, which pools.
      scale: First value of the scale's logarithm.
      bias: First value of the bias; there is none when None.
      rules: Sharding of the parameters.

    Example:
      >>> from deeplab.models.multimodal import clip
      >>> model = clip.Clip(**clip.VARIANTS["test"])
      >>> images, tokens = jnp.zeros((2, 16, 16, 3)), jnp.zeros((3, 8), jnp.int32)
      >>> model.init_with_output(jax.random.key(0), images, tokens)[0].logits.shape
      (2, 3)
    """

    vision: TransformerEncoder
    text: TransformerEncoder
    scale: float = 2.6592
    bias: float | None = None
    rules: Any = TEXT_RULES

    @nn.compact
    def __call__(
        self, image: Float[Array, "I H W C"], tokens: Int[Array, "T L"], mask: Any = None, train: bool = False
    ) -> Compared:
        """Logits of all pairs, and the vectors.

        Args:
          image: Images.
          tokens: Tokens of texts.
          mask: True where a token is no padding; as the encoder of tokens has it when None.
          train: Whether to drop components.
        """
        images = _normal(self.vision(image, train=train).pooled)
        texts = _normal(self.text(tokens, mask, train=train).pooled)
        logits = jnp.exp(self.param("scale", nn.initializers.constant(self.scale), ())) * images @ texts.T
        if self.bias is not None:
            logits = logits + self.param("bias", nn.initializers.constant(self.bias), ())
        return Compared(logits, images, texts)


def _normal(x: Float[Array, "B P"]) -> Float[Array, "B P"]:
    return x / jnp.linalg.norm(x, axis=-1, keepdims=True)


class Tower(NamedTuple):
    """What both encoders are made of.

    Attributes:
      num_layers: L.
      num_heads: H.
      width: D, of the residual stream.
      hidden: Units of the feed-forward layers.
      activation: Function of the hidden units.
      epsilon: Number added to the variance in norms.
    """

    num_layers: int
    num_heads: int
    width: int
    hidden: int
    activation: Elementwise
    epsilon: float

    def stacks(self, causal: bool = False) -> tuple[Stack, ...]:
        """The layers."""

        def block(kind: None) -> nn.Module:
            del kind
            attention = GroupedQueryAttention(
                self.num_heads, self.num_heads, causal=causal, use_bias=True, out_bias=True, kernel_init=INIT,
                out_init=INIT,
            )  # fmt: skip
            return PreNorm(attention, self.feed_forward(), layer_norm(self.epsilon), layer_norm(self.epsilon))

        return stacks([None] * self.num_layers, block)

    def feed_forward(self) -> nn.Module:
        """A feed-forward layer."""
        return Plain(self.hidden, self.activation)


def text_tower(
    tower: Tower,
    *,
    vocab_size: int,
    context: int,
    read: Read,
    causal: bool,
    end: int | None = None,
    projection: int | None = None,
    bias: bool = False,
) -> TransformerEncoder:
    """Tokens to their states and one vector.

    Args:
      tower: What it is made of.
      vocab_size: V.
      context: Longest text, in tokens.
      read: Function that reads the states for the vector.
      causal: Whether a token attends only to itself and to those before it.
      end: Token after which all is padding, if any.
      projection: Width of the vector; that of the stream, without a map, when None.
      bias: Whether the map has a bias.
    """
    s = Sizes(vocab_size, tower.num_layers, tower.num_heads, tower.width, tower.hidden, context)
    tokens = s.embedding(positions=LearnedPositions(context, tower.width))
    pool = Pooled(read)
    return TransformerEncoder(
        TextEmbedding(tokens, end=end),
        stacks=tower.stacks(causal),
        norm=layer_norm(tower.epsilon),
        head=States(pool if projection is None else Projection(pool, projection, bias)),
        rules=TEXT_RULES,
    )


def class_tower(tower: Tower, *, size: tuple[int, int], patch: int, projection: int | None) -> TransformerEncoder:
    """CLIP's encoder of images: a class token, and norms before the first layer and of what is pooled.

    Args:
      tower: What it is made of.
      size: Height and width of an image in pixels.
      patch: Height and width of a patch in pixels.
      projection: Width of the vector; that of the stream, without a map, when None.
    """
    pool = Pooled(first, norm=layer_norm(tower.epsilon))
    return TransformerEncoder(
        PatchEmbedding(
            patch, tower.width, (size[0] // patch, size[1] // patch), norm=layer_norm(tower.epsilon), use_bias=False
        ),
        stacks=tower.stacks(),
        norm=None,
        head=States(pool if projection is None else Projection(pool, projection)),
    )


def attending_tower(
    tower: Tower, *, size: tuple[int, int], patch: int, resize: Resize | None = None
) -> TransformerEncoder:
    """SigLIP's encoder of images: no class token, and a learned query that attends to the patches.

    Args:
      tower: What it is made of.
      size: Height and width of an image in pixels.
      patch: Height and width of a patch in pixels.
      resize: Function from the positions of the grid and another grid to those of that one, as of SigLIP 2, which
        reads images of any height and width; see `deeplab.nn.parts.inputs.PatchEmbedding`.
    """
    return TransformerEncoder(
        PatchEmbedding(patch, tower.width, (size[0] // patch, size[1] // patch), special=(), resize=resize),
        stacks=tower.stacks(),
        norm=layer_norm(tower.epsilon),
        head=States(AttentionPool(tower.num_heads, tower.feed_forward(), layer_norm(tower.epsilon))),
    )


def pair_inputs(vision: Any) -> tuple[jax.ShapeDtypeStruct, ...]:
    """The shapes of inputs of two towers, from those of an image."""
    return (*vision, jax.ShapeDtypeStruct((1, 1), jnp.int32))
