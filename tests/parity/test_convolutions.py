"""Convolutional families against timm and torchvision, through folders: outputs, features, gradients, the way back."""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from deeplab import hub

torch = pytest.importorskip("torch")
load_file = pytest.importorskip("safetensors.torch").load_file
save_file = pytest.importorskip("safetensors.torch").save_file
from tests.parity.folders import assert_same_tensors, gradient_errors, randomized, relative  # noqa: E402  (needs torch)
from tests.parity.vision import timm, torchvision  # noqa: E402

SMALL = {"channel_multiplier": 0.25, "depth_multiplier": 0.3}
HALF, DEEP = {"channel_multiplier": 0.75, "depth_multiplier": 0.5}, {"channel_multiplier": 0.3, "depth_multiplier": 1.2}
TF = {"bn_eps": 1e-3, "pad_type": "same"}


def built(module, builder, name, **arguments):
    """A network by the function of timm that makes those of a family, as small as the arguments say."""
    return lambda: getattr(getattr(timm.models, module), builder)(name, num_classes=7, **arguments)


def created(name, **arguments):
    """A network by its name in timm."""
    return lambda: timm.create_model(name, num_classes=7, **arguments)


EFFNET, MOBILE3 = "efficientnet", "mobilenetv3"
SHORT = {"layers": [1, 1, 2, 1]}

TINY = {"depths": [1, 1, 2, 1], "dims": [8, 12, 16, 24]}

SWIN_TINY = "swin_tiny_patch4_window7_224"
SWIN = {"depths": [2, 2, 1, 1], "embed_dim": 8, "num_heads": [1, 2, 2, 4], "window_size": 4, "img_size": 64}

BLOCKS = {"block_config": [2, 3, 1, 2], "growth_rate": 8}
MIXER, WIDE_MIXER = ({"num_blocks": 3, "embed_dim": 16, "img_size": size} for size in ([64, 64], [96, 64]))
VGG = {"cfg": [4, "M", 8, "M", 8, 8, "M", 8, "M", 12, "M"]}


def vgg_of_timm(norm=None):
    return lambda: timm.models.vgg.VGG(**VGG, num_classes=7, norm_layer=norm)


def vgg_of_torchvision(norm):
    """One of these channels, for which the first hidden layer is changed."""

    def make():
        layers = torchvision.models.vgg.make_layers(VGG["cfg"], norm)
        made = torchvision.models.vgg.VGG(layers, num_classes=7)
        made.classifier[0] = torch.nn.Linear(12 * 49, 4096)
        return made

    return make


def densenet_of_torchvision():
    return torchvision.models.DenseNet(8, (2, 3, 1, 2), 16, num_classes=7)


def mixer(arguments):
    return lambda: timm.models.mlp_mixer.MlpMixer(patch_size=16, num_classes=7, **arguments)


# Their model, the architecture of the config, its model_args, and what else it says.
CASES = {
    "convnext": (created("convnext_tiny", **TINY), "convnext_tiny", TINY),
    "convnext_pointwise": (created("convnext_nano", **TINY), "convnext_nano", TINY),
    "convnext2": (created("convnextv2_tiny", **TINY), "convnextv2_tiny", TINY),
    "convnext2_pointwise": (created("convnextv2_atto", **TINY), "convnextv2_atto", TINY),
    "lite": (built(EFFNET, "_gen_efficientnet_lite", "", **SMALL, **TF), "tf_efficientnet_lite0", SMALL),
    "densenet": (created("densenet121", **BLOCKS), "densenet121", BLOCKS),
    "densenet_torchvision": (densenet_of_torchvision, "densenet121", BLOCKS),
    "efficientnet": (built(EFFNET, "_gen_efficientnet", "", **SMALL, **TF), "tf_efficientnet_b0", SMALL),
    "efficientnet_torch": (built(EFFNET, "_gen_efficientnet", "", **SMALL), "efficientnet_b0", SMALL),
    "mixer": (mixer(MIXER), "mixer_b16_224", MIXER),
    "mixer_wide": (mixer(WIDE_MIXER), "mixer_b16_224", WIDE_MIXER),
    "mobilenet2": (built(EFFNET, "_gen_mobilenet_v2", "", **SMALL), "mobilenetv2_100", SMALL),
    "mobilenet2_fixed": (
        built(EFFNET, "_gen_mobilenet_v2", "", **DEEP, fix_stem_head=True), "mobilenetv2_110d", DEEP),
    "mobilenet3_large": (built(MOBILE3, "_gen_mobilenet_v3", "", **SMALL), "mobilenetv3_large_100", SMALL),
    "mobilenet3_large_tf": (built(MOBILE3, "_gen_mobilenet_v3", "", **HALF, **TF), "tf_mobilenetv3_large_075", HALF),
    "mobilenet3_small": (built(MOBILE3, "_gen_mobilenet_v3", "small", **SMALL), "mobilenetv3_small_050", SMALL),
    "mobilenet3_minimal": (
        built(MOBILE3, "_gen_mobilenet_v3", "small_minimal", **SMALL, **TF), "tf_mobilenetv3_small_minimal_100", SMALL),
    "resnet": (created("resnet18", **SHORT), "resnet18", SHORT),
    "resnet_bottleneck": (created("resnet50", **SHORT), "resnet50", SHORT),
    "resnet_wide": (created("wide_resnet50_2", **SHORT), "wide_resnet50_2", SHORT),
    "resnext": (created("resnext50_32x4d", **SHORT), "resnext50_32x4d", SHORT),
    "swin": (created(SWIN_TINY, **SWIN, strict_img_size=False), SWIN_TINY, SWIN),
    "resnet_torchvision": (lambda: torchvision.models.resnet18(num_classes=7), "resnet18", {}),
    "vgg": (vgg_of_timm(), "vgg11", VGG),
    "vgg_norm": (vgg_of_timm(torch.nn.BatchNorm2d), "vgg11_bn", VGG),
    "vgg_torchvision": (vgg_of_torchvision(False), "vgg11", VGG, {"layout": "torchvision"}),
    "vgg_torchvision_norm": (vgg_of_torchvision(True), "vgg11_bn", VGG, {"layout": "torchvision"}),
}  # fmt: skip
DAILY = ("lite",)
ALL = [pytest.param(name, marks=() if name in DAILY else pytest.mark.slow) for name in CASES]
SIZES = [(64, 64), pytest.param((71, 57), marks=pytest.mark.slow)]


