"""Run files on disk: read block by block, so that a run of a million results needs no more memory than its columns."""

from __future__ import annotations

from pathlib import Path

from aigate.core.run import Run
from aigate.core.runfile import PartialRun, ReadBlock, RunReading, read_block
from aigate.errors import RunFileError
from aigate.files import NO_RUN_FILE_HINT, FileLines, LineBlock
from aigate.workers import Workers

__all__ = ["read_partial", "read_run"]


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


def _read(path: Path) -> tuple[RunReading, FileLines]:
    try:
        lines = FileLines(path)
        reading = RunReading(lines.first_line(), source=str(path))
        blocks = lines.blocks(start=reading.header_size, first=2)
        jobs = ((block, reading.header.repeats, str(path)) for block in blocks)
        with Workers.for_bytes(lines.size) as workers:
            for block in workers.map(_read_block, jobs):
                reading.take(block)
    except FileNotFoundError:
        raise RunFileError(f"{path}: no such run file", hint=NO_RUN_FILE_HINT) from None
    except OSError as error:
        raise RunFileError(f"{path}: cannot be read: {error}") from None
    return reading, lines


def _read_block(block: LineBlock, repeats: int, source: str) -> ReadBlock:
    return read_block(
        block.text, repeats=repeats, source=source, first=block.first, offset=block.offset, ends=block.ends
    )
