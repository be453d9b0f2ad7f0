"""Every kind of page in a real browser: silent, alone, by keyboard, on a phone, in the dark, and by the rules of axe.

Chromium and the extra `browser` are needed: Playwright, which drives it, and axe-core 4.12, in axe-playwright-python.
The pictures of the pages are in the folder that DEEPLAB_SCREENSHOTS names.
"""

import functools
import json
import os
import re
import shutil
from pathlib import Path

import numpy as np
import optax
import pytest

import deeplab as dl
from deeplab import report
from deeplab.core import blocks
from deeplab.report.render import RENDERERS
from deeplab.verbs.explaining import explain
from deeplab.verbs.probing import probe
from deeplab.verbs.robustness import robustness

pytestmark = pytest.mark.slow

FLAGS = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync"),
)
WIDE, NARROW = {"width": 1200, "height": 900}, {"width": 400, "height": 900}
CONTRAST = {"runOnly": {"type": "rule", "values": ["color-contrast", "scrollable-region-focusable"]}}
REAL = ("report", "sweep", "study", "explain", "robustness", "probe")
PARTS = ("certified", "reliable", "unfamiliar")  # an attack and corruptions take longer than all others

LAYOUT = """() => {
  const shown = e => e.checkVisibility(), all = [...document.querySelectorAll("body *")].filter(shown);
  const told = e => e.outerHTML.slice(0, 120), faults = [];
  const beyond = document.documentElement.scrollWidth - innerWidth;
  if (beyond > 0) faults.push(`the page is ${beyond} px too wide`);
  for (const e of all) {
    const style = getComputedStyle(e), scrolls = ["auto", "scroll"].includes(style.overflowX);
    if (scrolls && e.scrollWidth > e.clientWidth && !e.matches("[tabindex='0']")) faults.push("no focus: " + told(e));
    if (![...e.childNodes].some(n => n.nodeType === 3 && n.data.trim()) || e.localName === "title") continue;
    const matrix = e instanceof SVGElement ? e.getScreenCTM() : null;
    const size = parseFloat(style.fontSize) * (matrix ? Math.hypot(matrix.a, matrix.b) : 1);
    if (size < (matrix ? 9 : 12)) faults.push(`text of ${size.toFixed(1)} px: ` + told(e));
  }
  return faults;
}"""

OPEN = """() => {
  for (const e of document.querySelectorAll("details")) e.open = true;
  const all = document.querySelectorAll("a[href], summary, button, input, select, textarea, iframe, [tabindex]");
  const found = [...all].filter(e => e.tabIndex >= 0 && e.checkVisibility());
  window.reached = [];
  document.addEventListener("focusin", ({target}) => {
    const style = getComputedStyle(target);
    window.reached.push([found.indexOf(target), style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2]);
  });
  return found.length;
}"""

GROUND = "() => getComputedStyle(document.body).backgroundColor"


def small(width: int = 16, learning_rate: float = 1e-2, epochs: int = 3) -> dl.Experiment:
    return dl.Experiment(
        data=dl.data.Images("digits", batch_size=128, epochs=epochs),
        model=dl.models.MLP(10, features=(width,)),
        task=dl.tasks.Classification(),
        optimizer=optax.adam(learning_rate),
        eval_every=11,
    )


def every_block() -> list[blocks.Block]:
    """A page's worth of all kinds of blocks."""
    draw = np.random.default_rng(0)
    walks = {"a": draw.normal(size=40).cumsum(), "a label of some length": draw.normal(size=40).cumsum()}
    wide = [[f"row {i}", *(f"{x:.4f} \u00b1 0.01" for x in draw.normal(size=12))] for i in range(3)]
    picture = blocks.picture(draw.integers(0, 255, (28, 28, 3), np.uint8), "noise")
    names, values = [f"column {i} = 0.123" for i in range(14)], draw.normal(size=(30, 14))
    return [
        blocks.section("Sentences", blocks.text("plain", "label"), blocks.text("grey", style="note")),
        blocks.section("Samples", blocks.text("Or not\n" * 60, "To be", "sample"), blocks.samples(["a"], ["b"])),
        blocks.section("Words", blocks.tokens([f"word{i}" for i in range(41)], np.linspace(-1, 1, 41), "colors")),
        blocks.section("Bars", blocks.bars(names, values[0], title="from a baseline", start=0.3)),
        blocks.section("Swarm", blocks.swarm(names, values, values, title="all examples")),
        blocks.section("Shades", blocks.heat(names[:11], names[:11], np.linspace(0, 1, 121).reshape(11, 11))),
        blocks.section("Plane", blocks.scatter(draw.normal(size=(60, 2)), np.arange(60) % 10, np.zeros((20, 8, 8)))),
        blocks.columns(blocks.curve(walks, title="walks"), blocks.rows(["x", "y"], wide[:2], numeric=True)),
        blocks.section("Wide", blocks.rows(["", *(f"metric {i}" for i in range(12))], wide, numeric=True)),
        blocks.matrix(np.arange(100).reshape(10, 10), [f"class {i}" for i in range(10)]),
        blocks.cards([blocks.card("one", picture, blocks.curve(walks, "samples"), caption="loss 0.3", wrong=True)] * 3),
        blocks.cards([blocks.card("two", picture, caption="loss 0.3", wrong=True)] * 5, compact=True),
        blocks.cards([blocks.card("three", blocks.columns(picture, picture))]),
        blocks.section("Number", blocks.headline("score", 0.5, "a note")),
    ]


