"""Blocks of a report, as plain JSON: one closed vocabulary for tasks, experiments and pages."""

from deeplab.core.blocks import boxes, masks, sounds
from deeplab.core.blocks.base import (
    Block,
    Card,
    card,
    cards,
    columns,
    curve,
    data_url,
    headline,
    matrix,
    picture,
    rows,
    section,
    text,
)
from deeplab.core.blocks.boxes import box_cards
from deeplab.core.blocks.classes import (
    accuracy,
    classification,
    confusion,
    highest_losses,
    per_class,
    reliability,
    wilson,
)
from deeplab.core.blocks.examples import sentences, translations
from deeplab.core.blocks.language import loss_by_position, samples
from deeplab.core.blocks.maps import bars, heat, scatter, swarm, tokens
from deeplab.core.blocks.masks import mask_cards
from deeplab.core.blocks.recommended import next_items, rated_items
from deeplab.core.blocks.series import forecasts
from deeplab.core.blocks.sounds import sound_cards
from deeplab.core.blocks.values import regression

__all__ = [
    "Block",
    "Card",
    "accuracy",
    "bars",
    "box_cards",
    "boxes",
    "card",
    "cards",
    "classification",
    "columns",
    "confusion",
    "curve",
    "data_url",
    "forecasts",
    "headline",
    "heat",
    "highest_losses",
    "loss_by_position",
    "mask_cards",
    "masks",
    "matrix",
    "next_items",
    "per_class",
    "picture",
    "rated_items",
    "regression",
    "reliability",
    "rows",
    "samples",
    "scatter",
    "section",
    "sentences",
    "sound_cards",
    "sounds",
    "swarm",
    "text",
    "tokens",
    "translations",
    "wilson",
]
