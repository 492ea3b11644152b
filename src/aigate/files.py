"""Files whole: read as lines, put in place so that a crash leaves the old content or the new one."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from aigate.errors import RunFileError

__all__ = ["NO_RUN_FILE_HINT", "lines_of", "read_lines", "write_atomically"]

NO_RUN_FILE_HINT = "make one with 'aigate eval --out RUN'"


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
