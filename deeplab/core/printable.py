"""Values that are rendered by `rich`, in a terminal and in a notebook."""

from __future__ import annotations

import abc
import io
from typing import Any

_WIDTH = 120  # number of columns of output that is not a terminal


class Printable(abc.ABC):
    """A value rendered by `rich`; subclasses are frozen dataclasses that define `__rich__`."""

    @abc.abstractmethod
    def __rich__(self) -> Any:
        """Renderable of `rich`: a table, a text, or a group of them."""

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
