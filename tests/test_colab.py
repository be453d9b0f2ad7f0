"""Notebooks: each runs by itself, begins as all do, and shows what its text tells."""

import builtins
import html
import importlib.util
import re
import symtable
import textwrap
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

COLAB = Path(__file__).parents[1] / "colab"
NOTEBOOKS = sorted(COLAB.glob("*.ipynb"))
SPEC = importlib.util.spec_from_file_location("execute", COLAB / "execute.py")
execute = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(execute)

each = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of the kernel's own client, and not of ours
@pytest.mark.gate
@each
def test_it_runs(path, tmp_path, monkeypatch):
    monkeypatch.setenv("DEEPLAB_QUICK", "1")
    notebook = nbformat.read(path, as_version=4)
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()


@each
def test_it_begins_as_all_do_and_is_short(path):
    notebook = nbformat.read(path, as_version=4)
    assert notebook == execute.prepared(nbformat.read(path, as_version=4), path.stem)
    assert 10 <= len(notebook.cells) <= 20
    assert notebook.cells[0].source.startswith("# ")
    assert notebook.cells[-1].cell_type == "markdown"
    assert "<details>" in notebook.cells[-1].source, "an exercise with its solution folded is the end"


@each
def test_its_solution_uses_names_that_there_are(path):
    cells = [cell.source for cell in code(path) if not cell.source.startswith("%%")]  # of that magic, a file's text
    (solution,) = solutions(path)
    known = set(dir(builtins)).union(*map(made, [*cells, solution]))
    if solution.startswith("return "):  # a line to be put into a function of the notebook
        solution = "def _():\n" + textwrap.indent(solution, "    ")
        known |= {symbol.get_name() for cell in cells for scope in scopes(cell) for symbol in scope.get_symbols()}
    assert not read(solution) - known


def test_a_name_that_a_solution_lacks_is_found():
    assert made("import a.b\nfrom c import d\n\n\ndef f(x):\n    y = x\n") == {"a", "d", "f"}
    assert read("x = [i + one for i in two]\n\n\ndef f(y=three):\n    z = y + four\n    return z + x\n") == {
        *("x", "one", "two", "three", "four")
    }


@each
def test_its_outputs_are_kept_and_small(path):
    assert path.stat().st_size <= 400_000
    outputs = [output for cell in code(path) for output in cell.outputs]
    assert any("image/png" in output.get("data", {}) for output in outputs), "no picture"
    assert {output.output_type for output in outputs} <= {"stream", "display_data", "execute_result"}
    assert all(output.name == "stdout" for output in outputs if output.output_type == "stream")
    for output in outputs:
        assert not re.search(r"/(root|home|tmp|work|Users|content)/", text_of(output)), text_of(output)


@each
def test_numbers_of_its_text_are_numbers_of_its_outputs(path):
    notebook = nbformat.read(path, as_version=4)
    shown = " ".join(text_of(output) for cell in code(path) for output in cell.outputs)
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            assert not untrue(cell.source, shown)


@pytest.mark.parametrize(
    ("told", "shown", "wrong"),
    [
        ("It is right in 97.2 % of all cases.", "accuracy 0.97194", []),
        ("It is right in 97.2 % of all cases.", "accuracy 0.9714", ["97.2 %"]),
        ("It is right in 97% of all cases.", "accuracy 97.22 %", []),
        ("A loss of 0.31, after 3 epochs.", "loss 0.3099", []),
        ("A loss of 0.31, after 3 epochs.", "loss 0.32, 10.31", ["0.31"]),
        ("Seen in `x = 0.5` and [there](https://arxiv.org/abs/1512.03385).", "", []),
        ("<details>\n```python\nx = 0.5\n```\n</details>", "", []),
    ],
)
def test_a_number_that_no_cell_shows_is_found(told, shown, wrong):
    assert untrue(told, shown) == wrong


def test_a_badge_is_there_once_the_address_is_set():
    code = execute.FIRST_CELL.read_text(encoding="utf-8")
    line = execute.badge(code.replace("OWNER", "someone"), "01_ten_minutes")
    assert line.endswith(
        "(https://colab.research.google.com/github/someone/deeplab/blob/v0.1.0/colab/01_ten_minutes.ipynb)"
    )
    assert execute.badge(code.replace("OWNER", "OWNER"), "01_ten_minutes") == ("" if "/OWNER/" in code else line)
    once = execute.badged("# Title\n\nText.", line)
    assert once == f"# Title\n\n{line}\n\nText."
    assert execute.badged(once, line) == once
    assert execute.badged(once, "") == "# Title\n\nText."


def test_what_differs_between_two_runs_is_not_kept():
    def stream(*texts, name="stdout"):
        (output,) = execute.joined([nbformat.v4.new_output("stream", name=name, text=text) for text in texts])
        return execute.kept(output, "/tmp/made")

    text = "\rstep 1/2  3 steps/s\rstep 2/2  4 steps/s\nrun  /tmp/made/runs/a\nseconds  3.4\n\ntest  loss 0.5\n"
    assert stream(text[:7], text[7:]).text == "run  runs/a\n\ntest  loss 0.5\n"
    assert stream("\r0 of 2 runs, 3 s left\r                     \rloss 0.5\n").text == "loss 0.5\n"
    assert stream("\rstep 1/2\rstep 2/2\n") is None
    assert stream("a warning\n", name="stderr") is None
    for data in ({"text/html": "<iframe></iframe>", "text/plain": "<HTML>"}, {"text/plain": "<Legend at 0x7f00>"}):
        assert execute.kept(nbformat.v4.new_output("display_data", data=data)) is None


def code(path):
    return [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]


def solutions(path):
    """The programs in the last cell of a notebook, which are the solution of its exercise."""
    return re.findall(r"```python\n(.*?)```", nbformat.read(path, as_version=4).cells[-1].source, flags=re.DOTALL)


def scopes(program):
    """The scopes of a program as symbol tables, the outermost first."""
    found = [symtable.symtable(program, "cell", "exec")]
    for scope in found:
        found.extend(scope.get_children())
    return found


def made(program):
    """Names that a program binds for the cells after it."""
    outermost = scopes(program)[0].get_symbols()
    return {one.get_name() for one in outermost if one.is_assigned() or one.is_imported() or one.is_namespace()}


def read(program):
    """Names that a program takes from those of a module, in whatever scope."""
    outermost, *inner = scopes(program)
    names = {one.get_name() for one in outermost.get_symbols() if one.is_referenced()}
    return names | {s.get_name() for scope in inner for s in scope.get_symbols() if s.is_referenced() and s.is_global()}


def text_of(output):
    """The text that an output shows."""
    data = output.get("data", {})
    return " ".join([output.get("text", ""), data.get("text/plain", ""), html.unescape(data.get("text/html", ""))])


def untrue(told, shown):
    """Numbers with decimals, or in percent, of a text that are none of the outputs, rounded as the text does."""
    told = re.sub(r"```.*?```|`[^`]*`|\]\([^)]*\)", "", told, flags=re.DOTALL)
    known = [float(number) for number in re.findall(r"(?<![\w.])-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?", shown)]
    wrong = []
    for found in re.finditer(r"(?<![\w.])(\d+(?:\.(\d+))?)(\s?%)?(?![\w]|\.\d)", told):
        number, decimals, percent = float(found[1]), len(found[2] or ""), found[3]
        if not (decimals or percent):
            continue
        values = known + [100 * value for value in known] * bool(percent)
        if not any(abs(abs(value) - number) <= 0.5000001 * 10**-decimals for value in values):
            wrong.append(found[0])
    return wrong
