"""One context of MLIR for the programs that a thread lowers one after the other, where JAX makes one for each."""

import threading
from collections.abc import Callable

from jax._src.interpreters import mlir
from jaxlib.mlir import ir


class Contexts(threading.local):
    """To make one takes JAX 4 ms, more than a quarter of what an operation without `jit` takes to compile.

    A program that is lowered within another one, as a rule of lowering may do, gets a context of its own: in the same
    one it would be put where the other one stands. A context keeps constants of its programs, so it serves a hundred.
    """

    made: int = 0

    def __init__(self, make: Callable[[], ir.Context], programs: int = 100):
        self.make, self.programs = make, programs

    def __call__(self) -> ir.Context:
        if within():
            return self.make()
        if self.made % self.programs == 0:
            self.context = self.make()
        self.made += 1
        return self.context


def within() -> bool:
    """Whether this thread is lowering a program."""
    try:
        return ir.Context.current is not None
    except ValueError:  # in some versions
        return False


def share() -> None:
    """For all programs from now on, where this version of JAX makes contexts where others do."""
    if hasattr(mlir, "make_ir_context"):
        mlir.make_ir_context = Contexts(mlir.make_ir_context)
