"""Every family of encoders against transformers, through folders: outputs, masks, gradients, and the way back."""

import functools

import jax
import numpy as np
import pytest

from deeplab import hub

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
from tests.parity.folders import assert_same_tensors, gradient_errors, randomized, relative  # noqa: E402  (needs torch)

V, T = 99, 12
TEXT = {"vocab_size": V, "hidden_size": 32, "intermediate_size": 40, "num_hidden_layers": 3, "num_attention_heads": 4,
        "max_position_embeddings": 32}  # fmt: skip
DISTIL = {"vocab_size": V, "dim": 32, "hidden_dim": 40, "n_layers": 3, "n_heads": 4, "max_position_embeddings": 32}
IMAGE = {"hidden_size": 32, "intermediate_size": 40, "num_hidden_layers": 3, "num_attention_heads": 4,
         "image_size": [16, 24], "patch_size": 4}  # fmt: skip

MODERN = {**TEXT, "num_hidden_layers": 7, "local_attention": 6, "pad_token_id": 0, "bos_token_id": 1,
          "eos_token_id": 2, "cls_token_id": 1, "sep_token_id": 2}  # fmt: skip

CAPTION = {**TEXT, "hidden_size": 24, "eos_token_id": V - 1}
SQUARE = {**IMAGE, "image_size": 16}
FREE = {**{k: v for k, v in IMAGE.items() if k != "image_size"}, "num_patches": 16}

WINDOWS = {"image_size": 48, "embed_dim": 16, "depths": [2, 2], "num_heads": [2, 4], "window_size": 3, "num_labels": 7}
MIX = {"image_size": 48, "depths": [2, 1, 1, 1], "hidden_sizes": [8, 16, 20, 24], "num_attention_heads": [1, 2, 5, 3],
       "decoder_hidden_size": 20, "num_labels": 7}  # fmt: skip
OTHER_SIZES = {
    "siglip2": [8, 36],
    "siglip2_vision_model": [28, 12],
    "dinov2": [28, 12],
    "dinov2_with_registers": [28, 12],
    "segformer": [70, 85],
    "swin": [57, 50],
}
"""Images of another size than the config's, where a model reads them."""

CASES = {
    "bert": ("BertModel", "Bert", TEXT),
    "bert_classes": ("BertForSequenceClassification", "Bert", {**TEXT, "num_labels": 5}),
    "bert_masked": ("BertForMaskedLM", "Bert", TEXT),
    "roberta": ("RobertaModel", "Roberta", TEXT),
    "roberta_classes": ("RobertaForSequenceClassification", "Roberta", {**TEXT, "num_labels": 5}),
    "roberta_masked": ("RobertaForMaskedLM", "Roberta", TEXT),
    "distilbert": ("DistilBertModel", "DistilBert", DISTIL),
    "distilbert_classes": ("DistilBertForSequenceClassification", "DistilBert", {**DISTIL, "num_labels": 5}),
    "distilbert_masked": ("DistilBertForMaskedLM", "DistilBert", DISTIL),
    "modernbert": ("ModernBertModel", "ModernBert", MODERN),
    "modernbert_classes": (
        "ModernBertForSequenceClassification",
        "ModernBert",
        {**MODERN, "num_labels": 5, "classifier_pooling": "mean", "attention_bias": True, "mlp_bias": True},
    ),
    "modernbert_masked": ("ModernBertForMaskedLM", "ModernBert", MODERN),
    "vit": ("ViTModel", "ViT", IMAGE),
    "vit_classes": ("ViTForImageClassification", "ViT", {**IMAGE, "num_labels": 7, "qkv_bias": False}),
    "deit": ("DeiTModel", "DeiT", IMAGE),
    "deit_taught": ("DeiTForImageClassificationWithTeacher", "DeiT", {**IMAGE, "num_labels": 7}),
    "dinov2": ("Dinov2Model", "Dinov2", {**IMAGE, "mlp_ratio": 2, "image_size": 16}),
    "dinov2_swiglu": ("Dinov2Model", "Dinov2", {**IMAGE, "mlp_ratio": 2, "image_size": 16, "use_swiglu_ffn": True}),
    "dinov2_registers": (
        "Dinov2WithRegistersForImageClassification",
        "Dinov2WithRegisters",
        {**IMAGE, "mlp_ratio": 2, "image_size": 16, "num_register_tokens": 3, "num_labels": 7},
    ),
    "dinov3": ("DINOv3ViTModel", "DINOv3ViT", {**IMAGE, "num_register_tokens": 3}),
    "dinov3_gated": ("DINOv3ViTModel", "DINOv3ViT", {**IMAGE, "num_register_tokens": 3, "use_gated_mlp": True}),
    "clip": ("CLIPModel", "CLIP", {"text_config": CAPTION, "vision_config": SQUARE, "projection_dim": 20}),
    "clip_text": ("CLIPTextModelWithProjection", "CLIPText", {**CAPTION, "eos_token_id": 2, "projection_dim": 20}),
    "clip_vision": ("CLIPVisionModel", "CLIPVision", SQUARE),
    "siglip": ("SiglipModel", "Siglip", {"text_config": {**CAPTION, "projection_size": 32}, "vision_config": SQUARE}),
    "siglip_vision": ("SiglipVisionModel", "SiglipVision", SQUARE),
    "siglip2": ("Siglip2Model", "Siglip2", {"text_config": {**CAPTION, "projection_size": 32}, "vision_config": FREE}),
    "siglip2_vision": ("Siglip2VisionModel", "Siglip2Vision", FREE),
    "segformer": ("SegformerForSemanticSegmentation", "Segformer", MIX),
    "segformer_classes": ("SegformerForImageClassification", "Segformer", MIX),
    "swin_classes": ("SwinForImageClassification", "Swin", WINDOWS),
    "siglip_text": ("SiglipTextModel", "SiglipText", CAPTION),
}
DAILY = ("bert_classes", "vit")
ALL = [pytest.param(name, marks=() if name in DAILY else pytest.mark.slow) for name in CASES]


