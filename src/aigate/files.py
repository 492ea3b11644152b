"""Files: read as lines, also where they are too large to be held, and put in place so that a crash leaves one whole."""

from __future__ import annotations

import gzip
import os
import shutil
import tempfile
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from aigate.errors import RunFileError

__all__ = ["NO_RUN_FILE_HINT", "FileLines", "LineBlock", "lines_of", "read_lines", "write_atomically"]

NO_RUN_FILE_HINT = "make one with 'aigate eval --out RUN'"
BLOCK_BYTES = 1 << 20
HELD_BYTES = 8 << 20
"""Files up to this size are held whole; larger ones stay open, and their lines are read when somebody looks at them."""


@dataclass(frozen=True, slots=True)
class LineBlock:
    """Consecutive whole lines of a file.

    Attributes:
        text: The lines.
        offset: Where they begin in the file.
        first: The number of the first one.
        ends: True for the last lines of the file.
    """

    text: bytes
    offset: int
    first: int
    ends: bool


class FileLines:
    """Gives the bytes of a file from where they stand; see `aigate.core.runfile.Lines`.

    A large file is kept open, so that it can be read on after another one took its place.

    Args:
        path: The file.
        file: A descriptor of it that is open for reading, and is closed with this; default: it is opened.

    Attributes:
        size: Its bytes.

    Raises:
        OSError: It cannot be read.
    """

    def __init__(self, path: Path, *, file: int | None = None) -> None:
        self._path, self._unpacked = path, file is not None
        self._file = os.open(path, os.O_RDONLY | os.O_CLOEXEC) if file is None else file
        close = weakref.finalize(self, os.close, self._file)
        self.size = os.fstat(self._file).st_size
        self._held: bytes | None = None
        if self.size <= HELD_BYTES:
            self._held = self._read(0, self.size)
            self.size = len(self._held)
            close()

    @classmethod
    def unpacked(cls, path: Path) -> Self:
        """Those of a file that may be compressed: a name that ends in `.gz` is unpacked into a file without a name.

        Raises:
            OSError, EOFError, zlib.error: It cannot be read or unpacked, or there is no room for it.
        """
        if path.suffix != ".gz":
            return cls(path)
        with gzip.open(path, "rb") as packed, tempfile.TemporaryFile(prefix="aigate-") as plain:
            shutil.copyfileobj(packed, plain, BLOCK_BYTES)
            plain.flush()
            return cls(path, file=os.dup(plain.fileno()))

    def __call__(self, offset: int, length: int) -> bytes:
        """So many bytes from an offset; fewer at the end of the file."""
        return self._read(offset, length) if self._held is None else self._held[offset : offset + length]

    def span(self, offsets: Sequence[int], lengths: Sequence[int]) -> bytes | None:
        """Some lines as they stand, without the end of the last; None where they do not follow one another."""
        size = offsets[-1] + lengths[-1] - offsets[0]
        together = size == sum(lengths) + len(lengths) - 1 and offsets[0] == min(offsets)
        return self(offsets[0], size) if together else None

    def first_line(self) -> bytes | None:
        """The first line without its end; None of an empty file."""
        size = BLOCK_BYTES
        while b"\n" not in (begun := self(0, size)) and size < self.size:
            size *= 4
        return begun.partition(b"\n")[0] if begun else None

    def blocks(self, *, start: int = 0, first: int = 1) -> Iterator[LineBlock]:
        """All lines from an offset on, in blocks of about a megabyte; longer lines come whole.

        Args:
            start: Where to begin.
            first: The number of the line that begins there.
        """
        offset, rest = start, b""
        while offset + len(rest) < self.size and (read := self(offset + len(rest), BLOCK_BYTES)):
            text = rest + read
            ends = offset + len(text) >= self.size
            whole = len(text) if ends else text.rfind(b"\n") + 1
            if whole:
                yield LineBlock(text[:whole], offset, first, ends)
                first += text.count(b"\n", 0, whole)
                offset += whole
            rest = text[whole:]

    def __reduce__(self) -> tuple[Callable[[Path], FileLines], tuple[Path]]:
        return (FileLines.unpacked if self._unpacked else FileLines, (self._path,))

    def _read(self, offset: int, length: int) -> bytes:
        found = os.pread(self._file, length, offset)
        while len(found) < length and (more := os.pread(self._file, length - len(found), offset + len(found))):
            found += more  # one call reads 2 GB at most
        return found


def read_lines(path: Path) -> list[str]:
    """The lines of a run file, without line ends.

    Raises:
        RunFileError: The file is missing, unreadable, or not UTF-8.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise RunFileError(f"{path}: no such run file", hint=NO_RUN_FILE_HINT) from None
    except OSError as error:
        raise RunFileError(f"{path}: cannot be read: {error}") from None
    return lines_of(content, source=str(path))


def lines_of(content: bytes, *, source: str) -> list[str]:
    """The lines of a run file's content, without line ends.

    Raises:
        RunFileError: It is not UTF-8.
    """
    *whole, last = content.split(b"\n")
    try:
        lines = [line.decode("utf-8") for line in whole]
    except UnicodeDecodeError as error:
        raise RunFileError(f"{source}: cannot be read: {error}") from None
    # A process that was killed may have left half a line, cut within a character.
    return [*lines, last.decode("utf-8", "replace")] if last else lines


def write_atomically(path: Path, content: bytes | Iterable[bytes]) -> None:
    """Put a file in place whole: after a crash there is the old content or the new one, never a part.

    Args:
        path: The file; its folder is made where it is missing.
        content: All of it, or its pieces, which are never in memory together.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.{os.getpid()}.new")
    try:
        with fresh.open("wb") as file:
            file.writelines((content,) if isinstance(content, bytes) else content)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
    finally:
        fresh.unlink(missing_ok=True)
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    """Force the new name to disk too."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
