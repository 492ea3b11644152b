"""A run as columns: what a verdict rests on, without the texts that only reports show.

A result takes some hundred bytes here, as an object with its texts several thousand. Columns are plain arrays, so that
processes can hand each other parts of a run; `aigate.gating.arrays` looks at them through NumPy.

`RowColumns` grows line by line, in the order of a run file. `RunColumns` is the whole run, sorted by sample and repeat.
"""

from __future__ import annotations

import hashlib
import json
import math
from array import array
from bisect import bisect_left
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, pairwise
from typing import Any, Final, Generic, TypeVar, get_args

from aigate.core.digest import canonical_texts, digest_of, raw_digest
from aigate.core.ledger import Ledger, Outcome
from aigate.core.response import FaultKind
from aigate.core.sample import Sample
from aigate.core.score import UnscoredReason

__all__ = [
    "ABSENT",
    "FAULT_KINDS",
    "NO_RESPONSE",
    "NUMBERS",
    "OUTCOMES",
    "OUTPUT",
    "OUTPUT_KEY",
    "REASONS",
    "SCORED",
    "AnswerColumns",
    "Coded",
    "RepeatedRowError",
    "RowColumns",
    "RunColumns",
    "SampleColumns",
    "ScoreColumn",
    "Texts",
    "columns_of",
    "fault_codes",
    "outcome_codes",
]

T = TypeVar("T", bound=Hashable)

OUTCOMES: Final = tuple(Outcome)
"""The outcome behind each code."""

REASONS: Final[tuple[str, ...]] = get_args(UnscoredReason)
ABSENT, SCORED = 0, 1
"""States of a score: there is no entry; there is a score. From 2 on: unscored, for `REASONS[state - 2]`."""

FAULT_KINDS: Final = tuple(FaultKind)
NO_RESPONSE, OUTPUT = 0, 1
"""Kinds of a response: none; an output. From 2 on: the fault `FAULT_KINDS[kind - 2]`."""

NUMBERS: Final = ("latency_s", "ttft_s", "longest_failed_s", "cost_usd", "input_tokens", "output_tokens")
"""What may have been measured of a response."""

DIGEST, OUTPUT_KEY = 32, 16
"""Bytes of a digest; of what stands for an output: the first half of its digest, which no two outputs share."""

_STATE_OF = {reason: code for code, reason in enumerate(REASONS, start=SCORED + 1)}
_OUTCOME_OF = {str(outcome): code for code, outcome in enumerate(OUTCOMES)}
_KIND_OF = {str(kind): code for code, kind in enumerate(FAULT_KINDS, start=OUTPUT + 1)}


def outcome_codes(which: Callable[[Outcome], bool]) -> list[int]:
    """The codes of the outcomes of a kind, ascending."""
    return [code for code, outcome in enumerate(OUTCOMES) if which(outcome)]


def fault_codes(which: Callable[[FaultKind], bool]) -> list[int]:
    """Likewise, of the kinds of a response that are faults."""
    return [_KIND_OF[str(kind)] for kind in FAULT_KINDS if which(kind)]


class RepeatedRowError(ValueError):
    """One sample and repeat stands in two rows.

    Attributes:
        row: The second of them, from 0.
    """

    def __init__(self, row: int) -> None:
        super().__init__(f"row {row} repeats another one")
        self.row = row


