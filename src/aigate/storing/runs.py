"""Reading stored runs."""

from __future__ import annotations

from pathlib import Path

from aigate.core.run import Run
from aigate.core.runfile import decode
from aigate.errors import RunFileError
from aigate.files import NO_RUN_FILE_HINT, lines_of
from aigate.running.runfiles import read_run
from aigate.stores import is_url, local_path, split_url, store_at

__all__ = ["load_run", "read_run_file"]


def load_run(path: Path | str) -> Run:
    """A finished run from its file; counts and digest are checked.

    Args:
        path: A path, or any URL that fsspec reads: `s3://bucket/key`, `memory://name`, `https://...`.

    Raises:
        RunFileError: The file is missing, no run file, of another format, interrupted, or altered after it was closed.
        StoreError: What the URL names cannot be reached.
    """
    local = local_path(path)
    if local is None:
        content, source = read_run_file(str(path))
        return decode(lines_of(content, source=source), source=source)
    if local.is_dir():
        raise RunFileError(f"{local}: a folder, expected a run file", hint="name the .jsonl file in it")
    return read_run(local)


def read_run_file(source: str) -> tuple[bytes, str]:
    """The content of a run's file, and what to call it in messages.

    Raises:
        RunFileError: There is no such file, or it cannot be read.
        StoreError: What a URL names cannot be reached.
    """
    if not is_url(source):
        try:
            return Path(source).read_bytes(), source
        except OSError as error:
            raise RunFileError(f"{source}: cannot be read: {error}") from None
    folder, name = split_url(source)
    store = store_at(folder)
    found = store.read(name)
    if found is None:
        raise RunFileError(f"{store.where(name)}: no such run file", hint=NO_RUN_FILE_HINT)
    return found.content, store.where(name)
