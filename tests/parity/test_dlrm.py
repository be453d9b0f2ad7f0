"""DLRM against a plain torch.nn writing of its papers, with the same weights: logits, and every gradient."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from deeplab.models.recsys.dlrm import DLRM
from deeplab.nn.interaction import Beside, Cross, Dot, LowRankCross, ReluLayers

torch = pytest.importorskip("torch")

CARDINALITIES, SLOTS, WIDTH, NUMBERS = (5, 70, 3), (1, 3, 1), 4, 6
INTERACTIONS = {
    "dot": Dot(),
    "cross": Cross(2),
    "low_rank": LowRankCross(3, rank=5),
    "parallel": Beside((Cross(2), ReluLayers((7,)))),
}


def layers(p, x, relu=torch.relu):
    for i in range(1, len(p) + 1):
        x = relu(torch.nn.functional.linear(x, p[f"hidden{i}"]["kernel"].T, p[f"hidden{i}"]["bias"]))
    return x


def cross(p, x0):
    x = x0
    for i in range(1, 4):
        if f"cross{i}" in p:
            x = x0 * (x @ p[f"cross{i}"]["kernel"] + p[f"cross{i}"]["bias"]) + x
        elif f"up{i}" in p:
            x = x0 * (x @ p[f"down{i}"]["kernel"] @ p[f"up{i}"]["kernel"] + p[f"up{i}"]["bias"]) + x
    return x


def dot(vectors):
    products = vectors @ vectors.mT
    T = vectors.shape[1]
    pairs = [products[:, t, s] for t in range(T) for s in range(t)]
    return torch.cat([vectors[:, 0], torch.stack(pairs, dim=1)], dim=1)


def theirs(name, p, numbers, ids):
    """The model of `INTERACTIONS[name]`, with `nn.functional.embedding_bag` for the tables."""
    vectors, first = [layers(p["bottom"], numbers)], 0
    for number, count in enumerate(SLOTS, start=1):
        own = ids[:, first : first + count]
        table, first = p["tables"][f"table{number}"]["embedding"], first + count
        bags = [row[row >= 0] for row in own]
        offsets = torch.tensor([0, *np.cumsum([len(bag) for bag in bags])[:-1]])
        vectors.append(torch.nn.functional.embedding_bag(torch.cat(bags), table, offsets, mode="sum"))
    stacked = torch.stack(vectors, dim=1)
    flat, q = stacked.flatten(1), p.get("interaction", {})
    if name == "dot":
        x = dot(stacked)
    elif name == "parallel":
        x = torch.cat([cross(p["interaction"]["branches_0"], flat), layers(q["branches_1"], flat)], dim=1)
    else:
        x = cross(q, flat)
    return layers(p["top"], x) @ p["head"]["kernel"] + p["head"]["bias"]


@pytest.mark.parametrize("name", INTERACTIONS)
def test_logits_and_gradients_are_those_of_torch(name):
    rng = np.random.default_rng(1)
    model = DLRM(CARDINALITIES, WIDTH, SLOTS, (8,), INTERACTIONS[name], (9, 6))
    numbers = rng.normal(size=(7, NUMBERS)).astype(np.float32)
    ids = np.concatenate([rng.integers(0, n, (7, s)) for n, s in zip(CARDINALITIES, SLOTS, strict=True)], axis=1)
    ids[2, 1:4], ids[3, 3] = (9, -1, 9), -1  # the same id twice counts twice
    ids[5, 1:4] = -1  # and none is 0
    params = jax.eval_shape(model.init, jax.random.key(0), jnp.asarray(numbers), jnp.asarray(ids))["params"]
    params = jax.tree.map(lambda leaf: rng.normal(0, 0.5, leaf.shape).astype(np.float32), params)
    chosen = rng.normal(size=(7, 1)).astype(np.float32)

    @jax.jit
    def ours(params) -> tuple[jax.Array, jax.Array]:
        logits: Any = model.apply({"params": params}, numbers, ids)
        return jnp.sum(logits * chosen), logits

    (_, logits), gradient = jax.value_and_grad(ours, has_aux=True)(params)
    p = jax.tree.map(lambda leaf: torch.tensor(leaf, requires_grad=True), params)
    expected = theirs(name, p, torch.tensor(numbers), torch.tensor(ids))
    (expected * torch.tensor(chosen)).sum().backward()
    scale = float(expected.detach().abs().max())
    np.testing.assert_allclose(logits, expected.detach(), rtol=1e-4, atol=1e-4 * scale)
    for (path, mine), leaf in zip(jax.tree_util.tree_leaves_with_path(gradient), jax.tree.leaves(p), strict=True):
        given = leaf.grad.numpy()
        atol = 1e-3 * np.abs(given).max()
        np.testing.assert_allclose(mine, given, rtol=1e-3, atol=atol, err_msg=jax.tree_util.keystr(path))
        assert np.any(given), path
