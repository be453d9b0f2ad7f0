"""Every family of decoders against transformers, through folders: logits, gradients, caches, and the way back.

All parameters and buffers are random: many start constant, which would hide a wrong place.
"""

import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from deeplab import hub
from deeplab.decode.generate import generate
from deeplab.decode.protocol import cached, plain
from tests.parity.folders import assert_same_tensors, gradient_errors, randomized, relative

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

V, T = 99, 12
SMALL = {
    "vocab_size": V, "hidden_size": 32, "intermediate_size": 40, "num_hidden_layers": 4, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 32, "pad_token_id": None, "bos_token_id": None,
    "eos_token_id": None,
}  # fmt: skip
LLAMA3 = {"rope_type": "llama3", "rope_theta": 1e4, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
          "original_max_position_embeddings": 16}  # fmt: skip
LINEAR = {"rope_type": "linear", "rope_theta": 1e4, "factor": 4.0}
LONG = {"rope_type": "longrope", "rope_theta": 1e4, "short_factor": [1.0, 1.5, 2.0, 2.5],
        "long_factor": [2.0, 3.0, 4.0, 5.0], "original_max_position_embeddings": 8}  # fmt: skip
YARN = {"rope_type": "yarn", "rope_theta": 1e4, "factor": 4.0, "original_max_position_embeddings": 8}

EXPERTS = {"num_experts": 8, "num_experts_per_tok": 3, "moe_intermediate_size": 24}
MSCALE = {**YARN, "mscale": 1.0, "mscale_all_dim": 0.7}
DEEPSEEK = {"num_key_value_heads": 4, "n_routed_experts": 8, "num_experts_per_tok": 3, "moe_intermediate_size": 24,
            "kv_lora_rank": 16, "q_lora_rank": 20, "qk_rope_head_dim": 8, "v_head_dim": 12, "qk_nope_head_dim": 6,
            "n_group": 4, "topk_group": 2, "first_k_dense_replace": 1}  # fmt: skip

