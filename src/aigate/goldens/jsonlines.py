r"""Strict JSON Lines: one object a line, exact types, and every defect with file and line.

Strict means that nothing is guessed and nothing is dropped: duplicate keys, NaN, a byte order mark, a blank line in the
middle and a truncated gzip file are errors. Lines end at "\n" only ("\r\n" too), since texts may hold U+2028.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, TypeVar, cast

from aigate.core.json_text import JsonDefectError, json_type, strict_json
from aigate.errors import AigateError, SuiteError
from aigate.files import FileLines, LineBlock
from aigate.workers import Workers

__all__ = ["Defect", "is_large", "lines_of", "read_json_lines", "scan_blocks", "scan_json_lines"]

R = TypeVar("R")

LARGE_BYTES = 4 << 20
"""Files from this size on are read in blocks, by worker processes, and not kept in memory."""

PACKED = 4  # times that JSON Lines are made smaller by gzip, at the least
UNREADABLE = (OSError, EOFError, zlib.error)
"""What reading a plain or compressed file may raise."""

BOM = b"\xef\xbb\xbf"
JSON_SPACE = b" \t\r\n"


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


def is_large(path: Path) -> bool:
    """True for a file that is not to be held in memory; False for one that is not there."""
    try:
        size = path.stat().st_size
    except OSError:
        return False
    return size >= (LARGE_BYTES // PACKED if path.suffix == ".gz" else LARGE_BYTES)


def scan_blocks(path: Path, scan: Callable[[LineBlock], R | None], take: Callable[[R], None]) -> FileLines | None:
    """Scan a large file block by block, in worker processes.

    Args:
        path: The file, plain or `.gz`.
        scan: Called in a worker with each block; gives None where anything in it is odd. A function of a module.
        take: Called here with what it gave, in the order of the file.

    Returns:
        Where the lines stand; None where a block is odd or the file cannot be read: then line by line will tell what.
    """
    try:
        lines = FileLines.unpacked(path)
        with Workers.for_bytes(lines.size) as workers:
            for found in workers.map(scan, ((block,) for block in lines.blocks())):
                if found is None:
                    return None
                take(found)
    except UNREADABLE:
        return None
    return lines


def lines_of(block: LineBlock) -> list[bytes]:
    """The lines of a block, without their ends; blank ones at the end of a file are left out."""
    return (block.text.rstrip(JSON_SPACE) if block.ends else block.text.removesuffix(b"\n")).split(b"\n")


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
        value = strict_json(raw)
    except UnicodeDecodeError as found:
        bad = raw[found.start]
        return Defect(line, f"not UTF-8: byte {found.start + 1} of the line is 0x{bad:02x}", "save the file as UTF-8")
    except JsonDefectError as found:
        return Defect(line, found.message, found.hint)
    if not isinstance(value, dict):
        return Defect(line, f"expected a JSON object, got {json_type(value)}", "write one object a line")
    return value
