"""Adapters against PEFT, through folders: theirs are read, ours are written, and both compute the same."""

import jax
import numpy as np
import pytest

from deeplab import hub, tuning
from deeplab.core.errors import UserError
from deeplab.hub.mapping import flat
from tests.parity.folders import randomized, relative

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
peft = pytest.importorskip("peft")
# peft 0.21 asks transformers 5.24 by an older name.
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")

SIZES = {
    "vocab_size": 24, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4,
    "max_position_embeddings": 16,
}  # fmt: skip
LLAMA = transformers.LlamaConfig(**SIZES, num_key_value_heads=2, pad_token_id=None)
BERT = transformers.BertConfig(**SIZES, num_labels=3)
MODELS = {
    "llama": (transformers.LlamaForCausalLM, LLAMA, ["q_proj", "v_proj", "down_proj"], None),
    "bert": (transformers.BertForSequenceClassification, BERT, ["query", "output.dense"], ["classifier"]),
}
TOKENS = np.random.default_rng(0).integers(1, 24, (2, 7))


def theirs(name, tmp_path, **options):
    """Their model with random weights and random adapters, both in folders."""
    kind, config, modules, whole = MODELS[name]
    base = randomized(kind(config))
    base.save_pretrained(tmp_path / "base")
    adapter = peft.LoraConfig(r=3, lora_alpha=6, target_modules=modules, modules_to_save=whole, **options)
    model = peft.get_peft_model(base, adapter).eval()
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for path, tensor in model.named_parameters():
            if tensor.requires_grad:
                tensor.add_(0.2 * torch.randn(tensor.shape, generator=generator))
            del path
    model.save_pretrained(tmp_path / "adapters")
    return model


def logits(model):
    with torch.no_grad():
        return model(torch.tensor(TOKENS)).logits.numpy()


LORA, DORA, SCALED = {}, {"use_dora": True}, {"use_rslora": True}
WAYS = [
    ("llama", LORA),
    ("bert", DORA),
    *(pytest.param(*way, marks=pytest.mark.slow) for way in (("llama", DORA), ("bert", LORA))),
    *(pytest.param(name, SCALED, marks=pytest.mark.slow) for name in MODELS),
]


@pytest.mark.parametrize(("name", "options"), WAYS)
def test_both_ways(name, options, tmp_path):
    model = theirs(name, tmp_path, **options)
    expected, loaded = logits(model), hub.load(tmp_path / "base")
    ours = hub.load_adapters(tmp_path / "adapters", loaded)
    assert relative(jax.jit(loaded.model.apply)({"params": loaded.params}, TOKENS), expected) > 0.01
    assert relative(jax.jit(ours.model.apply)({"params": ours.params}, TOKENS), expected) < 1e-4
    merged = ours.model.lora.merged(ours.params)
    assert relative(loaded.model.apply({"params": merged}, TOKENS), expected) < 1e-4
    # The plain model is still there; a head that they save whole is theirs.
    for path, leaf in flat(tuning.lora.base(ours.params)).items():
        assert np.array_equal(leaf, flat(loaded.params)[path]) != path.startswith("head/classes"), path

    hub.save_adapters(tmp_path / "ours", ours.params, ours.model.lora, ours.config, also="^head/classes/")
    kind = MODELS[name][0]
    back = peft.PeftModel.from_pretrained(kind.from_pretrained(tmp_path / "base"), tmp_path / "ours").eval()
    assert relative(logits(back), expected) < 1e-5
    again = hub.load_adapters(tmp_path / "ours", loaded)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), again.params, ours.params)


def test_the_merged_folder_is_theirs_merged(tmp_path):
    model = theirs("llama", tmp_path)
    ours = hub.load_adapters(tmp_path / "adapters", hub.load(tmp_path / "base"))
    hub.save(tmp_path / "merged", ours.model.lora.merged(ours.params), ours.config)
    merged = transformers.LlamaForCausalLM.from_pretrained(tmp_path / "merged")
    assert relative(logits(merged), logits(model.merge_and_unload())) < 1e-5


def test_what_does_not_fit_is_said_at_once(tmp_path):
    theirs("llama", tmp_path)
    other = randomized(transformers.LlamaForCausalLM(transformers.LlamaConfig(**{**SIZES, "num_hidden_layers": 3})))
    other.save_pretrained(tmp_path / "other")
    with pytest.raises(UserError, match=r"missing: the adapters of our blocks/attention/query/kernel/a at \[\[2\]\]"):
        hub.load_adapters(tmp_path / "adapters", hub.load(tmp_path / "other"))
    file = tmp_path / "adapters" / "adapter_config.json"
    file.write_text(
        file.read_text(encoding="utf-8").replace('"init_lora_weights": true', '"init_lora_weights": "pissa"'),
        encoding="utf-8",
    )
    with pytest.raises(UserError, match="init_lora_weights='pissa' changes the model beneath the adapters"):
        hub.load_adapters(tmp_path / "adapters", hub.load(tmp_path / "base"))
    with pytest.raises(UserError, match=r"has no adapter_config.json; give a folder that PEFT wrote"):
        hub.load_adapters(tmp_path / "base", hub.load(tmp_path / "base"))


def test_a_part_of_a_fused_kernel_is_refused(tmp_path):
    config = transformers.GPT2Config(n_layer=2, n_head=2, n_embd=8, n_positions=16, vocab_size=24)
    randomized(transformers.GPT2LMHeadModel(config)).save_pretrained(tmp_path)
    loaded = hub.load(tmp_path)
    lora = tuning.Lora(where="qkv|query")
    params = {**loaded.params, "adapters": lora.init(jax.random.key(0), loaded.params)}
    with pytest.raises(UserError, match=r"c_attn.weight holds our .* which is no plain linear layer"):
        hub.save_adapters(tmp_path / "ours", params, lora, loaded.config)
