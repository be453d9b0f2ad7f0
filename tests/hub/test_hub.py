"""Folders: what is written is read, on any mesh; what is wrong is said at once, by name and shape on both sides."""

import fnmatch
import itertools
import json
import re
import sys
import types

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util

from deeplab import hub, scale
from deeplab.core.errors import UserError
from deeplab.hub.families import variable_shapes
from deeplab.hub.files import read_headers, read_tensor, write_file
from deeplab.hub.folder import find, folder_headers
from deeplab.hub.mapping import flat
from deeplab.train.initialize import with_weights
from deeplab.train.state import State
from deeplab.tuning.lora import Lora

LLAMA = {
    "model_type": "llama", "vocab_size": 24, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 3,
    "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 16,
}  # fmt: skip
TIED = {**LLAMA, "tie_word_embeddings": True}
MOE = {
    **LLAMA, "model_type": "qwen3_moe", "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 8,
    "head_dim": 4,
}  # fmt: skip

T5 = {"model_type": "t5", "vocab_size": 24, "d_model": 16, "d_kv": 4, "d_ff": 24, "num_layers": 2, "num_heads": 4}


def random(config, dtype=jnp.float32, seed=0):
    """The config's parameters, all random."""
    rng = np.random.default_rng(seed)
    shapes = variable_shapes(hub.family_of(config).model(config), hub.family_of(config).inputs(config))["params"]
    return jax.tree.map(lambda x: jnp.asarray(rng.normal(size=x.shape), dtype), shapes)


def written(folder, config=LLAMA, **more):
    params = random(config)
    hub.save(folder, params, config, **more)
    return params


def assert_equal(ours, theirs):
    jax.tree.map(np.testing.assert_array_equal, ours, theirs)


def rewrite(folder, change):
    """The folder's tensors, changed as a dict of arrays."""
    headers, _ = folder_headers(folder)
    tensors = {name: read_tensor(header) for name, header in headers.items()}
    change(tensors)
    written = {name: header for name, header in headers.items() if name in tensors}
    example = next(iter(headers.values()))
    for name, value in tensors.items():
        written[name] = written.get(name, example)._replace(shape=value.shape)
    write_file(folder / "model.safetensors", written.items(), tensors.__getitem__)


WRITTEN = ((LLAMA, jnp.float32, 3000), (TIED, jnp.bfloat16, 10**9), (MOE, jnp.bfloat16, 3000))
REST = [row for row in itertools.product((LLAMA, TIED, MOE), (jnp.float32, jnp.bfloat16), (10**9, 3000))
        if row not in WRITTEN]  # fmt: skip


@pytest.mark.parametrize(
    ("config", "dtype", "shard_bytes"), [*WRITTEN, *(pytest.param(*row, marks=pytest.mark.slow) for row in REST)]
)
def test_what_is_written_is_read(tmp_path, config, dtype, shard_bytes):
    params = random(config, dtype)
    hub.save(tmp_path, params, config, shard_bytes=shard_bytes)
    assert (len(list(tmp_path.glob("*.safetensors"))) > 1) == (shard_bytes < 10**9)
    loaded = hub.load(tmp_path)
    assert_equal(loaded.params, params)
    assert {x.dtype for x in jax.tree.leaves(loaded.params)} == {jnp.dtype(dtype)}
    assert loaded.tokenizer is None
    assert hub.load(tmp_path, dtype=jnp.float16).params["norm"]["scale"].dtype == jnp.float16


@pytest.mark.parametrize("config", [LLAMA, MOE])
def test_a_mesh_gets_its_shards(tmp_path, config):
    params, mesh = written(tmp_path, config), scale.make_mesh("data=2,fsdp=2,model=2")
    loaded = hub.load(tmp_path, mesh=mesh)
    assert_equal(loaded.params, params)
    spec = loaded.params["blocks"]["attention"]["query"]["kernel"].sharding.spec
    assert spec == jax.sharding.PartitionSpec(None, "fsdp", "model")


def test_a_folder_is_what_safetensors_reads(tmp_path):
    load_file = pytest.importorskip("safetensors.numpy").load_file
    written(tmp_path)
    theirs = load_file(tmp_path / "model.safetensors")
    headers, _ = read_headers(tmp_path / "model.safetensors")
    assert set(theirs) == set(headers)
    for name, value in theirs.items():
        np.testing.assert_array_equal(read_tensor(headers[name]), value)