@pytest.fixture(scope="module")
def chromium():
    """The program; skips by name where it, or what drives it, is missing."""
    pytest.importorskip("playwright", reason="no Playwright: install the extra `browser`")
    pytest.importorskip("axe_playwright_python", reason="no axe-core: install the extra `browser`")
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    return found or pytest.skip("no Chromium is on PATH")


@pytest.fixture(scope="module")
def real(chromium, tmp_path_factory):
    """The pages of small runs on digits; made before the browser starts, whose event loop those of runs do not like."""
    folder = tmp_path_factory.mktemp("pages")
    run = dl.fit(small, run_dir=folder / "run")
    short, rates = functools.partial(small, epochs=1), {"learning_rate": (1e-3, 1e-2)}
    swept = dl.sweep(short, rates | {"width": (4, 8)}, seeds=2, run_dir=folder / "sweep")
    asked = dl.study(functools.partial(short, width=8), dl.Study(rates), seeds=2, run_dir=folder / "study")
    told = dl.explain_run(run, count=2, methods=("input x gradient",))
    layers = dl.probe(run, train=100, test=60)
    tested = dl.robustness(run, PARTS, examples=64, draws=20)
    return {
        "report": run.report,
        "sweep": swept.report,
        "study": asked.report,
        "explain": explain.page(told, "small", folder / "explain.html"),
        "probe": probe.page(layers, "small", folder / "probe.html"),
        "robustness": robustness.page(tested, "small", folder / "robustness.html"),
    }


@pytest.fixture(scope="module")
def browser(chromium, real):
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        opened = play.chromium.launch(executable_path=chromium, args=FLAGS, timeout=300_000)
        yield opened
        opened.close()


@pytest.fixture(scope="session")
def screenshots(tmp_path_factory):
    folder = os.environ.get("DEEPLAB_SCREENSHOTS")
    return Path(folder) if folder else tmp_path_factory.mktemp("screenshots")


@pytest.fixture
def path(request, real, make_run):
    """The page of a kind."""
    kind = request.param
    if kind in REAL:
        return real[kind]
    if kind == "comparison":
        runs = [make_run(f"digits/{i}", seed=i, rate=rate) for i, rate in enumerate((3e-3, 3e-3, 1e-2))]
        return report.compare([*runs, make_run("text/0", kind="language")], runs[0].parent / "compare.html")
    run = make_run(kind="language")
    (run / "cards.json").write_text(json.dumps(every_block()), encoding="utf-8")
    return report.write(run)


@pytest.mark.parametrize("path", [*REAL, "comparison", "blocks"], indirect=True)
def test_a_page_in_a_browser(browser, path, screenshots, request, capsys):
    kind, faults = request.node.callspec.params["path"], []
    with browser.new_context(viewport=WIDE, reduced_motion="reduce") as context:
        context.set_default_timeout(300_000)
        page = context.new_page()
        page.on("console", lambda message: faults.append(f"console: {message.text}"))
        page.on("pageerror", lambda error: faults.append(f"error: {error}"))
        page.route("**/*", lambda route: faults.append(f"request: {route.request.url}") or route.abort())
        page.route("file://**", lambda route: route.continue_())
        page.goto(path.as_uri())
        assert page.evaluate("document.getAnimations().length") == 0
        faults += by_keyboard(page)
        for scheme, size, options in (
            ("light", WIDE, CONTRAST), ("light", NARROW, {}), ("dark", NARROW, CONTRAST), ("dark", WIDE, {}),
        ):  # fmt: skip
            page.set_viewport_size(size)
            page.emulate_media(color_scheme=scheme)
            where = f"{scheme}, {size['width']} px"
            faults += [f"{where}: {fault}" for fault in [*page.evaluate(LAYOUT), *violations(page, options)]]
            assert (page.evaluate(GROUND) == "rgb(255, 255, 255)") == (scheme == "light")
            page.screenshot(path=screenshots / f"{kind}-{scheme}-{size['width']}.png", full_page=True)
    with capsys.disabled():
        print(f"\n{kind}: {screenshots / kind}-*.png")
    assert not faults, "\n".join(dict.fromkeys(faults))


def by_keyboard(page) -> list[str]:
    """What the tab key does not reach in the order of the page, or shows no focus."""
    count = page.evaluate(OPEN)
    for _ in range(count):
        page.keyboard.press("Tab")
    reached = page.evaluate("window.reached")
    if [place for place, _ in reached] != list(range(count)):
        return [f"of {count} elements the tab key reaches {[place for place, _ in reached]}"]
    return [f"element {place} shows no focus" for place, outlined in reached if not outlined]


def violations(page, options) -> list[str]:
    """What axe finds that is serious or critical."""
    from axe_playwright_python.sync_playwright import Axe

    found = Axe().run(page, options={"resultTypes": ["violations"], **options}).response["violations"]
    return [
        f"{rule['id']}: {node['html'][:120]} {node['failureSummary']}"
        for rule in found
        if rule["impact"] in ("serious", "critical")
        for node in rule["nodes"]
    ]


def test_a_page_of_blocks_has_every_kind():
    kinds = re.findall(r'"kind": "(\w+)"', json.dumps(every_block()))
    assert set(kinds) == set(RENDERERS)
