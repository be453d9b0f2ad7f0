"""Values that print well, in a terminal and in a notebook."""

from __future__ import annotations

import abc
import io
from typing import Any

_WIDTH = 120  # columns of a page that is no terminal's


class Printable(abc.ABC):
    """A value shown by `rich`: subclasses are frozen records, and say what to show by `__rich__`."""

    @abc.abstractmethod
    def __rich__(self) -> Any:
        """A renderable of `rich`: a table, a text, or a group of them."""

    def __str__(self) -> str:
        console = _console()
        with console.capture() as captured:
            console.print(self.__rich__())
        return captured.get().rstrip()

    def _repr_html_(self) -> str:
        console = _console(record=True)
        console.print(self.__rich__())
        return console.export_html(inline_styles=True, code_format="<pre>{code}</pre>")


def _console(**options: Any) -> Any:
    from rich.console import Console

    return Console(file=io.StringIO(), width=_WIDTH, highlight=False, **options)