class Texts(Sequence[str]):
    """Many texts in one piece of memory; they can be added to, not changed."""

    __slots__ = ("_ends", "_whole")

    def __init__(self, texts: Iterable[str] = ()) -> None:
        self._whole = bytearray()
        self._ends = array("q")
        for text in texts:
            self.append(text)

    def append(self, text: str) -> None:
        """Add one text."""
        self._whole += text.encode("utf-8", "surrogatepass")
        self._ends.append(len(self._whole))

    def extend(self, other: Texts) -> None:
        """Add all texts of another column."""
        begun = len(self._whole)
        self._whole += other._whole
        self._ends.extend(array("q", [begun + end for end in other._ends]) if begun else other._ends)

    def raw(self, index: int) -> bytes:
        """The UTF-8 of one text. It sorts as the text does."""
        return bytes(self._whole[self._ends[index - 1] if index else 0 : self._ends[index]])

    def all_raw(self) -> Iterator[bytes]:
        """The UTF-8 of every text, in order."""
        whole, start = memoryview(self._whole), 0
        for end in self._ends:
            yield bytes(whole[start:end])
            start = end

    def find(self, text: str) -> int | None:
        """Where a text stands in a sorted column; None where it does not."""
        wanted = text.encode("utf-8", "surrogatepass")
        place = bisect_left(range(len(self)), wanted, key=self.raw)
        return place if place < len(self) and self.raw(place) == wanted else None

    def taken(self, rows: Iterable[int]) -> Texts:
        """The texts of some rows."""
        found = Texts()
        for row in rows:
            found._whole += self.raw(row)
            found._ends.append(len(found._whole))
        return found

    def __len__(self) -> int:
        return len(self._ends)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return self.taken(range(*index.indices(len(self))))
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        return self.raw(index % len(self)).decode("utf-8", "surrogatepass")

    def __iter__(self) -> Iterator[str]:
        return (raw.decode("utf-8", "surrogatepass") for raw in self.all_raw())

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Texts):
            return self._whole == other._whole and self._ends == other._ends
        return NotImplemented

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"<{len(self)} texts>"


class Coded(Generic[T]):
    """A column in which values repeat, or are missing.

    Attributes:
        known: The different values, in order of appearance.
    """

    __slots__ = ("_code_of", "_codes", "_count", "known")

    def __init__(self, values: Iterable[T | None] = ()) -> None:
        self.known: list[T] = []
        self._code_of: dict[T, int] = {}
        self._codes = array("i")  # empty while nothing but missing values came
        self._count = 0
        for value in values:
            self.append(value)

    def append(self, value: T | None) -> None:
        """Add one value; None where it is missing."""
        if value is not None:
            self._begin()
            self._codes.append(self._code(value))
        elif self.known:
            self._codes.append(-1)
        self._count += 1

    def extend(self, other: Coded[T]) -> None:
        """Add a column."""
        if other.known:
            self._begin()
            codes = [self._code(value) for value in other.known]
            same = codes == list(range(len(codes)))
            self._codes.extend(other._codes if same else array("i", map([*codes, -1].__getitem__, other._codes)))
        elif self.known:
            self._codes.extend(array("i", [-1]) * other._count)
        self._count += other._count

    @property
    def codes(self) -> array[int]:
        """Per row the place of its value in `known`; -1 where it is missing."""
        return self._codes if self.known else array("i", [-1]) * self._count

    def taken(self, rows: Iterable[int]) -> Coded[T]:
        """The values of some rows."""
        found: Coded[T] = Coded()
        rows = rows if isinstance(rows, Sequence) else list(rows)
        found._count = len(rows)
        if self.known:
            found.known, found._code_of = self.known.copy(), self._code_of.copy()
            found._codes = array("i", map(self._codes.__getitem__, rows))
        return found

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> T | None:
        code = self._codes[index] if self.known else -1
        return None if code < 0 else self.known[code]

    def _begin(self) -> None:
        if not self.known:
            self._codes = array("i", [-1]) * self._count

    def _code(self, value: T) -> int:
        code = self._code_of.setdefault(value, len(self.known))
        if code == len(self.known):
            self.known.append(value)
        return code


