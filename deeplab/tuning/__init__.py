"""Fine-tuning: frozen parameters, low-rank adapters, and averages of trained ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deeplab.core import lazy

if TYPE_CHECKING:
    from deeplab.tuning.averaging import average
    from deeplab.tuning.experiments import adapted, frozen
    from deeplab.tuning.lora import Lora
    from deeplab.tuning.models import Adapted, Frozen

__getattr__, __dir__, __all__ = lazy.attach(
    __name__,
    {
        "Adapted": "models:Adapted",
        "adapted": "experiments:adapted",
        "average": "averaging:average",
        "Frozen": "models:Frozen",
        "frozen": "experiments:frozen",
        "Lora": "lora:Lora",
    },
)
