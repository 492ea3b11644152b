"""`ReplayProvider`: recorded answers of any system, gated without calling anything.

A recording is JSON Lines, `.gz` allowed, one answer a line. Only `id` and one of `output` and `error` are required::

    {"id": "refund-014", "repeat": 0, "output": "Yes, within 30 days.", "latency_s": 0.81, "scores": {"human": 1.0}}
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import count, pairwise, takewhile
from pathlib import Path
from typing import Any

from aigate.core.columns import Texts
from aigate.core.counts import count_of
from aigate.core.digest import combined_digest, combined_raw_digest, digest_of, raw_digest, sorted_raw_digests
from aigate.core.json_text import json_type, strict_json
from aigate.core.registry import nearest, refuse_unknown
from aigate.core.response import Fault, FaultKind, Response
from aigate.errors import CallError, ProviderConfigError, SuiteError
from aigate.files import FileLines, LineBlock
from aigate.goldens.jsonlines import is_large, lines_of, read_json_lines, scan_blocks
from aigate.providers.base import ProviderSettings, Request

__all__ = ["Recording", "ReplayProvider", "StoredAnswers", "from_settings", "load_recorded", "response_in"]

ADAPTER_VERSION = 1
LARGEST_AMOUNT = 1e300  # what is larger, an integer of a thousand digits say, would overflow as a float
FIELDS = (
    "id",
    "repeat",
    "output",
    "error",
    "latency_s",
    "ttft_s",
    "input_tokens",
    "output_tokens",
    "cost_usd",
    "finish_reason",
    "served_model",
    "fingerprint",
    "refusal",
    "scores",
)


class StoredAnswers(Mapping[tuple[str, int], Response]):
    """The answers of a large file, each read when it is looked at.

    Attributes:
        ids: The sample's id of each line.
        repeats: The repeat of each line.
    """

    def __init__(self, columns: _Columns, lines: FileLines) -> None:
        self.ids, self.repeats = columns.ids, columns.repeats
        self._columns, self._lines = columns, lines

    @cached_property
    def n_ids(self) -> int:
        """How many samples are answered."""
        first = self.repeats.count(self.repeats[0])
        return first if first == len(self) else len(set(self.ids.all_raw()))

    def line(self, row: int) -> bytes:
        """One line, without its end."""
        return self._lines(self._columns.offsets[row], self._columns.lengths[row])

    def lines(self, rows: Sequence[int]) -> bytes | None:
        """Some lines as they stand in the file; None where they do not follow one another there."""
        first, last = rows[0], rows[0] + len(rows)
        if first < 0 or (not isinstance(rows, range) and list(rows) != list(range(first, last))):
            return None
        return self._lines.span(self._columns.offsets[first:last], self._columns.lengths[first:last])

    def rows_of(self, ids: Texts, repeat: int) -> Sequence[int]:
        """Where the answers to some samples stand, all of one repeat; -1 for a sample without one."""
        if ids == self.ids and self.repeats.count(repeat) == len(ids):
            return range(len(ids))
        rows = {raw: row for row, raw in enumerate(self.ids.all_raw()) if self.repeats[row] == repeat}
        return array("q", (rows.get(raw, -1) for raw in ids.all_raw()))

    def __getitem__(self, key: tuple[str, int]) -> Response:
        if (row := self._row(key)) is None:
            raise KeyError(key)
        return response_in(self.line(row))

    def __contains__(self, key: object) -> bool:
        return isinstance(key, tuple) and self._row(key) is not None

    def __iter__(self) -> Iterator[tuple[str, int]]:
        return zip(self.ids, self.repeats, strict=True)

    def __len__(self) -> int:
        return len(self.repeats)

    def _row(self, key: tuple[str, int]) -> int | None:
        wanted = (key[0].encode("utf-8", "surrogatepass"), key[1])
        order = self._order
        place = bisect_left(order, wanted, key=lambda row: (self.ids.raw(row), self.repeats[row]))
        found = order[place] if place < len(order) else None
        return found if found is not None and (self.ids.raw(found), self.repeats[found]) == wanted else None

    @cached_property
    def _order(self) -> Sequence[int]:
        """The lines by id and repeat."""
        keys = list(zip(self.ids.all_raw(), self.repeats, strict=True))
        if all(before < after for before, after in pairwise(keys)):
            return range(len(keys))
        return array("q", sorted(range(len(keys)), key=keys.__getitem__))


@dataclass(frozen=True)
class Recording:
    """The answers of one recorded file.

    Attributes:
        answers: Responses by sample id and repeat; a recorded error is a response with a fault.
        path: Where they were read from.
        digest: Digest of the answers; gzip, key order and the order of numbered lines do not change it.
    """

    answers: Mapping[tuple[str, int], Response]
    path: Path
    digest: str

    def extra_ids(self, sample_ids: Iterable[str]) -> tuple[str, ...]:
        """The ids answered here that are none of `sample_ids`, in file order, each once."""
        wanted = set(sample_ids)
        return tuple(dict.fromkeys(found for found, _ in self.answers if found not in wanted))

    @cached_property
    def held(self) -> Mapping[int, int]:
        """How many answers there are of each repeat."""
        held = self.answers.repeats if isinstance(self.answers, StoredAnswers) else (key[1] for key in self.answers)
        return Counter(held)

    def repeats_from(self, offset: int) -> int:
        """How many repeats, from one on, it holds of every sample that it answers at all; 0 or more."""
        answers = self.answers
        ids = answers.n_ids if isinstance(answers, StoredAnswers) else len({sample_id for sample_id, _ in answers})
        return sum(1 for _ in takewhile(lambda repeat: self.held.get(repeat) == ids, count(offset)))

    def missing(self, sample_id: str, repeat: int) -> CallError:
        """What asking for an answer gives that is not there."""
        held = len(self.held)
        return CallError(
            f"{self.path.name}: no recorded answer for id '{sample_id}', repeat {repeat}"
            f" (it holds {count_of(held, 'repeat')})",
            kind=FaultKind.MISSING,
            hint=f"record it, or ask for no more repeats than there are: --repeats {held}",
        )


class ReplayProvider:
    """Answers from a recording; the recorded latency is kept as it is.

    Args:
        recording: What was recorded.
        repeat_offset: Repeat `r` is answered by recorded repeat `r + repeat_offset`, so that repeats 1 to 3 of one
            recording can be gated against its repeat 0. Default: the first repeat that the recording holds of any
            sample, so that a file of repeats 1 to 3 alone needs no option.
    """

    name = "replay"

    def __init__(self, recording: Recording, *, repeat_offset: int | None = None) -> None:
        if repeat_offset is not None and repeat_offset < 0:
            raise ProviderConfigError(f"provider 'replay': repeat-offset is {repeat_offset}, expected 0 or more")
        self.recording = recording
        first = min(recording.held, default=0)
        self.repeat_offset = first if repeat_offset is None else repeat_offset

    offline = True
    local = True

    @property
    def most_repeats(self) -> int:
        """The repeats that are recorded of every sample; at least 1, so that what is missing is found by asking."""
        return max(1, self.recording.repeats_from(self.repeat_offset))

    def describe(self) -> Mapping[str, Any]:
        """Name, adapter version, file name, digest of the answers, repeat offset."""
        return {
            "name": self.name,
            "adapter": ADAPTER_VERSION,
            "recorded": self.recording.path.name,
            "digest": self.recording.digest,
            "repeat_offset": self.repeat_offset,
        }

    async def respond(self, request: Request) -> Response:
        """The recorded answer to this sample and repeat.

        Raises:
            CallError: MISSING, when the recording holds none.
        """
        repeat = request.repeat + self.repeat_offset
        found = self.recording.answers.get((request.sample.id, repeat))
        if found is None:
            raise self.recording.missing(request.sample.id, repeat)
        return found

    async def aclose(self) -> None:
        """Nothing is held open."""


def from_settings(settings: ProviderSettings) -> ReplayProvider:
    """Make the provider from the options `recorded` (a path) and `repeat-offset` (0 or more).

    A relative path is looked for in the suite's folder, then in the current directory.

    Raises:
        ProviderConfigError: No `recorded`, no such file, or another option.
        SuiteError: A line of the recording is wrong; the message starts with file:line.
    """
    settings.only("replay", "recorded", "repeat-offset")
    given = settings.options.get("recorded")
    if not isinstance(given, str | Path) or not str(given):
        found = "no recording was given" if given is None else f"recorded is {given!r}, expected a path"
        raise ProviderConfigError(f"provider 'replay': {found}", hint="--recorded FILE")
    offset = settings.options.get("repeat-offset")
    if offset is not None and (isinstance(offset, bool) or not isinstance(offset, int) or offset < 0):
        raise ProviderConfigError(f"provider 'replay': repeat-offset is {offset!r}, expected a whole number from 0")
    return ReplayProvider(load_recorded(_existing(Path(given), settings.folder)), repeat_offset=offset)


def load_recorded(path: Path) -> Recording:
    """Read recorded responses strictly.

    Lines of one id that carry no `repeat` are repeats 0, 1, 2, ... in order of appearance.

    Raises:
        SuiteError: The file cannot be read, is empty, or a line is wrong: an unknown field, a wrong type, neither or
            both of output and error, an (id, repeat) that another line holds already. A score outside [0, 1] may stand
            in a recording; a scorer that reads it says so.
    """
    if is_large(path) and (stored := _stored(path)) is not None:
        return stored
    answers: dict[tuple[str, int], Response] = {}
    lines: dict[tuple[str, int], int] = {}
    unnumbered: dict[str, int] = {}
    for line, row in read_json_lines(path, error=SuiteError):
        where = f"{path}:{line}"
        key = _key_of(row, where=where, unnumbered=unnumbered)
        if key in lines:
            raise _duplicate(key, where=where, first=lines[key])
        lines[key] = line
        answers[key] = _response_of(row, where=where)
    if not answers:
        raise SuiteError(f"{path}: holds no answers", hint="write one JSON object a line, with id and output")
    return Recording(answers, path, combined_digest(_answer_digests(answers)))


def response_in(line: bytes) -> Response:
    """The answer in a line that was found sound before.

    Raises:
        SuiteError: The file was changed meanwhile.
    """
    try:
        return _response_in(strict_json(line))
    except (ValueError, TypeError, AttributeError):
        raise SuiteError("a recording was changed while it was in use", hint="run again") from None


def _response_in(row: Mapping[str, Any]) -> Response:
    """As `_response_of`, of a row that was checked: to do it again takes as long as to score the answer."""
    told = row.get
    return Response(
        output=told("output"),
        fault=_fault_of(told("error"), where=""),
        latency_s=_as_float(told("latency_s")),
        ttft_s=_as_float(told("ttft_s")),
        input_tokens=told("input_tokens"),
        output_tokens=told("output_tokens"),
        cost_usd=_as_float(told("cost_usd")),
        finish_reason=told("finish_reason"),
        served_model=told("served_model"),
        fingerprint=told("fingerprint"),
        refusal=told("refusal") or False,
        scores={name: float(value) for name, value in (told("scores") or {}).items()},
    )


def _is_usual(row: Mapping[str, Any]) -> bool:
    """True for an output with measures of the right types and nothing else: most lines, and soon told."""
    told = row.get
    if type(told("output")) is not str or not (told("error") is told("refusal") is told("scores") is None):
        return False
    for name in _TEXTS:
        if type(told(name)) not in _TEXT_TYPES:
            return False
    for name in _WHOLES:
        if (count := told(name)) is not None and not _is_whole(count):
            return False
    return all(amount is None or _is_amount(amount) for amount in map(told, _AMOUNTS))


_TEXTS = ("finish_reason", "served_model", "fingerprint")
_TEXT_TYPES = frozenset({str, type(None)})
_WHOLES = ("input_tokens", "output_tokens")
_AMOUNTS = ("latency_s", "ttft_s", "cost_usd")


def _as_float(value: float | None) -> float | None:
    return None if value is None else float(value)


def _answer_digests(answers: Mapping[tuple[str, int], Response]) -> Iterable[str]:
    return (_answer_digest(*key, found) for key, found in answers.items())


def _answer_digest(sample_id: str, repeat: int, found: Response) -> str:
    return digest_of([sample_id, repeat, found.to_dict()])


@dataclass(slots=True)
class _Columns:
    """Lines of a recording: whose answer, where it stands, and 32 bytes of digest each."""

    ids: Texts = field(default_factory=Texts)
    repeats: array[int] = field(default_factory=lambda: array("i"))
    offsets: array[int] = field(default_factory=lambda: array("q"))
    lengths: array[int] = field(default_factory=lambda: array("i"))
    digests: bytearray = field(default_factory=bytearray)
    numbered: bool = True

    def extend(self, other: _Columns) -> None:
        for name in ("ids", "repeats", "offsets", "lengths"):
            getattr(self, name).extend(getattr(other, name))
        self.digests += other.digests
        self.numbered = self.numbered and other.numbered

    @property
    def repeats_a_key(self) -> bool:
        """True when two lines answer the same, or where lines would have to be numbered in the file's order."""
        keys: list[Any] = list(self.ids.all_raw())
        if self.numbered and any(self.repeats):
            keys = list(zip(keys, self.repeats, strict=True))
        if all(before < after for before, after in pairwise(keys)):
            return False
        keys.sort()
        return any(before == after for before, after in pairwise(keys))


