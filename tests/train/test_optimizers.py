"""Any optimizer that `check_optimizer` accepts trains, resumes bit by bit, is vmapped, and is given the loss."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import optax.contrib
import pytest

from deeplab import optim
from deeplab.core.errors import UserError
from deeplab.core.precision import PRECISIONS
from deeplab.core.runtime import Runtime
from deeplab.runs.checkpoint import Checkpoints
from deeplab.train.initialize import init
from deeplab.train.step import make_eval, make_guarded_step, make_step
from tests import toys


def sam(rate):
    tx = optax.contrib.sam(optax.sgd(rate), optax.chain(optax.contrib.normalize(), optax.sgd(0.01)))
    return optax.GradientTransformation(tx.init, tx.update)


OPTIMIZERS = {  # each as a function of the learning rate, or of what it has instead of one
    "reduce_on_plateau": lambda rate: optax.chain(optax.adam(rate), optax.contrib.reduce_on_plateau(patience=3)),
    "polyak_sgd": lambda rate: optax.polyak_sgd(max_learning_rate=10 * rate),
    "lbfgs": lambda rate: optax.chain(optax.lbfgs(memory_size=3), optax.scale(10 * rate)),
    "backtracking": lambda rate: optax.chain(
        optax.sgd(1.0), optax.scale_by_backtracking_linesearch(4, max_learning_rate=10 * rate)
    ),
    "schedule_free": lambda rate: optax.contrib.schedule_free_adamw(rate),
    "lookahead": lambda rate: optim.lookahead(optax.adam(rate), 4, 0.5),
    "sam": lambda rate: sam(5 * rate),
    "average": lambda rate: optax.chain(optim.clip(1.0), optim.with_ema(optax.adam(rate), 0.9)),
    "averages of groups": lambda rate: optim.groups(
        {"head": optim.with_ema(optax.sgd(rate), 0.8), ".*": optim.with_ema(optax.adam(rate), 0.9)}
    ),
    "every": lambda rate: optim.groups({"head": optim.every(2, optax.adam(rate)), ".*": optax.adam(rate)}),
    "accumulation": lambda rate: optax.MultiSteps(optim.with_ema(optax.adam(rate)), 2).gradient_transformation(),
    "hyperparameters": lambda rate: optax.inject_hyperparams(optax.adam)(rate),
    "bfloat16 state": lambda rate: optim.with_bfloat16_state(optax.adam(rate)),
}


def experiment(name, rate=0.02, **kwargs):
    return dataclasses.replace(toys.experiment(**kwargs), optimizer=OPTIMIZERS[name](rate))


def batches(exp):
    source = exp.data.open("train")
    return [exp.data.fetch(source, exp.data.train_ids(i, 0)[0]) for i in range(exp.num_steps)]


def daily(*names):
    """All optimizers, of which those with the least usual states are run every day."""
    return pytest.mark.parametrize(
        "name", [pytest.param(name, marks=() if name in names else pytest.mark.slow) for name in OPTIMIZERS]
    )


@daily("lbfgs", "schedule_free", "sam", "averages of groups", "accumulation", "bfloat16 state")
def test_it_trains_and_resumes_bit_by_bit(name, tmp_path):
    exp = experiment(name, steps=60)
    step, losses = jax.jit(make_guarded_step(exp), donate_argnums=0), []
    state = jax.jit(lambda: init(exp, jax.random.key(0)))()  # buffers of its own, to be donated
    optim.check_optimizer(exp.optimizer, state.params)
    with Checkpoints(tmp_path) as checkpoints:
        for i, batch in enumerate(batches(exp)):
            if i == 7:
                checkpoints.save(i, state, force=True)
                checkpoints.wait()
            state, metrics, finite = step(state, batch, True)
            losses.append(metrics["loss"].compute())
            assert finite
        resumed, _ = checkpoints.latest(state)
    assert np.mean(losses[-15:]) < 0.9 * np.mean(losses[:5])
    for batch in batches(exp)[7:]:
        resumed, *_ = step(resumed, batch, True)
    assert toys.same(resumed, state)


@daily("reduce_on_plateau", "lbfgs", "sam", "average", "every")
def test_members_of_a_population_are_their_solo_runs(name):
    """Without batch norm: before it the gradient of a bias is rounding alone, which Adam amplifies to its rate."""
    data = jax.tree.map(lambda *x: jnp.stack(x), *batches(experiment(name))[:5])

    def losses(rate):
        exp = experiment(name, rate, norm=False)
        state, metrics = jax.lax.scan(make_step(exp), init(exp, jax.random.key(0)), data)
        final = make_eval(exp)(state, jax.tree.map(lambda x: x[0], data))
        return [metrics["loss"].total, final["loss"].total]

    rates = jnp.array([0.005, 0.01, 0.02])
    together = jax.jit(jax.vmap(losses))(rates)
    alone = jax.jit(losses)
    for i, rate in enumerate(rates):
        jax.tree.map(lambda a, b, i=i: np.testing.assert_allclose(a[i], b, rtol=1e-4), together, alone(rate))
    assert len(np.unique(together[1])) == 3


def recorder():
    """An optimizer that stores what it is given: the loss, its value and gradient by `value_fn`, and elsewhere."""

    def given(grads, params, value, value_fn):
        value_again, grad_again = jax.value_and_grad(value_fn)(params)
        elsewhere = value_fn(jax.tree.map(lambda p: p + 0.1, params))
        return {"loss": (value, value_again), "grad": (grads, grad_again), "elsewhere": elsewhere}

    def initial(params):
        return jax.tree.map(jnp.zeros_like, given(params, params, jnp.float32(0), lambda p: optax.tree.sum(p)))

    def update(updates, state, params=None, *, value, grad, value_fn):
        assert grad is updates
        return optax.tree.zeros_like(updates), given(updates, params, value, value_fn)

    return optax.GradientTransformationExtraArgs(initial, update)


@pytest.mark.parametrize("precision", ["f32", "f16"])
@pytest.mark.parametrize("accumulate", [1, 4])
def test_the_loss_function_is_that_of_the_step(accumulate, precision):
    """The same examples, augmentation, dropout and batch statistics; the loss without its scale."""
    exp = dataclasses.replace(toys.experiment(), optimizer=recorder())
    runtime = Runtime(accumulate=accumulate, precision=PRECISIONS[precision])
    step, start, batch = jax.jit(make_step(exp, runtime)), init(exp, jax.random.key(0), runtime), batches(exp)[0]
    moved = dataclasses.replace(start, params=jax.tree.map(lambda p: p + 0.1, start.params))
    after, metrics = step(start, batch)
    given = after.opt_state if precision == "f32" else after.opt_state.inner
    tolerance = 1e-5 if precision == "f32" else 4e-3  # ten bits
    np.testing.assert_allclose(given["loss"], metrics["loss"].compute(), rtol=tolerance)
    a, b = given["grad"]
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-3, atol=tolerance), a, b)
    elsewhere = step(moved, batch)[1]["loss"].compute()
    np.testing.assert_allclose(given["elsewhere"], elsewhere, rtol=tolerance)
    assert abs(float(given["elsewhere"]) - float(given["loss"][0])) > 0.01


def test_evaluations_use_the_evaluation_weights():
    exp = experiment("averages of groups")
    state, step = init(exp, jax.random.key(0)), jax.jit(make_step(exp))
    for batch in batches(exp):
        state, _ = step(state, batch)
    batch, plain = batches(exp)[0], dataclasses.replace(exp, optimizer=optax.sgd(0.0))
    given = dataclasses.replace(state, params=optim.eval_params(state.opt_state, state.params), opt_state=())
    assert toys.same(make_eval(exp)(state, batch), make_eval(plain)(given, batch))
    assert not toys.same(
        make_eval(exp)(state, batch), make_eval(plain)(dataclasses.replace(state, opt_state=()), batch)
    )


def test_an_optimizer_that_a_step_cannot_use_is_refused_before_training():
    exp = dataclasses.replace(toys.experiment(), optimizer=optax.lookahead(optax.sgd(0.1), 5, 0.5))
    with pytest.raises(UserError, match=r"use dl.optim.lookahead, with the same arguments"):
        init(exp, jax.random.key(0))
