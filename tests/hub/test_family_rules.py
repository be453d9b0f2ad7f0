"""Rules of families: each of our numbers is in one tensor of theirs, and rules of one's own that lose some are told."""

import dataclasses
import re

import jax
import numpy as np
import pytest

from deeplab import hub
from deeplab.core.errors import UserError
from deeplab.hub.families import ARCHITECTURES, FAMILIES, variable_shapes
from deeplab.hub.mapping import leaves, of, tensors
from tests.hub.test_hub import LLAMA, MOE, T5, written

BART = {"vocab_size": 9, "d_model": 16, "max_position_embeddings": 20, "encoder_layers": 2, "decoder_layers": 2,
        "encoder_ffn_dim": 24, "decoder_ffn_dim": 24, "encoder_attention_heads": 4, "decoder_attention_heads": 2,
        "pad_token_id": 0, "num_mel_bins": 6, "max_source_positions": 12, "max_target_positions": 20}  # fmt: skip
DEEPSEEK = {"num_key_value_heads": 4, "n_routed_experts": 8, "num_experts_per_tok": 3, "moe_intermediate_size": 8,
            "kv_lora_rank": 8, "q_lora_rank": 6, "qk_rope_head_dim": 4, "v_head_dim": 6, "qk_nope_head_dim": 2,
            "n_group": 4, "topk_group": 2, "first_k_dense_replace": 1, "n_shared_experts": 1,
            "routed_scaling_factor": 1.0}  # fmt: skip
IMAGE = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4,
         "image_size": 16, "patch_size": 4}  # fmt: skip
SOUND = {**IMAGE, "vocab_size": 9, "conv_dim": [8, 8], "conv_kernel": [10, 3], "conv_stride": [5, 2],
         "num_conv_pos_embeddings": 6, "num_conv_pos_embedding_groups": 4}  # fmt: skip
PYRAMID = {"image_size": 32, "depths": [1, 1], "num_heads": [1, 2], "embed_dim": 16, "window_size": 4, "num_labels": 3,
           "hidden_sizes": [8, 16], "num_attention_heads": [1, 2], "sr_ratios": [2, 1], "decoder_hidden_size": 8,
           }  # fmt: skip
