"""Encoders of transformers, of text and of images."""

import functools
from typing import Any

from deeplab.models.text.encoders import bert, distilbert, modernbert
from deeplab.models.vision.transformers import dino, vit
from tests.models.members.base import Family, Member, normal, tokens


def of(make: Any, variants: Any, inputs: Any, output: tuple[int, ...], **more: Any) -> Member:
    made = functools.partial(make, **variants["test"], **more)
    return Member(made, inputs, output, made().rules)


picture = normal(16, 16, 3)
text = {"vocab_size": 7, "num_classes": 5}
MEMBERS = {
    "bert": of(bert.Bert, bert.VARIANTS, tokens, (5,), **text),
    "bert_dropout_offset": of(bert.Bert, bert.VARIANTS, tokens, (5,), dropout=0.5, position_offset=1, **text),
    "bert_remat": of(bert.Bert, bert.VARIANTS, tokens, (5,), remat="full", **text),
    "distilbert": of(distilbert.DistilBert, distilbert.VARIANTS, tokens, (5,), **text),
    "modernbert": of(modernbert.ModernBert, modernbert.VARIANTS, tokens, (5,), padding=0, **text),
    "vit": of(vit.ViT, vit.VARIANTS, picture, (5,), num_classes=5),
    "vit_dropout": of(vit.ViT, vit.VARIANTS, picture, (5,), num_classes=5, dropout=0.5),
    "dino": of(dino.Dino, dino.VARIANTS, picture, (5,), num_classes=5),
}
SLOW = {"bert_dropout_offset", "bert_remat", "distilbert", "modernbert", "vit_dropout", "dino"}
SLOW_SIZES = {"bert", "modernbert"}

FAMILIES = {
    "bert": Family(functools.partial(bert.Bert, vocab_size=7, num_classes=5), bert.VARIANTS, tokens, (5,)),
    "distilbert": Family(
        functools.partial(distilbert.DistilBert, vocab_size=7, num_classes=5), distilbert.VARIANTS, tokens, (5,)
    ),
    "modernbert": Family(
        functools.partial(modernbert.ModernBert, vocab_size=7, num_classes=5), modernbert.VARIANTS, tokens, (5,)
    ),
}
