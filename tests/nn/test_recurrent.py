"""Recurrent layers equal their definition, gradients too: by hand, in pieces, under every transformation."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from deeplab.core.jax_compat import scan_operands
from deeplab.nn.recurrent.layers import GRU, LSTM, Bidirectional

B, T, D, H = 3, 4, 3, 4
LAYERS = {"lstm": LSTM(H), "gru": GRU(H)}
LENGTHS = jnp.array([2, 4, 0])
each = pytest.mark.parametrize("kind", LAYERS)


@functools.cache
def setup(kind):
    """A layer, random parameters (biases too), inputs, and an initial state."""
    x = jax.random.normal(jax.random.key(1), (B, T, D))
    params = LAYERS[kind].init(jax.random.key(0), x)["params"]
    params = jax.tree.map(lambda p: p + 0.3 * jnp.cos(jnp.arange(p.size).reshape(p.shape)), params)
    h, c = jax.random.normal(jax.random.key(2), (2, B, H))
    return LAYERS[kind], params, x, (h, c) if kind == "lstm" else h


def by_hand(kind, params, x, lengths, initial, reverse=False):
    """The equations, a time after another; an example that is over keeps its state."""
    outputs, state = [jnp.zeros((B, H))] * T, initial
    for t in reversed(range(T)) if reverse else range(T):
        h = state[0] if kind == "lstm" else state
        wx, uh = x[:, t] @ params["input_kernel"] + params["bias"][None], h @ params["recurrent_kernel"]
        if kind == "lstm":
            i, f, g, o = jnp.split(wx + uh, 4, axis=1)
            c = jax.nn.sigmoid(f) * state[1] + jax.nn.sigmoid(i) * jnp.tanh(g)
            new = (jax.nn.sigmoid(o) * jnp.tanh(c), c)
        else:
            (x_r, x_z, x_n), (h_r, h_z, h_n) = jnp.split(wx, 3, axis=1), jnp.split(uh, 3, axis=1)
            r, z = jax.nn.sigmoid(x_r + h_r), jax.nn.sigmoid(x_z + h_z)
            n = jnp.tanh(x_n + r * (h_n + params["recurrent_bias"][None]))
            new = (1 - z) * n + z * h
        inside = (t < lengths)[:, None]
        outputs[t] = jnp.where(inside, new[0] if kind == "lstm" else new, 0)
        state = jax.tree.map(lambda a, b, inside=inside: jnp.where(inside, a, b), new, state)
    return jnp.stack(outputs, axis=1), state


def weighed(out):
    """A number that depends on every output and on the final state, and not linearly."""
    return sum(jnp.sum(jnp.sin(a + jnp.arange(a.size).reshape(a.shape))) for a in jax.tree.leaves(out))


@pytest.mark.parametrize(("kind", "reverse"), [("lstm", False), ("gru", False), ("gru", True)])
def test_outputs_and_gradients_are_the_definition(kind, reverse):
    layer, params, x, initial = setup(kind)

    def ours(params, x, initial):
        return layer.apply({"params": params}, x, LENGTHS, initial=initial, reverse=reverse)

    def theirs(params, x, initial):
        return by_hand(kind, params, x, LENGTHS, initial, reverse)

    results = []
    for function in (ours, theirs):
        objective = functools.partial(lambda function, *a: weighed(function(*a)), function)
        both = jax.jit(lambda *a, f=function, o=objective: (f(*a), jax.grad(o, argnums=(0, 1, 2))(*a)))
        results.append(both(params, x, initial))
    jax.tree.map(functools.partial(np.testing.assert_allclose, atol=2e-5), *results)


@each
def test_pieces_give_what_the_whole_gives(kind):
    layer, params, x, initial = setup(kind)
    apply = functools.partial(layer.apply, {"params": params})
    first, state = apply(x[:, :2], initial=initial)
    second, final = apply(x[:, 2:], initial=state)
    whole = apply(x, initial=initial)
    jax.tree.map(
        functools.partial(np.testing.assert_allclose, atol=1e-6), (jnp.concatenate([first, second], 1), final), whole
    )


@each
def test_full_lengths_are_no_lengths_and_padding_is_not_read(kind):
    layer, params, x, initial = setup(kind)
    apply = jax.jit(lambda x, n: layer.apply({"params": params}, x, n, initial=initial))
    jax.tree.map(
        functools.partial(np.testing.assert_allclose, atol=1e-6),
        apply(x, jnp.full(B, T)),
        layer.apply({"params": params}, x, initial=initial),
    )
    beyond = jnp.arange(T)[None, :, None] >= LENGTHS[:, None, None]
    jax.tree.map(np.testing.assert_array_equal, apply(jnp.where(beyond, 9.0, x), LENGTHS), apply(x, LENGTHS))


@each
def test_a_population_and_recomputation_change_nothing(kind):
    layer, params, x, _ = setup(kind)

    def trained(rate, recompute=False):
        apply = lambda params: layer.apply({"params": params}, x, LENGTHS)  # noqa: E731
        objective = lambda p: weighed((jax.checkpoint(apply) if recompute else apply)(p))  # noqa: E731
        after = jax.tree.map(lambda p, g: p - rate * g, params, jax.grad(objective)(params))
        return jax.grad(objective)(after)

    rates = jnp.array([0.1, 0.01])
    together = jax.jit(jax.vmap(trained))(rates)
    solo = jax.jit(lambda: trained(0.01, recompute=True))()
    jax.tree.map(functools.partial(np.testing.assert_allclose, atol=2e-5), jax.tree.map(lambda a: a[1], together), solo)


@each
def test_second_derivatives(kind):
    """Along a direction, forward over reverse and reverse over reverse: both the difference quotient's limit."""
    layer, params, x, _ = setup(kind)
    gradient = jax.jit(jax.grad(lambda given: weighed(layer.apply({"params": given[0]}, given[1], LENGTHS))))
    given = params, x
    direction = jax.tree.map(lambda a: jnp.cos(jnp.arange(a.size)).reshape(a.shape), given)
    forward = jax.jit(lambda: jax.jvp(gradient, (given,), (direction,))[1])()
    along = lambda at: sum(jax.tree.leaves(jax.tree.map(jnp.vdot, gradient(at), direction)))  # noqa: E731
    jax.tree.map(functools.partial(np.testing.assert_allclose, atol=1e-3), forward, jax.jit(jax.grad(along))(given))
    ahead, behind = (gradient(jax.tree.map(lambda a, d, s=s: a + s * d, given, direction)) for s in (3e-3, -3e-3))
    quotient = jax.tree.map(lambda a, b: (a - b) / 6e-3, ahead, behind)
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-2, atol=5e-2), forward, quotient)


