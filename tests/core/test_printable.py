"""What prints itself, in a notebook: once, and not as the fields of a record."""

import dataclasses

import numpy as np
from IPython.core.formatters import DisplayFormatter
from rich import jupyter

from deeplab.core.printable import Printable


@dataclasses.dataclass(frozen=True)
class Told(Printable):
    numbers: np.ndarray

    def __rich__(self):
        return f"{len(self.numbers)} numbers"


def test_a_notebook_shows_it_once(monkeypatch):
    monkeypatch.setattr("rich.console._is_jupyter", lambda: True)
    displayed = []
    monkeypatch.setattr(jupyter, "display", lambda *given: displayed.append(given))
    shown, _ = DisplayFormatter().format(Told(np.zeros(5)))
    assert shown == {"text/plain": "5 numbers", "text/html": "<pre>5 numbers\n</pre>"}
    assert not displayed
