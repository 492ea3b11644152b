"""Finding siblings by name: the built-in ones, and those that installed packages name in an entry point group."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any

from aigate.errors import UsageError

__all__ = ["Registry", "nearest", "refuse_unknown"]


def nearest(name: str, known: Collection[str], *, kind: str) -> str:
    """A hint for a misspelt name: the nearest known one, or all of them.

    >>> nearest("marign", ["alpha", "margin"], kind="keys")
    "did you mean 'margin'?"
    """
    close = get_close_matches(name, known, n=1)
    return f"did you mean '{close[0]}'?" if close else f"known {kind}: {', '.join(sorted(known)) or 'none'}"


def refuse_unknown(
    given: Collection[str], known: Collection[str], *, where: str, kind: str = "options", error: type[UsageError]
) -> None:
    """Refuse the first name that is not known.

    Raises:
        UsageError: Of the type `error`; names where, the unknown name and the nearest known one.
    """
    for name in given:
        if name not in known:
            singular = kind.removesuffix("s")
            raise error(f"{where}: unknown {singular} '{name}'", hint=nearest(name, known, kind=kind))


@dataclass(frozen=True, slots=True)
class Registry:
    """The siblings of one kind.

    Attributes:
        kind: What they are, for messages: `provider`.
        group: The entry point group of installed packages: `aigate.providers`.
        built_in: `module:factory` by name; imported only when asked for.
        error: What to raise for an unknown name.
    """

    kind: str
    group: str
    built_in: Mapping[str, str]
    error: type[UsageError]

    def names(self) -> list[str]:
        """Every name that can be asked for, sorted."""
        return sorted({*self.built_in, *(entry.name for entry in entry_points(group=self.group))})

    def factory(self, name: str) -> Callable[..., Any]:
        """The factory of that name; a built-in one wins over an installed one.

        Raises:
            UsageError: No such name; the message names the nearest one.
        """
        if name in self.built_in:
            module, _, attribute = self.built_in[name].partition(":")
            found: Callable[..., Any] = getattr(import_module(module), attribute)
            return found
        for entry in entry_points(group=self.group):
            if entry.name == name:
                loaded: Callable[..., Any] = entry.load()
                return loaded
        raise self.error(f"unknown {self.kind} '{name}'", hint=nearest(name, self.names(), kind=f"{self.kind}s"))
