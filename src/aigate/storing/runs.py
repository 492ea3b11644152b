"""Reading and writing whole run files."""

from __future__ import annotations

import os
from pathlib import Path

from aigate.core.run import Run
from aigate.core.runfile import decode
from aigate.errors import RunFileError
from aigate.running.writer import read_lines

__all__ = ["load_run", "write_atomically"]


def load_run(path: Path | str) -> Run:
    """A finished run from its file; counts and digest are checked.

    Raises:
        RunFileError: The file is missing, no run file, of another format, interrupted, or altered after it was closed.
    """
    path = Path(path)
    if path.is_dir():
        raise RunFileError(f"{path}: a folder, expected a run file", hint="name the .jsonl file in it")
    return decode(read_lines(path), source=str(path))


def write_atomically(path: Path, content: bytes) -> None:
    """Put a file in place whole: after a crash there is the old content or the new one, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.{os.getpid()}.new")
    try:
        with fresh.open("wb") as file:
            file.write(content)
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
