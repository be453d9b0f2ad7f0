"""`deeplab chat FOLDER`: a conversation with a model from a folder."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
from rich.console import Console

from deeplab import hub
from deeplab.core.errors import UserError
from deeplab.decode import stream


def add_flags(verbs: Any) -> None:
    """Adds the verb to the command line."""
    parser = verbs.add_parser("chat", help="talk with a model from a folder that has a chat template")
    parser.add_argument("folder", help="folder in the Hugging Face layout, or organization/name")
    parser.add_argument("--message", action="append", help="what to say; the lines of the input when left out")
    parser.add_argument("--system", help="instruction that precedes the conversation")
    parser.add_argument("--num-tokens", type=int, default=256, help="length of the longest answer")
    parser.add_argument("--temperature", type=float, default=0.0, help="0 takes the most likely token")
    parser.add_argument("--top-p", type=float, help="probability of the tokens to draw from")
    parser.add_argument("--stop", action="append", default=[], help="string that ends an answer")
    parser.add_argument("--seed", type=int, default=0, help="seed of the draws")


def run(flags: argparse.Namespace, console: Console) -> dict[str, Any]:
    """Answers each message, and prints the answer as it comes.

    Args:
      flags: Flags of the verb.
      console: Console of the command, on whose file the answer is written piece by piece.

    Returns:
      messages: The conversation, each with a role and a content.

    Raises:
      UserError: The folder has no model, tokenizer or chat template.
    """
    template = hub.chat_template(flags.folder)
    # A CPU computes in bfloat16 by way of float32, and slowly.
    loaded = hub.load(flags.folder, dtype=jnp.float32 if jax.default_backend() == "cpu" else None)
    if loaded.tokenizer is None:
        raise UserError(f"{flags.folder} has no tokenizer.json")
    messages: list[dict[str, str]] = [{"role": "system", "content": flags.system}] if flags.system else []
    for said in flags.message or _lines(sys.stdin):
        messages.append({"role": "user", "content": said})
        prompt = loaded.tokenizer.encode(template(messages), add_special_tokens=False).ids
        key = jax.random.fold_in(jax.random.key(flags.seed), len(messages))
        options = {"temperature": flags.temperature, "top_p": flags.top_p}
        read = stream.tokens(loaded.model, {"params": loaded.params}, prompt, flags.num_tokens, key, **options)
        answer = ""
        for piece in stream.text(read, loaded.tokenizer.decode, stop=flags.stop, end=template.ends):
            answer += piece
            print(piece, end="", flush=True, file=console.file)
        print(file=console.file)
        messages.append({"role": "assistant", "content": answer})
    return {"messages": messages}


def _lines(written: Iterable[str]) -> Iterator[str]:
    """The lines that are not blank, after a prompt for each where someone sits at the terminal."""
    prompted = sys.stdin.isatty()
    if prompted:
        print("> ", end="", flush=True)
    for line in written:
        if line.strip():
            yield line.strip()
        if prompted:
            print("> ", end="", flush=True)
