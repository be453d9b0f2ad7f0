"""Decoder-only transformers with rotary positions: Llama, Llama 2 and Llama 3.

Touvron et al. 2023, "LLaMA: open and efficient foundation language models", https://arxiv.org/abs/2302.13971, and
"Llama 2", https://arxiv.org/abs/2307.09288; Llama Team 2024, "The Llama 3 herd of models",
https://arxiv.org/abs/2407.21783.
"""

from __future__ import annotations

from typing import Any

import flax.linen as nn

from deeplab.models.text.decoder import RULES, Decoder, Stack
from deeplab.nn.attention.grouped import GroupedQueryAttention
from deeplab.nn.attention.rotary import Rotary
from deeplab.nn.feed_forward import Gated
from deeplab.nn.transformer import INIT
from deeplab.nn.vocabulary import Head, TokenEmbedding
from deeplab.nn.wiring import PreNorm


def Llama(
    vocab_size: int,
    num_layers: int = 32,
    num_heads: int = 32,
    num_kv_heads: int = 32,
    width: int = 4096,
    hidden: int = 11008,
    context: int = 4096,
    rotary_base: float = 10_000.0,
    remat: str = "none",
    attention_block: int | None = None,
) -> Decoder:
    out_init = nn.initializers.normal(0.02 / (2 * num_layers) ** 0.5)
    attention = GroupedQueryAttention(
        num_heads, num_kv_heads, rotary=Rotary(width // num_heads, rotary_base), kernel_init=INIT, out_init=out_init,
        block=attention_block,
    )
    block = PreNorm(attention, Gated(hidden, out_init=out_init), nn.RMSNorm(epsilon=1e-5), nn.RMSNorm(epsilon=1e-5))
    return Decoder(
        token_embedding=TokenEmbedding(vocab_size, width),
        stacks=(Stack(block, num_layers),),
        norm=nn.RMSNorm(epsilon=1e-5),
        head=Head(vocab_size),
        context=context,
        remat=remat,
    )


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
