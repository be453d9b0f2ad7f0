"""What a training step can use is accepted; all else is refused with the transformation's name and the mend."""

import jax
import jax.numpy as jnp
import optax
import optax.contrib
import pytest

import deeplab as dl
from deeplab import optim

PARAMS = {"body": {"kernel": jnp.ones((3, 4)), "bias": jnp.ones(4)}, "head": {"kernel": jnp.ones((4, 2))}}
SAM = optax.contrib.sam(optax.sgd(0.1), optax.sgd(0.1))
ALIASES = """adabelief adadelta adafactor adagrad adam adamax adamw adan amsgrad fromage lamb lars lion nadam nadamw
    novograd optimistic_gradient_descent radam rmsprop rprop sgd sign_sgd sm3 yogi"""
CONTRIB = "acprop ademamix dadapt_adamw dog dowg madgrad momo momo_adam muon prodigy schedule_free_adamw"
ACCEPTED = {
    **{name: getattr(optax, name)(0.1) for name in ALIASES.split()},
    **{f"contrib.{name}": getattr(optax.contrib, name)(0.1) for name in CONTRIB.split()},
    "noisy_sgd": optax.noisy_sgd(0.1, key=0),
    "cocob": optax.contrib.cocob(),
    "mechanic": optax.contrib.mechanize(optax.sgd(0.1)),
    "reduce_on_plateau": optax.chain(optax.adam(0.1), optax.contrib.reduce_on_plateau()),
    "polyak_sgd": optax.polyak_sgd(),
    "lbfgs": optax.lbfgs(),
    "lbfgs of a group": optim.groups({"^head/": optax.lbfgs(), ".*": optax.set_to_zero()}),
    "backtracking": optax.chain(optax.sgd(0.1), optax.scale_by_backtracking_linesearch(5, store_grad=True)),
    "lookahead": optim.lookahead(optax.adam(0.1), 5, 0.5),
    "sam": optax.GradientTransformation(SAM.init, SAM.update),
    "MultiSteps": optax.MultiSteps(optax.adam(0.1), 4),
    "average": optax.chain(optim.clip(1.0), optim.with_ema(optax.adam(0.1))),
    "bfloat16 state in an average": optim.with_ema(optim.with_bfloat16_state(optax.adam(0.1))),
    "bfloat16 state of lbfgs": optim.with_bfloat16_state(optax.lbfgs()),
    "averages of groups": optim.groups(
        {"^head/": optim.with_ema(optax.sgd(0.1)), ".*": optim.with_ema(optax.adam(0.1))}
    ),
}
EMA, HEAD = optim.with_ema(optax.sgd(0.1)), optim.mask("^head/")
REFUSED = {
    "followed by another": (
        optax.chain(EMA, optax.scale(0.5)),
        r"dl.optim.with_ema is followed by another transformation in an optax.chain.*the last of its chain",
    ),
    "followed in a named chain": (optax.named_chain(("z", EMA), ("a", optax.scale(0.5))), "followed by another"),
    "followed outside": (optax.chain(optim.groups({".*": EMA}), optax.scale(0.5)), "followed by another"),
    "schedule-free": (
        optax.chain(optax.contrib.schedule_free_sgd(0.1), optax.scale(0.5)),
        "optax.contrib.schedule_free is followed by another",
    ),
    "two of them": (optim.with_ema(optax.contrib.schedule_free_sgd(0.1)), "schedule_free is within dl.optim.with_ema"),
    "an average in schedule-free": (optax.contrib.schedule_free(EMA, 0.1), "with_ema is within optax.contrib.schedule"),
    "an average in lookahead": (optim.lookahead(EMA, 5, 0.5), "with_ema is within dl.optim.lookahead"),
    "an unknown wrapper": (optax.contrib.mechanize(EMA), "with_ema is within a transformation with the state Mechanic"),
    "rounded": (optim.with_bfloat16_state(EMA), "with_bfloat16_state, which would round"),
    "optax.lookahead": (optax.lookahead(optax.sgd(0.1), 5, 0.5), "use dl.optim.lookahead, with the same arguments"),
    "flattened": (optax.flatten(EMA), "changes the shapes or dtypes of its evaluation weights"),
    "obj_fn": (optax.contrib.sophia(0.1), r"update fails: .*obj_fn must be provided.*update that computes them"),
    "sam": (SAM, r"update fails: .*'value'.*\n.*optax.GradientTransformation\(tx.init, tx.update\)"),
    "sam by its task": (SAM, r"If it is optax.contrib.sam: the task dl.robust.training.SAM\(task\)"),
    "a masked line search": (optax.masked(optax.lbfgs(), HEAD), "update fails.*use dl.optim.groups, not optax.masked"),
    "a line search that reaches the loss": (
        optax.masked(optax.lbfgs(), HEAD, mask_compatible_extra_args=True),
        "value_fn is called with a part of the parameters.*use dl.optim.groups",
    ),
    "MultiSteps of polyak": (optax.MultiSteps(optax.polyak_sgd(), 2), r"optax.MultiSteps\(...\).gradient_transformat"),
    "a growing state": (
        optax.GradientTransformation(
            lambda params: jnp.zeros(1), lambda updates, state, params=None: (updates, jnp.concatenate([state, state]))
        ),
        r"changes the shapes or dtypes of its state.*float32\[1\] -> float32\[2\]",
    ),
}


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", ACCEPTED)
def test_accepted(name, dtype):
    optim.check_optimizer(ACCEPTED[name], jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, dtype), PARAMS))


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name):
    optimizer, message = REFUSED[name]
    with pytest.raises(dl.UserError, match=f"(?s){message}"):
        optim.check_optimizer(optimizer, PARAMS)