def test_everything_that_is_wrong_is_one_error(tmp_path):
    written(tmp_path)

    def change(tensors):
        del tensors["model.norm.weight"]
        tensors["model.extra.weight"] = np.zeros((2, 3), np.float32)
        tensors["model.layers.1.mlp.up_proj.weight"] = np.zeros((24, 5), np.float32)

    rewrite(tmp_path, change)
    with pytest.raises(UserError) as error:
        hub.load(tmp_path)
    assert str(error.value).splitlines()[1:] == [
        "  shape: model.layers.1.mlp.up_proj.weight is [24, 5], expected [24, 16] for our "
        "blocks/feed_forward/up/kernel[1]",
        "  missing: model.norm.weight [16], for our norm/scale",
        "  unexpected: model.extra.weight [2, 3] F32; no rule reads it",
    ]


def test_a_truncated_file_is_found_before_a_tensor_is_read(tmp_path):
    written(tmp_path)
    file = tmp_path / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-8])
    with pytest.raises(UserError, match=r"model.safetensors: \S+ ends at byte [\d,]+ of [\d,]+; it is truncated"):
        hub.load(tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ((2**40).to_bytes(8, "little") + b"{}", "the header claims 1,099,511,627,776 bytes, and the file has 10"),
        (b"abc", "the file has 3"),
        ((6).to_bytes(8, "little") + b"[1, 2]", "no table of tensors"),
        ((5).to_bytes(8, "little") + b"{nope", "no table of tensors"),
    ],
)
def test_a_header_that_lies(tmp_path, content, message):
    written(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(content)
    with pytest.raises(UserError, match=message):
        hub.load(tmp_path)


def test_sizes_that_contradict_shapes(tmp_path):
    written(tmp_path)
    file = tmp_path / "model.safetensors"
    file.write_bytes(file.read_bytes().replace(b'"shape": [24, 16]', b'"shape": [24, 17]', 1))
    with pytest.raises(UserError, match=r"is \[24, 17\] F32, and has 1,536 bytes"):
        hub.load(tmp_path)


def test_files_that_the_index_names_are_there(tmp_path):
    written(tmp_path, shard_bytes=3000)
    gone = sorted(tmp_path.glob("*.safetensors"))[1]
    gone.unlink()
    with pytest.raises(UserError, match=f"{gone.name}: the file is missing, the index names it"):
        hub.load(tmp_path)


def test_a_pickle_is_refused(tmp_path):
    written(tmp_path)
    (tmp_path / "model.safetensors").rename(tmp_path / "pytorch_model.bin")
    with pytest.raises(
        UserError, match=r"pytorch_model.bin is a pickle, which runs code .* Convert it where you trust"
    ):
        hub.load(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model_type": "lama"}, "model_type 'lama' is not supported; did you mean .*'llama'"),
        ({"quantization_config": {"bits": 4}}, "the weights are quantized"),
        ({"hidden_act": "gelu"}, "hidden_act='gelu'; this family is written for 'silu' alone"),
        ({"rope_scaling": {"type": "dynamic", "factor": 2.0}}, "scales rotations by 'dynamic'; known are"),
    ],
)
def test_a_config_that_is_not_supported(tmp_path, change, message):
    written(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({**LLAMA, **change}))
    with pytest.raises(UserError, match=message):
        hub.load(tmp_path)


@pytest.mark.parametrize("source", ["/nowhere/at/all", "nowhere"])
def test_a_folder_that_is_not_there(source):
    with pytest.raises(UserError, match=f"{source} is not a folder"):
        hub.load(source)


def test_either_of_two_tied_names_will_do(tmp_path):
    params = written(tmp_path, TIED)
    rewrite(tmp_path, lambda t: t.__setitem__("lm_head.weight", t["model.embed_tokens.weight"]))
    assert_equal(hub.load(tmp_path).params, params)
    rewrite(tmp_path, lambda t: t.__delitem__("model.embed_tokens.weight"))
    assert_equal(hub.load(tmp_path).params, params)


def test_tied_tensors_that_differ(tmp_path):
    written(tmp_path, TIED)
    rewrite(tmp_path, lambda t: t.__setitem__("lm_head.weight", t["model.embed_tokens.weight"] + 1))
    with pytest.raises(UserError, match=r"tied: model.embed_tokens.weight \[24, 16\] F32 and lm_head.weight .* differ"):
        hub.load(tmp_path)


