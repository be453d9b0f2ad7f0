"""Contexts that programs share change none of them."""

import threading

import jax
import jax.numpy as jnp
from jax._src.interpreters import mlir
from jax.extend.core import Primitive

from tests.contexts import Contexts


def test_programs_share_one_and_a_program_within_another_has_its_own():
    contexts = Contexts(object, programs=2)
    first, second, third = contexts(), contexts(), contexts()
    assert first is second
    assert third is not first
    found = []
    thread = threading.Thread(target=lambda: found.append(contexts()))
    thread.start()
    thread.join()
    assert found[0] is not third
    with mlir.make_ir_context():
        assert contexts() is not contexts()
    assert contexts() is third


def test_a_program_that_is_compiled_while_another_one_is_lowered_is_not_put_into_it():
    within = Primitive("within")
    within.def_abstract_eval(lambda x: x)

    def rule(context, x):
        three = float(jax.jit(lambda a: 2 * a + 1)(jnp.float32(1)))
        return mlir.lower_fun(lambda x: x + three, multiple_results=False)(context, x)

    mlir.register_lowering(within, rule)
    assert float(jax.jit(lambda x: 2 * within.bind(x))(jnp.float32(1))) == 8
