"""LSTM and GRU equal torch.nn's with the same weights: outputs, states and every gradient, ragged lengths included."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from deeplab.nn.recurrent.layers import GRU, LSTM, Bidirectional

torch = pytest.importorskip("torch")
B, T, D, H = 3, 6, 4, 5
GATES = {"LSTM": 4, "GRU": 3}
LAYERS = {"LSTM": LSTM, "GRU": GRU}
LENGTHS = [6, 4, 1]  # descending, as torch packs them


def ours(weights, kind, suffix=""):
    """Parameters from torch's: a second bias is kept where a reset gate scales it, and added elsewhere."""
    w_ih, w_hh, b_ih, b_hh = (
        weights[f"{name}_l0{suffix}"] for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    )
    params = {"input_kernel": w_ih.T, "recurrent_kernel": w_hh.T, "bias": b_ih + b_hh}
    if kind == "GRU":
        params["bias"] = b_ih + np.concatenate([b_hh[: 2 * H], np.zeros(H, np.float32)])
        params["recurrent_bias"] = b_hh[2 * H :]
    return params


def run_torch(kind, x, initial, ragged, bidirectional=False):
    """Outputs, states; and gradients of a random projection of both, by the names of our parameters."""
    layer = getattr(torch.nn, kind)(D, H, batch_first=True, bidirectional=bidirectional)
    x, initial = torch.tensor(x, requires_grad=True), [torch.tensor(a[None], requires_grad=True) for a in initial]
    state = None if bidirectional else tuple(initial) if kind == "LSTM" else initial[0]
    packed = torch.nn.utils.rnn.pack_padded_sequence(x, LENGTHS, batch_first=True) if ragged else x
    outputs, final = layer(packed, state)
    if ragged:
        outputs, _ = torch.nn.utils.rnn.pad_packed_sequence(outputs, batch_first=True)
    final = final if kind == "LSTM" else (final,)
    loss = sum((a * torch.tensor(weight_of(a.shape))).sum() for a in (outputs, *final[: 0 if bidirectional else 2]))
    loss.backward()
    grads = {name: p.grad.numpy() for name, p in layer.named_parameters()}
    values = [a.detach().numpy() for a in (outputs, *(s[0] for s in final))]
    d_initial = [] if bidirectional else [a.grad[0].numpy() for a in initial]
    weights = {name: p.detach().numpy() for name, p in layer.named_parameters()}
    return weights, values, grads, x.grad.numpy(), d_initial


def weight_of(shape):
    return np.cos(np.arange(np.prod(shape), dtype=np.float32)).reshape(shape)


@pytest.mark.parametrize("ragged", [False, True])
@pytest.mark.parametrize("kind", GATES)
def test_outputs_states_and_gradients(kind, ragged):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(B, T, D)).astype(np.float32)
    initial = rng.normal(size=(2 if kind == "LSTM" else 1, B, H)).astype(np.float32)
    weights, values, grads, dx, d_initial = run_torch(kind, x, initial, ragged)
    layer, lengths = LAYERS[kind](H), jnp.array(LENGTHS) if ragged else None

    def run(params, x, initial):
        state = tuple(initial) if kind == "LSTM" else initial[0]
        outputs, final = layer.apply({"params": params}, x, lengths, initial=state)
        out = (outputs, *(final if kind == "LSTM" else (final,)))
        # The states have one more axis in torch; the same numbers in the same order.
        return sum(jnp.sum(a * weight_of(a.shape)) for a in out), out

    params = ours(weights, kind)
    (d_params, d_x, d_init), out = jax.jit(jax.grad(run, argnums=(0, 1, 2), has_aux=True))(params, x, initial)
    for a, b in zip(out, values, strict=True):
        np.testing.assert_allclose(a, b, atol=2e-6)
    np.testing.assert_allclose(d_x, dx, atol=2e-5)
    np.testing.assert_allclose(d_init, d_initial, atol=2e-5)
    np.testing.assert_allclose(d_params["input_kernel"], grads["weight_ih_l0"].T, atol=2e-5)
    np.testing.assert_allclose(d_params["recurrent_kernel"], grads["weight_hh_l0"].T, atol=2e-5)
    np.testing.assert_allclose(d_params["bias"], grads["bias_ih_l0"], atol=2e-5)
    if kind == "GRU":
        np.testing.assert_allclose(d_params["recurrent_bias"], grads["bias_hh_l0"][2 * H :], atol=2e-5)


@pytest.mark.parametrize("ragged", [False, True])
@pytest.mark.parametrize("kind", GATES)
def test_bidirectional(kind, ragged):
    x = np.random.default_rng(1).normal(size=(B, T, D)).astype(np.float32)
    weights, values, grads, dx, _ = run_torch(kind, x, [], ragged, bidirectional=True)
    layer, lengths = Bidirectional(LAYERS[kind](H), LAYERS[kind](H)), jnp.array(LENGTHS) if ragged else None
    params = {"forward": ours(weights, kind), "backward": ours(weights, kind, "_reverse")}

    def run(params, x):
        out = layer.apply({"params": params}, x, lengths)
        return jnp.sum(out * weight_of(out.shape)), out

    (d_params, d_x), out = jax.jit(jax.grad(run, argnums=(0, 1), has_aux=True))(params, x)
    np.testing.assert_allclose(out, values[0], atol=2e-6)
    np.testing.assert_allclose(d_x, dx, atol=2e-5)
    for direction, suffix in (("forward", ""), ("backward", "_reverse")):
        np.testing.assert_allclose(d_params[direction]["recurrent_kernel"], grads[f"weight_hh_l0{suffix}"].T, atol=2e-5)
