"""Memory and time of a GPT's gradient with attention at once and in blocks of queries.

Run:     python -m experiments.benchmarks.long_context
Prints:  for each context, temporary memory as the compiler reserves it, and the median time of a gradient, the variants
         taking turns. 4 layers of 4 heads, width 256, one sequence; nothing else is rematerialized (remat is "none").
Result:  2 CPU cores, four runs, blocks of 128 over at once: 256 positions 0.79 of the memory, 0.94 to 1.04 of the time;
         1,024 positions 0.37 (107 MiB) and 0.96 to 1.20; 4,096 positions 0.14 (489 MiB) and 0.59 to 0.73
"""

from __future__ import annotations

import statistics
import time
from typing import Any

import jax
import jax.numpy as jnp
import tyro

import deeplab as dl


def compiled(context: int, block: int | None) -> tuple[Any, Any]:
    """The gradient function of the mean squared logit, and its parameters."""
    model = dl.models.GPT(vocab_size=256, num_layers=4, num_heads=4, width=256, context=context, attention_block=block)
    tokens = jnp.zeros((1, context), jnp.int32)
    params = jax.jit(model.init)(jax.random.key(0), tokens)["params"]

    def loss(params: Any) -> jax.Array:
        logits: Any = model.apply({"params": params}, tokens, train=True)
        return jnp.mean(logits**2)

    return jax.jit(jax.grad(loss)).lower(params).compile(), params


def seconds(program: Any, params: Any) -> float:
    start = time.perf_counter()
    jax.block_until_ready(program(params))
    return time.perf_counter() - start


def main(contexts: tuple[int, ...] = (256, 1024, 4096), block: int = 128, repeats: int = 5) -> None:
    """Compares attention at once with attention in blocks.

    Args:
      contexts: Sequence lengths.
      block: Number of queries per block.
      repeats: Number of runs of each, taking turns.
    """
    for context in contexts:
        programs = {"at once": compiled(context, None), f"by {block}": compiled(context, block)}
        times = {name: [] for name in programs}
        for i in range(repeats + 1):  # warms the caches
            for name, program in programs.items():
                took = seconds(*program)
                if i:
                    times[name].append(took)
        for name, (program, _) in programs.items():
            memory = program.memory_analysis().temp_size_in_bytes / 2**20
            print(
                f"{context:6,} positions {name:>8}: {memory:6,.0f} MiB, {statistics.median(times[name]):.3f} s",
                flush=True,
            )


if __name__ == "__main__":
    tyro.cli(main)
