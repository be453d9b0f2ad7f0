"""Number of lines of code in all functions of deeplab that a run calls.

Run:     python -m experiments.benchmarks.lines_entered
         python -m experiments.benchmarks.lines_entered --run-dir RUN    (with record, checkpoints and report)
         python -m experiments.benchmarks.lines_entered --files          (for each file)

Each line of a called function counts once; blank lines, comments and docstrings do not count.
"""

from __future__ import annotations

import argparse
import ast
import collections
import functools
import sys
import threading
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import deeplab as dl
from experiments.image_digits import experiment

ROOT = Path(dl.__file__).parent


def entered(call: Any) -> set[CodeType]:
    """The code objects of all functions of deeplab that a call enters, in any thread."""
    seen: set[CodeType] = set()

    def note(frame: FrameType, event: str, _: Any) -> None:
        if event == "call" and frame.f_code.co_filename.startswith(str(ROOT)):
            seen.add(frame.f_code)

    threading.setprofile(note)
    sys.setprofile(note)
    try:
        call()
    finally:
        sys.setprofile(None)
        threading.setprofile(None)  # pyright: ignore[reportArgumentType]  # as documented
    return {code for code in seen if code.co_name != "<module>"}


@functools.cache
def functions(file: str) -> dict[int, set[int]]:
    """The lines of code of each function or lambda of a file, by its first line."""
    text = Path(file).read_text(encoding="utf-8")
    lines, tree = text.splitlines(), ast.parse(text)
    empty = {i for i, line in enumerate(lines, 1) if not line.strip() or line.strip().startswith("#")}
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            empty |= set(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    found: dict[int, set[int]] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            first = min([node.lineno, *(d.lineno for d in getattr(node, "decorator_list", ()))])
            found.setdefault(first, set()).update(set(range(first, (node.end_lineno or first) + 1)) - empty)
    return found


def count(codes: set[CodeType]) -> dict[str, int]:
    """Lines of code of the functions with these code objects, by file."""
    lines: dict[str, set[int]] = collections.defaultdict(set)
    for code in codes:
        lines[code.co_filename] |= functions(code.co_filename).get(code.co_firstlineno, set())
    return {str(Path(file).relative_to(ROOT)): len(found) for file, found in lines.items() if found}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--run-dir", type=Path)
    parser.add_argument("--files", action="store_true")
    flags = parser.parse_args()
    by_file = count(entered(lambda: dl.fit(functools.partial(experiment, epochs=2), run_dir=flags.run_dir)))
    if flags.files:
        for file, lines in sorted(by_file.items(), key=lambda item: -item[1]):
            print(f"{lines:6} {file}")
    print(f"{sum(by_file.values()):,} lines of code in {len(by_file)} files are entered by dl.fit of image_digits")


if __name__ == "__main__":
    main()
