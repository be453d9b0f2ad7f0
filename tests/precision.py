"""Double precision in one test, on every version of JAX."""

from __future__ import annotations

from contextlib import AbstractContextManager

import jax
import jax.experimental


def float64() -> AbstractContextManager[None]:
    """A context in which arrays may be float64. The switch has two names: `jax.enable_x64` is new since JAX 0.8."""
    return (jax.enable_x64 if hasattr(jax, "enable_x64") else jax.experimental.enable_x64)(True)