@each
def test_half_precision_stays_near(kind):
    layer, params, x, _ = setup(kind)
    half = layer.clone(dtype=jnp.bfloat16)

    def objective(layer, params):
        out = layer.apply({"params": params}, x, LENGTHS)
        return weighed(jax.tree.map(lambda a: a.astype(jnp.float32), out)), out

    results = [jax.jit(jax.grad(functools.partial(objective, m), has_aux=True))(params) for m in (layer, half)]
    assert all(a.dtype == jnp.bfloat16 for a in jax.tree.leaves(results[1][1]))
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a.astype(jnp.float32), b, atol=0.03), results[1][1], results[0][1]
    )
    jax.tree.map(functools.partial(np.testing.assert_allclose, atol=0.15), results[1][0], results[0][0])


@each
def test_the_state_is_carried_in_single_precision(kind):
    """Looked up in the program: on a CPU the compiler may keep a half-precision sum in more bits than it was given."""
    layer, params, x, _ = setup(kind)
    half = layer.clone(dtype=jnp.bfloat16)
    program = jax.make_jaxpr(lambda x: half.apply({"params": params}, x))(x)
    (call,) = (eqn for eqn in program.eqns if "custom_vjp" in eqn.primitive.name)
    (scan,) = (eqn for eqn in call.params["call_jaxpr"].eqns if eqn.primitive.name == "scan")
    _, carried, _ = scan_operands(scan, [v.aval.dtype for v in scan.invars])
    assert carried == [jnp.float32] * (2 if kind == "lstm" else 1)


def test_bidirectional_reads_each_example_from_its_own_end():
    layer, params, x, _ = setup("gru")
    both = Bidirectional(GRU(H), GRU(H)).apply({"params": {"forward": params, "backward": params}}, x, LENGTHS)
    flipped = jnp.stack([x[b, jnp.r_[:n][::-1]] if n == T else jnp.r_[x[b, :n][::-1], x[b, n:]]
                         for b, n in enumerate(LENGTHS.tolist())])  # fmt: skip
    back, _ = layer.apply({"params": params}, flipped, LENGTHS)
    for b, n in enumerate(LENGTHS.tolist()):
        np.testing.assert_allclose(both[b, :n, H:], back[b, :n][::-1], atol=1e-6)
        np.testing.assert_array_equal(both[b, n:], 0)
    np.testing.assert_allclose(both[..., :H], layer.apply({"params": params}, x, LENGTHS)[0], atol=1e-6)
