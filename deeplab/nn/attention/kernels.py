"""Which kernel computes an attention."""

from __future__ import annotations

from typing import Any, Literal

import jax
import jax.numpy as jnp
from jax.extend.backend import get_backend

from deeplab.core.jax_compat import operations_are_plain
from deeplab.nn.attention.cache import Index
from deeplab.nn.layout import parts_of_time

Kernel = Literal["product", "blocks", "cudnn"]


def kernel_of(
    query: jax.Array | jax.ShapeDtypeStruct,
    key: jax.Array | jax.ShapeDtypeStruct,
    mask: Any = None,
    *,
    causal: bool = False,
    segment_ids: Any = None,
    window: int | None = None,
    offset: Index = 0,
    block: int | None = None,
    dropout: Any = None,
    usual: bool = True,
    platform: str | None = None,
) -> Kernel:
    """The kernel that `attend` uses for these arguments; arrays or their shapes.

    "cudnn" (FlashAttention in cuDNN, https://arxiv.org/abs/2307.08691) on an NVIDIA GPU, for 16-bit numbers, heads of
    at most 128 in steps of 8, even numbers of positions (it has no gradient of others), no dropout, and a mask that it
    computes itself: none, causal, or a causal window. Else "blocks" where a block is given, and "product" where none
    is. Nor is it "cudnn" in `plain_operations`, in which a model is traced that is differentiated forward or twice,
    interpreted, or exported for several platforms: cuDNN's attention has values and a gradient alone.

    Args:
      query: Queries [B, H, T, d].
      key: Keys [B, K, S, d].
      mask: As in `attend`.
      causal: As in `attend`.
      segment_ids: As in `attend`.
      window: As in `attend`.
      offset: As in `attend`.
      block: As in `attend`.
      dropout: As in `attend`; a deterministic `nn.Dropout`, or one of rate 0, counts as none.
      usual: Whether scores are plain products, and the heads of values as wide as those of keys.
      platform: "cuda", "cpu", ...; that of JAX's default backend when None.

    Example:
      >>> heads = jax.ShapeDtypeStruct((1, 8, 128, 64), jnp.bfloat16)
      >>> [kernel_of(heads, heads, causal=True, platform=platform) for platform in ("cuda", "cpu")]
      ['cudnn', 'product']
      >>> from deeplab.core.jax_compat import plain_operations
      >>> with plain_operations():
      ...     kernel_of(heads, heads, causal=True, platform="cuda")
      'product'
    """
    (T, d), S = query.shape[2:], key.shape[2]
    holds_mask = mask is None and segment_ids is None and (causal or window is None) and not (causal and T != S)
    starts_at_zero = isinstance(offset, int) and offset == 0
    holds_dtype = usual and query.dtype in (jnp.bfloat16, jnp.float16) and not _drops(dropout)
    holds_shape = d % 8 == 0 and d <= 128 and T % 2 == S % 2 == 0 and parts_of_time(T) == 1
    holds = holds_dtype and holds_shape and holds_mask and starts_at_zero
    if holds and not operations_are_plain() and (platform or _platform()) == "cuda":
        return "cudnn"
    return "product" if block is None else "blocks"


def _platform() -> str:
    """As JAX names it, but for GPUs, which it calls "gpu" whoever made them."""
    backend = get_backend()
    return "cuda" if "cuda" in backend.platform_version else backend.platform


def _drops(dropout: Any) -> bool:
    rate = getattr(dropout, "rate", None)
    never = getattr(dropout, "deterministic", False) or (isinstance(rate, int | float) and rate == 0)
    return dropout is not None and not never
