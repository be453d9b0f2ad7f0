"""Groups and masks go by the path of a parameter."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import deeplab as dl
from deeplab import optim

PARAMS = {
    "block1": {"dense": {"kernel": jnp.ones((3, 4)), "bias": jnp.ones(4)}, "norm": {"scale": jnp.ones((2, 4))}},
    "embed": {"embedding": jnp.ones((5, 3))},
    "head": {"kernel": jnp.ones((4, 2)), "bias": jnp.ones(2)},
}


def test_matrices_only_spares_biases_and_norms():
    mask = optim.matrices_only(PARAMS)
    assert mask["block1"] == {"dense": {"kernel": True, "bias": False}, "norm": {"scale": False}}
    assert mask["embed"]["embedding"]
    assert mask["head"] == {"kernel": True, "bias": False}


def test_groups_train_by_the_first_pattern_and_freeze():
    tx = optim.groups(
        {
            "^head/": optax.sgd(1.0),
            "kernel": optax.adamw(0.1, mask=optim.matrices_only),
            ".*": optax.set_to_zero(),
        }
    )
    state = tx.init(PARAMS)
    updates, _ = tx.update(PARAMS, state, PARAMS)
    assert (updates["head"]["kernel"] == -1).all()
    assert (updates["block1"]["dense"]["kernel"] < 0).all()
    assert (updates["block1"]["dense"]["bias"] == 0).all()
    assert (updates["embed"]["embedding"] == 0).all()


def test_groups_name_a_parameter_without_a_group():
    with pytest.raises(dl.UserError, match=r"block1/dense/bias.*end with"):
        optim.groups({"^head/": optax.sgd(1.0)}).init(PARAMS)


def test_a_line_search_in_a_group_holds_the_other_parameters():
    """L-BFGS on the head of a frozen trunk is L-BFGS on a loss of the head alone."""
    trunk, head = jnp.array([1.0, -2.0, 0.5]), jnp.array([3.0, 1.0])

    def loss(params):
        return jnp.sum((params["trunk"] @ jnp.ones((3, 2)) - params["head"] ** 2) ** 2) + jnp.sum(params["trunk"] ** 2)

    def train(tx, params, value_fn):
        state = tx.init(params)
        for _ in range(4):
            value, grad = jax.value_and_grad(value_fn)(params)
            updates, state = tx.update(grad, state, params, value=value, grad=grad, value_fn=value_fn)
            params = optax.apply_updates(params, updates)
        return params

    both = {"trunk": trunk, "head": head}
    tx = optim.groups({"^head": optax.lbfgs(), ".*": optax.set_to_zero()})
    trained = train(tx, both, loss)
    alone = train(optax.lbfgs(), {"head": head}, lambda p: loss({"trunk": trunk, **p}))
    np.testing.assert_array_equal(trained["trunk"], trunk)
    np.testing.assert_allclose(trained["head"], alone["head"], rtol=1e-6)
    assert float(loss(trained)) < 0.1 * float(loss(both))
