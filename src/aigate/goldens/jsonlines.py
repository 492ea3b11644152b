r"""Strict JSON Lines: one object a line, exact types, and every defect with file and line.

Strict means that nothing is guessed and nothing is dropped: duplicate keys, NaN, a byte order mark, a blank line in the
middle and a truncated gzip file are errors. Lines end at "\n" only ("\r\n" too), since texts may hold U+2028.
"""

from __future__ import annotations

import gzip
import json
import math
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, NoReturn, cast

from aigate.errors import AigateError, SuiteError

__all__ = ["Defect", "JsonDefectError", "json_type", "read_json_lines", "scan_json_lines", "strict_json"]

BOM = b"\xef\xbb\xbf"
JSON_SPACE = b" \t\r\n"
MAX_DEPTH = 100  # far more than data needs, far less than the stack: what is read can be walked and digested


@dataclass(frozen=True, slots=True)
class Defect:
    """What is wrong with one line.

    Attributes:
        line: Line number, from 1.
        message: What was found and what was expected, without the place.
        hint: What to do next; may be empty.
    """

    line: int
    message: str
    hint: str = ""


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


def read_json_lines(path: Path, *, error: type[AigateError] = SuiteError) -> Iterator[tuple[int, dict[str, Any]]]:
    """Read a JSON Lines file, plain or `.gz`, one object at a time.

    Args:
        path: The file. A name that ends in `.gz` is decompressed.
        error: What to raise.

    Yields:
        Line number (from 1) and the object of that line. Blank lines at the end are skipped;
        an empty file gives nothing.

    Raises:
        AigateError: Of the type `error`. Its message starts with `path:line:`, or with `path:` when the file cannot
            be opened or is cut short.
    """
    for line, found in scan_json_lines(path, error=error):
        if isinstance(found, Defect):
            raise error(f"{path}:{line}: {found.message}", hint=found.hint)
        yield line, found


def scan_json_lines(
    path: Path, *, error: type[AigateError] = SuiteError
) -> Iterator[tuple[int, dict[str, Any] | Defect]]:
    """As `read_json_lines`, but a broken line is given as a `Defect` and reading goes on, so that all can be reported.

    Raises:
        AigateError: Of the type `error`, when the file cannot be opened, read or decompressed.
    """
    blank: int | None = None
    for line, raw in _raw_lines(path, error=error):
        if not raw.strip(JSON_SPACE):
            blank = line if blank is None else blank
            continue
        if blank is not None:
            yield blank, Defect(blank, "blank line between objects", "remove it; blank lines may only end a file")
            blank = None
        yield line, _object_of(line, raw)


def strict_json(text: str) -> Any:
    """Parse JSON without the liberties of Python's parser.

    Refused: duplicate keys, NaN and Infinity, numbers that overflow to infinity (`1e400`), integers of more digits than
    Python converts (4,300), and more than 100 levels of nesting.

    Raises:
        JsonDefectError: The text is no such JSON.

    >>> strict_json('{"a": 12345678901234567890}')
    {'a': 12345678901234567890}
    >>> strict_json('{"a": 1, "a": 2}')
    Traceback (most recent call last):
    aigate.goldens.jsonlines.JsonDefectError: duplicate key 'a' in one object
    """
    try:
        value = json.loads(text, object_pairs_hook=_unique, parse_constant=_refuse_constant, parse_float=_finite)
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


_TOO_DEEP = f"nested deeper than {MAX_DEPTH} levels"
_TYPE_NAMES: tuple[tuple[type | tuple[type, ...], str], ...] = (
    (str, "a string"),
    ((int, float), "a number"),
    ((list, tuple), "an array"),
    (dict, "an object"),
)


def _raw_lines(path: Path, *, error: type[AigateError]) -> Iterator[tuple[int, bytes]]:
    line = 0
    try:
        with _open(path) as file:
            for line, raw in enumerate(file, start=1):
                yield line, raw
    except FileNotFoundError:
        raise error(f"{path}: no such file", hint=_other_form(path)) from None
    except EOFError:
        raise error(f"{path}:{line + 1}: the gzip file is cut short", hint="fetch or write the file again") from None
    except (gzip.BadGzipFile, zlib.error) as found:
        raise error(
            f"{path}:{line + 1}: not a sound gzip file: {found}", hint="a name that ends in .gz must be gzip"
        ) from None
    except OSError as found:
        raise error(f"{path}: cannot be read: {found.strerror or found}") from None


def _open(path: Path) -> IO[bytes]:
    return cast("IO[bytes]", gzip.open(path, "rb")) if path.suffix == ".gz" else path.open("rb")


def _other_form(path: Path) -> str:
    """Where the file may be meant: the same name with or without `.gz`."""
    other = path.with_suffix("") if path.suffix == ".gz" else path.with_name(path.name + ".gz")
    return f"did you mean {other}?" if other.is_file() else "check the path; it is relative to the current directory"


def _object_of(line: int, raw: bytes) -> dict[str, Any] | Defect:
    if line == 1 and raw.startswith(BOM):
        return Defect(line, "starts with a byte order mark", "save the file as UTF-8 without BOM")
    try:
        value = strict_json(raw.decode("utf-8"))
    except UnicodeDecodeError as found:
        bad = raw[found.start]
        return Defect(line, f"not UTF-8: byte {found.start + 1} of the line is 0x{bad:02x}", "save the file as UTF-8")
    except JsonDefectError as found:
        return Defect(line, found.message, found.hint)
    if not isinstance(value, dict):
        return Defect(line, f"expected a JSON object, got {json_type(value)}", "write one object a line")
    return value


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