@functools.cache
def reference(name):
    kind, family, sizes = CASES[name]
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


def inputs(theirs, length=T, seed=0):
    """Arguments of theirs and of ours: text whose second row is shorter, or images."""
    rng, vision = np.random.default_rng(seed), getattr(theirs.config, "vision_config", theirs.config)
    free, kind = hasattr(vision, "num_patches"), theirs.config.model_type
    size = [16, 24] if free else getattr(vision, "image_size", [])
    size = size if length == T else OTHER_SIZES.get(kind, size)
    images = rng.normal(size=(2, *(size if isinstance(size, list) else [size, size]), 3)).astype(np.float32)
    pixels = {"pixel_values": torch.tensor(images.transpose(0, 3, 1, 2))} if size else {}
    pixels = patches(images, vision.patch_size) if free else pixels
    if kind in ("clip", "siglip", "siglip2", "clip_text_model", "siglip_text_model"):
        tokens = rng.integers(3, V - 1, (2, length))
        tokens[0, -1] = tokens[1, -4] = V - 1
        tokens[1, -3:] = 1  # after the end of a text, of which CLIP's vectors know nothing
        said = tokens != 1 if kind.startswith("clip") else None
        return {**pixels, "input_ids": torch.tensor(tokens)}, (*([images] if size else []), tokens), said
    if pixels:
        return pixels, (images,), None
    tokens = rng.integers(3, V, (2, length))
    mask = np.arange(length)[None] < np.array([[length], [length - 4]])
    padding = getattr(theirs.config, "pad_token_id", 0)
    tokens = np.where(mask, tokens, padding)
    given, ours = {"input_ids": torch.tensor(tokens), "attention_mask": torch.tensor(mask.astype(int))}, (tokens, mask)
    if getattr(theirs.config, "type_vocab_size", 0) > 1:
        types = rng.integers(0, 2, tokens.shape)
        given, ours = {**given, "token_type_ids": torch.tensor(types)}, (*ours, types)
    return given, ours, mask


