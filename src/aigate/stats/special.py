"""SciPy's special functions, loaded when the first of them is called.

Their import takes longer than everything else that a run needs before it asks its first question. `load` does it ahead
of time, in a thread, while answers are awaited.
"""

from __future__ import annotations

from functools import cache
from types import ModuleType
from typing import Any

__all__ = ["load"]


@cache
def load() -> ModuleType:
    """`scipy.special`."""
    from scipy import special

    loaded: ModuleType = special
    return loaded


def __getattr__(name: str) -> Any:
    """A function of `scipy.special`; from then on it is found without coming here."""
    if name.startswith("_"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = function = getattr(load(), name)
    return function
