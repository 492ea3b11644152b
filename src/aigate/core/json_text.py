"""JSON without the liberties of Python's parser: one meaning per text, in samples, run files and answers alike.

Most texts are read by `orjson`, which takes liberties of its own (of two equal keys it keeps the last, an integer
beyond 64 bits becomes a float). So what it read is written again: where that gives the same text but for white space
between tokens, no liberty was taken. Every other text is read by Python's parser under the rules of this module.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from typing import Any, NoReturn

__all__ = ["JsonDefectError", "json_type", "strict_json"]

MAX_DEPTH = 100  # far more than data needs, far less than the stack: what is read can be walked and digested


class JsonDefectError(ValueError):
    """Text that is no strict JSON.

    Args:
        message: What is wrong, without the place.
        line: Line within the text, from 1, where it is known.
        hint: What to do next; may be empty.
    """

    def __init__(self, message: str, *, line: int | None = None, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.line = line
        self.hint = hint


def strict_json(text: str | bytes) -> Any:
    """Parse JSON without the liberties of Python's parser.

    Refused: duplicate keys, NaN and Infinity, numbers that overflow to infinity (`1e400`), integers of more digits than
    Python converts (4,300), and more than 100 levels of nesting.

    Args:
        text: The text; bytes are UTF-8.

    Raises:
        JsonDefectError: The text is no such JSON.
        UnicodeDecodeError: The bytes are not UTF-8.

    >>> strict_json('{"a": 12345678901234567890}')
    {'a': 12345678901234567890}
    >>> strict_json('{"a": 1, "a": 2}')
    Traceback (most recent call last):
    aigate.core.json_text.JsonDefectError: duplicate key 'a' in one object
    """
    found = _read_fast(text)
    return _read_strictly(text if isinstance(text, str) else text.decode("utf-8")) if found is _UNSURE else found


def _read_fast(text: str | bytes) -> Any:
    """The value where orjson takes no liberty with the text; else `_UNSURE`.

    Without the white space between tokens (and some within strings, on both sides alike) the text and what is written
    of the value are one sequence of tokens. So they have equally many members in every object: a key that stood there
    twice would be missing from what is written. And every number is written as it stood: it was read exactly.
    """
    import orjson

    try:
        raw = text.encode("utf-8") if isinstance(text, str) else text
        value = orjson.loads(raw)
        again = orjson.dumps(value)
    except (ValueError, TypeError, RecursionError):  # orjson reads 1,024 levels and writes 254
        return _UNSURE
    if again != raw and again.translate(None, _SPACE) != raw.translate(None, _SPACE):
        return _UNSURE
    return _UNSURE if raw.count(b"[") + raw.count(b"{") > MAX_DEPTH else value


def _read_strictly(text: str) -> Any:
    try:
        value = _DECODER.decode(text)
    except JsonDefectError:
        raise
    except json.JSONDecodeError as found:
        raise JsonDefectError(f"invalid JSON at column {found.colno}: {found.msg}", line=found.lineno) from None
    except RecursionError:
        raise JsonDefectError(_TOO_DEEP) from None
    except ValueError as found:  # int() refuses very long digit strings
        raise JsonDefectError(f"invalid JSON: {found}") from None
    if text.count("[") + text.count("{") > MAX_DEPTH and _too_deep(value):
        raise JsonDefectError(_TOO_DEEP)
    return value


def json_type(value: Any) -> str:
    """The JSON name of a value's type, with its article, for messages.

    >>> json_type([]), json_type(True), json_type(None)
    ('an array', 'a boolean', 'null')
    """
    if isinstance(value, bool):
        return "a boolean"
    for kind, name in _TYPE_NAMES:
        if isinstance(value, kind):
            return name
    return "null" if value is None else type(value).__name__


_UNSURE = object()
_SPACE = b" \t\r\n"
_TOO_DEEP = f"nested deeper than {MAX_DEPTH} levels"
_TYPE_NAMES: tuple[tuple[type | tuple[type, ...], str], ...] = (
    (str, "a string"),
    ((int, float), "a number"),
    ((list, tuple), "an array"),
    (dict, "an object"),
)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    whole = dict(pairs)
    if len(whole) != len(pairs):
        twice = next(key for key, count in Counter(key for key, _ in pairs).items() if count > 1)
        raise JsonDefectError(f"duplicate key '{twice}' in one object", hint="keep one of the two")
    return whole


def _refuse_constant(name: str) -> NoReturn:
    raise JsonDefectError(f"{name} is not a JSON number", hint="write null, or leave the field out")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise JsonDefectError(f"the number {text} is too large for a float", hint="write it as a string")
    return value


def _too_deep(value: Any) -> bool:
    """True when arrays and objects are nested deeper than `MAX_DEPTH`; walks level by level, without recursion."""
    level = [value]
    for _ in range(MAX_DEPTH):
        inner = [item for item in level if isinstance(item, dict | list)]
        level = [child for item in inner for child in (item.values() if isinstance(item, dict) else item)]
    return any(isinstance(item, dict | list) for item in level)


_DECODER = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_refuse_constant, parse_float=_finite)