def _stored(path: Path) -> Recording | None:
    """The answers of a large file; None where anything is odd: then line by line will tell what.

    Lines without a number that answer one sample twice are odd too: number them, and they need no memory.
    """
    columns = _Columns()
    lines = scan_blocks(path, _scan_block, columns.extend)
    if lines is None or not len(columns.ids) or columns.repeats_a_key:
        return None
    digest = combined_raw_digest(sorted_raw_digests(columns.digests))
    columns.digests = bytearray()
    return Recording(StoredAnswers(columns, lines), path, digest)


def _scan_block(block: LineBlock) -> _Columns | None:
    found, offset = _Columns(), block.offset
    for raw in lines_of(block):
        try:
            row = strict_json(raw)
            sample_id, repeat = _key_of(row, where="", unnumbered={})
            found.repeats.append(repeat)
            answer = _response_in(row) if _is_usual(row) else _response_of(row, where="")
            found.digests += raw_digest(_answer_digest(sample_id, repeat, answer))
        except (SuiteError, ValueError, TypeError, AttributeError, OverflowError):
            return None
        found.numbered = found.numbered and row.get("repeat") is not None
        found.ids.append(sample_id)
        found.offsets.append(offset)
        found.lengths.append(len(raw))
        offset += len(raw) + 1
    return found