# Falcon's own path for ALiBi ("eager") adds it twice, in the mask and to the scores, where the other adds it once.
CASES = {
    "llama": ("Llama", {}),
    "llama_biases": ("Llama", {"attention_bias": True, "mlp_bias": True, "head_dim": 16}),
    "llama_tied": ("Llama", {"tie_word_embeddings": True}),
    "llama3_rope": ("Llama", {"rope_parameters": LLAMA3}),
    "llama_linear_rope": ("Llama", {"rope_parameters": LINEAR}),
    "llama_yarn_rope": ("Llama", {"rope_parameters": YARN}),
    "mistral": ("Mistral", {"sliding_window": 5}),
    "qwen2": ("Qwen2", {"use_sliding_window": True, "sliding_window": 5, "max_window_layers": 2}),
    "qwen3": ("Qwen3", {"head_dim": 16, "attention_bias": True}),
    "qwen2_moe": ("Qwen2Moe", {**EXPERTS, "shared_expert_intermediate_size": 20, "decoder_sparse_step": 2}),
    "qwen3_moe": ("Qwen3Moe", {**EXPERTS, "head_dim": 16, "norm_topk_prob": True, "mlp_only_layers": [0]}),
    "mixtral": ("Mixtral", {"num_local_experts": 4}),
    "gpt2": ("GPT2", {"n_embd": 32, "n_head": 4, "n_layer": 3, "n_positions": 32}),
    "gemma": ("Gemma", {"head_dim": 16}),
    "gemma2": (
        "Gemma2",
        {
            "head_dim": 16,
            "sliding_window": 5,
            "query_pre_attn_scalar": 20,
            "attn_logit_softcapping": 3.0,
            "final_logit_softcapping": 5.0,
        },
    ),
    "gemma3": (
        "Gemma3Text",
        {"head_dim": 16, "sliding_window": 5, "query_pre_attn_scalar": 20, "num_hidden_layers": 8},
    ),
    "olmo": ("Olmo", {"clip_qkv": 0.8}),
    "olmo2": ("Olmo2", {}),
    "olmo3": ("Olmo3", {"sliding_window": 5, "num_hidden_layers": 5}),
    "olmoe": ("Olmoe", {"num_experts": 8, "num_experts_per_tok": 3, "clip_qkv": 1.5}),
    "neox": ("GPTNeoX", {"tie_word_embeddings": False}),
    "neox_serial": ("GPTNeoX", {"use_parallel_residual": False, "attention_bias": False}),
    "phi": ("Phi", {}),
    "phi_normed": ("Phi", {"qk_layernorm": True}),
    "phi3": ("Phi3", {"sliding_window": 5}),
    "phi3_long": ("Phi3", {"rope_parameters": LONG, "original_max_position_embeddings": 8}),
    "opt": ("OPT", {"ffn_dim": 40, "word_embed_proj_dim": 32}),
    "falcon_7b": ("Falcon", {}),
    "falcon_40b": ("Falcon", {"new_decoder_architecture": True, "num_kv_heads": 2, "tie_word_embeddings": False}),
    "falcon_11b": ("Falcon", {"new_decoder_architecture": True, "num_kv_heads": 2, "num_ln_in_parallel_attn": 1}),
    "falcon_rw": (
        "Falcon",
        {"alibi": True, "multi_query": False, "parallel_attn": False, "bias": True, "attn_implementation": "sdpa"},
    ),
    "granite": (
        "Granite",
        {"embedding_multiplier": 3.0, "attention_multiplier": 0.3, "residual_multiplier": 0.5, "logits_scaling": 2.0},
    ),
    "gpt_oss": (
        "GptOss",
        {
            "num_local_experts": 8,
            "num_experts_per_tok": 3,
            "head_dim": 16,
            "sliding_window": 5,
            "rope_parameters": {**YARN, "truncate": False},
        },
    ),
    "deepseek_v3": ("DeepseekV3", DEEPSEEK),
    "deepseek_v3_yarn": ("DeepseekV3", {**DEEPSEEK, "q_lora_rank": None, "rope_parameters": MSCALE}),
    "mamba": ("Mamba", {"state_size": 4, "use_bias": True}),
    "mamba_ranked": ("Mamba", {"state_size": 4, "time_step_rank": 3, "expand": 3}),
    "mamba2": (
        "Mamba2",
        {"state_size": 6, "num_heads": 8, "head_dim": 8, "n_groups": 2, "time_step_limit": (0.1, 2.0)},
    ),
    "griffin": (
        "RecurrentGemma",
        {"attention_window_size": 5, "lru_width": 24, "num_hidden_layers": 5, "num_key_value_heads": 1},
    ),
    "smollm3": ("SmolLM3", {"no_rope_layer_interval": 2}),
    "starcoder2": ("Starcoder2", {"sliding_window": 5}),
    "starcoder2_plain": ("Starcoder2", {"use_bias": False, "tie_word_embeddings": False}),
}
# Their recurrences read padding: Mamba the bias of its first map, Griffin the tokens themselves.
LEAKS = ("mamba", "recurrent_gemma")
MODELS = {"GPT2": "GPT2LMHeadModel", "Gemma3Text": "Gemma3ForCausalLM"}
DAILY = ("llama", "gpt2", "mixtral", "gemma2")
ALL = [pytest.param(name, marks=() if name in DAILY else pytest.mark.slow) for name in CASES]


@functools.cache
def reference(name):
    """A tiny model of transformers in float32 with all numbers random."""
    family, changes = CASES[name]
    config = getattr(transformers, f"{family}Config")(**{"attn_implementation": "eager", **SMALL, **changes})
    torch.manual_seed(0)
    model = getattr(transformers, f"{MODELS.get(family, f'{family}ForCausalLM')}")(config).float().eval()
    return randomized(model)


@pytest.fixture(scope="module", params=ALL)
def case(request, tmp_path_factory):
    """Their model, and ours, loaded from the folder that theirs wrote."""
    folder = tmp_path_factory.mktemp(request.param)
    theirs = reference(request.param)
    theirs.save_pretrained(folder)
    return theirs, hub.load(folder), folder


def tokens(batch, length, seed=0):
    return np.random.default_rng(seed).integers(0, V, (batch, length))


def call(model, x, **more):
    with torch.no_grad():
        return model(torch.tensor(x), use_cache=False, **more).logits.numpy()