@dataclass(slots=True, eq=False)
class SampleColumns:
    """Samples as columns; in the order in which they were added.

    Attributes:
        ids: Their ids.
        digests: 32 bytes each; see `Sample.digest`.
        groups: Their groups, where they have one.
        tags: Their tags.
    """

    ids: Texts = field(default_factory=Texts)
    digests: bytearray = field(default_factory=bytearray)
    groups: Coded[str] = field(default_factory=Coded)
    tags: Coded[tuple[str, ...]] = field(default_factory=Coded)

    @classmethod
    def of(cls, samples: Iterable[Sample]) -> SampleColumns:
        """The columns of samples."""
        found = cls()
        for sample in samples:
            found.add(sample)
        return found

    def add(self, sample: Sample, digest: bytes | None = None) -> None:
        """Add one sample, with its digest where that is known."""
        self._add(sample.id, digest or raw_digest(sample.digest), sample.group, sample.tags)

    def add_row(self, row: Mapping[str, Any]) -> str:
        """Add one sample in the form of `Sample.to_dict`, and give its id.

        Raises:
            KeyError, TypeError, AttributeError: It is no sample; nothing was added.
        """
        if _as_written(row):
            digest = hashlib.sha256(canonical_texts(row)).digest()
            self._add(row["id"], digest, row.get("group"), tuple(row.get("tags", ())))
        else:
            self.add(Sample.from_dict(row))
        return str(row["id"])

    def extend(self, other: SampleColumns) -> None:
        """Add samples."""
        self.ids.extend(other.ids)
        self.digests += other.digests
        self.groups.extend(other.groups)
        self.tags.extend(other.tags)

    def taken(self, rows: Sequence[int]) -> SampleColumns:
        """Some of the samples."""
        return SampleColumns(
            self.ids.taken(rows), _pieces(self.digests, DIGEST, rows), self.groups.taken(rows), self.tags.taken(rows)
        )

    def repeats_an_id(self) -> bool:
        """True when two samples have one id."""
        if all(before < after for before, after in pairwise(self.ids.all_raw())):
            return False
        return any(before == after for before, after in pairwise(sorted(self.ids.all_raw())))

    def sorted_rows(self) -> list[int]:
        """The rows in the order of their ids."""
        ids = list(self.ids.all_raw())
        return sorted(range(len(ids)), key=ids.__getitem__)

    def tagged(self, tags: Iterable[str]) -> list[int]:
        """The rows of the samples that carry at least one of the tags."""
        wanted = set(tags)
        codes = {code for code, known in enumerate(self.tags.known) if wanted.intersection(known)}
        return [row for row, code in enumerate(self.tags.codes) if code in codes] if codes else []

    def unit(self, row: int) -> str:
        """The name of a sample's statistical unit; see `Sample.unit`."""
        group = self.groups[row]
        return f"sample:{self.ids[row]}" if group is None else f"group:{group}"

    @property
    def n_units(self) -> int:
        """The statistical units they form."""
        alone = sum(code < 0 for code in self.groups.codes) if self.groups.known else len(self)
        return alone + len(set(self.groups.codes) - {-1})

    def __len__(self) -> int:
        return len(self.ids)

    def _add(self, id_: str, digest: bytes, group: str | None, tags: tuple[str, ...]) -> None:
        self.groups.append(group)  # first: one that is no text cannot be added
        self.tags.append(tags)
        self.ids.append(id_)
        self.digests += digest


def columns_of(samples: Iterable[Sample] | SampleColumns) -> SampleColumns:
    """The columns of samples: those that a suite holds, else worked out."""
    if isinstance(samples, SampleColumns):
        return samples
    held: Any = getattr(samples, "columns", None)
    return held if isinstance(held, SampleColumns) else SampleColumns.of(samples)


@dataclass(slots=True, eq=False)
class ScoreColumn:
    """The scores of one metric.

    Attributes:
        values: The score; 0 where there is none.
        states: `ABSENT`, `SCORED`, or why it is unscored.
    """

    values: array[float] = field(default_factory=lambda: array("d"))
    states: array[int] = field(default_factory=lambda: array("B"))

    @classmethod
    def absent(cls, rows: int) -> ScoreColumn:
        """A column without a score so far."""
        return cls(array("d", [0.0]) * rows, array("B", [ABSENT]) * rows)

    def extend(self, other: ScoreColumn) -> None:
        """Add scores."""
        self.values.extend(other.values)
        self.states.extend(other.states)

    def taken(self, rows: Sequence[int]) -> ScoreColumn:
        """Some of the scores."""
        return ScoreColumn(_taken(self.values, rows), _taken(self.states, rows))


