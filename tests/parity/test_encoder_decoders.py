"""Every family of encoder-decoders against transformers, through folders: logits, gradients, caches, and the way back.

All parameters and buffers are random: many start constant, which would hide a wrong place.
"""

import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from deeplab import hub
from deeplab.decode.beam import beam_search
from deeplab.decode.generate import generate
from deeplab.decode.protocol import cached, plain
from deeplab.nn.attention.relative import buckets

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
from tests.parity.folders import assert_same_tensors, gradient_errors, randomized, relative  # noqa: E402  (needs torch)

V, S, T = 99, 12, 9
TIE = "tie_word_embeddings"
T5 = {"vocab_size": V, "d_model": 32, "d_kv": 6, "d_ff": 40, "num_layers": 3, "num_heads": 4,
      "decoder_start_token_id": 0}  # fmt: skip

BART = {"vocab_size": V, "d_model": 32, "max_position_embeddings": 20, "encoder_layers": 3, "decoder_layers": 3,
        "encoder_ffn_dim": 40, "decoder_ffn_dim": 24, "encoder_attention_heads": 4, "decoder_attention_heads": 2,
        "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 2}  # fmt: skip
WHISPER = {**BART, "num_mel_bins": 6, "max_source_positions": S, "max_target_positions": 20}
MARIAN = {**BART, "activation_function": "swish", "scale_embedding": True}
TWO = {"share_encoder_decoder_embeddings": False, "decoder_vocab_size": V, "vocab_size": V + 5}

# Last: whether the head is given weights of its own, whatever the config says.
CASES = {
    "t5": ("T5", T5, False),
    "t5_gated": ("T5", {**T5, "feed_forward_proj": "gated-gelu", "tie_word_embeddings": False}, True),
    "t5_unscaled_tied": ("T5", {**T5, "tie_word_embeddings": False, "num_decoder_layers": 2}, False),
    "t5_near": ("T5", {**T5, "relative_attention_num_buckets": 8, "relative_attention_max_distance": 6}, True),
    "mt5": ("MT5", T5, True),
    "bart": ("Bart", BART, False),
    "bart_scaled": ("Bart", {**BART, "scale_embedding": True, "decoder_layers": 2}, False),
    "marian": ("Marian", MARIAN, False),
    "marian_two_tables": ("Marian", {**MARIAN, **TWO}, False),
    "marian_three_tables": ("Marian", {**MARIAN, **TWO, TIE: False}, False),
    "whisper": ("Whisper", WHISPER, False),
}
HEADS = {"Marian": "MarianMTModel"}
DAILY = ("t5",)
ALL = [pytest.param(name, marks=() if name in DAILY else pytest.mark.slow) for name in CASES]


@functools.cache
def reference(name):
    """A tiny model of transformers in float32 with all numbers random, and its head its own where the case says so."""
    family, sizes, own = CASES[name]
    config = getattr(transformers, f"{family}Config")(**sizes, attn_implementation="eager")
    torch.manual_seed(0)
    model = getattr(transformers, HEADS.get(family, f"{family}ForConditionalGeneration"))(config)
    if own:
        model.lm_head.weight = torch.nn.Parameter(torch.empty_like(model.lm_head.weight))
    for tensor in (*model.parameters(), *model.buffers()):  # some are frozen there
        tensor.requires_grad_(tensor.is_floating_point())
    model = randomized(model)
    for module in model.modules():
        if hasattr(module, "create_weight"):  # Marian's waves, which are not in files
            module.weight = torch.nn.Parameter(module.create_weight(), requires_grad=False)
    return model


@pytest.fixture(scope="module", params=ALL)
def case(request, tmp_path_factory):
    """Their model, and ours, loaded from the folder that theirs wrote."""
    folder = tmp_path_factory.mktemp(request.param)
    theirs = reference(request.param)
    theirs.save_pretrained(folder)
    return theirs, hub.load(folder), folder


def inputs(theirs, length=T, size=S):
    """A source whose second row is shorter, its mask, and a target whose second row is shorter, and its mask.

    Whisper reads sounds of one length, without a mask.
    """
    rng = np.random.default_rng(0)
    masks = [np.arange(n)[None] < np.array([[n], [n - 3]]) for n in (size, length)]
    source, target = (np.where(mask, rng.integers(3, V, mask.shape), 0) for mask in masks)
    if theirs.config.model_type == "whisper":
        return rng.normal(size=(2, 2 * S, 6)).astype(np.float32), None, target, masks[1].astype(int)
    return source, masks[0].astype(int), target, masks[1].astype(int)


def given(source, source_mask):
    """A source as arguments of theirs."""
    if source_mask is None:
        return {"input_features": torch.tensor(source.transpose(0, 2, 1))}
    return {"input_ids": torch.tensor(source), "attention_mask": torch.tensor(source_mask)}


def call(theirs, source, source_mask, target, target_mask=None):
    return theirs(
        **given(source, source_mask),
        decoder_input_ids=torch.tensor(target),
        decoder_attention_mask=None if target_mask is None else torch.tensor(target_mask),
        use_cache=False,
    ).logits


def expected_logits(theirs, *x):
    with torch.no_grad():
        return call(theirs, *x).numpy()


@pytest.mark.parametrize("length", [pytest.param(5, marks=pytest.mark.slow), T])
def test_logits_are_theirs(case, length):
    theirs, ours, _ = case
    x = inputs(theirs, length, length + 3)
    logits, real = jax.jit(ours.model.apply)({"params": ours.params}, *x), x[3][..., None]
    assert relative(logits * real, expected_logits(theirs, *x) * real) < 1e-4


def test_gradients_are_theirs(case, tmp_path):
    """Of all parameters: theirs are written as if they were weights, and read back as ours."""
    theirs, ours, _ = case
    x, weight = inputs(theirs), np.random.default_rng(2).normal(size=(2, T, V)).astype(np.float32)
    weight = weight * x[3][..., None].astype(np.float32)

    def loss(logits):
        return (logits * (torch.tensor(weight) if isinstance(logits, torch.Tensor) else weight)).mean()

    errors = gradient_errors(
        theirs,
        lambda: loss(call(theirs, *x)),
        ours,
        lambda params: loss(ours.model.apply({"params": params}, *x)),
        tmp_path,
    )
    for path, (error, scale, largest) in errors.items():
        assert error <= max(1e-3 * scale, 1e-6 * largest), (path, error, scale)


def decoder_of(ours, *source, length=T, sequences=1):
    return cached(plain(ours.model, {"params": ours.params}), *source, length=length, sequences=sequences)


def test_a_cache_gives_the_same_token_by_token(case):
    theirs, ours, _ = case
    source, mask, target, _ = inputs(theirs)

    @jax.jit
    def read(target):
        decoder = decoder_of(ours, source, mask)

        def step(cache, t):
            logits, cache = decoder.step(jax.lax.dynamic_slice_in_dim(target, t, 1, axis=1), cache, t)
            return cache, logits[:, 0]

        return jax.lax.scan(step, decoder.cache, jnp.arange(T))[1].swapaxes(0, 1)  # T B V -> B T V

    assert relative(read(target), expected_logits(theirs, source, mask, target)) < 1e-4


@pytest.mark.slow
def test_targets_of_unequal_length(case):
    """An index for each row: the second target is shorter."""
    theirs, ours, _ = case
    source, mask, target, _ = inputs(theirs)
    new = np.stack([target[0, 8:9], target[1, 5:6]])

    @jax.jit
    def read():
        decoder = decoder_of(ours, source, mask)
        _, cache = decoder.step(target[:, :8], decoder.cache, 0)
        return decoder.step(new, cache, np.array([8, 5]))[0]

    expected = expected_logits(theirs, source, mask, target)
    assert relative(read()[:, 0], np.stack([expected[0, 8], expected[1, 5]])) < 1e-4


def theirs_written(theirs, source, mask, **more):
    how = {"do_sample": False, "num_beams": 1, "max_new_tokens": T, "min_new_tokens": T, **more}
    return transformers.GenerationMixin.generate(theirs, **given(source, mask), **how)[:, 1:].numpy()


def test_greedy_tokens_are_theirs(case):
    theirs, ours, _ = case
    source, mask, _, _ = inputs(theirs)
    prompt = np.full((2, 1), theirs.config.decoder_start_token_id)
    variables = {"params": ours.params}
    found = generate(ours.model, variables, prompt, T, jax.random.key(0), source=(source, mask), temperature=0.0)
    expected = theirs_written(theirs, source, mask, eos_token_id=None, forced_eos_token_id=None)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.slow
def test_beam_search_finds_what_it_scores(case):
    """The log probability of the best sequence is the sum of those of its tokens without a cache."""
    theirs, ours, _ = case
    source, mask, _, _ = inputs(theirs)

    begin = theirs.config.decoder_start_token_id
    how = {"beam": 3, "length": T, "begin": begin, "end": V}
    tokens, _, log_probs = jax.jit(lambda: beam_search(decoder_of(ours, source, mask, sequences=3), **how))()
    target = np.pad(np.asarray(tokens[:, 0, :-1]), ((0, 0), (1, 0)), constant_values=begin)
    each = jax.nn.log_softmax(expected_logits(theirs, source, mask, target))
    sums = jnp.take_along_axis(each, tokens[:, 0, :, None], axis=-1).sum(axis=(1, 2))
    np.testing.assert_allclose(log_probs[:, 0], sums, rtol=1e-4)


def test_the_way_back_is_bit_equal(case, tmp_path):
    theirs, ours, folder = case
    hub.save(tmp_path, ours.params, ours.config)
    assert_same_tensors(folder, tmp_path)
    again, report = type(theirs).from_pretrained(tmp_path, output_loading_info=True, attn_implementation="eager")
    assert not any(report[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    x = inputs(theirs, 5, 8)
    assert relative(expected_logits(again.eval(), *x), expected_logits(theirs, *x)) < 1e-5
    assert json.loads((tmp_path / "config.json").read_text())["model_type"] == theirs.config.model_type


@pytest.mark.parametrize(("number", "distance"), [(32, 128), (8, 6), (64, 100)])
@pytest.mark.parametrize("causal", [False, True])
def test_buckets_are_theirs(number, distance, causal):
    from transformers.models.t5.modeling_t5 import T5Attention

    far = torch.arange(-2 * distance, 2 * distance + 1)
    expected = T5Attention._relative_position_bucket(far, not causal, number, distance).numpy()
    found = buckets(number, distance, causal)[np.clip(far.numpy(), -distance, distance) + distance]
    np.testing.assert_array_equal(found, expected)


@pytest.mark.slow
@pytest.mark.parametrize("said", [{}, *({TIE: tie} for tie in (False, True))])
@pytest.mark.parametrize("own", [False, True])
def test_t5_ties_what_its_file_ties(said, own, tmp_path):
    """The config only says whether logits are scaled, as folders from before it had a name of its own."""
    name = "t5_near" if own else "t5"
    reference(name).save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    del config["scale_decoder_outputs"], config[TIE]
    (tmp_path / "config.json").write_text(json.dumps(config | said))
    theirs = type(reference(name)).from_pretrained(tmp_path, attn_implementation="eager").eval()
    ours, x = hub.load(tmp_path), inputs(theirs, 5, 8)
    assert ("head" in ours.params) is own
    real = x[3][..., None]
    logits = jax.jit(ours.model.apply)({"params": ours.params}, *x)
    assert relative(logits * real, expected_logits(theirs, *x) * real) < 1e-4
