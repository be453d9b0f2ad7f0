"""Greedy decoding, one prompt on one core: deeplab's `generate` and transformers', with the same weights.

Run:     python -m experiments.benchmarks.decoding DIR      (a folder of a decoder, such as SmolLM2-135M-Instruct)
Needs:   pip install torch transformers
Prints:  tokens a second of each, prompt included, and the ratio of their times within the run; whether both wrote the
         same. They take turns, and medians are compared, of wall and of CPU time.
Result:  SmolLM2-135M-Instruct, float32, 32 tokens read and 64 written, medians of three turns on a core that other work
         shared: CPU 14.6 tokens per second, transformers 12.5 (ratio 1.17; wall 1.21), and the same 64 tokens; jax
         0.10.2, torch 2.13, transformers 5.24
"""

from __future__ import annotations

import importlib
import os
import statistics
import time
from collections.abc import Callable
from typing import Any

import tyro

Write = Callable[[], list[int]]
"""Writes the tokens, and waits for them."""


def ours(folder: str, prompt: list[int], num_tokens: int) -> Write:
    import jax
    import jax.numpy as jnp

    from deeplab import hub
    from deeplab.decode.generate import generate

    loaded = hub.load(folder, dtype=jnp.float32)
    variables, given, key = {"params": loaded.params}, jnp.array([prompt]), jax.random.key(0)
    return lambda: generate(loaded.model, variables, given, num_tokens, key, temperature=0.0)[0].tolist()


def theirs(folder: str, prompt: list[int], num_tokens: int) -> Write:
    import torch  # pyright: ignore[reportMissingImports]  # an extra that only this benchmark and tests/parity need

    # Where it is installed, its own types refuse `generate` of its own models.
    transformers: Any = importlib.import_module("transformers")
    torch.set_num_threads(1)
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    model.generation_config.eos_token_id = None  # as many tokens as ours
    given = torch.tensor([prompt])
    options = {"attention_mask": torch.ones_like(given), "do_sample": False, "max_new_tokens": num_tokens}
    return lambda: model.generate(given, **options)[0, len(prompt) :].tolist()


def main(folder: tyro.conf.Positional[str], num_tokens: int = 64, prompt_tokens: int = 32, repeats: int = 7) -> None:
    """Measures both.

    Args:
      folder: Folder of the model.
      num_tokens: Number of tokens to write.
      prompt_tokens: Number of tokens to read first.
      repeats: Number of turns of each.
    """
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:1])  # before the libraries start their threads
    os.environ |= {"OMP_NUM_THREADS": "1"}
    prompt = [(97 * n) % 20_000 + 500 for n in range(prompt_tokens)]
    writers = {"deeplab": ours(folder, prompt, num_tokens), "transformers": theirs(folder, prompt, num_tokens)}
    written = {name: write() for name, write in writers.items()}  # compiles
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in writers}
    for _ in range(repeats):
        for name, write in writers.items():
            began = time.perf_counter(), time.process_time()
            write()
            times[name].append((time.perf_counter() - began[0], time.process_time() - began[1]))
    medians = {
        name: [statistics.median(column) for column in zip(*pairs, strict=True)] for name, pairs in times.items()
    }
    for name, (wall, cpu) in medians.items():
        print(f"{name:<13} {num_tokens / wall:6.1f} tokens per second, {num_tokens / cpu:6.1f} per second of CPU time")
    wall, cpu = (b / a for a, b in zip(medians["deeplab"], medians["transformers"], strict=True))
    same = sum(a == b for a, b in zip(*written.values(), strict=True))
    print(f"deeplab / transformers: {wall:.2f}, CPU {cpu:.2f}; {same} of {num_tokens} tokens are the same")


if __name__ == "__main__":
    tyro.cli(main)