@dataclass(slots=True, eq=False)
class AnswerColumns:
    """Results as columns, without their ids.

    Attributes:
        repeats: Which repeat, from 0.
        outcomes: Places in `OUTCOMES`.
        kinds: What the response is: nothing, an output or a fault.
        outputs: 16 bytes of each output's digest; zeros where there is none.
        characters: The length of each output; 0 where there is none.
        judged: 32 bytes of digest each, of scores and outcome: what a verdict's random numbers are drawn by.
        scores: By metric.
        served: The model that the provider says it served.
        fingerprints: Its `system_fingerprint`.
        journaled: When the answer was given, where it is from the journal.
        numbers: By name, NaN where it was not told; without those that no response has.
        offsets: Where each line begins in its file; empty for results that stand in none.
        lengths: Bytes of each line, without its end.
    """

    repeats: array[int] = field(default_factory=lambda: array("H"))
    outcomes: array[int] = field(default_factory=lambda: array("B"))
    kinds: array[int] = field(default_factory=lambda: array("B"))
    outputs: bytearray = field(default_factory=bytearray)
    characters: array[int] = field(default_factory=lambda: array("i"))
    judged: bytearray = field(default_factory=bytearray)
    scores: dict[str, ScoreColumn] = field(default_factory=dict)
    served: Coded[str] = field(default_factory=Coded)
    fingerprints: Coded[str] = field(default_factory=Coded)
    journaled: Coded[str] = field(default_factory=Coded)
    numbers: dict[str, array[float]] = field(default_factory=dict)
    offsets: array[int] = field(default_factory=lambda: array("q"))
    lengths: array[int] = field(default_factory=lambda: array("i"))

    def add(self, row: Mapping[str, Any]) -> None:
        """Add one result, in the form of `Result.to_dict`; it must be a sound one."""
        self._add_scores(row["scores"])
        self.judged += _judged_digest(row)
        self._add_response(row["response"])
        self.repeats.append(row["repeat"])
        self.outcomes.append(_OUTCOME_OF[row["outcome"]])

    def ledger(self) -> Ledger:
        """How many ended how."""
        codes = self.outcomes.tobytes()
        return Ledger({outcome: codes.count(code) for code, outcome in enumerate(OUTCOMES)})

    def extend(self, other: AnswerColumns, *, offset: int = 0) -> None:
        """Add results; see `RowColumns.extend`."""
        for metric in other.scores.keys() - self.scores.keys():
            self.scores[metric] = ScoreColumn.absent(len(self))
        for metric, column in self.scores.items():
            column.extend(other.scores.get(metric) or ScoreColumn.absent(len(other)))
        for name in other.numbers.keys() - self.numbers.keys():
            self.numbers[name] = _untold(len(self))
        for name, numbers in self.numbers.items():
            numbers.extend(other.numbers.get(name) or _untold(len(other)))
        for name in (
            "outputs",
            "characters",
            "judged",
            "served",
            "fingerprints",
            "journaled",
            "lengths",
            "kinds",
        ):
            getattr(self, name).extend(getattr(other, name))
        self.offsets.extend(array("q", [offset + own for own in other.offsets]) if offset else other.offsets)
        self.outcomes.extend(other.outcomes)
        self.repeats.extend(other.repeats)

    def taken(self, rows: Sequence[int]) -> AnswerColumns:
        """Some of the results."""
        return AnswerColumns(
            repeats=_taken(self.repeats, rows),
            outcomes=_taken(self.outcomes, rows),
            kinds=_taken(self.kinds, rows),
            outputs=_pieces(self.outputs, OUTPUT_KEY, rows),
            characters=_taken(self.characters, rows),
            judged=_pieces(self.judged, DIGEST, rows),
            scores={metric: column.taken(rows) for metric, column in self.scores.items()},
            served=self.served.taken(rows),
            fingerprints=self.fingerprints.taken(rows),
            journaled=self.journaled.taken(rows),
            numbers={name: _taken(numbers, rows) for name, numbers in self.numbers.items()},
            offsets=_taken(self.offsets, rows) if self.offsets else array("q"),
            lengths=_taken(self.lengths, rows) if self.lengths else array("i"),
        )

    def __len__(self) -> int:
        return len(self.repeats)

    def _add_scores(self, scores: Mapping[str, Any]) -> None:
        for metric in scores:
            if metric not in self.scores:
                self.scores[metric] = ScoreColumn.absent(len(self))
        for metric, column in self.scores.items():
            score = scores.get(metric)
            if score is None:
                column.values.append(0.0)
                column.states.append(ABSENT)
            elif "unscored" in score:
                column.values.append(0.0)
                column.states.append(_STATE_OF[score["unscored"]])
            else:
                column.values.append(score["value"])
                column.states.append(SCORED)

    def _add_response(self, response: Mapping[str, Any] | None) -> None:
        told = response or {}
        output, fault = told.get("output"), told.get("fault")
        self.characters.append(0 if output is None else len(output))
        if output is not None:
            self.kinds.append(OUTPUT)
            self.outputs += hashlib.sha256(output.encode("utf-8", "surrogatepass")).digest()[:OUTPUT_KEY]
        else:
            self.kinds.append(NO_RESPONSE if fault is None else _KIND_OF[fault["kind"]])
            self.outputs += _NO_OUTPUT
        self.served.append(told.get("served_model"))
        self.fingerprints.append(told.get("fingerprint"))
        self.journaled.append(told.get("journaled_at"))
        for name in NUMBERS:
            number = told.get(name)
            if name in self.numbers:
                self.numbers[name].append(_number(number))
            elif number is not None:
                self.numbers[name] = _untold(len(self))
                self.numbers[name].append(_number(number))


