"""Reading stored runs."""

from __future__ import annotations

from pathlib import Path

from aigate.core.run import Run
from aigate.errors import RunFileError
from aigate.running.runfiles import read_run

__all__ = ["load_run"]


def load_run(path: Path | str) -> Run:
    """A finished run from its file; counts and digest are checked.

    Raises:
        RunFileError: The file is missing, no run file, of another format, interrupted, or altered after it was closed.
    """
    path = Path(path)
    if path.is_dir():
        raise RunFileError(f"{path}: a folder, expected a run file", hint="name the .jsonl file in it")
    return read_run(path)
