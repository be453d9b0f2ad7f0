"""`show`: maps of examples, drawn as their modality is read."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from deeplab.core import blocks
from deeplab.core.blocks import Block
from deeplab.core.errors import UserError
from deeplab.core.printable import Printable
from deeplab.explain.attribution import Attribution
from deeplab.explain.view.overlay import overlay, shaded, spectrogram
from deeplab.report.document import CSS
from deeplab.report.render import Site, render
from deeplab.report.text import Html, join, tag

BANDS = 16  # a sequence of at least as many channels is drawn as a picture, of fewer as lines


@dataclasses.dataclass(frozen=True)
class Shown(Printable):
    """Explanations to look at: the last line of a cell of a notebook draws them.

    Attributes:
      blocks: Blocks of `deeplab.core.blocks`.
    """

    blocks: tuple[Block, ...]

    def __rich__(self) -> Any:
        count = sum(len(block.get("cards", ())) for block in self.blocks)
        return f"{count} explanations; a notebook draws them, and .html() is their page"

    def html(self) -> Html:
        """The blocks as HTML, with their style."""
        drawn = [render(block, Site(f"shown-{i}", level=3)) for i, block in enumerate(self.blocks)]
        return join(Html(f"<style>{CSS}</style>"), tag("div", *drawn))

    def _repr_html_(self) -> str:
        head = '<!doctype html><html lang="en"><meta charset="utf-8"><title>explanations</title>'
        page = f"{head}{self.html()}</html>"  # in a frame, whose style leaves the notebook be
        return str(tag("iframe", srcdoc=page, title="explanations", style="width: 100%; height: 34rem; border: 0"))


def show(
    maps: Any,
    x: Any = None,
    *,
    words: Sequence[Sequence[str]] | None = None,
    names: Sequence[str] | None = None,
    titles: Sequence[str] = (),
    captions: Sequence[str] = (),
) -> Shown:
    """Draws a card for each example.

    Images [B, H, W, C] get an overlay, sequences [B, T, F] of at least 16 channels one with time to the right, of fewer
    lines; tables [B, F] bars, and a swarm of all examples; words a color each.

    Args:
      maps: Values in the shape of the inputs, an `Attribution`, or several of them by name; {} for the inputs alone.
      x: Inputs [B, ...]; not needed with words.
      words: Words of each example, [B][T]; values of further axes are summed.
      names: Names of the columns of a table, or of the channels of a sequence.
      titles: Title of each card, such as its class.
      captions: Sentence beside each title.

    Raises:
      UserError: neither inputs nor words are given, or they or the names do not fit the map.

    Example:
      >>> shown = show(jnp.array([[1.0, -2.0]]), words=[("very", "bad")])
      >>> shown.blocks[0]["cards"][0]["parts"][0]["shares"]
      [0.5, -1.0]
    """
    named = maps if isinstance(maps, Mapping) else {"": maps}
    values = {name: np.asarray(m.values if isinstance(m, Attribution) else m) for name, m in named.items()}
    if x is None and words is None:
        raise UserError("show was given a map only; give the inputs as its second argument, or words=")
    if x is not None and words is None:
        _check_shapes(values, np.shape(x))
    shown: Any = x if words is None else words
    count = len(next(iter(values.values()), shown))
    cards = [
        blocks.card(
            titles[i] if i < len(titles) else f"example {i}",
            *parts(
                {name: value[i] for name, value in values.items()},
                None if x is None else np.asarray(x[i]),
                None if words is None else words[i],
                names,
            ),
            caption=captions[i] if i < len(captions) else "",
        )
        for i in range(count)
    ]
    drawn = [blocks.cards(cards)]
    if x is not None and words is None and jnp.ndim(x) == 2 and count > 1:
        drawn += [swarm(value, x, names, name) for name, value in values.items()]
    return Shown(tuple(drawn))


def parts(
    values: Mapping[str, np.ndarray],
    x: np.ndarray | None,
    words: Sequence[str] | None = None,
    names: Sequence[str] | None = None,
) -> list[Block]:
    """The blocks of one example: its input, and each of its maps.

    Args:
      values: Maps by name, of the example's shape.
      x: Input of the example.
      words: Its words, if it has any.
      names: Names of its columns or channels.
    """
    if words is not None:
        return [blocks.tokens(words, _each(value, len(words)), name) for name, value in values.items()]
    if x is None or x.ndim == 0:
        raise UserError("there is nothing to draw: an example needs an input of one axis or more, or words")
    if x.ndim == 1:
        labels = _names(names, len(x), "column")
        told = [f"{label} = {value:.4g}" for label, value in zip(labels, x, strict=True)]
        return [blocks.bars(told, value, title=name) for name, value in values.items()]
    if x.ndim == 2 and x.shape[1] < BANDS:
        labels = _names(names, x.shape[1], "channel")[:4]
        lines = blocks.curve({label: x[:, i] for i, label in enumerate(labels)}, "steps of the input")
        return [
            lines,
            *(
                blocks.curve({label: value[:, i] for i, label in enumerate(labels)}, f"steps: {name or 'map'}")
                for name, value in values.items()
            ),
        ]
    turn = spectrogram if x.ndim == 2 else np.asarray
    picture = turn(x) if x.ndim == 2 or x.shape[-1] not in (1, 3) else x
    seen = shaded(picture).astype(np.uint8) if picture.ndim == 2 or picture.shape[-1] != 3 else _colors(picture)
    drawn = [blocks.picture(seen, "the input")]
    return drawn + [blocks.picture(overlay(turn(v), picture), name or "map") for name, v in values.items()]


def swarm(values: Any, x: Any, names: Sequence[str] | None = None, title: str = "") -> Block:
    """The swarm of a table's map."""
    labels = _names(names, np.shape(x)[1], "column")
    return blocks.swarm(labels, np.asarray(values), np.asarray(x), title=title)


def _each(value: np.ndarray, count: int) -> np.ndarray:
    """One value for each word."""
    flat = value.reshape(len(value), -1).sum(axis=1)
    if len(flat) < count:
        raise UserError(f"there are {count} words for {len(flat)} values of the map; give one for each at most")
    return flat[:count]


def _names(names: Sequence[str] | None, count: int, kind: str) -> list[str]:
    given = [f"{kind} {i}" for i in range(count)] if names is None else list(names)
    if len(given) != count:
        raise UserError(f"there are {len(given)} names for {count} {kind}s of the inputs; give one for each")
    return given


def _check_shapes(values: Mapping[str, np.ndarray], shape: tuple[int, ...]) -> None:
    """Maps have the inputs' shape; of images, their channels may be summed."""
    for name, value in values.items():
        images = len(shape) == 4 and value.ndim in (3, 4) and value.shape[:3] == shape[:3]
        if value.shape != shape and not images:
            raise UserError(
                f"the map {name and f'{name!r} '}is {list(value.shape)}, and the inputs are {list(shape)}; give a map "
                "of the shape of the inputs"
            )


def _colors(image: np.ndarray) -> np.ndarray:
    low, high = image.min(), image.max()
    return np.round(255 * (image - low) / ((high - low) or 1.0)).astype(np.uint8)
