"""Public weights in and out: folders in the Hugging Face layout."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deeplab.core import lazy

if TYPE_CHECKING:
    from deeplab.hub.adapters import load_adapters, save_adapters
    from deeplab.hub.chat import chat_template
    from deeplab.hub.families import FAMILIES, family_of
    from deeplab.hub.folder import TokenizerFile as tokenizer
    from deeplab.hub.loading import Loaded, load, weights
    from deeplab.hub.mapping import flat
    from deeplab.hub.saving import save

__getattr__, __dir__, __all__ = lazy.attach(
    __name__,
    {
        "chat_template": "chat:chat_template",
        "FAMILIES": "families:FAMILIES",
        "family_of": "families:family_of",
        "flat": "mapping:flat",
        "load": "loading:load",
        "load_adapters": "adapters:load_adapters",
        "Loaded": "loading:Loaded",
        "save": "saving:save",
        "save_adapters": "adapters:save_adapters",
        "tokenizer": "folder:TokenizerFile",
        "weights": "loading:weights",
    },
)
