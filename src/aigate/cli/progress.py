"""Progress: a bar on a terminal, a plain line now and then in a CI log."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

from aigate.core.run import Result

__all__ = ["PlainProgress", "progress_for"]

Progress = Callable[[Result, int, int], None]


@contextmanager
def progress_for(stream: TextIO, *, total: int, quiet: bool = False) -> Iterator[Progress | None]:
    """Something to call per result, or None when nobody wants to see it."""
    if quiet:
        yield None
    elif stream.isatty():
        with _bar(stream, total) as bar:
            yield bar
    else:
        yield PlainProgress(stream)


class PlainProgress:
    """A line at most every ten seconds, and one at the end.

    Args:
        stream: Where to write.
        clock: Seconds, monotonic.
        every_s: Seconds between lines.
    """

    def __init__(self, stream: TextIO, *, clock: Callable[[], float] = time.monotonic, every_s: float = 10.0) -> None:
        self._stream, self._clock, self._every_s = stream, clock, every_s
        self._started = self._last = clock()
        self._outcomes: Counter[str] = Counter()

    def __call__(self, result: Result, done: int, total: int) -> None:
        """Take note of one result."""
        self._outcomes[str(result.outcome)] += 1
        now = self._clock()
        if done < total and now - self._last < self._every_s:
            return
        self._last = now
        print(
            f"{done}/{total} answered in {now - self._started:.1f} s{_faults(self._outcomes)}",
            file=self._stream,
            flush=True,
        )


@contextmanager
def _bar(stream: TextIO, total: int) -> Iterator[Progress]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), TextColumn("{task.description}"))
    outcomes: Counter[str] = Counter()
    with Progress(*columns, console=Console(file=stream), transient=True) as progress:
        task = progress.add_task("", total=total)

        def advance(result: Result, done: int, total: int) -> None:
            outcomes[str(result.outcome)] += 1
            progress.update(task, completed=done, total=total, description=_faults(outcomes))

        yield advance


def _faults(outcomes: Counter[str]) -> str:
    """What went wrong so far, in words; empty when nothing did."""
    told = [f"{count} {name.replace('_', ' ')}" for name, count in outcomes.items() if name != "scored"]
    return f" ({', '.join(told)})" if told else ""
