"""Meshes, and shardings from rules."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P

from deeplab import scale
from deeplab.core.errors import UserError
from deeplab.nn.activations import ACTIVATIONS
from tests import toys


@pytest.mark.parametrize("shape", ["data=0", "data", "rows=2", "data=2,data=2", "data=x", ""])
def test_an_invalid_mesh_is_refused_with_an_example(shape):
    with pytest.raises(UserError, match="for example --mesh data=4,fsdp=2"):
        scale.make_mesh(shape)


def test_rules_apply_to_parameters_and_optimizer_state():
    mesh = scale.make_mesh("data=2,model=4")
    state, _, _ = toys.start(toys.experiment())
    shardings = scale.state_shardings(state, [("hidden/kernel", P(None, "model"))], mesh)
    specs = {
        jax.tree_util.keystr(path, simple=True, separator="/"): s.spec
        for path, s in jax.tree_util.tree_leaves_with_path(shardings)
        if "model" in s.spec
    }
    assert len(specs) == 3  # The parameter and Adam's two moments.
    assert all(name.endswith("hidden/kernel") for name in specs)


def test_dimensions_that_are_not_divisible_are_replicated():
    mesh = scale.make_mesh("model=8")
    sharding = scale.state_shardings({"w": jnp.ones((6, 16))}, [("w", P("model", None))], mesh)
    assert sharding["w"].spec == P(None, None)


def test_fsdp_splits_the_largest_free_dimension_of_large_arrays():
    mesh = scale.make_mesh("fsdp=4")
    tree = {"large": jnp.ones((8, 256)), "small": jnp.ones((8, 8)), "odd": jnp.ones((3, 1001))}
    specs = {name: s.spec for name, s in scale.state_shardings(tree, (), mesh).items()}
    assert specs == {"large": P(None, "fsdp"), "small": P(None, None), "odd": P(None, None)}


@pytest.mark.parametrize(("batch", "said"), [(100, "use 96 or 104"), (5, "use 8")])
def test_batches_that_are_not_divisible(batch, said):
    with pytest.raises(UserError, match=said):
        scale.check_batch(batch, scale.make_mesh("data=4,fsdp=2"))
    scale.check_batch(96, scale.make_mesh("data=4,fsdp=2"))


def test_rules_without_effect_are_reported():
    mesh = scale.make_mesh("model=4,fsdp=2")
    params = toys.start(toys.experiment())[0].params
    rules = [("hiden/kernel", P(None, "model")), ("head/kernel", P("model", None)), ("kernel", P("model", None))]
    findings = scale.unapplied_rules(params, rules, mesh)
    assert findings[0].startswith("the rule 'hiden/kernel' matches no parameter; did you mean 'hidden/kernel'")
    assert findings[1:] == ["replicated, since not divisible: hidden/kernel [2, 8] (2 over model=4)"]
    assert scale.unapplied_rules(params, rules, mesh, given=False) == findings[1:]
    assert scale.unapplied_rules(params, rules, scale.make_mesh("data=1")) == []
    assert "its devices repeat the same work" in scale.unapplied_rules(params, (), mesh)[0]
    assert scale.unapplied_rules(params, [("hidden/kernel", P(None, "model"))], mesh) == []


def test_an_unknown_axis_is_refused():
    with pytest.raises(UserError, match="splits over 'rows'; the axes of a mesh are data"):
        scale.state_shardings({"w": jnp.ones((8, 8))}, [("w", P("rows"))], scale.make_mesh("data=2"))
    with pytest.raises(UserError, match="did you mean 'sequence'"):
        scale.make_mesh("sequense=2")


def test_fsdp_splits_a_dimension_whose_rule_names_an_axis_of_size_1():
    tree, rules = {"table": jnp.ones((64, 20))}, [("table", P("model", None))]
    specs = [scale.state_shardings(tree, rules, scale.make_mesh(m))["table"].spec for m in ("fsdp=8", "model=8")]
    assert specs == [P("fsdp", None), P("model", None)]


def test_a_kernel_of_a_convolution_is_not_split_over_inputs_and_outputs():
    """XLA's gradients are wrong then."""
    tree, rules = {"kernel": jnp.ones((3, 3, 16, 32))}, [("kernel", P(None, None, None, "model"))]
    meshes = ("fsdp=2,model=2", "fsdp=2")
    specs = [scale.state_shardings(tree, rules, scale.make_mesh(m))["kernel"].spec for m in meshes]
    assert specs == [P(None, None, None, "model"), P(None, None, "fsdp", "model")]


def test_a_dimension_over_two_axes():
    mesh = scale.make_mesh("fsdp=2,model=4")
    shardings = scale.state_shardings({"w": jnp.ones((64, 64))}, [("w", P(("fsdp", "model"), None))], mesh)
    assert shardings["w"].spec == P(("fsdp", "model"), None)


def test_batches_divide_into_microbatches_too():
    mesh = scale.make_mesh("data=4")
    scale.check_batch(16, mesh, 4)
    with pytest.raises(UserError, match=r"4 devices .* times the 3 microbatches of --accumulate; use 12 or 24"):
        scale.check_batch(16, mesh, 3)


def test_the_devices_of_a_plan_need_not_be_there():
    mesh = scale.abstract_mesh("data=16,fsdp=16")
    sharding = scale.state_shardings({"w": jnp.ones((4096, 64))}, (), mesh)["w"]
    assert sharding.shard_shape((4096, 64)) == (256, 64)


def test_optimizer_state_can_be_offloaded_to_host_memory(monkeypatch):
    mesh = scale.make_mesh("fsdp=2")
    state = {"params": {"w": jnp.ones((64, 64))}, "opt_state": {"mu": {"w": jnp.ones((64, 64))}}}
    kinds = jax.tree.map(lambda s: s.memory_kind, scale.state_shardings(state, (), mesh, offload=True))
    assert kinds["opt_state"]["mu"]["w"] == "pinned_host"
    assert kinds["params"]["w"] != "pinned_host"
    monkeypatch.setattr(scale.rules, "HOST", "attic")
    with pytest.raises(UserError, match=r"--offload keeps optimizer state in host memory \(attic\), and cpu has only"):
        scale.state_shardings(state, (), mesh, offload=True)


class Gates(nn.Module):
    """Two gated linear units whose halves are on different devices."""

    @nn.compact
    def __call__(self, x):
        for name in ("gated1", "gated2"):
            x = ACTIVATIONS["glu"].function(nn.Dense(64, name=name)(x))
        return x


def test_split_features_are_gated_correctly():
    """In a recurrence they would not be, see `deeplab.nn.layout.whole`."""
    x = jax.random.normal(jax.random.key(1), (8, 12, 16))
    params = jax.jit(Gates().init)(jax.random.key(0), x)["params"]
    gradient = jax.grad(lambda params, x: jnp.mean(Gates().apply({"params": params}, x) ** 2))
    mesh, rules = scale.make_mesh("data=2,fsdp=2,model=2"), [("kernel", P(None, "model")), ("bias", P("model"))]
    where = scale.state_shardings(params, rules, mesh, smallest=16)
    with jax.set_mesh(mesh):
        split = jax.jit(gradient, out_shardings=where)(
            jax.device_put(params, where), jax.device_put(x, scale.batch_sharding(mesh))
        )
    assert_close = functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-7)
    jax.tree.map(assert_close, split, jax.jit(gradient)(params, x))
    assert split["gated1"]["kernel"].sharding.spec == P("fsdp", "model")
