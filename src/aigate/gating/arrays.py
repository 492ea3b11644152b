"""The columns of a run as NumPy arrays, which is how checks look at a run of any size.

Rows of samples are sorted by id, rows of results by id and repeat. A *unit* is a group of samples or a sample that
stands alone; units are numbered in the sorted order of their names (`Sample.unit`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from aigate.core.columns import (
    ABSENT,
    OUTPUT,
    OUTPUT_KEY,
    REASONS,
    SCORED,
    RunColumns,
    SampleColumns,
    Texts,
    outcome_codes,
)
from aigate.core.digest import RAW_BYTES, seed_from
from aigate.core.ledger import Outcome
from aigate.core.run import Run

__all__ = [
    "Bools",
    "Floats",
    "Ints",
    "RunArrays",
    "arrays_of",
    "digests_of",
    "shared_rows",
    "state_codes",
    "units_of",
]

T = TypeVar("T")

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]
Ints = NDArray[np.intp]


@dataclass(frozen=True)
class RunArrays:
    """One run.

    Attributes:
        columns: Its columns.
    """

    columns: RunColumns

    @cached_property
    def starts(self) -> NDArray[np.int64]:
        """Where the results of each sample begin, and where the last one's end."""
        return _view(self.columns.starts, np.int64)

    @cached_property
    def sample(self) -> Ints:
        """The row of each result's sample."""
        return np.repeat(np.arange(len(self.columns), dtype=np.intp), np.diff(self.starts))

    @cached_property
    def repeat(self) -> Ints:
        """The repeat of each result."""
        return _view(self.columns.answers.repeats, np.uint16).astype(np.intp)

    @cached_property
    def outcome(self) -> NDArray[np.uint8]:
        """The outcome of each result: a place in `OUTCOMES`."""
        return _view(self.columns.answers.outcomes, np.uint8)

    @cached_property
    def skipped(self) -> Bools:
        """Which results an early stop left unasked."""
        return self.ended_as(lambda outcome: outcome is Outcome.EARLY_STOP)

    @cached_property
    def candidate_fault(self) -> Bools:
        """Which results are missing a score through the candidate's own fault."""
        return self.ended_as(lambda outcome: outcome.candidate_fault)

    @cached_property
    def has_output(self) -> Bools:
        """Which results have an output."""
        found: Bools = _view(self.columns.answers.kinds, np.uint8) == OUTPUT
        return found

    @cached_property
    def characters(self) -> Ints:
        """The length of each output; 0 where there is none."""
        return _view(self.columns.answers.characters, np.int32).astype(np.intp)

    @cached_property
    def has_fault(self) -> Bools:
        """Which results ended with a fault."""
        found: Bools = _view(self.columns.answers.kinds, np.uint8) > OUTPUT
        return found

    @property
    def has_response(self) -> Bools:
        """Which results have an output or a fault."""
        return self.has_output | self.has_fault

    @property
    def all_results(self) -> Bools:
        """Every result."""
        return np.ones(len(self.columns.answers), dtype=np.bool_)

    @cached_property
    def output(self) -> NDArray[np.uint64]:
        """What stands for each output, shape (results, 2): equal exactly for equal outputs; zeros for none."""
        return _view(self.columns.answers.outputs, np.uint64).reshape(-1, OUTPUT_KEY // 8)

    @cached_property
    def digests(self) -> NDArray[np.uint64]:
        """The digests of the samples, shape (samples, 4)."""
        return digests_of(self.columns.samples)

    @cached_property
    def units(self) -> Ints:
        """The unit of each sample."""
        return units_of(self.columns.samples)

    @cached_property
    def n_units(self) -> int:
        """How many units there are."""
        return int(self.units.max()) + 1 if len(self.units) else 0

    @cached_property
    def _one_each(self) -> bool:
        """True when every sample has one result: then their rows are the same."""
        return bool((np.diff(self.starts) == 1).all())

    def ended_as(self, which: Callable[[Outcome], bool]) -> Bools:
        """Which results have an outcome of a kind."""
        return np.isin(self.outcome, outcome_codes(which))

    def scores(self, metric: str) -> tuple[Floats, NDArray[np.uint8]]:
        """The score of each result and its state; see `aigate.core.columns.ScoreColumn`."""
        column = self.columns.answers.scores.get(metric)
        if column is None:
            rows = len(self.columns.answers)
            return np.zeros(rows), np.full(rows, ABSENT, dtype=np.uint8)
        return _view(column.values, np.float64), _view(column.states, np.uint8)

    def scored(self, metric: str) -> Bools:
        """Which results have a score of that metric."""
        return np.equal(self.scores(metric)[1], SCORED)

    def outside(self, metric: str) -> Bools:
        """Which results say that the metric has nothing to judge by in their sample."""
        return np.isin(self.scores(metric)[1], state_codes("no_reference", "not_applicable"))

    def applies(self, metric: str) -> Bools:
        """Which samples the metric applies to: not those of which every result that was asked lies outside it.

        Where only some say so, it applies and their scores are missing: an answer cannot take its sample out of a
        metric.
        """
        asked = self.per_sample(~self.skipped)
        outside = self.per_sample(self.outside(metric) & ~self.skipped)
        applies: Bools = (asked == 0) | (outside < asked)
        return applies

    def per_sample(self, results: Bools) -> Ints:
        """How many of these results each sample has."""
        if self._one_each:
            return results.astype(np.intp)
        return np.bincount(self.sample, weights=results, minlength=len(self.columns)).astype(np.intp)

    def table(self, samples: Ints, width: int) -> Ints:
        """The rows of some samples' results, shape (samples, width); -1 where a sample has fewer."""
        starts, ends = self.starts[samples][:, None], self.starts[samples + 1][:, None]
        rows = starts + np.arange(width)
        return np.where(rows < ends, rows, -1)

    def tagged(self, tag: str) -> Bools:
        """Which samples carry a tag."""
        tags = self.columns.samples.tags
        carries = np.array([tag in known for known in tags.known] + [False], dtype=np.bool_)
        found: Bools = carries[_view(tags.codes, np.int32)]
        return found

    def ids(self, samples: Iterable[int]) -> list[str]:
        """The ids of some samples."""
        texts = self.columns.samples.ids
        return [texts[int(row)] for row in samples]

    def places(self, seed: int) -> Ints:
        """The place of each unit in the order in which looks take them; see `aigate.core.looks.unit_order`."""
        return self.remember(f"places {seed}", lambda: _places(self, seed))

    def remember(self, key: str, work: Callable[[], T]) -> T:
        """The result of `work`, worked out once per run."""
        if key not in self.columns.memory:
            self.columns.memory[key] = work()
        found: T = self.columns.memory[key]
        return found


def arrays_of(run: Run) -> RunArrays:
    """The arrays of a run."""
    columns = run.columns
    if "arrays" not in columns.memory:
        columns.memory["arrays"] = RunArrays(columns)
    found: RunArrays = columns.memory["arrays"]
    return found


def units_of(samples: SampleColumns) -> Ints:
    """The unit of each sample. They are numbered by name only where the samples are sorted by id."""
    groups = samples.groups
    if not groups.known:
        return np.arange(len(samples), dtype=np.intp)
    codes = _view(groups.codes, np.int32)
    alone = codes < 0
    by_name = sorted(np.unique(codes[~alone]).tolist(), key=groups.known.__getitem__)
    place = np.zeros(len(groups.known), dtype=np.intp)
    place[by_name] = np.arange(len(by_name))
    units = np.where(alone, 0, place[codes])  # "group:" sorts before "sample:"
    units[alone] = len(by_name) + np.arange(np.count_nonzero(alone))
    return units


def digests_of(samples: SampleColumns) -> NDArray[np.uint64]:
    """The digests of samples, shape (samples, 4)."""
    return _view(samples.digests, np.uint64).reshape(-1, RAW_BYTES // 8)


def shared_rows(ours: Texts, theirs: Texts) -> tuple[Ints, Ints]:
    """Where the texts stand that are in both of two sorted columns: in the one, and in the other."""
    if ours == theirs:
        rows = np.arange(len(ours), dtype=np.intp)
        return rows, rows
    found: list[tuple[int, int]] = []
    left, right = enumerate(ours.all_raw()), enumerate(theirs.all_raw())
    one, other = next(left, None), next(right, None)
    while one is not None and other is not None:
        if one[1] == other[1]:
            found.append((one[0], other[0]))
            one, other = next(left, None), next(right, None)
        elif one[1] < other[1]:
            one = next(left, None)
        else:
            other = next(right, None)
    pairs = np.array(found, dtype=np.intp).reshape(-1, 2)
    return pairs[:, 0].copy(), pairs[:, 1].copy()


def state_codes(*reasons: str) -> list[int]:
    """The states of scores that are missing for these reasons."""
    return [SCORED + 1 + REASONS.index(reason) for reason in reasons]


def _view(buffer: Any, dtype: Any) -> NDArray[Any]:
    """A column as an array, without a copy."""
    return np.frombuffer(buffer, dtype=dtype) if len(buffer) else np.zeros(0, dtype=dtype)


def _places(arrays: RunArrays, seed: int) -> Ints:
    """Worked out as `unit_order` does, all units of a stratum at once."""
    strata = _strata(arrays)
    drawn = _drawn(arrays, seed)
    position = np.zeros(arrays.n_units)
    for stratum, units in strata.items():
        offset = seed_from(str(seed), "stratum", *stratum) / 2**64
        rank = np.empty(len(units))
        rank[np.argsort(drawn[units], kind="stable")] = np.arange(len(units))
        position[units] = (rank + offset) / len(units)
    places = np.empty(arrays.n_units, dtype=np.intp)
    places[np.lexsort((np.arange(arrays.n_units), position))] = np.arange(arrays.n_units)
    return places


def _strata(arrays: RunArrays) -> dict[tuple[str, ...], Ints]:
    """The units that carry the same tags, by these tags."""
    tags = arrays.columns.samples.tags
    codes = _view(tags.codes, np.int32)
    units, first = np.unique(arrays.units, return_index=True)
    if len(units) == len(codes):  # every sample is its own unit
        of_code: dict[tuple[str, ...], list[int]] = {}
        for code, known in enumerate(tags.known):
            of_code.setdefault(tuple(sorted(set(known))), []).append(code)
        own = codes[first]
        found = {stratum: np.flatnonzero(np.isin(own, wanted)) for stratum, wanted in of_code.items()}
        return {stratum: members for stratum, members in found.items() if len(members)}
    carried: list[set[str]] = [set() for _ in range(arrays.n_units)]
    pairs = np.unique(np.stack([arrays.units, codes.astype(np.intp)], axis=1), axis=0)
    for unit, code in pairs.tolist():
        carried[unit].update(tags.known[code])
    by_tags: dict[tuple[str, ...], list[int]] = {}
    for unit, names in enumerate(carried):
        by_tags.setdefault(tuple(sorted(names)), []).append(unit)
    return {stratum: np.array(members, dtype=np.intp) for stratum, members in by_tags.items()}


def _drawn(arrays: RunArrays, seed: int) -> NDArray[np.uint64]:
    """Per unit, the number by which it is drawn: that of `seed_from(seed, "unit", name)`."""
    samples = arrays.columns.samples
    begun = hashlib.sha256(f"{seed}\x1funit\x1f".encode())

    names: Iterable[bytes] = (b"sample:" + raw for raw in samples.ids.all_raw())
    if samples.groups.known:
        first = np.unique(arrays.units, return_index=True)[1].tolist()
        names = (samples.unit(row).encode("utf-8", "surrogatepass") for row in first)
    told = bytearray()
    for name in names:
        whole = begun.copy()
        whole.update(name)
        told += whole.digest()[:8]
    return _view(told, ">u8").astype(np.uint64)
