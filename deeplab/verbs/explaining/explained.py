"""`explain_batch`: maps of examples by several methods, each with how far it can be trusted, beside two controls."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from deeplab import explain
from deeplab.core import blocks
from deeplab.core.blocks import Block
from deeplab.core.errors import UserError, nearest
from deeplab.core.printable import Printable
from deeplab.explain.chunks import fitting
from deeplab.explain.trust.compare import STANDARD
from deeplab.explain.trust.features import Method
from deeplab.explain.trust.report import CONTROLS, MEANING, Report
from deeplab.explain.view.overlay import overlay
from deeplab.explain.view.show import BANDS, Shown, parts, swarm
from deeplab.verbs.explaining.subject import Subject

METHODS = ("integrated gradients", "deeplift", "input x gradient", "occlusion")
"""Methods of a page, when none are named; occlusion is for small images."""

KNOWN = (*METHODS, "shapley", "guided backpropagation")
"""Methods that can be named: Shapley values take long, and guided backpropagation fails the test of random weights."""

_SMALL = 64  # pixels: occlusion evaluates the model for each place of its window
_UNDER = ("insertion", "deletion", "randomized", "gap")  # figures under each map


@dataclasses.dataclass(frozen=True)
class Explained(Printable):
    """Explanations of some examples of a run.

    Attributes:
      report: How far each method can be trusted, on the examples that are shown and those that were only measured.
      shown: Number of examples that are shown, the first ones of the report.
      told: What the score is that is explained, in words.
      titles: Title of each example that is shown.
      blocks: What is shown, as blocks of `deeplab.core.blocks`.
      left_out: Reason by method, for those that cannot explain this model.
    """

    report: Report
    shown: int
    told: str
    titles: tuple[str, ...]
    blocks: tuple[Block, ...]
    left_out: Mapping[str, str]

    def __rich__(self) -> Any:
        from rich.text import Text

        left_out = [f"{name} is left out: {why}" for name, why in self.left_out.items()]
        return Text("\n".join([f"explained: {self.told}", self.report.markdown(), self.report.lead(), *left_out]))

    def _repr_html_(self) -> str:
        return Shown(self.blocks)._repr_html_()


def explain_batch(
    subject: Subject,
    shown: int,
    titles: Sequence[str],
    *,
    words: Sequence[Sequence[str]] | None = None,
    names: Sequence[str] = (),
    methods: Sequence[str] = METHODS,
    metrics: Sequence[str] = STANDARD,
    steps: int = 16,
) -> Explained:
    """Explains a batch by several methods, and tells how far each can be trusted.

    Args:
      subject: What is explained.
      shown: Number of examples to show, the first ones.
      titles: Title of each of these.
      words: Words of each example, if tokens are explained.
      names: Names of the columns of a table, or of the channels of a sequence.
      methods: Names of methods, of `KNOWN`.
      metrics: Further columns; see `deeplab.explain.faithfulness`.
      steps: Number of steps of insertion and deletion.

    Raises:
      UserError: no method can explain the model.
    """
    known = _methods(subject)
    for name in methods:
        if name not in KNOWN:
            raise UserError(f"the method {name!r} is unknown; {nearest(name, KNOWN)}")
    chosen, left_out = _possible(subject, {name: known[name] for name in methods if name in known})
    if not chosen:
        raise UserError(f"no method explains this model: {'; '.join(left_out.values())}")
    report = explain.faithfulness(
        subject.f,
        subject.x,
        subject.target,
        chosen,
        key=jax.random.key(0),
        args=subject.args,
        baseline=subject.baseline,
        together=subject.together,
        randomized=subject.lost,
        metrics=metrics,
        steps=steps,
        chunk=_chunk(subject),
    )
    broken = [name for name, maps in report.maps.items() if not np.isfinite(maps).all()]
    left_out |= dict.fromkeys(broken, "its maps are not finite; look at the score and its gradient")
    report = report.but(broken)
    if not set(report.each) - set(CONTROLS):
        raise UserError(f"no method explains this model: {'; '.join(left_out.values())}")
    drawn = _drawn(subject, report, shown, titles, words, names)
    return Explained(report, shown, subject.told, tuple(titles), tuple(drawn), left_out)


def _chunk(subject: Subject) -> int:
    """Number of examples at once, by the size of what the model computes of one."""

    def of_one(rows: Any) -> Any:
        x, args = jax.tree.map(lambda leaf: leaf[None], rows)
        return subject.f(x, *args)

    return fitting(of_one, (subject.x, subject.args))


def _methods(subject: Subject) -> dict[str, Method]:
    """The methods that fit the input, from the mean of other examples as the baseline."""
    base, sides = subject.baseline, subject.x.shape[1:3]
    known: dict[str, Method] = {
        "integrated gradients": lambda f, x, target, args: explain.integrated_gradients(
            f, x, base, target, args, nodes=16
        ),
        "deeplift": lambda f, x, target, args: explain.deeplift(f, x, base, target, args),
        "input x gradient": lambda f, x, target, args: (x - base) * explain.gradient(f, x, target, args).values,
        "shapley": _shapley(subject),
        "guided backpropagation": explain.guided_backpropagation,
    }
    if subject.x.ndim == 4 and max(sides) <= _SMALL:
        window = [max(2, side // 8) for side in sides]
        stride = [max(1, side // 2) for side in window]
        known["occlusion"] = lambda f, x, target, args: explain.occlusion(
            f, x, base, target, args, window=window, stride=stride
        )
    return known


def _shapley(subject: Subject, tiles: int = 8, draws: int = 8) -> Method:
    """Shapley values of columns, tokens, or tiles, 8 along each axis of an image or a spectrogram."""
    shape = subject.x.shape[1:]
    if subject.tokens:
        groups = explain.superpixels(shape[:-1], [1] * len(shape[:-1]))
    elif len(shape) == 1:
        groups = np.arange(shape[0])
    else:
        sides = shape[:2] if len(shape) == 3 or shape[1] >= BANDS else shape[:1]
        groups = explain.superpixels(sides, [-(-side // tiles) for side in sides])
        groups = groups if len(shape) > len(sides) else groups[..., 0]
    sizes = np.bincount(groups.reshape(-1)) * math.prod(shape) // groups.size  # entries of each group, in an example

    def shapley(f: Any, x: Any, target: Any, args: Any) -> Any:
        found = explain.permutation_shapley(
            f, x, subject.baseline, target, args, key=jax.random.key(0), draws=draws, groups=groups
        )
        return found._replace(values=explain.spread(found.values / sizes[None], groups, x))

    return shapley


def _possible(subject: Subject, methods: Mapping[str, Method]) -> tuple[dict[str, Method], dict[str, str]]:
    """The methods that can explain the model, and the reasons of the others; nothing is computed."""
    kept, left_out = {}, {}
    for name, method in methods.items():
        try:
            jax.eval_shape(lambda x, method=method: method(subject.f, x, subject.target, subject.args), subject.x)
            kept[name] = method
        except (UserError, NotImplementedError, TypeError) as error:
            left_out[name] = str(error).partition("\n")[0]
    return kept, left_out


def _drawn(
    subject: Subject,
    report: Report,
    shown: int,
    titles: Sequence[str],
    words: Sequence[Sequence[str]] | None,
    names: Sequence[str],
) -> list[Block]:
    """The ranking, a row of maps for each example with their figures, and a swarm of a table's columns."""
    head, body = report.cells()
    ranking = blocks.rows(head, body, numeric=True)
    lead = blocks.text(report.lead(), style="note")
    meaning = blocks.rows(["column", "what it tells"], [[name, MEANING[name]] for name in head[1:]])
    made = [blocks.section("How far each method can be trusted", ranking, lead, meaning)]
    wide = words is not None or (subject.x.ndim < 4 and (subject.x.ndim < 3 or subject.x.shape[-1] < BANDS))
    ranked = [name for name in report.rows if name not in CONTROLS] + list(CONTROLS)
    of_table = words is None and subject.x.ndim == 2
    for i, title in enumerate(titles[:shown]):
        x = np.asarray(subject.x[i])
        cards = []
        if not wide:
            cards.append(blocks.card("the input", *parts({}, x)))
        if subject.region is not None:
            where = overlay(np.asarray(subject.region[i], np.float64), x)
            cards.append(blocks.card("explained", blocks.picture(where, "the pixels of the class")))
        for name in ranked:
            drawn = parts({"" if wide else name: report.maps[name][i]}, x, None if words is None else words[i], names)
            told = blocks.text(_figures(report, name, i), style="note")
            cards.append(blocks.card(name, *(drawn if wide else drawn[-1:]), told))
        made.append(blocks.section(title, blocks.cards(cards, compact=not wide)))
    if of_table and len(subject.x) > 1:
        best = ranked[0]
        made.append(blocks.section("All examples", swarm(report.maps[best], subject.x, names, best)))
    return made


def _figures(report: Report, name: str, i: int) -> str:
    """The trust figures of one map."""
    told = {metric: report.each[name][metric][i] for metric in _UNDER if metric in report.each[name]}
    return ", ".join(f"{metric} {value:.2g}" for metric, value in told.items())
