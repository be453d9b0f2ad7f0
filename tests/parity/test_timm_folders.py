"""Folders as timm itself writes them, in and out: images, classes, another head, and the way back to timm."""

import jax
import numpy as np
import pytest
from PIL import Image

from deeplab import hub

torch = pytest.importorskip("torch")
from tests.parity.folders import randomized, relative  # noqa: E402  (needs torch)
from tests.parity.vision import timm  # noqa: E402

SWIN = {"depths": [1, 1, 1, 1], "embed_dim": 24, "num_heads": [1, 2, 2, 4]}
CASES = {
    "convnext_atto": {"depths": [1, 1, 2, 1]},
    "deit_tiny_distilled_patch16_224": {"depth": 2},
    "deit_tiny_patch16_224": {"depth": 2, "img_size": 96},
    "densenet121": {"block_config": [2, 3, 1, 2]},
    "mixer_s32_224": {},
    "mobilenetv2_035": {},
    "mobilenetv3_small_050": {},
    "resnet18": {"layers": [1, 1, 2, 1]},
    "swin_tiny_patch4_window7_224": SWIN,
    "tf_efficientnet_lite0": {},
    "vit_small_patch32_384": {"depth": 1},
    "vit_tiny_patch16_224": {"depth": 2},
}
DAILY = ("vit_tiny_patch16_224",)


@pytest.mark.parametrize("name", [pytest.param(n, marks=() if n in DAILY else pytest.mark.slow) for n in CASES])
def test_a_folder_of_timm_gives_the_same_images_and_logits_and_goes_back(name, tmp_path):
    torch.manual_seed(0)
    theirs = randomized(timm.create_model(name, num_classes=7, **CASES[name]), gain=1.0).eval()
    timm.models.save_for_hf(theirs, tmp_path / "theirs", safe_serialization=True)
    again = timm.create_model(f"local-dir:{tmp_path / 'theirs'}", pretrained=True)
    ours = hub.load(tmp_path / "theirs")
    photos = np.stack([np.asarray(Image.radial_gradient("L").resize((300, 230)).rotate(10 * i)) for i in range(3)], -1)
    transform = timm.data.create_transform(**timm.data.resolve_model_data_config(again), is_training=False)
    images = transform(Image.fromarray(photos))[None]
    np.testing.assert_allclose(ours.preprocess(photos[None]), images.permute(0, 2, 3, 1), atol=1e-6)
    with torch.no_grad():
        expected = theirs(images)
    assert relative(jax.jit(ours.model.apply)(ours.variables, ours.preprocess(photos[None])), expected) < 1e-4
    hub.save(tmp_path / "back", ours.params, ours.config, variables=ours.variables)
    with torch.no_grad():
        back = timm.create_model(f"local-dir:{tmp_path / 'back'}", pretrained=True).eval()(images)
    assert torch.equal(back, expected)
    other = hub.load(tmp_path / "theirs", num_classes=3)
    assert jax.eval_shape(other.model.apply, other.variables, images.permute(0, 2, 3, 1).numpy()).shape == (1, 3)