@dataclass(slots=True, eq=False)
class RowColumns:
    """The lines of a run file as columns, in their order.

    Attributes:
        ids: The sample's id of each.
        answers: The results.
        samples: The samples that lines of repeat 0 carry, in their order.
    """

    ids: Texts = field(default_factory=Texts)
    answers: AnswerColumns = field(default_factory=AnswerColumns)
    samples: SampleColumns = field(default_factory=SampleColumns)

    def add(self, row: Mapping[str, Any], *, offset: int | None = None, length: int = 0) -> None:
        """Add one line; the sample that it carries is added to `samples` by whoever calls.

        Args:
            row: A sound result, in the form of `Result.to_dict`.
            offset: Where its line begins in the file; None for a result that stands in none.
            length: Bytes of the line, without its end.
        """
        self.answers.add(row)
        self.ids.append(row["id"])
        if offset is not None:
            self.answers.offsets.append(offset)
            self.answers.lengths.append(length)

    def extend(self, other: RowColumns, *, offset: int = 0) -> None:
        """Add lines.

        Args:
            other: The lines.
            offset: Where they begin in this file, if their own offsets count from 0.
        """
        self.ids.extend(other.ids)
        self.answers.extend(other.answers, offset=offset)
        self.samples.extend(other.samples)

    def taken(self, rows: Sequence[int]) -> RowColumns:
        """Some of the lines, in the order given."""
        repeats = self.answers.repeats
        carried = array("q", accumulate((repeat == 0 for repeat in repeats), initial=0))
        samples = [carried[row] for row in rows if repeats[row] == 0]
        return RowColumns(self.ids.taken(rows), self.answers.taken(rows), self.samples.taken(samples))

    def orphans(self) -> list[int]:
        """The lines whose sample no line carries."""
        if not any(self.answers.repeats):
            return []
        carried = {raw for raw, repeat in zip(self.ids.all_raw(), self.answers.repeats, strict=True) if repeat == 0}
        return [row for row, raw in enumerate(self.ids.all_raw()) if raw not in carried]

    def sorted(self) -> RunColumns:
        """The whole run, sorted by sample and repeat. Every sample must stand in a line of repeat 0.

        Raises:
            RepeatedRowError: One sample and repeat stands in two lines; names the first that repeats another.
        """
        order = self._order()
        rows = self if order is None else self.taken(order)
        starts = array("q", [row for row, repeat in enumerate(rows.answers.repeats) if repeat == 0])
        starts.append(len(rows))
        return RunColumns(rows.samples, rows.answers, starts)

    def __len__(self) -> int:
        return len(self.ids)

    def _order(self) -> list[int] | None:
        """The lines by id and repeat; None where they stand so."""
        repeats = self.answers.repeats
        single = not any(repeats)
        if single and all(before < after for before, after in pairwise(self.ids.all_raw())):
            return None
        ids = list(self.ids.all_raw())
        order: list[int] = sorted(range(len(ids)), key=repeats.__getitem__) if not single else list(range(len(ids)))
        order.sort(key=ids.__getitem__)
        twice = [b for a, b in pairwise(order) if ids[a] == ids[b] and repeats[a] == repeats[b]]
        if twice:
            raise RepeatedRowError(min(twice))
        return order


