"""Writing a run file as results arrive, so that whatever stops the run, what was answered is on disk."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import IO

from aigate.core.columns import RowColumns, outcome_codes
from aigate.core.counts import count_of
from aigate.core.json_text import strict_json
from aigate.core.ledger import Outcome
from aigate.core.response import Response
from aigate.core.run import AnchorsJudged, Result, Run, RunHeader
from aigate.core.runfile import EncodedBlock, PartialRun, RunEncoder, StoredResults, decode_header, stored_run
from aigate.core.sample import Sample
from aigate.errors import RunFileError, UsageError
from aigate.files import FileLines
from aigate.running.runfiles import read_partial, read_run

__all__ = ["RunWriter", "begun_run"]

LONGEST_CLOSING_BYTES = 1 << 22  # thousands of judged anchors stand in it

_ASKED_AGAIN = frozenset({Outcome.INFRASTRUCTURE_ERROR, Outcome.JUDGE_ERROR, Outcome.EARLY_STOP, Outcome.BUDGET})


class RunWriter:
    """Appends results to one run file. A context manager: leaving it without `close_run` leaves a resumable file.

    Args:
        path: The file. A finished run in it is set aside as `NAME.previous`; an interrupted one is refused unless
            `resume` is true.
        header: The run's header.
        resume: Go on with the run in `path`: what it holds is kept, except what was missing through no fault of the
            candidate or was not asked, which is asked. Its planned looks are kept too, whatever `header` says.

    Attributes:
        path: The file.
        header: The header of the run that is written: the one given, with the looks of the run that is gone on with.
        kept: The results that stand in the file already.
        answered: Answers of results that are not kept, since they were not judged: only that is done again.

    Raises:
        UsageError: `path` holds an interrupted run and `resume` is false, holds something that is no run file, cannot
            be written, or is being written by another process.
        RunFileError: The run to go on with was made under other conditions, or altered after it was closed.
    """

    def __init__(self, path: Path, header: RunHeader, *, resume: bool = False) -> None:
        self.path = path
        self._resumed = resume
        self.kept: Sequence[Result] = ()
        self.answered: Mapping[tuple[str, int], Response] = {}
        self.header = header
        existing = _existing(path, whole=resume)
        if existing is not None and resume:
            if existing.closing is not None:
                read_run(path)  # a finished run is only built on when its digest holds
            self.header = _under_plan_of(existing.header, header)
            self._require_same_conditions(existing, asked=header)
            self.answered = _unjudged(existing)
            self._start(existing)
        elif existing is not None and existing.closing is None and len(existing.rows):
            raise UsageError(
                f"{path}: holds an interrupted run with {count_of(len(existing.rows), 'result')}",
                hint="add --resume to go on with it, or choose another --out",
            )
        else:
            self._start(None)

    def __enter__(self) -> RunWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    @property
    def kept_keys(self) -> frozenset[tuple[str, int]]:
        """Sample id and repeat of the results that stand in the file already."""
        return frozenset(islice(zip(self.rows.ids, self.rows.answers.repeats, strict=True), len(self.kept)))

    @property
    def rows(self) -> RowColumns:
        """What stands in the file, as columns, in its order."""
        return self._encoder.rows

    def add(self, result: Result, sample: Sample) -> None:
        """Append one result; it is with the operating system when this returns.

        Raises:
            RunFileError: The disk is full, or cannot be written for another reason.
        """
        self._write(self._encoder.result_line(result, sample).encode() + b"\n")

    def add_block(self, block: EncodedBlock) -> None:
        """Append results that were encoded elsewhere, likewise."""
        self._write(block.text)
        self._encoder.take(block)

    def close_run(self, *, finished_at: str, judge_anchors: Mapping[str, AnchorsJudged] | None = None) -> Run:
        """Write the closing line and force the file to disk.

        Args:
            finished_at: UTC, ISO 8601.
            judge_anchors: What the judge of each judged metric said of the suite's labelled answers.

        Returns:
            The run, equal to what reading the file would give.
        """
        anchors = dict(judge_anchors or {})
        closing = self._encoder.closing_line(finished_at=finished_at, judge_anchors=anchors)
        self._write(closing.encode() + b"\n")
        with self._told_apart():
            os.fsync(self._file.fileno())
        return stored_run(
            decode_header(self._header_line.encode(), str(self.path)),
            self._encoder.rows.sorted(),
            FileLines(self.path),
            digest=strict_json(closing)["closing"]["digest"],
            finished_at=finished_at,
            source=str(self.path),
            judge_anchors=anchors,
        )

    def _start(self, existing: PartialRun | None) -> None:
        """Begin the file anew beside the old one, and put it in its place once all that is kept stands in it."""
        fresh = self.path.with_name(f".{self.path.name}.{os.getpid()}.new")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file: IO[bytes] = fresh.open("wb", buffering=0)
        except OSError as error:
            raise UsageError(f"{self.path}: cannot be written: {error.strerror}", hint="choose another --out") from None
        fcntl.flock(self._file, fcntl.LOCK_EX)  # for as long as the run lasts; see `_refuse_if_being_written`
        self._encoder = RunEncoder(self.header)
        try:
            self._header_line = self._encoder.header_line()
            self._write(self._header_line.encode() + b"\n")
            if existing is not None:
                self._keep(existing, fresh)
            if self.path.exists() and not self._resumed:
                self.path.replace(self.path.with_name(self.path.name + ".previous"))
            fresh.replace(self.path)
        except BaseException:
            self._file.close()
            fresh.unlink(missing_ok=True)
            raise

    def _keep(self, existing: PartialRun, fresh: Path) -> None:
        """Copy the lines that are worth keeping."""
        worth = _worth_keeping(existing.rows)
        rows = existing.rows if len(worth) == len(existing.rows) else existing.rows.taken(worth)
        for text in self._encoder.take_over(rows, existing.lines):
            self._write(text)
        self.kept = StoredResults(rows, FileLines(fresh))

    def _write(self, rest: bytes) -> None:
        with self._told_apart():
            while rest:  # a disk that gets full takes a part of it, and says so at the next attempt
                rest = rest[self._file.write(rest) :]

    @contextmanager
    def _told_apart(self) -> Iterator[None]:
        """Say of a file that cannot be written what it holds, and how to go on."""
        try:
            yield
        except OSError as error:
            raise RunFileError(
                f"{self.path}: cannot be written: {error.strerror or error}",
                hint=f"make room; {count_of(len(self.rows), 'result is', 'results are')} kept:"
                f" the same command with --resume --out {self.path}",
            ) from None

    def _require_same_conditions(self, existing: PartialRun, *, asked: RunHeader) -> None:
        before, now = existing.header.same_conditions(), self.header.same_conditions()
        differs = [key for key in now if before.get(key) != now[key]]
        if _first_repeats(existing.header) != _first_repeats(asked):
            differs.append("repeats")
        if differs:
            raise RunFileError(
                f"{self.path}: cannot be resumed: it was made with another {' and '.join(differs)}",
                hint="run again as it was begun, or choose another --out",
            )


def begun_run(path: Path) -> RunHeader | None:
    """The header of the run that was begun in a file and broke off; None where there is no such run."""
    header, finished = _outline(path)
    return None if finished else header


def _under_plan_of(begun: RunHeader, now: RunHeader) -> RunHeader:
    """The header with the plan a run was begun with: looks chosen once answers are known would not be planned.

    A run that goes on under another load than it was begun with has none that its latencies could be compared by.
    """
    load = now.load if begun.load == now.load else None
    return replace(now, looks=begun.looks, repeats=begun.repeats, load=load)


def _first_repeats(header: RunHeader) -> int:
    """The repeats that are asked for in any case: what a caller chooses; what is added follows from the plan."""
    return header.repeats if header.looks is None else header.looks.looks[0].repeats


def _existing(path: Path, *, whole: bool) -> PartialRun | None:
    """What stands in the file, or None when there is no file. Something else than a run is never written over.

    Args:
        path: The file.
        whole: Read it whole; else None also stands for a finished run, which is only set aside.
    """
    try:
        if not path.exists():
            return None
    except OSError as error:  # a name too long
        raise UsageError(f"{path}: cannot be written: {error.strerror}", hint="choose another --out") from None
    if not path.is_file():
        raise UsageError(f"will not write over {path}: it is no regular file", hint="choose another --out")
    _refuse_if_being_written(path)
    if path.stat().st_size == 0:
        return None
    try:
        header, finished = _outline(path)
        if finished and header is not None and not whole:
            return None
        return read_partial(path)
    except RunFileError as error:
        raise UsageError(f"will not write over {error.message}", hint="choose another --out") from None


def _outline(path: Path) -> tuple[RunHeader | None, bool]:
    """The header of a run file, None where there is none; and whether the file ends with a closing line."""
    try:
        with path.open("rb") as file:
            first = file.readline()
            file.seek(0, os.SEEK_END)
            file.seek(max(0, file.tell() - LONGEST_CLOSING_BYTES))
            last = file.read().rstrip(b"\n").rpartition(b"\n")[2]
        header = decode_header(first.rstrip(b"\n"), str(path))
    except (OSError, RunFileError):
        return None, False
    try:
        return header, last.startswith(b'{"closing":') and "closing" in strict_json(last)
    except ValueError:  # torn
        return header, False


def _refuse_if_being_written(path: Path) -> None:
    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UsageError(
                f"{path}: another aigate is writing it", hint="wait for it, or choose another --out"
            ) from None


def _unjudged(existing: PartialRun) -> Mapping[tuple[str, int], Response]:
    """The answers that a judge or a scorer failed on, or that a cap kept from being judged."""
    unjudged = outcome_codes((Outcome.JUDGE_ERROR, Outcome.BUDGET).__contains__)
    rows = (row for row, outcome in enumerate(existing.rows.answers.outcomes) if outcome in unjudged)
    results = (existing.results[row] for row in rows)
    return {
        result.key: result.response
        for result in results
        if result.response is not None and result.response.output is not None
    }


def _worth_keeping(rows: RowColumns) -> list[int]:
    """What is not asked again. A repeat that came before its sample's repeat 0, which carries the sample, is."""
    again, orphans = outcome_codes(_ASKED_AGAIN.__contains__), set(rows.orphans())
    return [row for row, outcome in enumerate(rows.answers.outcomes) if outcome not in again and row not in orphans]