@pytest.mark.parametrize("own", [False, True])
def test_the_file_says_whether_t5_has_a_head_of_its_own(tmp_path, own):
    """Whatever its config says, where `tie_word_embeddings` tells whether logits are scaled."""
    params = written(tmp_path, {**T5, "tie_word_embeddings": not own})
    (tmp_path / "config.json").write_text(json.dumps({**T5, "tie_word_embeddings": own}))
    assert_equal(hub.load(tmp_path).params, params)
    rewrite(tmp_path, lambda t: t.__setitem__("decoder.embed_tokens.weight", t.pop("shared.weight")))
    assert_equal(hub.load(tmp_path).params, params)


def test_names_without_their_prefix(tmp_path):
    params = written(tmp_path, TIED)

    def bare(tensors):
        for name in list(tensors):
            tensors[name.removeprefix("model.")] = tensors.pop(name)

    rewrite(tmp_path, bare)
    assert_equal(hub.load(tmp_path).params, params)


def test_parameters_of_another_model_are_not_written(tmp_path):
    """What is missing, too: transformers would start it anew with no more than a warning."""
    params = flat(random(LLAMA))
    params |= {"norm/scale": jnp.ones(3), "adapters/head/kernel/a": jnp.ones((16, 2))}
    del params["head/kernel"]
    with pytest.raises(UserError) as error:
        hub.save(tmp_path / "new", traverse_util.unflatten_dict(params, sep="/"), LLAMA)
    assert str(error.value).splitlines() == [
        "the parameters are not those of the config's llama:",
        "  missing: head/kernel [16, 24]",
        "  shape: norm/scale is [3], expected [16]",
        "  unexpected: adapters/head/kernel/a [16, 2]; merge them first (Lora.merged)",
    ]
    assert not (tmp_path / "new").exists()


def test_what_is_skipped_starts_anew_or_is_an_error(tmp_path):
    """One pattern is one, not its letters; one that no parameter has would leave all as it is, without a word."""
    params = written(tmp_path)
    loaded = hub.load(tmp_path, skip="^head/").params
    assert_equal(loaded["blocks"], params["blocks"])
    assert not np.array_equal(loaded["head"]["kernel"], params["head"]["kernel"])
    assert hub.weights(tmp_path, skip="^head/").skip == ("^head/",)
    with pytest.raises(UserError, match="'haed/' matches no parameter; did you mean 'head/kernel'"):
        hub.load(tmp_path, skip=["haed/"])
    with pytest.raises(UserError, match="'haed/' matches no parameter; did you mean 'head/kernel'"):
        with_weights(state(params), hub.weights(tmp_path, skip="haed/"))


def test_a_config_that_says_too_little_is_an_error(tmp_path):
    params = written(tmp_path)
    less = {name: said for name, said in LLAMA.items() if name != "max_position_embeddings"}
    (tmp_path / "config.json").write_text(json.dumps(less), encoding="utf-8")
    for what in (lambda: hub.load(tmp_path), lambda: hub.save(tmp_path, params, less)):
        with pytest.raises(UserError, match=r"config.json has no 'max_position_embeddings', which a llama needs"):
            what()


@pytest.mark.parametrize("wrong", [{"num_attention_heads": 0}, {"hidden_size": "16"}, {"num_key_value_heads": 3}])
def test_a_config_that_contradicts_itself(tmp_path, wrong):
    written(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({**LLAMA, **wrong}), encoding="utf-8")
    with pytest.raises(UserError, match=r"config.json describes no llama|the sizes of the config's Decoder contradict"):
        hub.load(tmp_path)


def test_a_dtype_is_one_of_floats(tmp_path):
    written(tmp_path)
    for dtype in ("int8", "bf16"):
        with pytest.raises(UserError, match=f"dtype is {dtype}, expected one of floats"):
            hub.load(tmp_path, dtype=dtype)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"num_classes": 0}, "num_classes is 0, expected a whole number, 1 or more"),
        ({"num_classes": "3"}, "num_classes is '3', expected a whole number"),
        ({"mesh": "fsdp=1"}, "mesh is 'fsdp=1', expected a mesh, such as dl.scale.make_mesh"),
        ({"seed": -1}, "seed is -1, expected 0 or more"),
    ],
)
def test_arguments_that_are_none(tmp_path, wrong, message):
    written(tmp_path)
    with pytest.raises(UserError, match=message):
        hub.load(tmp_path, **wrong)


