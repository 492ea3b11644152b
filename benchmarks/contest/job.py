"""What every contender is given, and how the truth of what it gives back is known."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

MODEL = "gpt-4o"  # a name that every contender takes for a chat model
WRONG_EVERY = 10  # of the references one in ten is not what the endpoint answers: a score of 1 for all proves nothing


@dataclass(frozen=True, slots=True)
class Job:
    """One run's task.

    Attributes:
        folder: Where it runs and writes; empty but for what the run before left, where it is the same command again.
        samples: JSON Lines with id, input and reference.
        size: How many.
        concurrency: Requests in flight at most.
        base_url: The endpoint.
    """

    folder: Path
    samples: Path
    size: int
    concurrency: int
    base_url: str


@dataclass(frozen=True, slots=True)
class Result:
    """What a contender says of one sample: its output and whether it passed; None: it has none."""

    id: str
    output: str | None
    passed: bool | None


@dataclass(frozen=True, slots=True)
class Checked:
    """The results held against the truth.

    Attributes:
        finished: Samples with an output.
        lost: Samples without one.
        wrong: Samples with an output that is another's, or a score that is not that of the output.
    """

    finished: int
    lost: int
    wrong: int


def write_samples(path: Path, size: int) -> Path:
    """Samples whose answers all differ, so that a mixed-up answer is seen."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8") as file:
        for number in range(size):
            row = {"id": _id(number), "input": f"Repeat exactly: {_answer(number)}", "reference": _reference(number)}
            file.write(f"{json.dumps(row)}\n")
    return path


def write_recording(path: Path, size: int) -> Path:
    """The answers to `write_samples`, as a recording."""
    with path.open("w", encoding="utf-8") as file:
        for number in range(size):
            file.write(f'{{"id": "{_id(number)}", "output": "{_answer(number)}", "latency_s": 0.1}}\n')
    return path


def checked(results: Iterable[Result], size: int) -> Checked:
    """Count what is finished, lost and wrong. A sample told twice, or one that is not in the job, is wrong."""
    truth = {_id(number): number for number in range(size)}
    finished = wrong = 0
    for result in results:
        if result.output is None:
            continue
        number = truth.pop(result.id, None)
        if number is None:
            wrong += 1
            continue
        finished += 1
        right = _answer(number) == _reference(number)
        wrong += not (result.output == _answer(number) and result.passed is right)
    return Checked(finished, size - finished, wrong)


def _id(number: int) -> str:
    return f"s{number:07d}"


def _answer(number: int) -> str:
    return f"answer{number:07d}"


def _reference(number: int) -> str:
    return ("other " if number % WRONG_EVERY == WRONG_EVERY - 1 else "") + _answer(number)
