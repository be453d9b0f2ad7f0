"""Base of what a user subclasses: an incomplete subclass says what it lacks, and how that is declared."""

from __future__ import annotations

import abc
import inspect
from typing import Any, Self

from deeplab.core.errors import UserError, nearest, place_of


class Contract(abc.ABC):  # noqa: B024  (its subclasses have the abstract methods)
    """An abstract class, of which no instance is made without all its abstract methods.

    Raises:
      UserError: A subclass lacks one.

    Example:
      >>> class Task(Contract):
      ...     @abc.abstractmethod
      ...     def loss(self, batch, key):
      ...         "Training loss."
      >>> class Mine(Task):
      ...     def los(self, batch, key): ...
      >>> try:
      ...     Mine()
      ... except UserError as error:
      ...     print(str(error).partition(": ")[2])
      def loss(self, batch, key): Training loss. (It defines `los`; did you mean 'loss'?)
    """

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        if missing := sorted(cls.__abstractmethods__):
            raise UserError(_told(cls, missing[0]))
        return super().__new__(cls)


def _told(cls: type, name: str) -> str:
    base = next(kind for kind in reversed(cls.__mro__) if name in vars(kind))
    method, place = getattr(cls, name), place_of(cls)
    head = name if isinstance(method, property) else f"def {name}({', '.join(inspect.signature(method).parameters)})"
    line = (inspect.getdoc(method) or "").partition("\n")[0]
    own = [given for given in vars(cls) if callable(vars(cls)[given]) and "did you mean" in nearest(given, [name])]
    hint = f" (It defines `{own[0]}`; did you mean {name!r}?)" if own else ""
    where = f" ({place})" if place else ""
    return f"{cls.__name__}{where} has no `{name}`, which a {base.__name__} must define: {head}: {line}{hint}"