def state(params):
    return State(step=jnp.int32(0), params=params, variables={}, opt_state=(), key=jax.random.key(0))


def test_weights_of_an_experiment(tmp_path):
    """Those that are skipped keep their values, whatever their shapes in the folder."""
    params, first = written(tmp_path), random({**LLAMA, "vocab_size": 30}, seed=1)
    weights = hub.weights(tmp_path, skip=["head/", "token_embedding/"])
    found = with_weights(state(first), weights).params
    assert_equal(found["blocks"], params["blocks"])
    assert_equal(found["head"], first["head"])
    assert len(weights.digest) == 64
    with pytest.raises(UserError, match=r"lm_head.weight is \[24, 16\], expected \[30, 16\]"):
        with_weights(state(first), hub.weights(tmp_path, skip=["token_embedding/"]))


def test_weights_of_a_part(tmp_path):
    params, first = written(tmp_path), random(LLAMA, seed=1)
    both = {"left": first, "right": first}
    found = with_weights(state(both), hub.weights(tmp_path, path="params/right")).params
    assert_equal(found, {"left": first, "right": params})


OLD_AND_NEW = [
    ("llama", {"rope_theta": 5e5}, {"rope_parameters": {"rope_theta": 5e5, "rope_type": "default"}}),
    (
        "llama",
        {"rope_theta": 5e5, "rope_scaling": {"type": "linear", "factor": 2.0}},
        {"rope_parameters": {"rope_theta": 5e5, "rope_type": "linear", "factor": 2.0}},
    ),
    (
        "gemma3_text",
        {"rope_theta": 1e6, "rope_local_base_freq": 1e4, "rope_scaling": {"rope_type": "linear", "factor": 8.0},
         "sliding_window_pattern": 3},
        {"rope_parameters": {
            "full_attention": {"rope_theta": 1e6, "rope_type": "linear", "factor": 8.0},
            "sliding_attention": {"rope_theta": 1e4, "rope_type": "default"},
         }, "layer_types": ["sliding_attention", "sliding_attention", "full_attention"]},
    ),
    (
        "gpt_neox",
        {"rotary_pct": 0.5, "rotary_emb_base": 5e4},
        {"rope_parameters": {"rope_theta": 5e4, "partial_rotary_factor": 0.5, "rope_type": "default"}},
    ),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "old", "new"), OLD_AND_NEW)
def test_older_configs_say_the_same(kind, old, new):
    common = {**LLAMA, "model_type": kind, **({} if kind == "llama" else {"hidden_act": "gelu_pytorch_tanh"})}
    older, newer = (hub.family_of(common).model({**common, **said}) for said in (old, new))
    assert older == newer
    assert newer != hub.family_of(common).model({**common, **new, "rope_parameters": {"rope_theta": 3.0}})


def test_every_parameter_has_a_rule():
    """A rule for each leaf, and no two for one."""
    for config in (LLAMA, TIED, MOE):
        rules = hub.family_of(config).names(config).rules
        paths = [re.sub(r"\[.*", "", path) for rule in rules for path in rule.ours]
        assert sorted(paths) == sorted(flat(random(config)))


def test_the_dtype_that_a_config_says_is_that_of_the_parameters(tmp_path):
    """Not that of the numbers of batches, which transformers would refuse."""
    config = {"model_type": "segformer", "architectures": ["SegformerForSemanticSegmentation"], "depths": [1],
              "hidden_sizes": [4], "num_attention_heads": [1], "sr_ratios": [1], "decoder_hidden_size": 4}  # fmt: skip
    variables = jax.jit(hub.family_of(config).model(config).init)(jax.random.key(0), jnp.zeros((1, 8, 8, 3)))
    counts = {"batch_counts": {"head": {"fuse": {"norm": {"batches": jnp.int32(17)}}}}}
    hub.save(tmp_path, variables["params"], config, variables={**variables, **counts})
    assert hub.load(tmp_path).config["dtype"] == "float32"


