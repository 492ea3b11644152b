"""Reading stored runs."""

from __future__ import annotations

from pathlib import Path

from aigate.core.run import Run
from aigate.core.runfile import decode
from aigate.errors import RunFileError
from aigate.files import read_lines

__all__ = ["load_run"]


def load_run(path: Path | str) -> Run:
    """A finished run from its file; counts and digest are checked.

    Raises:
        RunFileError: The file is missing, no run file, of another format, interrupted, or altered after it was closed.
    """
    path = Path(path)
    if path.is_dir():
        raise RunFileError(f"{path}: a folder, expected a run file", hint="name the .jsonl file in it")
    return decode(read_lines(path), source=str(path))
