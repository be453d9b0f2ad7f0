"""What to read of a folder, and everything that is wrong with it, before a tensor is read."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from deeplab.core.errors import UserError
from deeplab.hub.files import Header, read_tensor
from deeplab.hub.mapping import Tensor, differences, matched, tensors
from deeplab.models.foreign import Names


class Step(NamedTuple):
    """One tensor to read, and where it goes."""

    tensor: Tensor
    header: Header


def plan(
    folder: Path,
    names: Names,
    leaves: Mapping[str, Any],
    headers: Mapping[str, Header],
    wrong: Sequence[str],
    skip: Sequence[str] = (),
    new_head: bool = False,
    part: bool = False,
) -> list[Step]:
    """What to read, once everything is known to fit.

    Args:
      folder: Folder, for the message.
      names: Names of the family.
      leaves: Shapes of our variables, as `deeplab.hub.mapping.leaves` gives them.
      headers: What the files say of their tensors.
      wrong: What is wrong with the files.
      skip: Regular expressions of our parameter paths that start anew.
      new_head: Whether ours has a head of its own.
      part: Whether ours may be a part without the head of theirs, which is then left out.

    Raises:
      UserError: Something does not fit; the message lists all of it.
    """
    wanted, unfilled = tensors(names, leaves)
    found = matched(names, wanted, headers)

    def skipped(path: str) -> bool:  # and the statistics of what is skipped
        return any(re.search(pattern, re.sub(r"^batch_\w+/", "", path)) for pattern in skip)

    def of_head(tensor: Tensor) -> bool:
        return all(re.match(r"(batch_\w+/)?head/", path) for path, _ in tensor.parts)

    left = {name for name, tensor in wanted.items() if all(skipped(path) for path, _ in tensor.parts)}
    if new_head:  # what a folder has of it is read
        left |= {name for name, tensor in wanted.items() if of_head(tensor) and name not in found}
    unread = {found[name] for name in left if name in found}
    headless = part and not any(map(of_head, wanted.values()))
    if headless or any(of_head(wanted[name]) for name in left):  # so the folder has another one
        used = {found[name] for name in wanted if name in found and name not in left}
        unread |= {name for name in headers if any(re.search(p, name) for p in names.heads)} - used
    headers = {name: header for name, header in headers.items() if name not in unread}
    wanted = {name: tensor for name, tensor in wanted.items() if name not in left}
    wrong = [*wrong, *(f"{path}: no rule fills it" for path in unfilled if not skipped(path))]
    wrong += differences(names, wanted, headers, found)
    if not wrong:
        wrong = _untied(names, headers)
    if wrong:
        raise UserError(f"{folder} does not fit its model:\n  " + "\n  ".join(wrong))
    return [Step(tensor, headers[found[name]]) for name, tensor in wanted.items()]


def _untied(names: Names, headers: Mapping[str, Header]) -> list[str]:
    """Tensors that are one by the config, and two that differ in the file."""
    pairs = [pair for pair in names.ties if all(name in headers for name in pair)]
    return [
        f"tied: {a} {headers[a]} and {b} {headers[b]} differ; the config says that they are one (tie_word_embeddings)"
        for a, b in pairs
        if not np.array_equal(read_tensor(headers[a]), read_tensor(headers[b]))
    ]
