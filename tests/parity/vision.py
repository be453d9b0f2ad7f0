"""timm and torchvision, where they are installed, also a torchvision whose compiled operators are of another build."""

from importlib.util import find_spec
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
for name in ("timm", "torchvision"):
    if find_spec(name) is None:
        pytest.skip(f"{name} is not installed: pip install --no-deps timm==1.0.31 torchvision", allow_module_level=True)


def _define_operators():
    """torchvision names its operators when it is imported, which fails without the compiled ones; none is called."""
    compiled = next(Path(find_spec("torchvision").origin).parent.glob("_C*.so"), None)
    try:
        torch.ops.load_library(str(compiled))
    except OSError:
        library = torch.library.Library("torchvision", "DEF")
        for operator in ("nms", "qnms"):
            library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        return library
    return None


LIBRARY = _define_operators()
import timm  # noqa: E402
import torchvision  # noqa: E402

__all__ = ["LIBRARY", "timm", "torchvision"]
