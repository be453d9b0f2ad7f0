"""The frame of every page: one style sheet for light and dark screens, phones and print, in the system's fonts."""

from __future__ import annotations

import contextlib
import dataclasses
import html
import os
from pathlib import Path

from deeplab.core.errors import UserError
from deeplab.report.text import Html, tag


def document(title: str, body: Html) -> str:
    """A complete page.

    Args:
      title: Title of the browser's window.
      body: Content of the page.
    """
    return (
        '<!doctype html>\n<html lang="en">\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"{tag('title', title)}\n<style>{CSS}</style>\n<body>\n<main>\n{body}\n</main>\n</body>\n</html>\n"
    )


def save(path: Path, text: str) -> Path:
    """Writes a file atomically: a reader sees the old one or the new one.

    Args:
      path: Path of the file, whose folder is made where it is missing.
      text: Content of the file.

    Returns:
      The path.

    Raises:
      UserError: The file cannot be written.
    """
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        draft.write_text(text, encoding="utf-8", errors="replace")
        draft.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            draft.unlink()
        raise UserError(f"cannot write {path}: {error.strerror}; free disk space or change the permissions") from error
    return path


@dataclasses.dataclass(frozen=True)
class Framed:
    """A page inside the output of a notebook's cell, which shows what the cell's last line is.

    Args:
      page: Path of the page, such as the report of a run.
      height: Height of the frame, in pixels.

    Example:
      >>> page = save(Path("/tmp/framed.html"), document("a page", Html("<p>text</p>")))
      >>> "&lt;p&gt;text" in Framed(page)._repr_html_()
      True
    """

    page: str | Path
    height: int = 600

    def _repr_html_(self) -> str:
        text = html.escape(Path(self.page).read_text(encoding="utf-8"))
        return f'<iframe srcdoc="{text}" title="page" width="100%" height="{self.height}" style="border: 0"></iframe>'