def _key_of(row: Mapping[str, Any], *, where: str, unnumbered: dict[str, int]) -> tuple[str, int]:
    refuse_unknown(row, FIELDS, where=where, kind="fields", error=SuiteError)
    sample_id = row.get("id")
    if not isinstance(sample_id, str) or not sample_id:
        got = "nothing" if "id" not in row else "an empty string" if sample_id == "" else json_type(sample_id)
        raise SuiteError(f"{where}: field 'id': expected a non-empty string, got {got}")
    repeat = _whole_number(row, "repeat", where=where)
    if repeat is None:
        repeat = unnumbered.get(sample_id, 0)
        unnumbered[sample_id] = repeat + 1
    return sample_id, repeat


def _response_of(row: Mapping[str, Any], *, where: str) -> Response:
    output, fault = _text(row, "output", where=where), _fault_of(row.get("error"), where=where)
    if output is None and fault is None:
        raise SuiteError(f"{where}: neither output nor error", hint="write the answer's text, or why there is none")
    if output is not None and fault is not None:
        raise SuiteError(f"{where}: both output and error", hint="write null for the one that does not hold")
    return Response(
        output=output,
        fault=fault,
        latency_s=_amount(row, "latency_s", where=where),
        ttft_s=_amount(row, "ttft_s", where=where),
        input_tokens=_whole_number(row, "input_tokens", where=where),
        output_tokens=_whole_number(row, "output_tokens", where=where),
        cost_usd=_amount(row, "cost_usd", where=where),
        finish_reason=_text(row, "finish_reason", where=where),
        served_model=_text(row, "served_model", where=where),
        fingerprint=_text(row, "fingerprint", where=where),
        refusal=_field(row, "refusal", lambda v: isinstance(v, bool), "true or false", where=where) or False,
        scores=_scores_of(row, where=where),
    )


