"""Values as text."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any


def as_json(result: Mapping[str, Any]) -> str:
    """One line of strict JSON: what is not finite becomes null, a path its text."""

    def clean(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {str(k): clean(v) for k, v in value.items()}
        if isinstance(value, (list, tuple)):
            return [clean(v) for v in value]
        if isinstance(value, float):
            return value if abs(value) < float("inf") else None
        return value if isinstance(value, (str, int, bool, type(None))) else str(value)

    return json.dumps(clean(result))
