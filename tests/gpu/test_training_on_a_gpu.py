"""Training on a GPU gives the same bits each time where it is asked to, and its profile knows the layers."""

import hashlib

import jax
import numpy as np
import optax
import pytest

import deeplab as dl
from deeplab.data.sets.synthetic import SyntheticText
from deeplab.train.program import compile_program

pytestmark = pytest.mark.skipif(jax.default_backend() != "gpu", reason="needs a GPU")


def language():
    """Whose embeddings have gradients that are sums over tokens."""
    text = SyntheticText((("train", 8192), ("validation", 256)), "abcdefghij")
    data = dl.data.Text(text, context=64, batch_size=16, num_steps=512)
    model = dl.models.GPT(data.vocab_size, num_layers=1, num_heads=2, width=32, context=64)
    return dl.Experiment(data, model, dl.tasks.LanguageModeling(), optax.adam(1e-3))


def pictures():
    """Whose convolutions have gradients that are sums over places."""
    data = dl.data.Images("digits", batch_size=64, num_steps=512)
    return dl.Experiment(data, dl.models.CNN(10), dl.tasks.Classification(), optax.adam(1e-3))


@pytest.mark.parametrize("experiment", [language, pictures])
def test_the_same_steps_give_the_same_bits(experiment):
    """After 256 steps in one dispatch; without the option three runs had three results."""
    exp = experiment()
    feed = dl.make_feed(exp.data, exp.data.open("train"), dl.scale.make_mesh("auto"))
    start = jax.jit(lambda key: dl.init(exp, key))
    options = {"xla_gpu_exclude_nondeterministic_ops": True}
    program = compile_program(exp, start(jax.random.key(0)), feed, seed=0, options=options)
    items = np.concatenate([exp.data.train_ids(0, step) for step in range(program.max_steps)])
    found = set()
    for _ in range(3):
        state, _ = program(start(jax.random.key(0)), items, 0, program.max_steps)
        leaves = (np.asarray(x).tobytes() for x in jax.tree.leaves(state.params))
        found.add(hashlib.sha256(b"".join(leaves)).hexdigest())
    assert len(found) == 1


def test_a_profile_names_the_layers():
    layers = {cost.layer for cost in dl.profile(language(), trace_steps=2).costs}
    assert any(layer.startswith("block1/") for layer in layers)
