"""Augmentations: pure functions `(key, image) -> image` of one example.

An image is [H, W, C] floats in [0, 1], before normalization. Pixels from outside the image are 0 unless stated
otherwise. `dl.data.Images` maps an augmentation over the batch with a key for each example. Strengths are floats that
may be tracers; integers shape the program. `together` moves an image and its mask alike, `mix` is of whole
batches, and `audio` of sounds.
"""

from deeplab.data.augment import audio, mix
from deeplab.data.augment.base import Augment, chain
from deeplab.data.augment.boxes import move_boxes
from deeplab.data.augment.color import brightness, contrast, erase, gamma, grayscale, saturation
from deeplab.data.augment.fields import anywhere, elastic, pose, quarter_turns, together
from deeplab.data.augment.geometry import affine, crop, flip, grid, resample, resized_crop, rotate, shift, warp, zoom
from deeplab.data.augment.randaugment import rand_augment

__all__ = [
    "Augment",
    "affine",
    "anywhere",
    "audio",
    "brightness",
    "chain",
    "contrast",
    "crop",
    "elastic",
    "erase",
    "flip",
    "gamma",
    "grayscale",
    "grid",
    "mix",
    "move_boxes",
    "pose",
    "quarter_turns",
    "rand_augment",
    "resample",
    "resized_crop",
    "rotate",
    "saturation",
    "shift",
    "together",
    "warp",
    "zoom",
]
