"""Cards of recommendations, for an experiment's `show`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from deeplab.core.blocks.base import Card, card, rows

_SHOWN = 10  # items of a history


def next_items(names: Sequence[str], batch: Mapping[str, Any], predictions: Mapping[str, Any]) -> list[Card]:
    """A card for each user: the last items beside the recommended ones; the item that came next is marked.

    With the names bound (`functools.partial(next_items, data.builder.items)`), it is a `show`.

    Args:
      names: Names of the items by number; number 0 is padding.
      batch: `user` [N], `sequence` [N, S], oldest first, then zeros, and `target` [N].
      predictions: `top` [N, K], the best items, then zeros, and `rank` [N].

    Example:
      >>> batch = {"user": [7], "sequence": np.array([[1, 0]]), "target": [2]}
      >>> made = next_items(["", "tea", "milk"], batch, {"top": [[2, 0]], "rank": [1.0]})
      >>> made[0]["title"], made[0]["caption"], made[0]["parts"][1]["body"]
      ('user 7', 'then milk: rank 1', [['milk', '✓']])
    """
    made = []
    for i, target in enumerate(batch["target"]):
        seen = batch["sequence"][i][batch["sequence"][i] > 0]
        listed = [[names[item], "✓" if item == target else ""] for item in predictions["top"][i] if item]
        tables = rows(["saw last"], [[names[item]] for item in seen[-_SHOWN:]]), rows(["next", ""], listed)
        then = f"then {names[target]}: rank {predictions['rank'][i]:g}"
        made.append(card(f"user {batch['user'][i]}", *tables, caption=then))
    return made


def rated_items(names: Sequence[str], batch: Mapping[str, Any], predictions: Mapping[str, Any]) -> list[Card]:
    """A card for each user: the highest rated items beside the recommended ones, with held-out ratings of these.

    With the names bound (`functools.partial(rated_items, data.builder.items)`), it is a `show`.

    Args:
      names: Names of the items by number; number 0 is padding.
      batch: `user` [N], and the ratings `known` and `rating` [N, V] with the masks `given` and `rated`; in a batch
        without them, those that are not 0 are ratings.
      predictions: `top` and `top_rating` [N, K], the best items, then zeros, and `loss` [N].

    Example:
      >>> batch = {"user": [7], "known": np.array([[0, 4, 0]]), "rating": np.array([[0, 0, 3]])}
      >>> told = {"top": [[2]], "top_rating": [[3.5]], "loss": np.array([0.25])}
      >>> made = rated_items(["", "tea", "milk"], batch, told)
      >>> made[0]["caption"], [part["body"] for part in made[0]["parts"]]
      ('1 held-out ratings, RMSE 0.50', [[['tea', '4']], [['milk', '3.5', '✓ 3']]])
    """
    made = []
    given, rated = batch.get("given", batch["known"] != 0), batch.get("rated", batch["rating"] != 0)
    for i, user in enumerate(batch["user"]):
        known, since = batch["known"][i], batch["rating"][i]
        ranked = np.argsort(-np.where(given[i], known, -np.inf), kind="stable")
        best = [item for item in ranked[:_SHOWN] if given[i][item]]
        top = zip(predictions["top"][i], predictions["top_rating"][i], strict=True)
        listed = [
            [names[item], f"{rating:.1f}", f"✓ {since[item]:g}" if rated[i][item] else ""]
            for item, rating in top
            if item
        ]
        tables = (
            rows(["rated highest", "rating"], [[names[item], f"{known[item]:g}"] for item in best]),
            rows(["recommended", "predicted", "actual"], listed),
        )
        error = f"{rated[i].sum()} held-out ratings, RMSE {predictions['loss'][i] ** 0.5:.2f}"
        made.append(card(f"user {user}", *tables, caption=error))
    return made