def written(theirs, folder, config):
    """The folder that timm writes of a model."""
    folder = Path(folder)
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    save_file(theirs.state_dict(), folder / "model.safetensors")


@pytest.fixture(scope="module", params=ALL)
def case(request, tmp_path_factory):
    """Their model, ours from the folder of theirs, and that folder."""
    make, architecture, arguments, *more = CASES[request.param]
    torch.manual_seed(0)
    theirs = randomized(make(), gain=1.0)
    for name, buffer in theirs.named_buffers():
        if name.endswith("num_batches_tracked"):
            buffer.fill_(17)
    folder = tmp_path_factory.mktemp(request.param)
    config = {"architecture": architecture, "num_classes": 7, "pretrained_cfg": {"input_size": [3, 64, 64]}}
    written(theirs, folder, {**config, "model_args": arguments, **(more[0] if more else {})})
    return theirs, hub.load(folder), folder


def swin(theirs):
    return getattr(theirs, "output_fmt", "") == "NHWC"


def fixed(theirs):
    """The size of the images of a network that reads no other."""
    return getattr(getattr(theirs, "stem", None), "img_size", None)


def images(size, batch=2):
    x = np.random.default_rng(0).normal(size=(batch, *size, 3)).astype(np.float32)
    return torch.tensor(x.transpose(0, 3, 1, 2)), x


@pytest.mark.parametrize("size", SIZES)
def test_logits_are_theirs(case, size):
    theirs, ours, _ = case
    if size != (64, 64) and swin(theirs):  # others need zeros, which timm adds after a shift, and transformers before
        size = (128, 128)
    given, x = images(fixed(theirs) or size)
    with torch.no_grad():
        expected = theirs(given)
    assert relative(jax.jit(ours.model.apply)(ours.variables, x), expected) < 1e-4


def test_gradients_are_theirs(case, tmp_path):
    theirs, ours, folder = case
    config = json.loads((folder / "config.json").read_text())
    given, x = images(fixed(theirs) or (64, 64))
    weight = np.random.default_rng(2).normal(size=(2, 7)).astype(np.float32)
    errors = gradient_errors(
        theirs,
        lambda: (theirs(given) * torch.tensor(weight)).mean(),
        ours,
        lambda params: jnp.mean(ours.model.apply({**ours.variables, "params": params}, x) * weight),
        tmp_path,
        lambda out: written(theirs, out, config),
    )
    for path, (error, scale, largest) in errors.items():
        assert error <= max(1e-3 * scale, 1e-6 * largest), (path, error, scale)


def test_the_way_back_is_bit_equal(case, tmp_path):
    theirs, ours, folder = case
    hub.save(tmp_path, ours.params, ours.config, variables=ours.variables)
    assert_same_tensors(folder, tmp_path)
    assert ours.config == json.loads((tmp_path / "config.json").read_text())
    theirs.load_state_dict(load_file(tmp_path / "model.safetensors"), strict=True)


def test_features_are_theirs(case):
    """Those of strides 4, 8, 16 and 32, of networks whose features timm gives."""
    theirs, ours, _ = case
    if fixed(theirs):
        pytest.skip("all of its features have one stride")
    given, x = images((64, 64))
    taken = [info["module"] for info in getattr(theirs, "feature_info", ()) if info["reduction"] > 2]
    found = {}
    for name in taken:
        theirs.get_submodule(name).register_forward_hook(lambda _, __, out, name=name: found.update({name: out}))
    with torch.no_grad():
        theirs(given)
    features = jax.jit(lambda variables, x: ours.model.apply(variables, x, method="features"))(ours.variables, x)
    assert len(features) == 4
    for feature, name in zip(features, taken or [None] * 4, strict=True):
        if name is None:  # torchvision gives none
            continue
        assert relative(feature if swin(theirs) else feature.transpose(0, 3, 1, 2), found[name]) < 1e-4, name
