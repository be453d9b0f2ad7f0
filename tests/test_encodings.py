"""Every text that is read or written states its encoding: the locale's may be ASCII."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
FILES = sorted(path for room in ("deeplab", "experiments") for path in (ROOT / room).rglob("*.py"))
TEXTS = ("text", "universal_newlines")
"""Arguments of `subprocess` that make text of bytes."""


def in_the_locale(source: str) -> list[int]:
    """Lines of the calls that read or write text in the encoding of the locale."""
    calls = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    return [call.lineno for call in calls if _is_text(call) and "encoding" not in {k.arg for k in call.keywords}]


def _is_text(call: ast.Call) -> bool:
    function = call.func
    name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
    if name in ("read_text", "write_text", "TextIOWrapper"):
        return True
    if any(k.arg in TEXTS and isinstance(k.value, ast.Constant) and k.value.value is True for k in call.keywords):
        return True
    values = [*call.args, *(k.value for k in call.keywords if k.arg == "mode")]
    modes = [v.value for v in values if isinstance(v, ast.Constant) and re.fullmatch(r"[rwaxbt+]+", str(v.value))]
    if name in ("open", "fdopen", "NamedTemporaryFile", "TemporaryFile"):
        bare = not values or (isinstance(function, ast.Name) and len(values) == 1)  # path.open() or open(path)
        return not any("b" in mode for mode in modes) and (bool(modes) or (bare and name != "NamedTemporaryFile"))
    return False


def test_every_text_states_its_encoding():
    found = {path: in_the_locale(path.read_text(encoding="utf-8")) for path in FILES}
    assert {str(path.relative_to(ROOT)): lines for path, lines in found.items() if lines} == {}


def test_the_search_itself():
    wrong = 'p.read_text()\np.open()\np.open("w")\nopen(p)\nopen(p, "a")\nsubprocess.run(c, text=True)\nf.write_text(s)'
    right = 'p.read_text(encoding="utf-8")\ndata.open("test")\np.open("wb")\nopen(p, "rb")\nsubprocess.run(c)'
    assert (in_the_locale(wrong), in_the_locale(right)) == ([1, 2, 3, 4, 5, 6, 7], [])
