"""Lens, direct attribution and patching against TransformerLens 4.3, on one GPT-2 of random parameters.

It has other pins than the extra `parity`: `pip install --no-deps transformer-lens==4.3.0`, and what that imports.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import deeplab as dl
from deeplab import explain

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
pytest.importorskip("transformer_lens", reason="no TransformerLens: see the text of this file")

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default")]  # its warnings are its own
LAYERS, HEADS, LENGTH = 3, 4, 6
RNG = np.random.default_rng(0)
TOKENS, SOURCE = RNG.integers(1, 60, (2, LENGTH)), RNG.integers(1, 60, (2, LENGTH))
RIGHT, WRONG = np.array([7, 9]), np.array([3, 5])
MARGIN = explain.targets.position(-1, explain.targets.margin(7, 3))


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """Their model, and ours as a function of tokens, of one folder."""
    from transformer_lens.model_bridge import TransformerBridge

    torch.manual_seed(0)
    sizes = {"vocab_size": 60, "n_positions": 32, "n_embd": 32, "n_layer": LAYERS, "n_head": HEADS}
    model = transformers.GPT2LMHeadModel(transformers.GPT2Config(**sizes, bos_token_id=0, eos_token_id=0)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    folder = tmp_path_factory.mktemp("weights")
    model.save_pretrained(folder)
    theirs = TransformerBridge.boot_transformers(str(folder), hf_model=model)
    theirs.enable_compatibility_mode(no_processing=True)
    loaded = dl.hub.load(folder)
    return theirs, lambda tokens: loaded.model.apply(loaded.variables, tokens)


def close(ours, theirs):
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5 * np.abs(theirs).max())


def test_the_lens_is_theirs(both):
    theirs, f = both
    with torch.no_grad():
        logits, cache = theirs.run_with_cache(torch.tensor(TOKENS))
        states = cache.accumulated_resid(layer=-1)[1:]  # without what the first layer reads
        close(jax.jit(lambda x: explain.logit_lens(f, x))(TOKENS), theirs.unembed(theirs.ln_final(states)).numpy())
    close(f(TOKENS), logits.numpy())


def test_the_shares_of_heads_and_branches_are_theirs(both):
    theirs, f = both
    target = explain.targets.position(-1, explain.targets.margin(jnp.asarray(RIGHT), jnp.asarray(WRONG)))
    found = jax.jit(lambda x: explain.logit_attribution(f, x, target=target))(TOKENS).values
    found = {name: np.asarray(share).sum(axis=-1) for name, share in found.items()}  # of all positions
    with torch.no_grad():
        _, cache = theirs.run_with_cache(torch.tensor(TOKENS))
        wanted = (theirs.W_U[:, RIGHT] - theirs.W_U[:, WRONG]).T * theirs.ln_final.w

        def shares(parts):
            return torch.einsum("nbd,bd->nb", cache.apply_ln_to_stack(parts, layer=-1, pos_slice=-1), wanted).numpy()

        heads = shares(cache.stack_head_results(layer=-1, pos_slice=-1)).reshape(LAYERS, HEADS, 2)
        parts, labels = cache.decompose_resid(layer=-1, pos_slice=-1, return_labels=True)
        parts = dict(zip(labels, shares(parts), strict=True))
    close(found["blocks:in[0]"], parts["embed"] + parts["pos_embed"])
    for layer in range(LAYERS):
        close(found[f"attention_heads[{layer}]"].T, heads[layer])
        close(found[f"blocks/feed_forward[{layer}]"], parts[f"{layer}_mlp_out"])


def test_patching_place_by_place_is_theirs(both):
    """Of what each layer reads, by position; and of each head, by position."""
    from transformer_lens import patching

    theirs, f = both
    x, source = TOKENS[:1], SOURCE[:1]

    def margin(logits):
        return logits[0, -1, 7] - logits[0, -1, 3]

    with torch.no_grad():
        _, clean = theirs.run_with_cache(torch.tensor(source))
        low, high = (margin(theirs(torch.tensor(tokens))).item() for tokens in (x, source))
        states = patching.get_act_patch_resid_pre(theirs, torch.tensor(x), clean, margin).numpy()
        heads = patching.get_act_patch_attn_head_out_by_pos(theirs, torch.tensor(x), clean, margin).numpy()
    read = ["blocks:in[0]", *(f"blocks.0[{layer}]" for layer in range(LAYERS - 1))]
    found = explain.patching(f, x, source, read, MARGIN, axes=(1,))
    close(low + np.stack([found[name].reshape(LENGTH) for name in read]) * (high - low), states)
    found = explain.patching(f, x, source, ["attention_heads"], MARGIN, axes=(1, 2))
    ours = np.stack([found[f"attention_heads[{layer}]"].reshape(HEADS, LENGTH).T for layer in range(LAYERS)])
    close(low + ours * (high - low), heads)
