"""The families of the one decoder."""

import functools
from collections.abc import Callable
from typing import Any

from deeplab.models.text.decoders import (
    deepseek,
    falcon,
    gemma,
    gpt,
    gpt_oss,
    granite,
    mixtral,
    neox,
    olmo,
    opt,
    phi,
    qwen,
    starcoder2,
)
from deeplab.models.text.recurrent import griffin, mamba
from tests.models.members.base import Family, Member, tokens

MAKERS: dict[str, tuple[Callable[..., Any], dict[str, dict[str, Any]]]] = {
    "deepseek_v3": (deepseek.DeepSeekV3, deepseek.VARIANTS),
    "falcon": (falcon.Falcon, falcon.VARIANTS),
    "gemma": (gemma.SandwichGemma, gemma.VARIANTS),
    "gpt2": (functools.partial(gpt.GPT, scanned=True), gpt.VARIANTS),
    "gpt_oss": (gpt_oss.GPTOss, gpt_oss.VARIANTS),
    "granite": (granite.Granite, granite.VARIANTS),
    "griffin": (griffin.Griffin, griffin.VARIANTS),
    "mamba": (mamba.Mamba, mamba.VARIANTS),
    "mamba2": (mamba.Mamba2, mamba.SECOND_VARIANTS),
    "mixtral": (mixtral.Mixtral, mixtral.VARIANTS),
    "neox": (neox.NeoX, neox.VARIANTS),
    "olmo": (olmo.OLMo2, olmo.VARIANTS),
    "opt": (opt.OPT, opt.VARIANTS),
    "phi": (phi.Phi, phi.VARIANTS),
    "qwen": (qwen.Qwen, qwen.VARIANTS),
    "starcoder2": (starcoder2.StarCoder2, starcoder2.VARIANTS),
}
MADE = {name: functools.partial(make, vocab_size=7) for name, (make, _) in MAKERS.items()}


def member(name: str, variant: str = "test") -> Member:
    make = functools.partial(MADE[name], **MAKERS[name][1][variant])
    return Member(make, tokens, (12, 7), make().rules)


MEMBERS = {name: member(name) for name in MAKERS} | {"qwen_moe": member("qwen", "test_moe")}
SLOW = set(MEMBERS) - {"mixtral", "mamba"}  # a mixture of experts, a recurrence
FAMILIES = {name: Family(MADE[name], variants, tokens, (12, 7)) for name, (_, variants) in MAKERS.items()}
SLOW_SIZES = set(FAMILIES) - {"mixtral"}
