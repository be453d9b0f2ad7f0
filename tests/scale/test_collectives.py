"""What devices send each other: known programs counted by hand, and the notations of groups."""

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from deeplab import scale
from deeplab.scale.plan.collectives import Collective, find_collectives
from deeplab.scale.plan.hlo import replica_group as group_of

D, H, L = 32, 64, 3  # width, hidden units, layers


def sent(mesh, spec):
    """The collectives of the gradient step of two products, parameters laid out by `spec`."""
    grid = scale.make_mesh(mesh)

    def loss(params, x):
        return jnp.mean((jnp.tanh(x @ params["up"]) @ params["down"]) ** 2)

    def placed(shape, spec):
        return jax.ShapeDtypeStruct(shape, jnp.float32, sharding=NamedSharding(grid, spec))

    params = {"up": placed((D, H), spec), "down": placed((H, D), spec)}
    where = jax.tree.map(lambda s: s.sharding, params)

    def step(params, x):
        return jax.tree.map(lambda p, g: p - g, params, jax.grad(loss)(params, x))

    x = placed((16, D), P(("data", "fsdp")))
    text = jax.jit(step, out_shardings=where).lower(params, x).compile().as_text()
    found, unknown = find_collectives(text, grid.size)
    assert not unknown
    return found


def test_data_parallel_reduces_the_gradients():
    found = sent("data=8", P())
    assert {c.kind for c in found} == {"all-reduce"}
    assert sum(c.nbytes for c in found) == 4 * 2 * D * H
    assert sum(c.received_bytes for c in found) == 2 * 7 / 8 * 4 * 2 * D * H
    assert all(c.group == tuple(range(8)) for c in found)


def test_in_a_loop_they_count_by_its_length():
    grid = scale.make_mesh("data=8")
    x = jax.ShapeDtypeStruct((L, 8, D), jnp.float32, sharding=NamedSharding(grid, P(None, "data")))

    def sums(x):
        return jax.lax.scan(lambda c, row: (c + jnp.tanh(row - c[None]).sum(0), None), jnp.zeros(D), x)[0]

    found, _ = find_collectives(jax.jit(sums).lower(x).compile().as_text(), grid.size)
    assert [(c.kind, c.nbytes, c.times) for c in found] == [("all-reduce", 4 * D, L)]


def test_a_loop_of_unknown_length_is_said():
    grid = scale.make_mesh("data=8")
    x = jax.ShapeDtypeStruct((8, D), jnp.float32, sharding=NamedSharding(grid, P("data")))

    def until(x):
        return jax.lax.while_loop(lambda c: jnp.sum(c) < 9, lambda c: c * 2, x)

    found, unknown = find_collectives(jax.jit(until).lower(x).compile().as_text(), grid.size)
    assert len(unknown) == 1
    assert {c.kind for c in found} == {"all-reduce"}


def test_sharded_parameters_are_gathered_and_their_gradients_scattered():
    """A layer's whole weights, forward and backward; of their gradients each device keeps a part."""
    grid = scale.make_mesh("fsdp=8")
    rows = NamedSharding(grid, P("fsdp"))

    def loss(w, x):
        y = jax.lax.with_sharding_constraint(jnp.tanh(x @ w), rows)
        return jnp.mean(jax.lax.with_sharding_constraint(y @ w.T, rows) ** 2)

    w, x = (jax.ShapeDtypeStruct(shape, jnp.float32, sharding=rows) for shape in ((64, 96), (8 * 64, 64)))
    text = jax.jit(jax.grad(loss), out_shardings=rows).lower(w, x).compile().as_text()
    kinds = {}
    for c in find_collectives(text, 8)[0]:
        kinds[c.kind] = max(kinds.get(c.kind, 0), c.nbytes)
    assert kinds["all-gather"] == 4 * 64 * 96
    assert kinds["reduce-scatter"] == 4 * 64 * 96


def test_sixteen_bits_are_counted_where_a_cpu_sends_thirty_two():
    grid = scale.make_mesh("fsdp=8")
    rows = NamedSharding(grid, P("fsdp"))

    def loss(w, x):
        y = jnp.tanh(x.astype(jnp.bfloat16) @ w.astype(jnp.bfloat16))
        return jnp.mean(jax.lax.with_sharding_constraint(y, rows).astype(jnp.float32) ** 2)

    w, x = (jax.ShapeDtypeStruct(shape, jnp.float32, sharding=rows) for shape in ((64, 96), (8 * 64, 64)))
    text = jax.jit(jax.grad(loss), out_shardings=rows).lower(w, x).compile().as_text()
    kinds = {c.kind: c.nbytes for c in find_collectives(text, 8)[0] if c.nbytes > 100}
    assert kinds == {"all-gather": 2 * 64 * 96, "reduce-scatter": 2 * 64 * 96}


@pytest.mark.parametrize(
    ("text", "group"),
    [
        ("replica_groups={{0,2},{1,3}}, x", (0, 2)),
        ("replica_groups=[2,4]<=[8], x", (0, 1, 2, 3)),
        ("replica_groups=[4,2]<=[2,4]T(1,0), x", (0, 4)),
        ("replica_groups=mesh['a'=2,'b'=4] {'b'}, x", (0, 1, 2, 3)),
        ("replica_groups=mesh['a'=2,'b'=4] {'a'}, x", (0, 4)),
        ("replica_groups=mesh['a'=4,'b'=1,'c'=2], device_ids=([2,4]T(1,0)) {'c'}, x", (0, 4)),
        ("replica_groups={}, x", tuple(range(8))),
    ],
)
def test_groups_in_every_notation(text, group):
    assert group_of(text, 8) == group


def test_a_device_receives_what_a_ring_brings():
    four = (0, 1, 2, 3)
    assert Collective("all-gather", 100, four, 1, "").received_bytes == 75
    assert Collective("reduce-scatter", 100, four, 2, "").received_bytes == 150
    assert Collective("all-reduce", 100, four, 1, "").received_bytes == 150
    assert Collective("collective-permute", 100, four, 1, "").received_bytes == 100
    assert Collective("all-reduce", 100, (0,), 1, "").received_bytes == 0
