"""What is printed by `rich`, in a terminal and in a notebook: values, and lines as they are."""

from __future__ import annotations

import abc
import dataclasses
import io
from typing import Any

_WIDTH = 120  # number of columns of output that is not a terminal


class Printable(abc.ABC):
    """A value rendered by `rich`; subclasses are frozen dataclasses that define `__rich__`."""

    @abc.abstractmethod
    def __rich__(self) -> Any:
        """Renderable of `rich`: a table, a text, or a group of them."""

    def __str__(self) -> str:
        console = _captured()
        with console.capture() as captured:
            console.print(self.__rich__())
        return captured.get().rstrip()

    def __init_subclass__(cls) -> None:
        """IPython takes the first way that a class itself has: this one, and not the `__repr__` of a dataclass."""
        cls._repr_pretty_ = lambda self, printer, cycle: printer.text(str(self))

    def _repr_html_(self) -> str:
        console = _captured(record=True)
        console.print(self.__rich__())
        return console.export_html(inline_styles=True, code_format="<pre>{code}</pre>")


def as_tree(record: Any) -> str:
    """A record as a tree that unfolds, with size, mean and spread of each array: the `_repr_html_` of a dataclass.

    The fields are shown by name, since `treescope` would ask the record itself for its HTML, and so on for ever.

    Args:
      record: Dataclass.
    """
    from treescope import render_to_html

    return render_to_html({field.name: getattr(record, field.name) for field in dataclasses.fields(record)})


def _captured(**options: Any) -> Any:
    """A console that shows nothing; `rich` would display what it prints in a notebook, whatever its file."""
    return plain_console(file=io.StringIO(), width=_WIDTH, force_jupyter=False, **options)


def plain_console(**options: Any) -> Any:
    """A console of `rich` that prints text as it is: `[...]` in a name is no markup, and `:x:` no emoji.

    Args:
      **options: Arguments of `rich.console.Console`.

    Example:
      >>> plain_console().print("[run] :x:")
      [run] :x:
    """
    from rich.console import Console

    return Console(markup=False, emoji=False, highlight=False, **options)


def print_message(kind: str, style: str, message: str) -> None:
    """Prints `KIND: MESSAGE` to the standard error, with a style for the kind."""
    from rich.text import Text

    plain_console(stderr=True, soft_wrap=True).print(Text.assemble((f"{kind}:", style), f" {message}"))
