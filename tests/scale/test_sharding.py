"""Meshes and rules."""

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import PartitionSpec as P

from deeplab import scale
from deeplab.errors import UserError
from tests import toys


@pytest.mark.parametrize("shape", ["data=0", "data", "rows=2", "data=2,data=2", "data=x", ""])
def test_a_wrong_mesh_says_what_is_right(shape):
    with pytest.raises(UserError, match="for example --mesh data=4,fsdp=2"):
        scale.make_mesh(shape)


def test_rules_place_parameters_and_moments_alike():
    mesh = scale.make_mesh("data=2,model=4")
    state, _, _ = toys.start(toys.experiment())
    shardings = scale.state_shardings(state, [("hidden/kernel", P(None, "model"))], mesh)
    placed = {
        jax.tree_util.keystr(path, simple=True, separator="/"): s.spec
        for path, s in jax.tree_util.tree_leaves_with_path(shardings)
        if "model" in s.spec
    }
    assert len(placed) == 3  # the parameter and Adam's two moments
    assert all(name.endswith("hidden/kernel") for name in placed)


def test_what_does_not_divide_stays_whole():
    mesh = scale.make_mesh("model=8")
    sharding = scale.state_shardings({"w": jnp.ones((6, 16))}, [("w", P("model", None))], mesh)
    assert sharding["w"].spec == P(None, None)


def test_fsdp_takes_the_largest_free_dimension_of_large_arrays():
    mesh = scale.make_mesh("fsdp=4")
    tree = {"large": jnp.ones((8, 256)), "small": jnp.ones((8, 8)), "odd": jnp.ones((3, 1001))}
    specs = {name: s.spec for name, s in scale.state_shardings(tree, (), mesh).items()}
    assert specs == {"large": P(None, "fsdp"), "small": P(None, None), "odd": P(None, None)}


@pytest.mark.parametrize(("batch", "said"), [(100, "use 96 or 104"), (5, "use 8")])
def test_batches_that_do_not_divide(batch, said):
    with pytest.raises(UserError, match=said):
        scale.check_batch(batch, scale.make_mesh("data=4,fsdp=2"))
    scale.check_batch(96, scale.make_mesh("data=4,fsdp=2"))
