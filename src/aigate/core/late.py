"""What is worked out when somebody first looks, and not before."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from typing import TypeVar

__all__ = ["LateMapping"]

K = TypeVar("K")
V = TypeVar("V")


class LateMapping(Mapping[K, V]):
    """A mapping that is made when it is first looked into.

    Args:
        make: Makes it; called once at most.

    >>> asked = LateMapping(lambda: {"a": 1})
    >>> asked["a"], len(asked)
    (1, 1)
    """

    def __init__(self, make: Callable[[], Mapping[K, V]]) -> None:
        self._make = make

    @cached_property
    def _made(self) -> Mapping[K, V]:
        return self._make()

    def __getitem__(self, key: K) -> V:
        return self._made[key]

    def __iter__(self) -> Iterator[K]:
        return iter(self._made)

    def __len__(self) -> int:
        return len(self._made)
