"""HotFlip: the exchange of tokens that raises the objective most, by its gradient at the embedding."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from deeplab.core import ranges
from deeplab.core.abstract.convolutions import canonical
from deeplab.core.errors import UserError
from deeplab.robust.attacks.objectives import CROSS_ENTROPY, Batch, Objective
from deeplab.robust.attacks.seam import Attack, Seam
from deeplab.robust.attacks.search import Found, better, rows
from deeplab.robust.inputs import refuse_missing


@ranges.checked(flips=ranges.COUNT)
def hotflip(
    flips: int,
    *,
    tap: str,
    field: str = "tokens",
    fields: tuple[str, ...] = ("tokens",),
    objective: Objective = CROSS_ENTROPY,
    table: Callable[[Any], Float[Array, "V D"]] | None = None,
    fixed: tuple[int, ...] = (),
) -> Attack:
    """Exchanges one token after another of texts [B, T] (Ebrahimi et al. 2018, https://arxiv.org/abs/1712.06751).

    Token v at position t promises g_t (e_v - e_{x_t}), with the gradient g of the objective by the embeddings e; the
    largest promise of a text is kept each time, and of all texts on the way the best.

    Args:
      flips: Number of exchanges.
      tap: Name of the module that embeds the tokens; `dl.explain.embedding_tap` finds it.
      field: Name of the batch's field of tokens.
      fields: Names of the fields that the model reads, in order: `task.fields`.
      objective: What is raised.
      table: Function from the bound model to the embeddings of all tokens; the tap's parameter "embedding" when None.
      fixed: Tokens that are neither exchanged nor put in, such as that of padding.

    Raises:
      UserError: when called, if the tap has no embeddings, or the field is not of integers [B, T].

    Example:
      >>> attack = hotflip(2, tap="embed")
    """
    at_tap = Seam(fields, tap=tap)

    def attack(apply: Any, batch: Batch, key: PRNGKeyArray) -> Batch:
        if field not in batch or jnp.ndim(batch[field]) != 2 or not jnp.issubdtype(batch[field].dtype, jnp.integer):
            raise UserError(f"{field!r} is no field of tokens [B, T] of the batch; give field= one of {sorted(batch)}")
        refuse_missing(batch, ("id", "weight"))
        embeddings = _embeddings(apply, tap) if table is None else table(apply)
        allowed = ~jnp.isin(jnp.arange(len(embeddings)), jnp.asarray(fixed, int))
        weight, name = batch["weight"] > 0, at_tap.name

        def total(embedded: Array, tokens: Array) -> tuple[Array, tuple[Array, Array]]:
            given = batch | {field: tokens, name: embedded}
            outputs = at_tap.outputs(apply, given, key)
            values = objective.value(outputs, given)
            return jnp.sum(values), (values, objective.fooled(outputs, given))

        slope = canonical(jax.grad(total, has_aux=True))

        def look(tokens: Array) -> tuple[Array, Found]:
            given = batch | {field: tokens}
            embedded = apply.taps(*(given[name] for name in fields), names=[tap])[1][tap]
            gradient, (values, fooled) = slope(embedded, tokens)
            return gradient, Found(tokens, values, fooled)

        def flip(carry: tuple[Array, Found], _: Any) -> tuple[tuple[Array, Found], None]:
            tokens, found = carry
            gradient, seen = look(tokens)
            promises = jnp.einsum("btd,vd->btv", gradient, embeddings)
            own = jnp.take_along_axis(promises, tokens[..., None], axis=2)
            free = allowed[tokens][..., None] & allowed[None, None]
            free = free & (jnp.arange(len(embeddings))[None, None] != tokens[..., None])
            best = jnp.argmax(jnp.where(free, promises - own, -jnp.inf).reshape(len(tokens), -1), axis=1)
            t, v = best // len(embeddings), best % len(embeddings)
            here = (jnp.arange(tokens.shape[1])[None] == t[:, None]) & jnp.any(free, axis=(1, 2))[:, None]
            moved = jnp.where(here, v[:, None].astype(tokens.dtype), tokens)
            return (moved, better(found, seen)), None

        tokens = batch[field]
        unseen = Found(tokens, jnp.full(len(tokens), -jnp.inf), jnp.zeros(len(tokens), bool))
        (last, found), _ = jax.lax.scan(flip, (tokens, unseen), None, length=flips)
        return batch | {field: rows(weight, better(found, look(last)[1]).x, tokens)}

    return attack


def _embeddings(apply: Any, tap: str) -> Float[Array, "V D"]:
    params = apply.params
    for part in (*tap.split("/"), "embedding"):
        if part not in params:
            raise UserError(f"{tap!r} has no parameter 'embedding'; give table= the function to the embeddings [V, D]")
        params = params[part]
    return jnp.asarray(params)
