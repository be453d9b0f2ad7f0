"""The page of a sweep: the best setting with its spread, the effect of each argument, and the execution of the runs."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

from deeplab.report import figures
from deeplab.report.sweeps import importance, points, responses, sentences
from deeplab.report.sweeps.intervals import LEVEL, paired
from deeplab.report.sweeps.responses import state, told_interval
from deeplab.report.text import Html, duration, is_share, join, metric, note, shell, table, tag

_SHOWN = 24  # settings in the table
_COLUMNS = 6  # settings in the table of folds


def sections(summary: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> list[Html]:
    """The sections of the page of a sweep.

    Args:
      summary: Summary from `summarize`, with `split` and the `command` that trains the best setting; with `test_split`
        where the metrics of that split were measured, too.
      rows: Rows of the runs.
    """
    best, several = summary["settings"][0], len(summary["settings"]) > 1
    split, name, folds = summary["split"], summary["metric"], summary["unit"] == "fold"
    which = "of the best setting" if several else f"of {summary['over']}"
    chosen = f"It was chosen by its result on the {split} split at the last step; expect less on other data."
    value = tag("strong", metric(name, best["mean"]))
    other = summary.get("test_split")
    tested = f"The {other} metrics are those of the last state of each run, and had no part in the choice."
    advice = [chosen] * several + [tested] * bool(other)
    parts = [
        tag("div", value, tag("span", f"{split} {name} {which}"), class_="headline"),
        note(" ".join([f"{sentences.told(best, name, summary['over'])}.", *advice])),
        *_remarks(summary),
        tag("h3", f"Command of the {'best' if several else 'only'} setting{', on its first fold' * folds}"),
        shell(summary["command"]),
    ]
    return [*parts, *_body(summary, rows)]


def answer(summary: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> list[Html]:
    """The sections of the page of a study that brings none of its own: all settings, and what differs between two.

    Args:
      summary: Summary from `summarize`.
      rows: Rows of the runs.
    """
    name, settings = summary["metric"], summary["settings"]
    marks = [
        points.Mark(sentences.named(entry["setting"]), [*entry["points"].values()], entry["from"], entry["to"])
        for entry in settings[: points.ROWS]
    ]
    svg = points.intervals(marks, x_label=name, share=is_share(name))
    caption = tag("figcaption", tag("b", name), f"of each setting, over {summary['over']}")
    figure = tag("figure", caption, figures.inline(svg, f"{name} of each setting", "settings"))
    said = [tag("p", two(summary))] if len(settings) == 2 else []
    return [*said, *_remarks(summary), figure, *_body(summary, rows)]


def _remarks(summary: Mapping[str, Any]) -> list[Html]:
    return [tag("p", f"{remark}.", class_="notice") for remark in summary["remarks"]]


def two(summary: Mapping[str, Any]) -> str:
    """What differs between the two settings of a summary: the better one against the other."""
    best, other = summary["settings"]
    found = paired(other["units"], best["units"], summary["overlap"])
    first, second = sentences.named(other["setting"]), sentences.named(best["setting"])
    return sentences.compared(first, second, summary["metric"], found, summary["unit"], summary["smaller"])


def _body(summary: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> list[Html]:
    parts = [tag("h2", "Settings"), _table(summary), *_folds(summary)]
    if summary["axes"]:
        parts += [tag("h2", "Effect of each argument"), *responses.sections(summary)]
    return [*parts, *_importances(summary), *_executions(summary, rows)]


def _table(summary: Mapping[str, Any]) -> Html:
    settings, name = summary["settings"], summary["metric"]
    others, several = [k for k in settings[0]["metrics"] if k != name], len(settings[0]["units"]) > 1
    lines = []
    for i, entry in enumerate(settings[:_SHOWN], start=1):
        cells = [_spread(name, entry["mean"], entry["sd"])]
        if several:
            cells += [told_interval(name, entry["low"], entry["high"]), sentences.difference(name, entry["against"])]
        cells += [_spread(k, *entry["metrics"][k]) for k in others]
        lines.append([i, *entry["setting"].values(), *cells, f"{entry['steps']:,}", state(entry)])
    level = f"{100 * LEVEL:.0f} % interval"
    head = ["", *summary["axes"], name, *[level, "against the best"] * several, *others, "steps", ""]
    rest = f" The first {_SHOWN} of {len(settings)}." if len(settings) > _SHOWN else ""
    legend = f"Mean ± sample standard deviation over {summary['over']}, at the last evaluation.{_how(summary)}{rest}"
    return join(table(head, lines, class_="numbers"), note(legend if several else f"At the last evaluation.{rest}"))


def _how(summary: Mapping[str, Any]) -> str:
    """How the intervals were made."""
    intervals = (
        f" Intervals are of the mean, by Student's t; those against the best are of the differences, {summary['unit']} "
        f"by {summary['unit']}. The best one was chosen among {len(summary['settings'])}, which flatters it."
    )
    folds = " Folds share training examples: the variance has the correction of Nadeau and Bengio (2003)."
    return intervals + folds * (summary["unit"] == "fold")


def _folds(summary: Mapping[str, Any]) -> list[Html]:
    """The results by fold."""
    if summary["unit"] != "fold":
        return []
    settings, name = summary["settings"][:_COLUMNS], summary["metric"]
    lines = [[fold, *(metric(name, e["units"].get(fold, math.nan)) for e in settings)] for fold in settings[0]["units"]]
    head = ["", *(sentences.named(entry["setting"]) for entry in settings)]
    rest = f" The best {_COLUMNS} settings." * (len(summary["settings"]) > _COLUMNS)
    return [tag("h3", "Folds"), table(head, lines, class_="numbers"), note(f"{name} of each fold.{rest}")]


def _spread(name: str, mean: float, sd: float | None) -> str:
    return metric(name, mean) + ("" if sd is None else f" ± {metric(name, sd)}")


def _importances(summary: Mapping[str, Any]) -> list[Html]:
    found, axes = summary["importance"], summary["axes"]
    if len(axes) < 2:
        return []
    title = tag("h2", "Which arguments matter")
    if found is None:
        return [title, note(f"This takes at least {importance.MIN_SETTINGS} settings with different results.")]
    shares = sorted(itertools.chain(found["main"].items(), found["pairs"].items()), key=lambda item: -item[1][0])
    lines = [[k, f"{100 * mean:.1f} ± {100 * sd:.1f} %"] for k, (mean, sd) in shares[:_SHOWN]]
    legend = (
        f"Shares of the variance of the {summary['metric']} over the swept space, ± standard deviation over trees "
        f"(functional ANOVA of a random forest fitted to {found['settings']} settings). On settings that a tree has "
        f"not seen, the forest explains {100 * found['explained']:.0f} % of the variance; where it explains little, "
        "the shares mean little."
    )
    return [title, table(["argument", "share"], lines, class_="numbers"), note(legend)]


def _executions(summary: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> list[Html]:
    lines = [
        [execution, f"{runs:,}", duration(seconds), compiled, duration(compiling)]
        for execution, runs, seconds, compiled, compiling in summary["ways"]
    ]
    head = ["execution", "runs", "time", "compilations", "of which compiling"]
    parts = [tag("h2", "Execution of the runs"), table(head, lines, class_="numbers")]
    diverged = [row for row in rows if row["diverged"]]
    if diverged:
        parts += [
            tag("h3", f"{len(diverged)} diverged"),
            tag("ul", *(tag("li", _diverged(row, summary["axes"])) for row in diverged[:_SHOWN])),
        ]
    return parts


def _diverged(row: Mapping[str, Any], axes: Mapping[str, Any]) -> str:
    setting = [f"{k} {row['arguments'][k]}" for k in axes] + [f"seed {row['seed']}"]
    return f"{'; '.join(setting)}: after step {row['steps']:,}"
