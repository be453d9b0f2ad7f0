"""What a config says changes our model as it changes transformers', or is refused: nothing is ignored in silence."""

import json

import numpy as np
import pytest

from deeplab import hub
from deeplab.core.errors import UserError
from tests.parity import test_encoders
from tests.parity.folders import randomized, relative
from tests.parity.test_decoders import LINEAR, LONG, SMALL, YARN, tokens

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

CLASSES = {
    "gpt2": "GPT2LMHeadModel",
    "gemma3": "Gemma3ForCausalLM",
    "bert": "BertModel",
    "roberta": "RobertaModel",
    "vit": "ViTModel",
    "whisper": "WhisperForConditionalGeneration",
}
BERT = {
    "vocab_size": 99,
    "hidden_size": 32,
    "intermediate_size": 40,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 32,
}
MOE = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 24, "head_dim": 16}
SIZES = {
    "gpt2": {"n_embd": 32, "n_head": 4, "n_layer": 2, "n_positions": 32, "vocab_size": 99},
    "bert": BERT,
    "roberta": BERT,
    "vit": {**BERT, "image_size": 8, "patch_size": 4},
    "whisper": {
        "vocab_size": 99,
        "num_mel_bins": 8,
        "d_model": 32,
        "max_source_positions": 6,
        "encoder_layers": 2,
        "max_target_positions": 12,
        "decoder_layers": 2,
        "encoder_attention_heads": 4,
        "pad_token_id": 0,
        "decoder_attention_heads": 4,
        "encoder_ffn_dim": 40,
        "decoder_ffn_dim": 40,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "decoder_start_token_id": 1,
    },
    "qwen3_moe": MOE,
    "qwen2_moe": {**MOE, "shared_expert_intermediate_size": 20},
}
CONFIGS = {
    "gemma3": "Gemma3Text",
    "gpt2": "GPT2",
    "qwen2_moe": "Qwen2Moe",
    "qwen3_moe": "Qwen3Moe",
    "smollm3": "SmolLM3",
    "vit": "ViT",
}
BASE = {"rope_type": "default", "rope_theta": 100.0}
PARTIAL = {**BASE, "partial_rotary_factor": 0.5}
DYNAMIC = {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 4.0}
ACT, EPS, CAUSAL = {"hidden_act": "relu"}, {"rms_norm_eps": 0.5}, {"is_causal": False}
TURNS = [{"rope_parameters": turn} for turn in (BASE, LINEAR, YARN, DYNAMIC, LONG)]
WINDOW = {"use_sliding_window": True, "sliding_window": 3}
QWEN = [
    ACT,
    EPS,
    CAUSAL,
    TURNS[0],
    {**WINDOW, "max_window_layers": 1, "layer_types": None},
    {**WINDOW, "layer_types": ["sliding_attention", "full_attention", "full_attention", "sliding_attention"]},
]
GEMMA = [
    {"query_pre_attn_scalar": 7},
    {"final_logit_softcapping": 1.0},
    {"sliding_window": 3},
    EPS,
    CAUSAL,
    {"hidden_activation": "relu"},
    {"attention_bias": True},
    {
        "sliding_window": 3,
        "layer_types": ["sliding_attention", "full_attention", "full_attention", "sliding_attention"],
    },
]
# Every field of a config that its model in transformers reads, but for sizes, which the tensors' shapes tell. What a
# value that theirs does not know would do is no row.
CHANGES = {
    "llama": [
        {"rope_parameters": PARTIAL},
        ACT,
        EPS,
        CAUSAL,
        *TURNS,
        {"attention_bias": True},
        {"mlp_bias": True},
        {"sliding_window": 3},
    ],
    "mistral": [ACT, EPS, CAUSAL, TURNS[0], {"sliding_window": 3}],
    "smollm3": [ACT, EPS, CAUSAL, {"no_rope_layers": [0, 1, 1, 0]}, {"attention_bias": True}, {"mlp_bias": True}],
    "qwen2": QWEN,
    "qwen3": [*QWEN, {"attention_bias": True}],
    "qwen2_moe": [*QWEN, {"norm_topk_prob": True}, {"num_experts_per_tok": 1}, {"qkv_bias": False}],
    "qwen3_moe": [*QWEN, {"norm_topk_prob": True}, {"num_experts_per_tok": 1}, {"attention_bias": True}],
    "gemma": [ACT, EPS, CAUSAL, TURNS[0], {"attention_bias": True}],
    "gemma2": [*GEMMA, TURNS[0], {"attn_logit_softcapping": 1.0}, {"use_bidirectional_attention": True}],
    "gemma3": [*GEMMA, {"attn_logit_softcapping": 1.0}, {"use_bidirectional_attention": True}],
    "phi": [
        ACT,
        {"layer_norm_eps": 0.5},
        CAUSAL,
        {"rope_parameters": BASE},
        {"rope_parameters": PARTIAL},
        {"qk_layernorm": True},
    ],
    "phi3": [
        ACT,
        EPS,
        CAUSAL,
        TURNS[0],
        {"rope_parameters": PARTIAL},
        {"sliding_window": 3},
        {"rope_parameters": LONG, "original_max_position_embeddings": 8},
        {"rope_parameters": {**LONG, "attention_factor": 1.7}},
    ],
    "gpt2": [
        {"activation_function": "relu"},
        {"layer_norm_epsilon": 0.5},
        {"scale_attn_weights": False},
        CAUSAL,
        {"scale_attn_by_inverse_layer_idx": True},
        {"reorder_and_upcast_attn": True},
    ],
    "bert": [ACT, {"layer_norm_eps": 0.5}, {"is_decoder": True}, {"add_cross_attention": True, "is_decoder": True}],
    "roberta": [ACT, {"layer_norm_eps": 0.5}, {"is_decoder": True}],
    "vit": [ACT, {"layer_norm_eps": 0.5}, {"qkv_bias": False}, {"pooler_act": "relu"}],
    "whisper": [{"activation_function": "relu"}, {"scale_embedding": True}],
}
SAME = ({"sliding_window": 3}, {"reorder_and_upcast_attn": True}, {"attn_logit_softcapping": 1.0})
"""What some of theirs do not read: ours must not read it either."""


