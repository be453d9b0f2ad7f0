"""Time of compiling a gradient: stacks of 48 layers over those of 12.

Run:     python -m experiments.benchmarks.compiling llama qwen_moe     (all when none is named)
Prints:  for each family, seconds of CPU time to trace, lower and compile the gradient at both depths, and the ratio;
         the depths take turns, and medians are compared.
Result:  bert 0.97, gemma 0.97, gpt2 1.03, llama 1.02, mamba 0.95, qwen_moe 0.99, vit 0.98; one turn, jax 0.10.2
"""

from __future__ import annotations

import statistics
import time
from typing import Any

import jax
import jax.numpy as jnp
import tyro

from deeplab.models.text.decoders import gemma, gpt, llama, qwen
from deeplab.models.text.encoders import bert
from deeplab.models.text.recurrent import mamba
from deeplab.models.vision.transformers import vit

DEPTHS = (12, 48)
TOKENS, IMAGES = jax.ShapeDtypeStruct((2, 64), jnp.int32), jax.ShapeDtypeStruct((2, 32, 32, 3), jnp.float32)


def made(name: str, layers: int) -> tuple[Any, jax.ShapeDtypeStruct]:
    """A narrow model of so many layers, and what it reads."""
    if name == "vit":
        sizes = {**vit.VARIANTS["test"], "num_layers": layers, "size": 32}
        return vit.ViT(num_classes=10, **sizes), IMAGES
    makers = {
        "bert": (bert.Bert, bert.VARIANTS["test"] | {"num_classes": 3}),
        "gemma": (gemma.SandwichGemma, gemma.VARIANTS["test"]),
        "gpt2": (gpt.GPT, gpt.VARIANTS["test"] | {"scanned": True}),
        "llama": (llama.Llama, llama.VARIANTS["test"]),
        "mamba": (mamba.Mamba, mamba.VARIANTS["test"]),
        "qwen_moe": (qwen.Qwen, qwen.VARIANTS["test_moe"]),
    }
    make, sizes = makers[name]
    sizes = {**sizes, "num_layers": layers, "context": 64} if name != "mamba" else {**sizes, "num_layers": layers}
    return make(vocab_size=65, **sizes), TOKENS


NAMES = ("bert", "gemma", "gpt2", "llama", "mamba", "qwen_moe", "vit")


def seconds(name: str, layers: int) -> float:
    """CPU time from a model to its compiled gradient."""
    model, inputs = made(name, layers)
    params = jax.eval_shape(model.init, jax.random.key(0), inputs)["params"]
    jax.clear_caches()

    def loss(params: Any, x: jax.Array) -> jax.Array:
        return jnp.sum(model.apply({"params": params}, x) ** 2)

    began = time.process_time()
    jax.jit(jax.grad(loss)).lower(params, inputs).compile()
    return time.process_time() - began


def main(names: tyro.conf.Positional[tuple[str, ...]] = NAMES, repeats: int = 3) -> None:
    """Compares the depths.

    Args:
      names: Names of the families.
      repeats: Number of turns of each depth.
    """
    for name in names:
        found = [[seconds(name, layers) for layers in DEPTHS] for _ in range(repeats)]
        shallow, deep = (statistics.median(column) for column in zip(*found, strict=True))
        ratio = statistics.median(b / a for a, b in found)
        print(f"{name:<9} {shallow:6.2f} s for 12 layers, {deep:6.2f} for 48: {ratio:.2f}", flush=True)


if __name__ == "__main__":
    tyro.cli(main)
