"""wav2vec 2 and HuBERT against transformers, through folders: outputs, lengths, gradients, and the way back."""

import functools

import jax
import numpy as np
import pytest

from deeplab import hub
from deeplab.hub.preprocess import read_preprocess
from deeplab.models.speech import wav2vec2

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
from safetensors.numpy import load_file, save_file  # noqa: E402  (comes with transformers)

from tests.parity.folders import assert_same_tensors, gradient_errors, randomized, relative  # noqa: E402  (needs torch)

SMALL = {"vocab_size": 11, "hidden_size": 32, "intermediate_size": 40, "num_hidden_layers": 3, "num_attention_heads": 4,
         "conv_dim": [8, 12, 8], "conv_kernel": [10, 3, 2], "conv_stride": [5, 2, 2], "num_conv_pos_embeddings": 6,
         "num_conv_pos_embedding_groups": 4}  # fmt: skip
NORMED = {**SMALL, "feat_extract_norm": "layer", "conv_bias": True, "do_stable_layer_norm": True}

CASES = {
    "ctc": ("Wav2Vec2ForCTC", SMALL),
    "ctc_normed": ("Wav2Vec2ForCTC", {**NORMED, "num_conv_pos_embeddings": 7}),
    "hubert": ("HubertForCTC", SMALL),
    "hubert_normed": ("HubertModel", NORMED),
    "states": ("Wav2Vec2Model", {**SMALL, "mask_time_prob": 0.0, "feat_extract_activation": "relu"}),
    "states_normed": ("Wav2Vec2Model", NORMED),
}
DAILY = ("ctc",)
ALL = [pytest.param(name, marks=() if name in DAILY else pytest.mark.slow) for name in CASES]


@functools.cache
def reference(name):
    kind, sizes = CASES[name]
    family = kind.removesuffix("Model").removesuffix("ForCTC")
    config = getattr(transformers, f"{family}Config")(**sizes, attn_implementation="eager")
    torch.manual_seed(0)
    return randomized(getattr(transformers, kind)(config))


@pytest.fixture(scope="module", params=ALL)
def case(request, tmp_path_factory):
    """Their model, ours, loaded from the folder that theirs wrote, and that folder."""
    folder = tmp_path_factory.mktemp(request.param)
    theirs = reference(request.param)
    theirs.save_pretrained(folder)
    return theirs, hub.load(folder), folder


def inputs(size=300):
    """Sounds of which the second is shorter, and their lengths."""
    lengths = np.array([size, size - 110])
    sound = np.random.default_rng(0).normal(size=(2, size)).astype(np.float32)
    return np.where(np.arange(size)[None] < lengths[:, None], sound, 0), lengths


def call(theirs, sound, lengths=None):
    mask = None if lengths is None else torch.tensor((np.arange(sound.shape[1])[None] < lengths[:, None]).astype(int))
    outputs = theirs(torch.tensor(sound), attention_mask=mask)
    return outputs.logits if hasattr(outputs, "logits") else outputs.last_hidden_state


def ours_of(ours, params, *x):
    outputs = ours.model.apply({"params": params}, *x)
    return getattr(outputs, "states", outputs)


def real(lengths, number):
    """Where a frame is no padding, by the sizes of the convolutions."""
    frames = lengths
    for kernel, stride in zip(SMALL["conv_kernel"], SMALL["conv_stride"], strict=True):
        frames = (frames - kernel) // stride + 1
    return (np.arange(number)[None] < frames[:, None])[..., None].astype(np.float32)


@pytest.mark.parametrize("size", [pytest.param(163, marks=pytest.mark.slow), 300])
def test_outputs_are_theirs(case, size):
    theirs, ours, _ = case
    sound, lengths = inputs(size)
    found = jax.jit(functools.partial(ours_of, ours))
    with torch.no_grad():
        whole, padded = call(theirs, sound).numpy(), call(theirs, sound, lengths).numpy()
    assert relative(found(ours.params, sound), whole) < 1e-4
    mask = real(lengths, padded.shape[1])
    assert mask[1].sum() < mask[0].sum() == padded.shape[1]
    assert relative(found(ours.params, sound, lengths) * mask, padded * mask) < 1e-4


def test_gradients_are_theirs(case, tmp_path):
    theirs, ours, _ = case
    sound, lengths = inputs()
    weights = {}

    def loss(outputs):
        if not weights:
            weights["at"] = np.random.default_rng(2).normal(size=outputs.shape).astype(np.float32)
            weights["at"] *= real(lengths, outputs.shape[1])
        weight = weights["at"]
        return (outputs * (torch.tensor(weight) if isinstance(outputs, torch.Tensor) else weight)).mean()

    errors = gradient_errors(
        theirs,
        lambda: loss(call(theirs, sound, lengths)),
        ours,
        lambda params: loss(ours_of(ours, params, sound, lengths)),
        tmp_path,
    )
    for path, (error, scale, largest) in errors.items():
        assert error <= max(1e-3 * scale, 1e-6 * largest), (path, error, scale)


