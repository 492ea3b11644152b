"""What is asked in which order, and what a run looks like while part of it is still to be asked.

The order follows the planned looks: nothing of a later look stands before anything of an earlier one. It depends on the
suite and the plan alone, never on which answer came first.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from aigate.core.ledger import Outcome
from aigate.core.looks import LookPlan, unit_order
from aigate.core.response import Response
from aigate.core.run import JudgeUse, Result, Run, RunHeader
from aigate.core.sample import Sample

__all__ = ["Task", "not_asked", "run_at_look", "schedule"]


@dataclass(frozen=True, slots=True)
class Task:
    """One answer to be asked for.

    Attributes:
        sample: Of which sample.
        repeat: Which repeat, from 0.
        look: The first planned look that uses it, from 1; 0 for what is asked before all others. 1 where no looks are
            planned.
    """

    sample: Sample
    repeat: int
    look: int = 1

    @property
    def key(self) -> tuple[str, int]:
        """What identifies it within a run."""
        return (self.sample.id, self.repeat)


def schedule(
    samples: Sequence[Sample],
    repeats: int,
    *,
    looks: LookPlan | None = None,
    seed: int = 0,
    first: Collection[str] = frozenset(),
) -> tuple[Task, ...]:
    """Every sample and repeat once, in the order in which they are asked.

    Without planned looks: all of one repeat before the next begins, samples in the order given. With looks: the samples
    of `first`, with the repeats of look 1, as look 0; then look by look. Within a look all of one repeat come before
    the next, units in the order of `aigate.core.looks.unit_order`.

    Args:
        samples: The samples of the run.
        repeats: Answers per sample, 1 or more.
        looks: The planned looks.
        seed: That of the run's header: the order of the units.
        first: Ids of samples that are asked before all others, where looks are planned.

    >>> a, b = Sample("a", "?"), Sample("b", "?")
    >>> [task.key for task in schedule((a, b), 2)]
    [('a', 0), ('b', 0), ('a', 1), ('b', 1)]
    """
    if looks is None:
        return tuple(Task(sample, repeat) for repeat in range(repeats) for sample in samples)
    ranks = {unit: rank for rank, unit in enumerate(unit_order(samples, seed=seed))}
    tasks = [
        Task(sample, repeat, _look_of(sample, repeat, looks=looks, rank=ranks[sample.unit], first=first))
        for sample in samples
        for repeat in range(repeats)
    ]
    return tuple(sorted(tasks, key=lambda task: (task.look, task.repeat, ranks[task.sample.unit], task.sample.id)))


def not_asked(
    task: Task,
    why: Outcome = Outcome.EARLY_STOP,
    response: Response | None = None,
    judging: Mapping[str, JudgeUse] | None = None,
) -> Result:
    """The result of a task that nobody was asked for: the verdict was certain without it, or the budget was spent.

    Args:
        task: The task.
        why: What ended the run.
        response: An answer that came, where what was not asked any more is only its judgement.
        judging: What judges had been asked about it.
    """
    return Result(task.sample.id, task.repeat, why, response, {}, judging or {})


def run_at_look(look: int, *, header: RunHeader, tasks: Iterable[Task], found: Mapping[tuple[str, int], Result]) -> Run:
    """The run as it would be if it ended after a look: what belongs to later looks counts as not asked.

    What has arrived beyond the look is left out too, so that the run does not depend on how fast answers came.

    Args:
        look: From 1; 0 for what is asked before all others.
        header: The run's header.
        tasks: Every task of the run.
        found: Results by sample id and repeat; must hold all of the looks up to this one.

    Returns:
        A run without a digest: it stands in no file.
    """
    tasks = sorted(tasks, key=lambda task: task.key)
    return Run(
        header=header,
        samples={task.sample.id: task.sample for task in tasks},
        results=tuple(found[task.key] if task.look <= look else not_asked(task) for task in tasks),
        digest="",
    )


def _look_of(sample: Sample, repeat: int, *, looks: LookPlan, rank: int, first: Collection[str]) -> int:
    """The number of the first look that uses it; the last one takes whatever the plan does not name."""
    if sample.id in first and repeat < looks.looks[0].repeats:
        return 0
    uses = (number for number, look in enumerate(looks.looks, start=1) if rank < look.units and repeat < look.repeats)
    return next(uses, len(looks.looks))