def _fault_of(error: Any, *, where: str) -> Fault | None:
    if error is None:
        return None
    if isinstance(error, str):
        if not error.strip():
            raise SuiteError(f"{where}: field 'error' is empty", hint="write null where there was no error")
        return Fault(FaultKind.CANDIDATE, error)
    if not isinstance(error, Mapping):
        raise _wrong("error", "null, a string or an object with kind and message", error, where=where)
    refuse_unknown(error, ("kind", "message"), where=f"{where}: field 'error'", kind="fields", error=SuiteError)
    kinds = [str(kind) for kind in FaultKind]
    kind = error.get("kind")
    if kind not in kinds:
        hint = nearest(str(kind), kinds, kind="kinds")
        raise SuiteError(f"{where}: field 'error.kind': unknown kind {kind!r}", hint=hint)
    if not isinstance(error.get("message"), str):
        raise _wrong("error.message", "a string", error.get("message"), where=where)
    return Fault(FaultKind(kind), error["message"])


def _scores_of(row: Mapping[str, Any], *, where: str) -> dict[str, float]:
    scores = _field(row, "scores", lambda found: isinstance(found, Mapping), "an object", where=where) or {}
    for name, value in scores.items():
        if isinstance(value, bool):
            hint = f"write {float(value)} for {str(value).lower()}"
            raise SuiteError(f"{where}: score '{name}': expected a number, got {str(value).lower()}", hint=hint)
        if not isinstance(value, int | float):
            raise SuiteError(
                f"{where}: score '{name}': expected a number, got {json_type(value)}",
                hint="leave a score out where there is none",
            )
        if not abs(value) < LARGEST_AMOUNT:
            raise SuiteError(f"{where}: score '{name}' is {value!r}, expected a finite number")
    return {name: float(value) for name, value in scores.items()}


