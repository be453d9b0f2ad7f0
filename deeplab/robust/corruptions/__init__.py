"""Corruptions of images, sounds, texts and tables at five severities, and what they do to an experiment."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deeplab.core import lazy

if TYPE_CHECKING:
    from deeplab.robust.corruptions import columns, sounds
    from deeplab.robust.corruptions.blurs import defocus_blur, gaussian_blur, glass_blur, motion_blur, zoom_blur
    from deeplab.robust.corruptions.compression import jpeg
    from deeplab.robust.corruptions.digital import contrast, elastic, pixelate, saturate
    from deeplab.robust.corruptions.evaluation import Record, corrupt, mce, mean_over, on
    from deeplab.robust.corruptions.filters import Corruption
    from deeplab.robust.corruptions.noises import gaussian_noise, impulse_noise, shot_noise, speckle_noise
    from deeplab.robust.corruptions.severities import BENCHMARK, LARGE, SMALL, common, commons
    from deeplab.robust.corruptions.weather import brightness, fog, frost, snow, spatter
    from deeplab.robust.corruptions.writing import WRITING, casing, typos

__getattr__, __dir__, __all__ = lazy.attach(
    __name__,
    {
        "BENCHMARK": "severities:BENCHMARK",
        "brightness": "weather:brightness",
        "casing": "writing:casing",
        "columns": "columns",
        "common": "severities:common",
        "commons": "severities:commons",
        "contrast": "digital:contrast",
        "corrupt": "evaluation:corrupt",
        "Corruption": "filters:Corruption",
        "defocus_blur": "blurs:defocus_blur",
        "elastic": "digital:elastic",
        "fog": "weather:fog",
        "frost": "weather:frost",
        "gaussian_blur": "blurs:gaussian_blur",
        "gaussian_noise": "noises:gaussian_noise",
        "glass_blur": "blurs:glass_blur",
        "impulse_noise": "noises:impulse_noise",
        "jpeg": "compression:jpeg",
        "LARGE": "severities:LARGE",
        "mce": "evaluation:mce",
        "mean_over": "evaluation:mean_over",
        "motion_blur": "blurs:motion_blur",
        "on": "evaluation:on",
        "pixelate": "digital:pixelate",
        "Record": "evaluation:Record",
        "saturate": "digital:saturate",
        "shot_noise": "noises:shot_noise",
        "SMALL": "severities:SMALL",
        "snow": "weather:snow",
        "sounds": "sounds",
        "spatter": "weather:spatter",
        "speckle_noise": "noises:speckle_noise",
        "typos": "writing:typos",
        "WRITING": "writing:WRITING",
        "zoom_blur": "blurs:zoom_blur",
    },
)