def made(family):
    """A tiny model of transformers with all numbers random."""
    named = CONFIGS.get(family, family.capitalize())
    given = SIZES[family] if family in ("gpt2", "bert", "roberta", "vit", "whisper") else SMALL | SIZES.get(family, {})
    config = getattr(transformers, f"{named}Config")(attn_implementation="eager", **given)
    torch.manual_seed(0)
    kind = getattr(transformers, CLASSES.get(family, f"{named}ForCausalLM"))
    return kind, randomized(kind(config))


def of_theirs(family, kind, folder):
    model, x = kind.from_pretrained(folder, attn_implementation="eager").float().eval(), inputs(family)
    with torch.no_grad():
        if family == "vit":
            both = model(torch.tensor(x[0]).permute(0, 3, 1, 2))
            return [both.last_hidden_state.numpy(), both.pooler_output.numpy()]
        if family in ("bert", "roberta"):
            both = model(torch.tensor(x[0]), attention_mask=torch.tensor(x[1]))
            return [both.last_hidden_state.numpy(), both.pooler_output.numpy()]
        if family == "whisper":
            features, target = torch.tensor(x[0]).permute(0, 2, 1), torch.tensor(x[2])
            return [model(input_features=features, decoder_input_ids=target, use_cache=False).logits.numpy()]
        return [model(torch.tensor(x[0]), use_cache=False).logits.numpy()]


def of_ours(family, folder):
    loaded = hub.load(folder)
    out = loaded.model.apply(loaded.variables, *inputs(family))
    return [out.states, out.pooled] if hasattr(out, "states") else [out]


def inputs(family):
    rng = np.random.default_rng(3)
    if family == "vit":
        return (rng.normal(size=(2, 8, 8, 3)).astype(np.float32),)
    if family == "whisper":
        return rng.normal(size=(2, 12, 8)).astype(np.float32), None, tokens(2, 6)
    x = tokens(2, 12) % 97 + 2  # no padding
    return (x, np.ones_like(x)) if family in ("bert", "roberta") else (x,)


LINEAR_TURN = {"rope_theta": 100.0, "rope_type": "linear", "factor": 4.0}
OTHERS = [
    ("swin_classes", {"layer_norm_eps": 0.5}),
    ("modernbert", {"rope_parameters": dict.fromkeys(("full_attention", "sliding_attention"), LINEAR_TURN)}),
    ("clip", {"text_config_dict": {**test_encoders.CAPTION, "hidden_act": "relu"}}),
]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "change"), OTHERS, ids=[name for name, _ in OTHERS])
def test_a_field_of_an_encoder_counts(name, change, tmp_path):
    theirs = test_encoders.reference(name)
    theirs.save_pretrained(tmp_path)
    file = tmp_path / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text(encoding="utf-8")), **change}), encoding="utf-8")
    changed, ours = type(theirs).from_pretrained(tmp_path, attn_implementation="eager").eval(), hub.load(tmp_path)
    given, x, mask = test_encoders.inputs(theirs)
    with torch.no_grad():
        before, after = (test_encoders.arrays(model(**given), mask) for model in (theirs, changed))
    found = test_encoders.arrays(ours.model.apply(ours.variables, *x), mask)
    assert max(relative(before[part], after[part]) for part in after) > 1e-3
    assert max(relative(found[part], after[part]) for part in after) < 1e-4


def differ(one, other):
    return max(relative(a, b) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize(
    "family", [pytest.param(name, marks=() if name == "gpt2" else pytest.mark.slow) for name in CHANGES]
)
def test_a_field_counts_or_is_refused(family, tmp_path):
    kind, model = made(family)
    model.save_pretrained(tmp_path)
    file = tmp_path / "config.json"
    config, wrong = json.loads(file.read_text(encoding="utf-8")), []
    before = of_theirs(family, kind, tmp_path)
    assert differ(of_ours(family, tmp_path), before) < 1e-4
    for change in CHANGES[family]:
        file.write_text(json.dumps({**config, **change}), encoding="utf-8")
        try:
            ours = of_ours(family, tmp_path)
        except UserError:
            continue
        theirs = of_theirs(family, kind, tmp_path)
        if differ(ours, theirs) > 1e-4:
            wrong.append(f"{change}: ours are {differ(ours, theirs):.1e} from theirs")
        elif differ(before, theirs) < 1e-4 and change not in SAME:
            wrong.append(f"{change}: theirs do not read it")
    assert not wrong, "\n".join(wrong)
