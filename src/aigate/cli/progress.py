"""Progress: a bar on a terminal, a plain line now and then in a CI log. Both tell rate, cost and what is left."""

from __future__ import annotations

import math
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, TextIO

from aigate.core.columns import NO_RESPONSE, OUTCOMES, AnswerColumns
from aigate.core.counts import count_of
from aigate.core.run import Result

if TYPE_CHECKING:
    from aigate.running.evaluation import Looked

__all__ = ["PlainProgress", "Progress", "progress_for"]

WINDOW_S = 30.0  # the rate is that of so many seconds: a wait for a rate limit shows, and is forgotten again
STEP_S = 0.25  # answers closer together than this are one point of it
EARLIEST_S = 2.0  # before that, nothing is said of what is left


class Progress(Protocol):
    """Something that watches a run."""

    def __call__(self, result: Result, done: int, total: int) -> None:
        """Take note of one result."""
        ...

    def several(self, answers: AnswerColumns, done: int, total: int) -> None:
        """Take note of several results at once."""
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
    elif stream.isatty() and not _dumb(stream):
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
        self._tally = _Tally(started=self._started)
        self._look, self._planned = 1, planned

    def __call__(self, result: Result, done: int, total: int) -> None:
        """Take note of one result."""
        self._tally.count(result, done, self._clock())
        self._tell(done, total)

    def several(self, answers: AnswerColumns, done: int, total: int) -> None:
        """Take note of several results at once."""
        self._tally.count_all(answers, done, self._clock())
        self._tell(done, total)

    def _tell(self, done: int, total: int) -> None:
        if done < total and not self._due():
            return
        look = f", {_look(self._look, self._planned)}" if done < total and self._planned > 1 else ""
        told = "".join(f", {part}" for part in (self._tally.pace(done, total, self._planned), self._tally.cost) if part)
        taken = self._clock() - self._started
        self._print(f"{done}/{total} answered in {taken:.1f} s{told}{look}{self._tally.faults}")

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
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    columns = (BarColumn(bar_width=20), MofNCompleteColumn(), TextColumn("{task.description}", markup=False))
    with Progress(*columns, console=Console(file=stream), transient=True) as progress:
        yield _Bar(progress, total, planned)


def _dumb(stream: TextIO) -> bool:
    """True for a terminal that cannot move its cursor: a bar would fill it with copies of itself."""
    from rich.console import Console

    return Console(file=stream).is_dumb_terminal


class _Bar:
    """A bar on a terminal; what came of the last look stands beside it, and stays when the run was stopped."""

    def __init__(self, progress: Any, total: int, planned: int) -> None:
        self._progress = progress
        self._look, self._planned = 1, planned
        self._done, self._total = 0, total
        self._tally = _Tally(started=time.monotonic())
        self._task = progress.add_task(self._told(), total=total)

    def __call__(self, result: Result, done: int, total: int) -> None:
        self._tally.count(result, done, time.monotonic())
        self._show(done, total)

    def several(self, answers: AnswerColumns, done: int, total: int) -> None:
        self._tally.count_all(answers, done, time.monotonic())
        self._show(done, total)

    def _show(self, done: int, total: int) -> None:
        self._done, self._total = done, total
        self._progress.update(self._task, completed=done, total=total, description=self._told())

    def looked(self, looked: Looked) -> None:
        self._look, self._planned = looked.number + 1, looked.planned
        if looked.settled:
            self._progress.console.print(_outcome(looked), highlight=False)
        else:
            self._progress.update(self._task, description=self._told())

    def _told(self) -> str:
        look = _look(self._look, self._planned) if self._planned > 1 else ""
        pace = self._tally.pace(self._done, self._total, self._planned)
        return " · ".join(part for part in (pace, self._tally.cost, look) if part) + self._tally.faults


def _look(number: int, planned: int) -> str:
    return f"look {number} of {planned}" if number else "must-pass samples"


def _outcome(looked: Looked) -> str:
    """What came of a look, in words."""
    look = _look(looked.number, looked.planned)
    if looked.settled:
        return f"{look}: decided; {looked.not_asked} of {count_of(looked.total, 'answer')} not asked"
    return f"{look}: not decided yet"


@dataclass
class _Tally:
    """What came so far.

    Attributes:
        started: When the run began, on the clock of `count`.
        outcomes: How many answers ended how.
        cost_usd: What answers of this run cost, of those whose cost is known.
        unpriced: Answers of this run that do not tell their cost.
    """

    started: float
    outcomes: Counter[str] = field(default_factory=Counter)
    cost_usd: float = 0.0
    unpriced: int = 0
    _recent: deque[tuple[float, int]] = field(default_factory=deque)

    def count(self, result: Result, done: int, now: float) -> None:
        """Take note of one result."""
        self.outcomes[str(result.outcome)] += 1
        if (response := result.response) is not None:
            journaled = response.journaled_at is not None
            self.outcomes["from the journal"] += journaled
            self.unpriced += not journaled and response.cost_usd is None
            self.cost_usd += 0.0 if journaled else response.cost_usd or 0.0
        self._note(done, now)

    def count_all(self, answers: AnswerColumns, done: int, now: float) -> None:
        """Take note of several results, none of them from the journal."""
        self.outcomes.update({str(OUTCOMES[code]): count for code, count in Counter(answers.outcomes).items()})
        costs = [cost for cost in answers.numbers.get("cost_usd", ()) if not math.isnan(cost)]
        self.unpriced += sum(kind != NO_RESPONSE for kind in answers.kinds) - len(costs)
        self.cost_usd += sum(costs)
        self._note(done, now)

    def _note(self, done: int, now: float) -> None:
        recent = self._recent = self._recent or deque([(self.started, 0)])
        if len(recent) > 2 and now - recent[-2][0] < STEP_S:
            recent.pop()
        recent.append((now, done))
        while len(recent) > 2 and now - recent[1][0] > WINDOW_S:
            recent.popleft()

    def pace(self, done: int, total: int, planned: int) -> str:
        """Answers per second and the time that is left, in words; empty at the end, and while it is too early."""
        if not self._recent or done >= total or self._recent[-1][0] - self.started < EARLIEST_S:
            return ""
        (since, before), (now, _) = self._recent[0], self._recent[-1]
        if done <= before:
            return ""
        rate = (done - before) / max(now - since, 1e-9)
        return f"{rate:.3g}/s, {'at most ' if planned > 1 else ''}{_duration((total - done) / rate)} left"

    @property
    def cost(self) -> str:
        """What was spent, in words; empty where no answer tells its cost."""
        if not self.cost_usd:
            return ""
        return f"{'at least ' if self.unpriced else ''}${self.cost_usd:.{2 if self.cost_usd >= 1 else 4}f}"

    @property
    def faults(self) -> str:
        """What went wrong so far and what was not asked for, in words; empty when there was nothing of either."""
        kinds = {name: count for name, count in self.outcomes.items() if count and name != "scored"}
        told = [f"{count} {name.replace('_', ' ')}" for name, count in kinds.items()]
        return f" ({', '.join(told)})" if told else ""


def _duration(seconds: float) -> str:
    """Seconds as people say them.

    >>> _duration(9.2), _duration(75), _duration(7260)
    ('9 s', '1 min 15 s', '2 h 1 min')
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, seconds_left = divmod(whole, 60)
    hours, minutes_left = divmod(minutes, 60)
    return f"{hours} h {minutes_left} min" if hours else f"{minutes} min {seconds_left} s"