OF = {  # what a family's config says besides LLAMA's
    "bart": BART, "marian": BART, "whisper": BART, "t5": T5, "mt5": T5,
    "deepseek_v3": DEEPSEEK, "qwen2_moe": {**MOE, "shared_expert_intermediate_size": 8}, "qwen3_moe": MOE,
    "olmoe": MOE, "mixtral": {"num_local_experts": 4}, "gpt_oss": {**MOE, "num_local_experts": 4},
    "gpt2": {"n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 8}, "gpt_neox": {"rotary_pct": 0.5},
    "opt": {"ffn_dim": 24, "word_embed_proj_dim": 16}, "mamba": {"state_size": 4},
    "mamba2": {"num_heads": 2, "head_dim": 16, "n_groups": 1, "state_size": 4},
    "recurrent_gemma": {"lru_width": 16, "num_key_value_heads": 1},
    "distilbert": {"dim": 16, "hidden_dim": 24, "n_layers": 2, "n_heads": 4},
    "swin": PYRAMID, "segformer": PYRAMID, "wav2vec2": SOUND, "hubert": SOUND,
    "siglip2_vision_model": {"num_patches": 16},
    **dict.fromkeys(("vit", "deit", "dinov2", "dinov2_with_registers", "dinov3_vit"), IMAGE),
    **dict.fromkeys(("clip_vision_model", "siglip_vision_model"), IMAGE),
}  # fmt: skip
PAIRS = ("clip", "siglip", "siglip2")
TIMM = ("convnext_atto", "convnextv2_atto", "densenet121", "efficientnet_b0", "mixer_s32_224", "mobilenetv2_035",
        "mobilenetv3_small_050", "resnet18", "resnet50", "swin_tiny_patch4_window7_224", "vgg11_bn",
        "vit_tiny_patch16_224", "deit_tiny_distilled_patch16_224")  # fmt: skip


def config_of(kind):
    if kind in ARCHITECTURES:
        return {"architecture": kind, "num_classes": 7}
    if kind in PAIRS:
        towers = {f"{side}_config": config_of(f"{kind}_{side}_model") for side in ("text", "vision")}
        return {"model_type": kind, "projection_dim": 8, **towers}
    return {**LLAMA, "model_type": kind, **OF.get(kind, {})}


@pytest.mark.parametrize(
    "kinds", [("llama", "t5", "resnet18"), pytest.param((*FAMILIES, *TIMM), marks=pytest.mark.slow)]
)
def test_each_number_of_ours_is_in_one_tensor_of_theirs(kinds):
    for kind in kinds:
        config = config_of(kind)
        family = hub.family_of(config)
        shapes = leaves(variable_shapes(family.model(config), family.inputs(config)))
        found, lost = tensors(family.names(config), shapes)
        assert not lost, kind
        assert sum(np.prod(x.shape, dtype=int) for x in found.values()) == sum(x.size for x in shapes.values()), kind


def changed(where, **changes):
    """The rules with those of one tensor changed, or without them."""

    def change(rules):
        made = []
        for rule in rules:
            if where not in rule.theirs:
                made.append(rule)
            elif changes:
                new = {name: x(getattr(rule, name)) if callable(x) else x for name, x in changes.items()}
                made.append(dataclasses.replace(rule, **new))
        return tuple(made)

    return change


def renamed(old, new):
    return lambda theirs: theirs.replace(old, new)


@pytest.fixture
def family(monkeypatch):
    """Sets the rules of LLAMA's family to others."""

    old = FAMILIES["llama"]

    def set_rules(change):
        def names(config):
            made = old.names(config)
            return dataclasses.replace(made, rules=change(made.rules))

        monkeypatch.setitem(FAMILIES, "llama", dataclasses.replace(old, names=names))

    return set_rules


DOWN = "blocks/feed_forward/down/kernel"
WRONG = {  # rules, and the error of a folder in either direction
    "no_rule": (changed("down_proj"), f"no rule.*{DOWN}|{DOWN}: no rule fills it"),
    "typo": (changed("down_proj", ours=(f"{DOWN}s[i]",)), f"no rule.*{DOWN}|{DOWN}: no rule fills it"),
    "one_tensor_of_two": (
        changed("k_proj", theirs=renamed("k_proj", "v_proj")),
        r"v_proj.weight is of our blocks/attention/key/kernel\[0\] and of our blocks/attention/value/kernel\[0\]",
    ),
    "one_tensor_of_all_layers": (
        changed("down_proj", theirs="down.weight"),
        rf"down.weight is of our {DOWN}\[0\] and of our {DOWN}\[1\]",
    ),
    "one_of_ours_of_two": (
        changed("post_attention_layernorm", ours=("blocks/norm1/scale[i]",)),
        r"our blocks/norm1/scale\[0\] is of \S+.0.input_layernorm.weight and of \S+.0.post_attention_layernorm.weight",
    ),
    "unknown_axis": (changed("down_proj", axes="o c -> c x"), r"down_proj.weight' \('o c -> c x'\) does not fit our"),
    "more_axes": (changed("down_proj", axes="o c e -> c o e"), rf"does not fit our {DOWN}\[i\] \[3, 24, 16\]: Value"),
    "no_arrow": (changed("down_proj", axes="c o"), "does not fit our .*: ValueError: 0 axes are named"),
    "few_layers": (changed("down_proj", numbers=range(2)), "does not fit our .*: IndexError"),
    "other_letter": (changed("down_proj", theirs=renamed("{i}", "{j}")), "does not fit our .*: KeyError: 'j'"),
    "few_parts": (
        changed("down_proj", ours=(f"{DOWN}[i]", "blocks/feed_forward/up/kernel[i]"), cut="c", parts=(24,)),
        "does not fit our .*: ValueError: 2 of ours, but 1 parts",
    ),
    "other_parts": (
        changed("down_proj", ours=(f"{DOWN}[i]", "blocks/feed_forward/up/kernel[i]"), cut="c", parts=(24, 8)),
        "does not fit our .*: ValueError",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_rules_that_lose_a_parameter_or_do_not_fit_are_told(name, family, tmp_path):
    """Such folders were written without a word, and read with random numbers, or failed without naming the rule."""
    params = written(tmp_path / "right", LLAMA)
    change, told = WRONG[name]
    family(change)
    with pytest.raises(UserError, match=re.compile(told, re.DOTALL)):
        hub.save(tmp_path / "wrong", params, LLAMA)
    assert not (tmp_path / "wrong").exists()
    with pytest.raises(UserError, match=re.compile(told, re.DOTALL)):
        hub.load(tmp_path / "right")


@pytest.mark.parametrize(
    ("part", "told"),
    [
        (None, "the family of 'llama' is function, expected a deeplab.models.foreign.Family"),
        ({"names": lambda config: ()}, "`names` of the family of a llama returned tuple, expected Names"),
        ({"model": lambda config: None}, "`model` of the family of a llama returned NoneType, expected Module"),
    ],
)
def test_a_family_that_is_none_is_told(part, told, monkeypatch, tmp_path):
    written(tmp_path / "right", LLAMA)
    old = FAMILIES["llama"]
    monkeypatch.setitem(FAMILIES, "llama", old.names if part is None else dataclasses.replace(old, **part))
    with pytest.raises(UserError, match=re.escape(told)):
        hub.load(tmp_path / "right")


def test_statistics_that_no_rule_reads_are_told(monkeypatch, tmp_path):
    config = {"architecture": "resnet18", "num_classes": 7, "model_args": {"layers": [1]}}
    old = hub.family_of(config)
    without = dataclasses.replace(old, names=lambda config: of(old.names(config), "params"))
    monkeypatch.setitem(ARCHITECTURES, "resnet18", without)
    shapes = variable_shapes(old.model(config), old.inputs(config))
    variables = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), shapes)
    told = re.compile("no rule of the resnet18 reads.*batch_stats/stem/norm/mean", re.DOTALL)
    with pytest.raises(UserError, match=told):
        hub.save(tmp_path, variables["params"], config, variables=variables)
