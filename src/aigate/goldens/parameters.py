"""Request parameters of prompt files and `suite.toml`: well-known ones are checked before a call is paid for."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from aigate.core.json_text import json_type

__all__ = ["WELL_KNOWN", "parameter_defect"]

RESERVED = ("messages", "model", "stream")
"""What the gate itself decides: a parameter that changed the model would test another version than the one named."""


def parameter_defect(name: str, value: Any) -> str:
    """What is wrong with one request parameter; empty when nothing is. Unknown parameters are the provider's to judge.

    >>> parameter_defect("temperature", "0,2")
    'temperature: got a string, expected a number in [0, 2]'
    >>> parameter_defect("temperature", 0.2)
    ''
    """
    if name in RESERVED:
        return f"{name}: is set by the gate and cannot be a parameter"
    if name not in WELL_KNOWN or WELL_KNOWN[name][1](value):
        return ""
    got = str(value) if _is_number(value) else json_type(value)
    return f"{name}: got {got}, expected {WELL_KNOWN[name][0]}"


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _number(low: float, high: float) -> tuple[str, Callable[[Any], bool]]:
    return f"a number in [{low:g}, {high:g}]", lambda value: _is_number(value) and low <= value <= high


_COUNT = ("a whole number of at least 1", lambda value: _is_whole(value) and value >= 1)


def _is_stop(value: Any) -> bool:
    return isinstance(value, str) or (isinstance(value, list) and all(isinstance(text, str) for text in value))


WELL_KNOWN: Mapping[str, tuple[str, Callable[[Any], bool]]] = {
    "temperature": _number(0, 2),
    "max_tokens": _COUNT,
    "max_completion_tokens": _COUNT,
    "top_p": _number(0, 1),
    "stop": ("a string or an array of strings", _is_stop),
    "seed": ("a whole number", _is_whole),
    "presence_penalty": _number(-2, 2),
    "frequency_penalty": _number(-2, 2),
    "reasoning_effort": ("a string", lambda value: isinstance(value, str)),
    "response_format": ("an object", lambda value: isinstance(value, dict)),
}
"""Parameters that may stand at the top of a prompt file: what is expected, and whether a value is that."""
