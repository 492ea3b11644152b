"""Progress: a bar on a terminal, a plain line now and then in a CI log."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Protocol, TextIO

from aigate.core.run import Result

if TYPE_CHECKING:
    from aigate.running.evaluation import Looked

__all__ = ["PlainProgress", "Progress", "progress_for"]


class Progress(Protocol):
    """Something that watches a run."""

    def __call__(self, result: Result, done: int, total: int) -> None:
        """Take note of one result."""
        ...

    def looked(self, looked: Looked) -> None:
        """Tell what came of one planned look."""
        ...


@contextmanager
def progress_for(stream: TextIO, *, total: int, planned: int = 0, quiet: bool = False) -> Iterator[Progress | None]:
    """Something to call per result and per look, or None when nobody wants to see it.

    Args:
        stream: Where to write.
        total: Answers of the whole plan.
        planned: Planned looks; with fewer than two there is none to tell of.
        quiet: Show nothing.
    """
    if quiet:
        yield None
    elif stream.isatty():
        with _bar(stream, total, planned) as bar:
            yield bar
    else:
        yield PlainProgress(stream, planned=planned)


class PlainProgress:
    """A line at most every ten seconds, one at the end, and one for the look that ends the run before it.

    Args:
        stream: Where to write.
        planned: Planned looks; with fewer than two there is none to tell of.
        clock: Seconds, monotonic.
        every_s: Seconds between lines.
    """

    def __init__(
        self,
        stream: TextIO,
        *,
        planned: int = 0,
        clock: Callable[[], float] = time.monotonic,
        every_s: float = 10.0,
    ) -> None:
        self._stream, self._clock, self._every_s = stream, clock, every_s
        self._started = self._last = clock()
        self._outcomes: Counter[str] = Counter()
        self._look, self._planned = 1, planned

    def __call__(self, result: Result, done: int, total: int) -> None:
        """Take note of one result."""
        _count(self._outcomes, result)
        if done < total and not self._due():
            return
        look = f", {_look(self._look, self._planned)}" if done < total and self._planned > 1 else ""
        self._print(f"{done}/{total} answered in {self._clock() - self._started:.1f} s{look}{_faults(self._outcomes)}")

    def looked(self, looked: Looked) -> None:
        """Tell what came of one planned look."""
        self._look, self._planned = looked.number + 1, looked.planned
        if looked.settled or self._due():
            self._print(f"{_outcome(looked)} ({self._clock() - self._started:.1f} s)")

    def _due(self) -> bool:
        return self._clock() - self._last >= self._every_s

    def _print(self, line: str) -> None:
        self._last = self._clock()
        with suppress(OSError):  # nobody reads on: no reason to end a run that is paid for
            print(line, file=self._stream, flush=True)


@contextmanager
def _bar(stream: TextIO, total: int, planned: int) -> Iterator[Progress]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=Console(file=stream), transient=True) as progress:
        yield _Bar(progress, total, planned)


class _Bar:
    """A bar on a terminal; what came of the last look stands beside it, and stays when the run was stopped."""

    def __init__(self, progress: Any, total: int, planned: int) -> None:
        self._progress = progress
        self._look, self._planned = 1, planned
        self._outcomes: Counter[str] = Counter()
        self._task = progress.add_task(self._told(), total=total)

    def __call__(self, result: Result, done: int, total: int) -> None:
        _count(self._outcomes, result)
        self._progress.update(self._task, completed=done, total=total, description=self._told())

    def looked(self, looked: Looked) -> None:
        self._look, self._planned = looked.number + 1, looked.planned
        if looked.settled:
            self._progress.console.print(_outcome(looked), highlight=False)
        else:
            self._progress.update(self._task, description=self._told())

    def _told(self) -> str:
        look = _look(self._look, self._planned) if self._planned > 1 else ""
        return f"{look}{_faults(self._outcomes)}"


def _look(number: int, planned: int) -> str:
    return f"look {number} of {planned}" if number else "must-pass samples"


def _outcome(looked: Looked) -> str:
    """What came of a look, in words."""
    look = _look(looked.number, looked.planned)
    if looked.settled:
        return f"{look}: decided; {looked.not_asked} of {looked.total} answers not asked"
    return f"{look}: not decided yet"


def _count(outcomes: Counter[str], result: Result) -> None:
    outcomes[str(result.outcome)] += 1
    outcomes["from the journal"] += result.response is not None and result.response.journaled_at is not None


def _faults(outcomes: Counter[str]) -> str:
    """What went wrong so far and what was not asked for, in words; empty when there was nothing of either."""
    told = [f"{count} {name.replace('_', ' ')}" for name, count in outcomes.items() if count and name != "scored"]
    return f" ({', '.join(told)})" if told else ""