def patches(images, side):
    """Rows of the pixels of a patch, as their processor makes them."""
    B, H, W, C = images.shape
    cut = (
        images.reshape(B, H // side, side, W // side, side, C)
        .transpose(0, 1, 3, 2, 4, 5)
        .reshape(B, -1, side * side * C)
    )
    shape = torch.tensor([[H // side, W // side]] * B)
    mask = torch.ones(cut.shape[:2], dtype=torch.int32)
    return {"pixel_values": torch.tensor(cut), "pixel_attention_mask": mask, "spatial_shapes": shape}


def arrays(outputs, mask):
    """What both give, by name; where padding stands, nothing is compared."""
    if hasattr(outputs, "logits_per_image"):
        found = {"logits": outputs.logits_per_image, "image": outputs.image_embeds, "text": outputs.text_embeds}
    elif hasattr(outputs, "_asdict") and "image" in outputs._fields:
        found = outputs._asdict()
    elif hasattr(outputs, "text_embeds"):
        found = {"states": outputs.last_hidden_state, "pooled": outputs.text_embeds}
    elif hasattr(outputs, "logits"):
        found = {"out": outputs.logits}
    elif hasattr(outputs, "last_hidden_state"):
        found = {"states": outputs.last_hidden_state, "pooled": getattr(outputs, "pooler_output", None)}
    elif hasattr(outputs, "states"):
        found = {"states": outputs.states, "pooled": outputs.pooled}
    else:
        found = {"out": outputs}
    found = {name: channels_last(x) for name, x in found.items() if x is not None}
    if mask is None:
        return found
    return {name: x * mask_like(x, mask) if x.ndim == 3 else x for name, x in found.items()}


def channels_last(x):
    return x.permute(0, 2, 3, 1) if isinstance(x, torch.Tensor) and x.ndim == 4 else x


def mask_like(x, mask):
    return torch.tensor(mask)[..., None] if isinstance(x, torch.Tensor) else mask[..., None]


@pytest.mark.parametrize("length", [pytest.param(7, marks=pytest.mark.slow), T])
def test_outputs_are_theirs(case, length):
    theirs, ours, _ = case
    given, x, mask = inputs(theirs, length)
    with torch.no_grad():
        expected = arrays(theirs(**given), mask)
    found = arrays(jax.jit(ours.model.apply)(ours.variables, *x), mask)
    assert found.keys() == expected.keys()
    for name, array in found.items():
        assert relative(array, expected[name]) < 1e-4, name


def test_gradients_are_theirs(case, tmp_path):
    theirs, ours, _ = case
    given, x, mask = inputs(theirs)
    weights = {}

    def loss(outputs):
        total = 0
        for name, array in arrays(outputs, mask).items():
            weights.setdefault(name, np.random.default_rng(2).normal(size=array.shape).astype(np.float32))
            weight = weights[name]
            total = total + (array * (torch.tensor(weight) if isinstance(array, torch.Tensor) else weight)).mean()
        return total

    errors = gradient_errors(
        theirs,
        lambda: loss(theirs(**given)),
        ours,
        lambda params: loss(ours.model.apply({**ours.variables, "params": params}, *x)),
        tmp_path,
    )
    for path, (error, scale, largest) in errors.items():
        assert error <= max(1e-3 * scale, 1e-6 * largest), (path, error, scale)


def test_the_way_back_is_bit_equal(case, tmp_path):
    theirs, ours, folder = case
    hub.save(tmp_path, ours.params, ours.config, variables=ours.variables)
    assert_same_tensors(folder, tmp_path)
    again, report = type(theirs).from_pretrained(tmp_path, output_loading_info=True, attn_implementation="eager")
    assert not any(report[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    given, _, mask = inputs(theirs)
    with torch.no_grad():
        before, after = arrays(theirs(**given), mask), arrays(again.eval()(**given), mask)
    assert all(relative(after[name], before[name]) < 1e-6 for name in before)


@pytest.mark.parametrize("name", ["bert", pytest.param("roberta_masked", marks=pytest.mark.slow), "vit"])
def test_another_head_starts_anew_and_the_rest_is_theirs(name, tmp_path):
    reference(name).save_pretrained(tmp_path)
    whole, headed = hub.load(tmp_path), hub.load(tmp_path, num_classes=6)
    _, x, _ = inputs(reference(name))
    assert headed.model.apply({"params": headed.params}, *x).shape == (2, 6)
    same = {path: leaf for path, leaf in hub.flat(headed.params).items() if not path.startswith("head/")}
    for path, leaf in same.items():
        np.testing.assert_array_equal(leaf, hub.flat(whole.params)[path], err_msg=path)
    hub.save(tmp_path / "tuned", headed.params, headed.config)
    kind = getattr(transformers, headed.config["architectures"][0])
    assert kind.from_pretrained(tmp_path / "tuned").config.num_labels == 6


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "family", "sizes"), [("SwinModel", "Swin", WINDOWS), ("SegformerModel", "Segformer", MIX)]
)
def test_a_trunk_without_a_head_gives_the_mean_of_its_last_features(kind, family, sizes, tmp_path):
    config = getattr(transformers, f"{family}Config")(**sizes, attn_implementation="eager")
    theirs = randomized(getattr(transformers, kind)(config))
    theirs.save_pretrained(tmp_path / "theirs")
    loaded = hub.load(tmp_path / "theirs")
    given, x, _ = inputs(theirs)
    with torch.no_grad():
        states = theirs(**given).last_hidden_state
    expected = states.mean((2, 3)) if states.ndim == 4 else states.mean(1)
    assert relative(jax.jit(loaded.model.apply)(loaded.variables, *x), expected) < 1e-4
    hub.save(tmp_path / "ours", loaded.params, loaded.config)
    assert_same_tensors(tmp_path / "theirs", tmp_path / "ours")
