"""Double precision in one test, on every version of JAX; and the precision of the products of a program."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import jax
import jax.experimental

from deeplab.core.jaxpr import walk

EXACT = (jax.lax.Precision.HIGHEST, jax.lax.Precision.HIGHEST)


def float64() -> AbstractContextManager[None]:
    """A context in which arrays may be float64. The switch has two names: `jax.enable_x64` is new since JAX 0.8."""
    return (jax.enable_x64 if hasattr(jax, "enable_x64") else jax.experimental.enable_x64)(True)


def inexact_products(function: Callable[..., Any], *args: Any) -> list[str]:
    """Products and convolutions that a GPU would compute in TF32: nothing of that is seen in numbers on a CPU.

    There has to be a product at all.
    """
    found = [visit.eqn for visit in walk(jax.make_jaxpr(function)(*args)) if "precision" in visit.eqn.params]
    assert found
    return [
        f"{eqn.primitive.name} in {eqn.source_info.name_stack}" for eqn in found if eqn.params["precision"] != EXACT
    ]