@pytest.mark.parametrize("length", [pytest.param(7, marks=pytest.mark.slow), T])
def test_logits_are_theirs(case, length):
    theirs, ours, _ = case
    x = tokens(2, length)
    logits = jax.jit(ours.model.apply)({"params": ours.params}, x)
    assert relative(logits, call(theirs, x)) < 1e-4


@pytest.mark.slow
def test_padding_on_the_left_changes_nothing(case):
    theirs, ours, _ = case
    x, real = tokens(2, T), np.arange(T)[None] >= np.array([[0], [4]])
    position = np.maximum(np.cumsum(real, axis=1) - 1, 0)
    mask, positions = torch.tensor(real.astype(int)), torch.tensor(position)
    if theirs.config.model_type in LEAKS:
        rows = [call(theirs, x[i : i + 1, at:]) for i, at in enumerate((0, 4))]
        expected = np.concatenate([np.pad(row, ((0, 0), (T - row.shape[1], 0), (0, 0))) for row in rows])
    else:
        expected = call(theirs, x, attention_mask=mask, position_ids=positions)
    logits = jax.jit(ours.model.apply)({"params": ours.params}, x, real.astype(int))
    assert relative(np.where(real[..., None], logits, 0), np.where(real[..., None], expected, 0)) < 1e-4


def test_gradients_are_theirs(case, tmp_path):
    """Of all parameters: theirs are written as if they were weights, and read back as ours."""
    theirs, ours, _ = case
    x, weight = tokens(2, T), np.random.default_rng(2).normal(size=(2, T, V)).astype(np.float32)

    def loss(logits):
        return (logits * (torch.tensor(weight) if isinstance(logits, torch.Tensor) else weight)).mean()

    errors = gradient_errors(
        theirs,
        lambda: loss(theirs(torch.tensor(x), use_cache=False).logits),
        ours,
        lambda params: loss(ours.model.apply({"params": params}, x)),
        tmp_path,
    )
    for path, (error, scale, largest) in errors.items():
        assert error <= max(1e-3 * scale, 1e-6 * largest), (path, error, scale)


def test_a_cache_gives_the_same_token_by_token(case):
    theirs, ours, _ = case
    x = tokens(2, T)
    decoder = cached(plain(ours.model, {"params": ours.params}), 2, length=T)
    step, cache, outs = jax.jit(decoder.step), decoder.cache, []
    for t in range(T):
        logits, cache = step(x[:, t : t + 1], cache, t)
        outs.append(logits)
    assert relative(jnp.concatenate(outs, axis=1), call(theirs, x)) < 1e-4


@pytest.mark.slow
def test_prompts_of_unequal_length(case):
    """An index for each row: the second prompt is shorter."""
    theirs, ours, _ = case
    x = tokens(2, T)
    if ours.model.recurrent:  # a state cannot go back to the end of the shorter one: `generate` reads them by token
        alone = [written(ours, x[:1, :8]), written(ours, x[1:, :5])]
        np.testing.assert_array_equal(written(ours, x[:, :8], lengths=np.array([8, 5])), np.concatenate(alone))
        return
    decoder = cached(plain(ours.model, {"params": ours.params}), 2, length=T)
    _, cache = jax.jit(decoder.step)(x[:, :8], decoder.cache, 0)
    index = np.array([8, 5])
    new = np.stack([x[0, 8:9], x[1, 5:6]])
    logits, _ = jax.jit(decoder.step)(new, cache, index)
    expected = call(theirs, x)
    assert relative(logits[:, 0], np.stack([expected[0, 8], expected[1, 5]])) < 1e-4


def written(ours, prompt, **more):
    return generate(ours.model, {"params": ours.params}, prompt, 4, jax.random.key(0), temperature=0.0, **more)


def test_the_way_back_is_bit_equal(case, tmp_path):
    theirs, ours, folder = case
    hub.save(tmp_path, ours.params, ours.config)
    assert_same_tensors(folder, tmp_path)
    how = theirs.config._attn_implementation
    again, report = type(theirs).from_pretrained(tmp_path, output_loading_info=True, attn_implementation=how)
    assert not any(report[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    x = tokens(2, 7)
    assert relative(call(again, x), call(theirs, x)) < 1e-5  # experts add up in any order
    assert json.loads((tmp_path / "config.json").read_text())["model_type"] == theirs.config.model_type