CSS = """
:root {
  color-scheme: light dark;
  --paper: #ffffff; --card: #f6f7f8; --ink: #1c1e21; --muted: #62686f; --rule: #e3e5e8; --bad: #b42525;
  --good: #14734f;
  --train: #9aa1aa; --hit: #1767b3; --miss: #c04d14;
  --series-0: #1767b3; --series-1: #bd5410; --series-2: #14805e; --series-3: #8a4bb8;
  --series-4: #94690c; --series-5: #c2417f; --series-6: #2d7f8b; --series-7: #5d6b2f;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #15171a; --card: #1d2024; --ink: #e8eaed; --muted: #9aa1aa; --rule: #31353a; --bad: #ff8278;
    --good: #5ecb9c;
    --train: #757c85; --hit: #5aa7f0; --miss: #f08a4b;
    --series-0: #6cb2f7; --series-1: #f0955a; --series-2: #5ecb9c; --series-3: #c79af0;
    --series-4: #dcb45a; --series-5: #f08fbb; --series-6: #77c9d6; --series-7: #b3c47c;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0 auto; max-width: 66rem; padding: 2.5rem 1.5rem 5rem; background: var(--paper); color: var(--ink);
  font: 1rem/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", sans-serif;
}
h1 { font-size: 1.75rem; line-height: 1.2; letter-spacing: -.015em; margin: 0; overflow-wrap: anywhere; }
h2 { font-size: 1.15rem; margin: 3rem 0 .75rem; padding-top: .9rem; border-top: 1px solid var(--rule); }
h3 { font-size: .95rem; margin: 1.5rem 0 .5rem; }
h4, h5, h6 { font-size: .875rem; margin: 1.25rem 0 .35rem; }
p { margin: .4rem 0; max-width: 46rem; }
a { color: var(--series-0); }
:focus-visible { outline: 2px solid var(--series-0); outline-offset: 3px; border-radius: 3px; }
.muted, figcaption, caption, summary, dt { color: var(--muted); font-size: .875rem; }
.eyebrow { color: var(--muted); font-size: .875rem; margin: 0 0 .35rem; }
.headline { display: flex; flex-wrap: wrap; align-items: baseline; gap: .1rem 1rem; margin: 1.75rem 0 .25rem; }
.headline strong { font-size: 3.4rem; font-weight: 650; line-height: 1.05; letter-spacing: -.03em; }
.headline span { font-size: 1.15rem; } .headline b { font-weight: 650; }
.status { font-weight: 600; }
.finished { color: var(--good); } .diverged, .damaged { color: var(--bad); }
.notice { border-left: 3px solid var(--bad); background: var(--card); padding: .7rem 1rem; margin: 1.25rem 0;
  max-width: none; }
code, pre, samp { font-family: ui-monospace, "SF Mono", Menlo, Consolas, monospace; font-size: .84rem; }
pre { background: var(--card); border-radius: 6px; padding: .75rem 1rem; margin: .5rem 0; overflow: auto;
  max-height: 36rem;
  line-height: 1.5; }
pre.command { white-space: pre-wrap; overflow-wrap: anywhere; user-select: all; margin-top: 1.5rem;
  max-height: none; }
dl.facts { display: grid; grid-template-columns: repeat(auto-fill, minmax(11.5rem, 1fr)); gap: 1rem 1.5rem;
  margin: 1.5rem 0 0; }
dl.facts dd { margin: 0; font-variant-numeric: tabular-nums; overflow-wrap: anywhere; }
.grid { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(27rem, 100%), 1fr)); gap: 1.5rem 2rem; }
.grid > * { min-width: 0; }
div.beside { display: flex; flex-wrap: wrap; gap: 0 3.5rem; } div.beside > * { min-width: 0; }
figure { margin: 0; min-width: 0; }
figcaption { margin-bottom: .15rem; }
figcaption b { color: var(--ink); font-size: .95rem; font-weight: 600; margin-right: .35rem; }
svg { display: block; width: 100%; max-width: 40rem; height: auto; overflow: visible; }
svg * { stroke-linejoin: round; }
svg.map { max-width: 34rem; }
/* A figure is as wide as its column: in a narrow one its words are set larger, or nobody could read them. */
main, .grid > *, .cards > * { container-type: inline-size; }
@container (max-width: 26rem) {
  svg text { font-size: 11px !important; } svg.map text { font-size: 12.5px !important; }
}
.scroll { overflow-x: auto; }
.scroll > table.numbers { width: max-content; } table.numbers tbody th { max-width: 22rem; }
table { border-collapse: collapse; font-size: .9rem; font-variant-numeric: tabular-nums; }
th, td { padding: .32rem .9rem .32rem 0; text-align: left; border-bottom: 1px solid var(--rule);
  vertical-align: baseline; }
th { font-weight: 500; } thead th { color: var(--muted); font-size: .82rem; white-space: nowrap; }
table.numbers td, table.numbers thead th + th { text-align: right; padding: .32rem 0 .32rem 1.6rem;
  white-space: nowrap; }
table.confusion { border-collapse: separate; border-spacing: 2px; margin: .5rem 0; }
table.confusion th, table.confusion td { border: 0; padding: 0 .3rem; font-size: .8rem; }
table.confusion tbody th { text-align: right; vertical-align: middle; padding-right: .6rem; white-space: nowrap; }
table.confusion thead th.tall { writing-mode: vertical-rl; transform: rotate(180deg); text-align: left;
  padding: .3rem 0; }
table.confusion thead th { text-align: center; vertical-align: bottom; }
table.confusion td { min-width: 2.35rem; height: 2rem; text-align: center; border-radius: 3px; vertical-align: middle;
  background: var(--card); }
table.confusion thead td { background: none; }
/* Black or white, whichever is easier to read on the shade: both have a contrast of 4.6 at a lightness of 49.44. */
.hit, .miss, table.confusion td.hit, table.confusion td.miss {
  --shade: color-mix(in srgb, var(--cell) var(--share, 0%), var(--ground, var(--card))); background: var(--shade);
  color: lch(from var(--shade) calc((49.44 - l) * infinity) 0 0); print-color-adjust: exact; }
.hit { --cell: var(--hit); } .miss { --cell: var(--miss); }
.words span { --ground: var(--paper); padding: .1em .15em; border-radius: 3px; }
table.confusion td.end { background: none; padding-left: .8rem; text-align: right; white-space: nowrap; }
.cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(20rem, 100%), 1fr)); gap: 1.5rem 2rem; }
.card .picture { display: inline-block; margin: .3rem .4rem 0 0; }
.card img { display: block; max-width: 100%; border-radius: 4px; image-rendering: pixelated; }
.card .said { overflow-wrap: anywhere; }
.compact { grid-template-columns: repeat(auto-fill, minmax(8.6rem, 1fr)); gap: 1.4rem 1.1rem; margin: .75rem 0; }
.compact .card { display: flex; flex-direction: column; } .compact figcaption { order: 1; } .compact p { order: 2; }
.compact .picture { display: block; margin: 0 0 .4rem; }
.card div.beside { gap: .6rem; }
.compact img { width: 100%; max-width: 9rem; background: var(--card); }
.compact figcaption { line-height: 1.4; overflow-wrap: anywhere; } .compact .muted { display: block; font-size: .8rem; }
figcaption b.miss-text { color: var(--miss); }
pre.command span { white-space: nowrap; }
pre.sample { white-space: pre-wrap; overflow-wrap: anywhere; } pre.sample b { color: var(--muted); font-weight: 500; }
ul.legend { list-style: none; padding: 0; margin: .5rem 0 1.25rem; display: flex; flex-wrap: wrap;
  gap: .3rem 1.4rem; font-size: .9rem; }
.key { font-weight: 700; margin-right: .3rem; }
details { border-bottom: 1px solid var(--rule); padding: .55rem 0; } summary { cursor: pointer; font-size: .95rem; }
@media (max-width: 40rem) { dl.facts { grid-template-columns: 1fr 1fr; } h1 { font-size: 1.35rem; } }
@media print { body { max-width: none; padding: 0; } details { display: none; } pre { max-height: none; }
h2, figure { break-inside: avoid; } }
"""
