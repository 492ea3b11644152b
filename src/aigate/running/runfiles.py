"""Run files on disk: read block by block, so that a run of a million results needs no more memory than its columns."""

from __future__ import annotations

import os
import weakref
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from aigate.core.run import Run
from aigate.core.runfile import PartialRun, ReadBlock, RunReading, read_block
from aigate.errors import RunFileError
from aigate.workers import Workers

__all__ = ["FileLines", "read_partial", "read_run"]

BLOCK_BYTES = 1 << 20
HELD_BYTES = 8 << 20
"""Files up to this size are held whole; larger ones stay open, and their lines are read when somebody looks at them."""


class FileLines:
    """Gives the bytes of a file from where they stand; see `aigate.core.runfile.Lines`.

    A large file is kept open, so that it can be read on after another one took its place.

    Args:
        path: The file.

    Raises:
        OSError: It cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        close = weakref.finalize(self, os.close, self._file)
        self.size = os.fstat(self._file).st_size
        self._held: bytes | None = None
        if self.size <= HELD_BYTES:
            self._held = self._read(0, self.size)
            self.size = len(self._held)
            close()

    def __call__(self, offset: int, length: int) -> bytes:
        """So many bytes from an offset; fewer at the end of the file."""
        return self._read(offset, length) if self._held is None else self._held[offset : offset + length]

    def __reduce__(self) -> tuple[type[FileLines], tuple[Path]]:
        return (FileLines, (self._path,))

    def _read(self, offset: int, length: int) -> bytes:
        found = os.pread(self._file, length, offset)
        while len(found) < length and (more := os.pread(self._file, length - len(found), offset + len(found))):
            found += more  # one call reads 2 GB at most
        return found


def read_run(path: Path) -> Run:
    """A finished run from its file; counts and digest are checked.

    Raises:
        RunFileError: The file is missing, no run file, of another format, interrupted, or altered after it was closed.
    """
    reading, lines = _read(path)
    return reading.run(lines)


def read_partial(path: Path) -> PartialRun:
    """Whatever stands in a run file, finished or not; a torn last line is left out and said.

    Raises:
        RunFileError: The file is missing, no run file, or a line that is not the last is broken.
    """
    reading, lines = _read(path)
    return reading.partial(lines)


@dataclass(frozen=True, slots=True)
class _Block:
    """Consecutive whole lines of a file."""

    text: bytes
    offset: int
    first: int
    ends: bool


def _read(path: Path) -> tuple[RunReading, FileLines]:
    try:
        lines = FileLines(path)
        reading = RunReading(_header_line(lines), source=str(path))
        jobs = ((block, reading.header.repeats, str(path)) for block in _blocks(lines))
        with Workers.for_bytes(lines.size) as workers:
            for block in workers.map(_read_block, jobs):
                reading.take(block)
    except FileNotFoundError:
        raise RunFileError(f"{path}: no such run file", hint="make one with 'aigate eval --out RUN'") from None
    except OSError as error:
        raise RunFileError(f"{path}: cannot be read: {error}") from None
    return reading, lines


def _read_block(block: _Block, repeats: int, source: str) -> ReadBlock:
    return read_block(
        block.text, repeats=repeats, source=source, first=block.first, offset=block.offset, ends=block.ends
    )


def _header_line(lines: FileLines) -> bytes | None:
    """Line 1 without its end; None of an empty file."""
    size = BLOCK_BYTES
    while b"\n" not in (begun := lines(0, size)) and size < lines.size:
        size *= 4
    return begun.partition(b"\n")[0] if begun else None


def _blocks(lines: FileLines) -> Iterator[_Block]:
    """All lines but the first."""
    header = _header_line(lines)
    offset, first = len(header or b"") + 1, 2
    rest = b""
    while offset + len(rest) < lines.size:
        read = lines(offset + len(rest), BLOCK_BYTES)
        if not read:
            break  # the file was cut while it was read
        text = rest + read
        ends = offset + len(text) >= lines.size
        whole = len(text) if ends else text.rfind(b"\n") + 1
        if whole:
            yield _Block(text[:whole], offset, first, ends)
            first += text.count(b"\n", 0, whole)
            offset += whole
        rest = text[whole:]
