"""Latency benchmarks on disk: one JSON document each, put in place whole."""

from __future__ import annotations

import json
from pathlib import Path

from aigate.core.run import RUN_FORMAT, Run
from aigate.errors import CannotJudgeError, UsageError
from aigate.files import write_atomically
from aigate.running.measurement import Benchmark, read_benchmark
from aigate.storing.runs import load_run

__all__ = ["load_benchmark", "load_timed", "save_benchmark"]

HEAD_BYTES = 4096  # of a file: enough to tell a run from a benchmark


def save_benchmark(found: Benchmark, path: Path | str) -> None:
    """Write a benchmark, every call with it.

    Raises:
        UsageError: The file cannot be written.
    """
    try:
        write_atomically(Path(path), (json.dumps(found.to_dict(), allow_nan=False, indent=1) + "\n").encode())
    except OSError as error:
        raise UsageError(f"{path}: cannot be written: {error.strerror}", hint="choose another --out") from None


def load_benchmark(path: Path | str) -> Benchmark:
    """A benchmark from its file.

    Raises:
        CannotJudgeError: The file is missing, cannot be read, or holds no benchmark.
    """
    return read_benchmark(_text(Path(path)), source=str(path))


def load_timed(path: Path | str) -> Benchmark | Run:
    """A benchmark, or a stored run: whatever latencies the file holds.

    Raises:
        CannotJudgeError: It is neither, or cannot be used.
    """
    head = _text(Path(path))[:HEAD_BYTES]
    return load_run(path) if f'"format":"{RUN_FORMAT.partition("/")[0]}/' in head else load_benchmark(path)


def _text(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8")
    except FileNotFoundError:
        raise CannotJudgeError(
            f"{path}: no such file", hint="make one with 'aigate bench --out FILE' or 'aigate eval --out RUN'"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise CannotJudgeError(f"{path}: cannot be read: {error}") from None
