"""Tables of inverted residuals, of which MobileNet and EfficientNet are made, and their names in other files."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

from deeplab.models.foreign import Rule, batch_norm, conv, pointwise
from deeplab.nn.norm import Norm
from deeplab.nn.parts.convolution import ConvNorm, Elementwise, InvertedResidual, Padding, SqueezeExcite


class Row(NamedTuple):
    """Equal blocks but for the first one's stride: a row of a paper's table.

    Attributes:
      repeats: Number of blocks.
      kernel: Height and width of the depthwise kernel.
      stride: Stride of the first block.
      expansion: Width of the branch over that of the stream; there is no block that expands when 1.
      width: Number of channels of the stream.
      squeeze: Whether the channels are weighted.
      activation: Function of the branch; the network's when None.
    """

    repeats: int
    kernel: int
    stride: int
    expansion: float
    width: int
    squeeze: bool = False
    activation: Elementwise | None = None


Table = tuple[tuple[Row, ...], ...]
"""Rows, those of a stage together."""


def divisible(width: float, divisor: int = 8) -> int:
    """The multiple of 8 that is nearest to a width, and at least nine tenths of it.

    Example:
      >>> divisible(36), divisible(11)
      (40, 16)
    """
    nearest = max(divisor, int(width + divisor / 2) // divisor * divisor)
    return nearest + divisor if nearest < 0.9 * width else nearest


def scaled(table: Table, width: float, depth: float, ends: bool = True) -> Table:
    """The table of a network that is wider and deeper by these factors.

    Args:
      table: Table.
      width: Factor of the widths.
      depth: Factor of the number of blocks of a stage, of which the last row gets its share first.
      ends: Whether the first and last stage get deeper.
    """

    def stage(number: int, rows: tuple[Row, ...]) -> tuple[Row, ...]:
        left = sum(row.repeats for row in rows)
        factor = depth if ends or 0 < number < len(table) - 1 else 1.0
        total, found = math.ceil(left * factor), []
        for row in reversed(rows):
            repeats = max(1, round(row.repeats / left * total))
            left, total = left - row.repeats, total - repeats
            found.append(row._replace(repeats=repeats, width=divisible(row.width * width)))
        return tuple(reversed(found))

    return tuple(stage(number, rows) for number, rows in enumerate(table))


class _Block(NamedTuple):
    """A block: its stage and its number there, its row, its stride, and what it reads."""

    stage: int
    number: int
    row: Row
    stride: int
    inputs: int


def _blocks(table: Table, inputs: int) -> Iterator[_Block]:
    for stage, rows in enumerate(table):
        number = 0
        for row in rows:
            for repeat in range(row.repeats):
                yield _Block(stage, number, row, 1 if repeat else row.stride, inputs)
                inputs, number = row.width, number + 1


Squeeze = Callable[[int, int], SqueezeExcite]
"""From the width of the stream and that of the branch to a block."""


def stages(
    table: Table, inputs: int, *, norm: Norm, activation: Elementwise, padding: Padding, squeeze: Squeeze, drop: float
) -> tuple[tuple[InvertedResidual, ...], ...]:
    """The blocks of a table.

    Args:
      table: Table.
      inputs: Number of channels that the first block reads.
      norm: Constructor of the norms.
      activation: Function of the branches.
      padding: Function from a kernel's side to its padding.
      squeeze: Constructor of the blocks that weight channels.
      drop: Probability of leaving out the last block in training; those before it have less.
    """
    blocks = list(_blocks(table, inputs))
    found: list[list[InvertedResidual]] = [[] for _ in table]
    for position, (stage, _, row, stride, inputs) in enumerate(blocks):
        hidden, act = divisible(inputs * row.expansion), row.activation or activation
        block = InvertedResidual(
            None if row.expansion == 1 else ConvNorm(hidden, norm=norm, activation=act),
            ConvNorm(hidden, row.kernel, stride, hidden, norm, act, padding),
            squeeze(inputs, hidden) if row.squeeze else None,
            ConvNorm(row.width, norm=norm, activation=None),
            residual=stride == 1 and inputs == row.width,
            drop=drop * position / len(blocks),
        )
        found[stage].append(block)
    return tuple(map(tuple, found))


def rules(table: Table) -> tuple[Rule, ...]:
    """The names of a table's blocks in timm's files; the trunk's stages begin after its stem."""
    found: tuple[Rule, ...] = (*conv("trunk/stages_0_0/conv", "conv_stem"), *batch_norm("trunk/stages_0_0/norm", "bn1"))
    for stage, number, row, _, _ in _blocks(table, 0):
        ours, theirs = f"trunk/stages_{stage + 1}_{number}", f"blocks.{stage}.{number}"
        names = {"depthwise": "conv_dw", "project": "conv_pw"}
        if row.expansion != 1:
            names = {"expand": "conv_pw", "depthwise": "conv_dw", "project": "conv_pwl"}
        for place, (part, name) in enumerate(names.items(), start=1):
            found += conv(f"{ours}/{part}/conv", f"{theirs}.{name}")
            found += batch_norm(f"{ours}/{part}/norm", f"{theirs}.bn{place}")
        if row.squeeze:
            found += pointwise(f"{ours}/squeeze/reduce", f"{theirs}.se.conv_reduce")
            found += pointwise(f"{ours}/squeeze/expand", f"{theirs}.se.conv_expand")
    return found


def taps(table: Table) -> tuple[int, ...]:
    """The stages of a trunk, after its stem of stride 2, that are the last ones of strides 4, 8, 16, 32."""
    stride, last = 2, {}
    for number, rows in enumerate(table, start=1):
        for row in rows:
            stride *= row.stride
        last[stride] = number
    return tuple(number for stride, number in last.items() if stride > 2)
