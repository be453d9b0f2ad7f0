"""Explanations of text against transformers and captum with the same weights, all of them random.

Captum's methods at the embedding are what inseq calls for each generated token. What no library has installed here is
compared with its definition, written in PyTorch on the modules of transformers: direct logit attribution, the logit
lens, activation patching.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from deeplab import explain, hub
from tests.parity.folders import randomized, relative

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

V, T, K = 60, 7, 11
TOKENS = np.random.default_rng(0).integers(3, V, (2, T))
OTHERS = np.random.default_rng(1).integers(3, V, (2, T))
SMALL = {"vocab_size": V, "hidden_size": 32, "intermediate_size": 40, "num_hidden_layers": 3, "num_attention_heads": 4,
         "max_position_embeddings": 32, "bos_token_id": None, "eos_token_id": None}  # fmt: skip
GPT2 = {"vocab_size": V, "n_embd": 32, "n_head": 4, "n_layer": 3, "n_positions": 32, "bos_token_id": None,
        "eos_token_id": None}  # fmt: skip
FAMILIES = {
    "bert": ("BertConfig", "BertModel", {**SMALL, "pad_token_id": 0}),
    "gpt2": ("GPT2Config", "GPT2LMHeadModel", GPT2),
    "llama": ("LlamaConfig", "LlamaForCausalLM", {**SMALL, "num_key_value_heads": 2, "pad_token_id": None}),
}


def pair(family, folder):
    """Their model, and ours as a function of tokens."""
    config, model, sizes = FAMILIES[family]
    config = getattr(transformers, config)(**sizes, attn_implementation="eager")
    theirs = randomized(getattr(transformers, model)(config), gain=1.0)
    theirs.save_pretrained(folder)
    ours = hub.load(folder)
    return theirs, lambda tokens: ours.model.apply({"params": ours.params}, tokens)


@pytest.fixture(scope="module")
def gpt2(tmp_path_factory):
    return pair("gpt2", tmp_path_factory.mktemp("gpt2"))


@pytest.mark.parametrize("family", FAMILIES)
def test_attention_is_theirs(family, tmp_path):
    theirs, ours = pair(family, tmp_path)
    with torch.no_grad():
        expected = theirs(torch.tensor(TOKENS), output_attentions=True).attentions
    found = jax.jit(lambda x: explain.attention(ours, x))(jnp.asarray(TOKENS))
    assert relative(found, np.stack([layer.numpy() for layer in expected])) < 1e-4


def their_logprob(theirs, embedded, t, words):
    logits = theirs(inputs_embeds=embedded).logits[:, t - 1]
    return torch.log_softmax(logits, dim=-1)[torch.arange(len(words)), words]


@pytest.mark.parametrize("method", ["input_x_gradient", "integrated_gradients"])
def test_steps_are_those_of_captum(gpt2, method):
    captum = pytest.importorskip("captum.attr")
    theirs, ours = gpt2
    tokens, table = torch.tensor(TOKENS), theirs.transformer.wte.weight.detach()
    embedded, blank = table[tokens], table[torch.zeros_like(tokens)]
    positions = jnp.asarray(theirs.transformer.wpe.weight.detach().numpy()[:T])[None]
    expected = []
    for t in range(2, T):

        def score(x, t=t):
            words = tokens[:, t].repeat(len(x) // len(tokens))
            return their_logprob(theirs, x, t, words)

        if method == "input_x_gradient":  # at our tap, which has the positions in it
            slope = captum.Saliency(score).attribute(embedded.requires_grad_(), abs=False)
            found = slope * (embedded + torch.tensor(np.asarray(positions)))
        else:
            steps = {"n_steps": 32, "method": "gausslegendre"}
            found = captum.IntegratedGradients(score).attribute(embedded, blank, **steps)
        expected.append(found.sum(dim=-1).detach().numpy())
    options = {} if method == "input_x_gradient" else {"nodes": 32, "baseline": 0}
    steps = jax.jit(lambda x: explain.by_step(getattr(explain, method), ours, x, start=2, **options))
    assert relative(steps(jnp.asarray(TOKENS)), np.stack(expected, axis=1)) < 1e-4


@pytest.mark.slow
def test_direct_logit_attribution_and_lens(gpt2):
    theirs, ours = gpt2
    body, U = theirs.transformer, theirs.lm_head.weight.double()
    kept = {}
    for i, block in enumerate(body.h):
        block.attn.c_proj.register_forward_pre_hook(lambda m, args, i=i: kept.update({("heads", i): args[0]}))
        block.mlp.register_forward_hook(lambda m, args, out, i=i: kept.update({("mlp", i): out}))
        block.register_forward_hook(lambda m, args, out, i=i: kept.update({("after", i): out}))
    with torch.no_grad():
        logits = theirs(torch.tensor(TOKENS)).logits
        last = kept["after", 2].double()
        scale = body.ln_f.weight.double() / (last.var(dim=-1, keepdim=True, correction=0) + body.ln_f.eps).sqrt()
        share = lambda part: (((part - part.mean(-1, keepdim=True)) * scale) @ U.T)[:, -1, K].numpy()  # noqa: E731
        found = explain.logit_attribution(ours, jnp.asarray(TOKENS), target=explain.targets.position(-1, K)).values
        for i, block in enumerate(body.h):
            heads = kept["heads", i].double().unflatten(-1, (4, 8))
            out = block.attn.c_proj.weight.double().unflatten(0, (4, 8))
            expected = np.stack([share(heads[..., h, :] @ out[h]) for h in range(4)], axis=1)
            np.testing.assert_allclose(found[f"attention_heads[{i}]"][..., -1], expected, rtol=1e-3, atol=1e-4)
            mlp = found[f"blocks/feed_forward[{i}]"][:, -1]
            np.testing.assert_allclose(mlp, share(kept["mlp", i].double()), rtol=1e-3, atol=1e-4)
        lens = explain.logit_lens(ours, jnp.asarray(TOKENS))
        for i in range(3):
            assert relative(lens[i], theirs.lm_head(body.ln_f(kept["after", i])).numpy()) < 1e-4
    assert relative(lens[-1], logits.numpy()) < 1e-4


@pytest.mark.slow
def test_activation_patching(gpt2):
    theirs, ours = gpt2
    clean, corrupt = torch.tensor(TOKENS), torch.tensor(OTHERS)
    kept, expected = {}, np.zeros((2, T))
    block = theirs.transformer.h[1]

    def score(tokens):
        with torch.no_grad():
            return (theirs(tokens).logits[:, -1, K] - theirs(tokens).logits[:, -1, 3]).numpy()

    with block.register_forward_hook(lambda m, args, out: kept.update(clean=out)):
        high = score(clean)
    low = score(corrupt)
    for t in range(T):

        def patch(module, args, out, t=t):
            out = out.clone()
            out[:, t] = kept["clean"][:, t]
            return out

        with block.register_forward_hook(patch):
            expected[:, t] = (score(corrupt) - low) / (high - low)
    target = explain.targets.position(-1, explain.targets.margin(K, 3))
    patching = jax.jit(lambda x, source: explain.patching(ours, x, source, ["blocks.0[1]"], target, axes=(1,)))
    found = patching(jnp.asarray(OTHERS), jnp.asarray(TOKENS))["blocks.0[1]"]
    np.testing.assert_allclose(found, expected, atol=1e-3 * np.abs(expected).max())