@dataclass(frozen=True, slots=True, eq=False)
class RunColumns:
    """A run, sorted by sample id and repeat.

    Attributes:
        samples: The samples.
        answers: The results.
        starts: Where the results of each sample begin; one more than there are samples: where they end.
        memory: What others worked out of it, so that it is worked out once.
    """

    samples: SampleColumns
    answers: AnswerColumns
    starts: array[int]
    memory: dict[str, Any] = field(default_factory=dict, repr=False)

    def part(self, samples: Sequence[int], answers: Sequence[int]) -> RunColumns:
        """Some samples with some of their results.

        Args:
            samples: Rows of samples, ascending.
            answers: Rows of results of these samples, ascending.
        """
        starts = array("q", [bisect_left(answers, self.starts[row]) for row in samples])
        starts.append(len(answers))
        return RunColumns(self.samples.taken(samples), self.answers.taken(answers), starts)

    def rows_of(self, sample: int) -> range:
        """The rows of one sample's results."""
        return range(self.starts[sample], self.starts[sample + 1])

    def __len__(self) -> int:
        return len(self.samples)


def _as_written(row: Any) -> bool:
    """True for what `Sample.to_dict` writes of a text input: then its digest is that of the row as it stands.

    It is asked of every sample, and making the sample would take several times as long.
    """
    if not (type(row) is dict and row.keys() <= _SAMPLE_FIELDS and all(row.values())):
        return False
    if type(row.get("id")) is not str or type(row.get("input")) is not str or type(row.get("group", "")) is not str:
        return False
    for items in (row.get("contexts", _EMPTY), row.get("tags", _EMPTY)):
        if type(items) is not list:
            return False
        for item in items:
            if type(item) is not str:
                return False
    return type(row.get("metadata", _NOTHING)) is dict


_SAMPLE_FIELDS = frozenset({"id", "input", "reference", "contexts", "tags", "group", "metadata"})
_EMPTY: list[str] = []
_NOTHING: dict[str, Any] = {}
_NO_OUTPUT = bytes(OUTPUT_KEY)
_quoted = json.encoder.encode_basestring
_NUMBER_TYPES = (int, float)


def _number(found: Any) -> float:
    """A measured number; NaN for none, and for what is no number: an edited file may hold anything."""
    try:
        return float(found) if type(found) in _NUMBER_TYPES else math.nan
    except OverflowError:
        return math.nan


def _untold(rows: int) -> array[float]:
    return array("d", [math.nan]) * rows


def _judged_digest(row: Mapping[str, Any]) -> bytes:
    """The digest of `[id, repeat, outcome, {metric: value or reason}]`, which holds no time and no text.

    Canonical JSON, put together by hand: `digest_of` takes several times as long, and it is asked for every result.
    """
    scores = row["scores"]
    try:
        told = ",".join(f"{_quoted(metric)}:{_judgement(scores[metric])}" for metric in sorted(scores))
        text = f'[{_quoted(row["id"])},{row["repeat"]},"{row["outcome"]}",{{{told}}}]'.encode()
    except UnicodeEncodeError:  # a lone surrogate is escaped, with all the rest
        judged = {metric: score.get("unscored", score.get("value")) for metric, score in scores.items()}
        return raw_digest(digest_of([row["id"], row["repeat"], row["outcome"], judged]))
    return hashlib.sha256(text).digest()


def _judgement(score: Mapping[str, Any]) -> str:
    return f'"{score["unscored"]}"' if "unscored" in score else repr(score["value"])


def _taken(column: array[Any], rows: Iterable[int]) -> array[Any]:
    return array(column.typecode, map(column.__getitem__, rows))


def _pieces(whole: bytearray, size: int, rows: Iterable[int]) -> bytearray:
    view = memoryview(whole)
    return bytearray().join(view[size * row : size * row + size] for row in rows)