def test_the_way_back_is_bit_equal(case, tmp_path):
    theirs, ours, folder = case
    hub.save(tmp_path, ours.params, ours.config)
    assert_same_tensors(folder, tmp_path)
    again, report = type(theirs).from_pretrained(tmp_path, output_loading_info=True, attn_implementation="eager")
    assert not any(report[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    sound, lengths = inputs()
    with torch.no_grad():
        before, after = call(theirs, sound, lengths), call(again.eval(), sound, lengths)
    assert relative(after, before) < 1e-6


def test_older_names_and_no_vector_of_hidden_frames(tmp_path):
    """As the published folders of 2020 have them."""
    reference("ctc").save_pretrained(tmp_path)
    today = hub.load(tmp_path).params
    tensors = load_file(tmp_path / "model.safetensors")
    names = {"parametrizations.weight.original0": "weight_g", "parametrizations.weight.original1": "weight_v"}
    older = {}
    for name, tensor in tensors.items():
        end = next((end for end in names if name.endswith(end)), "")
        older[name.removesuffix(end) + names.get(end, "")] = tensor
    assert sum(name.endswith(("weight_g", "weight_v")) for name in older) == 2
    del older["wav2vec2.masked_spec_embed"]
    save_file(older, tmp_path / "model.safetensors", {"format": "pt"})
    loaded = hub.flat(hub.load(tmp_path).params)
    assert set(hub.flat(today)) - set(loaded) == {"embed/mask"}
    for path, leaf in loaded.items():
        np.testing.assert_array_equal(leaf, hub.flat(today)[path], err_msg=path)


@pytest.mark.slow
def test_what_was_trained_before_is_no_head(tmp_path):
    """A folder of pre-training loads as states, and starts a recognizer, whose head is new."""
    config = transformers.Wav2Vec2Config(**SMALL, codevector_dim=8, num_codevectors_per_group=4, proj_codevector_dim=8)
    theirs = randomized(transformers.Wav2Vec2ForPreTraining(config))
    theirs.save_pretrained(tmp_path)
    ours, (sound, lengths) = hub.load(tmp_path), inputs()
    mask = real(lengths, ours_of(ours, ours.params, sound).shape[1])
    with torch.no_grad():
        expected = call(theirs.wav2vec2, sound, lengths).numpy() * mask
    assert relative(ours_of(ours, ours.params, sound, lengths) * mask, expected) < 1e-4
    recognizer = wav2vec2.Wav2Vec2(
        num_tokens=5, convs=((8, 10, 5), (12, 3, 2), (8, 2, 2)), taps=6, groups=4, num_layers=3, num_heads=4, width=32,
        hidden=40,
    )  # fmt: skip
    fresh = jax.jit(recognizer.init)(jax.random.key(0), sound)["params"]
    started = hub.flat(hub.weights(tmp_path, skip=["^head/"]).load(fresh))
    for path, leaf in hub.flat(ours.params).items():
        np.testing.assert_array_equal(started[path], leaf, err_msg=path)


def recordings():
    """Sounds of several lengths: shorter than what Whisper reads, and longer."""
    rng = np.random.default_rng(0)
    times = [np.arange(size) / 16_000 for size in (5_000, 33_000)]
    return [(0.3 * np.sin(2e3 * t**2) + 0.1 * rng.normal(size=t.shape)).astype(np.float32) for t in times]


@pytest.mark.parametrize("mels", [80, 128])
def test_spectrograms_are_theirs(mels, tmp_path):
    theirs = transformers.WhisperFeatureExtractor(feature_size=mels, chunk_length=2)
    theirs.save_pretrained(tmp_path)
    found = read_preprocess(tmp_path, {})(recordings())
    expected = theirs(recordings(), sampling_rate=16_000, return_tensors="np")["input_features"].transpose(0, 2, 1)
    assert found.shape == expected.shape == (2, 200, mels)
    np.testing.assert_allclose(found, expected, atol=1e-4)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("normalize", [False, True])
def test_waveforms_are_theirs(masked, normalize, tmp_path):
    theirs = transformers.Wav2Vec2FeatureExtractor(do_normalize=normalize, return_attention_mask=masked)
    theirs.save_pretrained(tmp_path)
    sound, lengths = read_preprocess(tmp_path, {})(recordings())
    expected = theirs(recordings(), sampling_rate=16_000, padding=True, return_tensors="np")
    np.testing.assert_allclose(sound, expected["input_values"], atol=1e-5)
    assert (lengths is not None) is masked
    if masked:
        np.testing.assert_array_equal(lengths, expected["attention_mask"].sum(axis=1))