def test_the_activation_before_the_classes_is_its_own():
    """That of ModernBERT's head, which is not the one of its layers."""
    config = {**LLAMA, "model_type": "modernbert", "architectures": ["ModernBertForSequenceClassification"]}
    pool = hub.family_of(config).model({**config, "classifier_activation": "relu"}).head.pool
    assert pool.activation is nn.relu
    assert hub.family_of(config).model({**config, "hidden_activation": "relu"}).head.pool.activation is not nn.relu


def test_what_published_configs_leave_out():
    """Falcon 7B's says no context; OLMo 3's own base is not that of its elders."""
    falcon = {"model_type": "falcon", "vocab_size": 9, "hidden_size": 8, "num_hidden_layers": 1}
    model = hub.family_of(falcon).model({**falcon, "num_attention_heads": 2})
    assert model.context == 2048
    config = {**LLAMA, "model_type": "olmo3"}
    told = {**config, "rope_theta": 500_000.0}
    assert hub.family_of(config).model(config) == hub.family_of(config).model(told)
    config = {**MOE, "model_type": "gpt_oss", "num_local_experts": 4}
    yarn = {"rope_type": "yarn", "factor": 32.0, "original_max_position_embeddings": 4096, "truncate": False}
    for name in ("rope_scaling", "rope_parameters"):
        assert hub.family_of(config).model(config) == hub.family_of(config).model({**config, name: yarn})


MODERN = {**LLAMA, "model_type": "modernbert"}
GATED = {**T5, "feed_forward_proj": "gated-gelu"}


@pytest.mark.parametrize(
    ("config", "one", "other"),
    [
        (T5, {"dense_act_fn": "gelu"}, {"feed_forward_proj": "gelu"}),
        (GATED, {"dense_act_fn": "relu"}, {"feed_forward_proj": "gated-relu"}),
        (
            MODERN,
            {"rope_scaling": {"type": "linear", "factor": 4.0}},
            {
                "rope_parameters": {
                    "full_attention": {"rope_theta": 160_000.0, "rope_type": "linear", "factor": 4.0},
                    "sliding_attention": {"rope_theta": 10_000.0, "rope_type": "linear", "factor": 4.0},
                }
            },
        ),
    ],
)
def test_what_a_config_says_twice(config, one, other):
    plain, first, second = (hub.family_of(config).model({**config, **said}) for said in ({}, one, other))
    assert first == second != plain


def test_a_number_that_json_has_none_for(tmp_path):
    """Transformers writes infinity as a table."""
    config = {"model_type": "mamba2", "vocab_size": 9, "hidden_size": 8, "num_hidden_layers": 1, "num_heads": 2,
              "head_dim": 8, "n_groups": 1, "state_size": 4}  # fmt: skip
    hub.save(tmp_path, random(config), config)
    for high in ("Infinity", 0.5):
        said = json.dumps({**config, "time_step_limit": [0.0, {"__float__": high}]})
        (tmp_path / "config.json").write_text(said, encoding="utf-8")
        expected = hub.family_of(config).model({**config, "time_step_limit": [0.0, float(high)]})
        assert hub.load(tmp_path).model == expected


def test_adapters_of_a_kernel_that_no_rule_transposes_are_refused_by_what_it_is(tmp_path):
    config = {"model_type": "gpt2", "vocab_size": 9, "n_embd": 8, "n_layer": 1, "n_head": 2, "n_positions": 4}
    params, lora = random(config), Lora(rank=2, where="mlp|feed_forward")
    params = {**params, "adapters": lora.init(jax.random.key(0), params)}
    with pytest.raises(UserError, match=r"holds our \S+ as \[in, out\], which is no plain linear layer"):
        hub.save_adapters(tmp_path, params, lora, config)


def test_what_is_downloaded_holds_the_chat_template(tmp_path, monkeypatch):
    """Newer folders have it in a file of its own, which `chat` reads."""
    asked = []
    download = types.SimpleNamespace(
        snapshot_download=lambda name, allow_patterns: asked.extend(allow_patterns) or name
    )
    monkeypatch.setitem(sys.modules, "huggingface_hub", download)
    monkeypatch.chdir(tmp_path)
    assert str(find("organization/name")) == "organization/name"
    for file in ("config.json", "tokenizer.json", "model.safetensors", "chat_template.jinja"):
        assert any(fnmatch.fnmatch(file, pattern) for pattern in asked), file