def _amount(row: Mapping[str, Any], name: str, *, where: str) -> float | None:
    found = _field(row, name, _is_amount, "a finite number, 0 or more", where=where)
    return None if found is None else float(found)


def _is_amount(found: Any) -> bool:
    return isinstance(found, int | float) and not isinstance(found, bool) and 0 <= found < LARGEST_AMOUNT


def _whole_number(row: Mapping[str, Any], name: str, *, where: str) -> int | None:
    found: int | None = _field(row, name, _is_whole, "a whole number, 0 or more", where=where)
    return found


def _is_whole(found: Any) -> bool:
    return isinstance(found, int) and not isinstance(found, bool) and found >= 0


def _text(row: Mapping[str, Any], name: str, *, where: str) -> str | None:
    found: str | None = _field(row, name, lambda value: isinstance(value, str), "a string", where=where)
    return found


def _field(row: Mapping[str, Any], name: str, fits: Callable[[Any], bool], expected: str, *, where: str) -> Any:
    """The value of a field, None where it is null or left out."""
    found = row.get(name)
    if found is None or fits(found):
        return found
    raise _wrong(name, expected, found, where=where)


def _wrong(name: str, expected: str, found: Any, *, where: str) -> SuiteError:
    got = repr(found) if isinstance(found, int | float) and not isinstance(found, bool) else json_type(found)
    return SuiteError(f"{where}: field '{name}': expected {expected}, got {got}")


def _duplicate(key: tuple[str, int], *, where: str, first: int) -> SuiteError:
    return SuiteError(
        f"{where}: duplicate answer for id '{key[0]}', repeat {key[1]} (first on line {first})",
        hint="number the answers to one sample with `repeat`: 0, 1, 2, ...",
    )


def _existing(given: Path, folder: Path) -> Path:
    for found in (folder / given, given):
        if found.is_file():
            return found
    raise ProviderConfigError(
        f"provider 'replay': no file {given} (looked in {folder} and the current directory)", hint="--recorded FILE"
    )
