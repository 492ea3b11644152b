"""The run file, `aigate.run/1`, as text: lines in, a `Run` out, and back. Pure: reading and writing files is elsewhere.

Line 1 is the header. Then one line per sample and repeat, in whatever order answers arrived; the line of a sample's
repeat 0 carries the sample itself. The last line is `{"closing": {...}}` with counts and the digest. A file without a
closing line is an interrupted run: it can be resumed, and is never compared.

The digest is that of the header line, every result line and the closing counts, in any order of results, so that it
says the same of a run however its answers arrived, and changes with every character of every line.

A file is read in blocks of whole lines (`read_block`, in any process), which are put together in order (`RunReading`).
Of a line only its columns are kept; the result itself is read again from where it stands, when somebody looks at it.
Likewise blocks of results may be encoded anywhere (`BlockEncoder`).
"""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, overload

from aigate.core.columns import OUTCOMES, RepeatedRowError, RowColumns, RunColumns
from aigate.core.counts import count_of
from aigate.core.digest import combined_raw_digest, digest_of, json_line, sha256_text, sorted_raw_digests
from aigate.core.json_text import strict_json
from aigate.core.run import RUN_FORMAT, AnchorsJudged, Result, Run, RunHeader
from aigate.core.sample import Sample
from aigate.errors import RunFileError

__all__ = [
    "BlockEncoder",
    "EncodedBlock",
    "Lines",
    "PartialRun",
    "ReadBlock",
    "RunEncoder",
    "RunReading",
    "StoredResults",
    "StoredSamples",
    "decode",
    "decode_header",
    "decode_partial",
    "read_block",
    "stored_run",
]

LINES_AT_ONCE = 4_096

Lines = Callable[[int, int], bytes]
"""Gives the bytes at an offset, so many of them: where a stored run reads its lines from."""


class StoredResults(Sequence[Result]):
    """Results that stand in a file, each read when it is looked at.

    Attributes:
        columns: What is known of them without looking: those of a whole run, or of lines in the file's order.
        lines: Where they stand.
    """

    __slots__ = ("_count", "columns", "lines")
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, columns: RunColumns | RowColumns, lines: Lines) -> None:
        self.columns = columns
        self.lines = lines
        self._count = len(columns.answers)  # columns of a file that is being written grow

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, index: int) -> Result: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Result, ...]: ...
    def __getitem__(self, index: int | slice) -> Result | tuple[Result, ...]:
        if isinstance(index, slice):
            return tuple(self[row] for row in range(*index.indices(len(self))))
        return Result.from_dict(_row_at(self.columns, self.lines, range(len(self))[index]))

    def line(self, row: int) -> bytes:
        """The line of one result, without its end."""
        return self.lines(self.columns.answers.offsets[row], self.columns.answers.lengths[row])

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, StoredResults | tuple):
            return NotImplemented
        return len(self) == len(other) and all(ours == theirs for ours, theirs in zip(self, other, strict=True))

    def __repr__(self) -> str:
        return f"<{len(self)} stored results>"


class StoredSamples(Mapping[str, Sample]):
    """The samples of a stored run by id, sorted by id, each read when it is looked at.

    Attributes:
        columns: What is known of them without looking.
        lines: Where they stand.
    """

    __slots__ = ("columns", "lines")

    def __init__(self, columns: RunColumns, lines: Lines) -> None:
        self.columns = columns
        self.lines = lines

    def __getitem__(self, sample_id: str) -> Sample:
        if (place := self._find(sample_id)) is None:
            raise KeyError(sample_id)
        return Sample.from_dict(_row_at(self.columns, self.lines, self.columns.starts[place])["sample"])

    def __contains__(self, sample_id: object) -> bool:
        return self._find(sample_id) is not None

    def __iter__(self) -> Iterator[str]:
        return iter(self.columns.samples.ids)

    def __len__(self) -> int:
        return len(self.columns)

    def __repr__(self) -> str:
        return f"<{len(self)} stored samples>"

    def _find(self, sample_id: object) -> int | None:
        return self.columns.samples.ids.find(sample_id) if isinstance(sample_id, str) else None


def stored_run(
    header: RunHeader,
    columns: RunColumns,
    lines: Lines,
    *,
    digest: str,
    finished_at: str,
    source: str,
    judge_anchors: Mapping[str, AnchorsJudged],
) -> Run:
    """A run that stands in a file.

    Args:
        header: Its header.
        columns: Its results and samples, sorted.
        lines: Where they stand.
        digest: The digest of the whole.
        finished_at: UTC, ISO 8601.
        source: The file's name, for messages.
        judge_anchors: What the judge of each judged metric said of the suite's labelled answers.
    """
    samples, results = StoredSamples(columns, lines), StoredResults(columns, lines)
    return Run(header, samples, results, digest, finished_at, source, judge_anchors)


@dataclass
class RunEncoder:
    """Writes the lines of one run file, in order: header, results, closing.

    Attributes:
        header: The run's header.
        rows: What was written of results so far, as columns.
        size: Bytes written so far, line ends included.
    """

    header: RunHeader
    rows: RowColumns = field(default_factory=RowColumns)
    size: int = 0
    _header_digest: str = ""
    _digests: bytearray = field(default_factory=bytearray)

    def header_line(self) -> str:
        """Line 1; call it once."""
        line = json_line(self.header.to_dict())
        self._header_digest = sha256_text(line)
        self.size += len(line.encode()) + 1
        return line

    def result_line(self, result: Result, sample: Sample) -> str:
        """The line of one sample and repeat; that of repeat 0 holds the sample, whenever it comes."""
        line, raw = _encoded(result, sample, self.rows, self.size)
        self._digests += hashlib.sha256(raw).digest()
        self.size += len(raw) + 1
        return line

    def take_over(self, rows: RowColumns, lines: Lines) -> Iterator[bytes]:
        """Make result lines of another file the first ones of this file, byte for byte.

        Args:
            rows: What they hold; becomes `rows` of this encoder.
            lines: Where they stand.

        Yields:
            Their text, to be written.
        """
        places, offsets = zip(rows.answers.offsets, rows.answers.lengths, strict=True), array("q")
        while part := [lines(offset, length) + b"\n" for offset, length in islice(places, LINES_AT_ONCE)]:
            for line in part:
                offsets.append(self.size)
                self._digests += hashlib.sha256(line[:-1]).digest()
                self.size += len(line)
            yield b"".join(part)
        rows.answers.offsets = offsets
        self.rows = rows

    def take(self, block: EncodedBlock) -> None:
        """Count the lines of a block as written here."""
        self.rows.extend(block.rows, offset=self.size)
        self._digests += block.digests
        self.size += len(block.text)

    def closing_line(self, *, finished_at: str, judge_anchors: Mapping[str, AnchorsJudged] | None = None) -> str:
        """The last line: counts, ledger, time, what judges said of labelled answers where there are any, and digest.

        No result may follow it.
        """
        closing = {**_counts(self.rows), "finished_at": finished_at}
        if judge_anchors:
            closing["judge_anchors"] = {metric: judged.to_dict() for metric, judged in judge_anchors.items()}
        return json_line({"closing": {**closing, "digest": self.digest(closing)}})

    def digest(self, closing: Mapping[str, Any]) -> str:
        """The digest of the whole file, its closing counts given."""
        return _whole_digest(self._header_digest, self._digests, closing)


@dataclass(frozen=True, slots=True)
class EncodedBlock:
    """Result lines that were encoded together.

    Attributes:
        text: The lines, each with its end.
        rows: What they hold, as columns; offsets count from the beginning of the text.
        digests: 32 bytes of digest per line.
    """

    text: bytes
    rows: RowColumns
    digests: bytes

    def results(self) -> StoredResults:
        """The results, each read when it is looked at."""
        return StoredResults(self.rows, _Content(self.text))


class BlockEncoder:
    """Encodes results as `RunEncoder.result_line` writes them, to be taken by one in another process."""

    def __init__(self) -> None:
        self._text, self._rows, self._digests = bytearray(), RowColumns(), bytearray()

    def add(self, result: Result, sample: Sample, digest: bytes | None = None) -> None:
        """Add one result, with the 32 bytes of its sample's digest where they are known already."""
        raw = _encoded(result, sample, self._rows, len(self._text), digest)[1]
        self._digests += hashlib.sha256(raw).digest()
        self._text += raw
        self._text += b"\n"

    def block(self) -> EncodedBlock:
        """What was added."""
        return EncodedBlock(bytes(self._text), self._rows, bytes(self._digests))


def _encoded(
    result: Result, sample: Sample, rows: RowColumns, offset: int, digest: bytes | None = None
) -> tuple[str, bytes]:
    """The line of one result, which is added to the columns."""
    row = result.to_dict()
    if result.repeat == 0:
        rows.samples.add(sample, digest)
        row = {"id": row.pop("id"), "repeat": row.pop("repeat"), "sample": sample.to_dict(), **row}
    line = json_line(row)
    raw = line.encode()
    rows.add(row, offset=offset, length=len(raw))
    return line, raw


@dataclass(frozen=True)
class PartialRun:
    """What stands in a run file, finished or not.

    Attributes:
        header: The header.
        rows: The lines of results as columns, in order of appearance.
        lines: Where they stand.
        closing: The closing record; None for an interrupted run.
        torn: True when the last line broke off in the middle.
    """

    header: RunHeader
    rows: RowColumns
    lines: Lines
    closing: Mapping[str, Any] | None
    torn: bool

    @property
    def results(self) -> StoredResults:
        """Results in order of appearance."""
        return StoredResults(self.rows, self.lines)


@dataclass(frozen=True, slots=True)
class ReadBlock:
    """What was read of consecutive lines.

    Attributes:
        rows: The results, as columns.
        digests: 32 bytes of digest per result line.
        closing: The closing record and its line, where the block ends with one.
        torn: True when the last line broke off in the middle.
        first: The number of the first line.
    """

    rows: RowColumns
    digests: bytes
    closing: tuple[Mapping[str, Any], bytes] | None
    torn: bool
    first: int


def read_block(block: bytes, *, repeats: int, source: str, first: int, offset: int, ends: bool) -> ReadBlock:
    """Read consecutive lines of a run file, all but its header.

    Args:
        block: Whole lines.
        repeats: As the header says.
        source: The file's name, for messages.
        first: The number of the first line; the header's is 1.
        offset: Where the block begins in the file.
        ends: True when the file ends with this block: then its last line may have broken off.

    Raises:
        RunFileError: A broken line that is not the file's last, or a line after the closing line.
    """
    lines = block.split(b"\n")
    if not lines[-1]:
        lines.pop()
    rows, digests, last = RowColumns(), bytearray(), first + len(lines) - 1
    for number, raw in enumerate(lines, start=first):
        closing = None
        try:
            row = strict_json(raw)
            if "closing" in row:
                closing = _decode_closing(row)
            else:
                _add_row(row, rows, repeats=repeats, offset=offset, length=len(raw))
        except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
            if ends and number == last:
                return ReadBlock(rows, bytes(digests), None, torn=True, first=first)
            raise RunFileError(f"{source}:{number}: broken line: {_described(error)}", hint=_ALTERED) from None
        if closing is not None:
            if number < last:
                raise _after_closing(source, number + 1)
            return ReadBlock(rows, bytes(digests), (closing, raw), torn=False, first=first)
        digests += hashlib.sha256(raw).digest()
        offset += len(raw) + 1
    return ReadBlock(rows, bytes(digests), None, torn=False, first=first)


class RunReading:
    """Puts the blocks of a run file together.

    Args:
        header_line: Line 1, without its end; None where the file is empty.
        source: The file's name, for messages.

    Attributes:
        header: The run's header.
        header_size: Bytes of line 1, its end included.

    Raises:
        RunFileError: Not a run file, or one of another format.
    """

    def __init__(self, header_line: bytes | None, *, source: str) -> None:
        if header_line is None:
            raise RunFileError(f'{source}: empty: expected a header line with "format": "{RUN_FORMAT}"', hint=_MAKE)
        self.header = decode_header(header_line, source)
        self.header_size = len(header_line) + 1
        self._source = source
        self._header_digest = f"sha256:{hashlib.sha256(header_line).hexdigest()}"
        self._rows, self._digests = RowColumns(), bytearray()
        self._closing: tuple[Mapping[str, Any], bytes] | None = None
        self._torn = False

    def take(self, block: ReadBlock) -> None:
        """Add what follows.

        Raises:
            RunFileError: Lines after the closing line.
        """
        if self._closing is not None:
            raise _after_closing(self._source, block.first)
        self._rows.extend(block.rows)
        self._digests += block.digests
        self._closing, self._torn = block.closing, block.torn

    def partial(self, lines: Lines) -> PartialRun:
        """What stands in the file, once all of it was added.

        Raises:
            RunFileError: One sample and repeat stands twice.
        """
        self._columns()
        return PartialRun(self.header, self._rows, lines, self._closing and self._closing[0], self._torn)

    def run(self, lines: Lines) -> Run:
        """The finished run, once all of it was added.

        Raises:
            RunFileError: Interrupted, altered after it was closed, or one sample and repeat stands twice.
        """
        columns = self._columns()
        if self._closing is None:
            raise RunFileError(
                f"{self._source}: the run was interrupted after {count_of(len(self._rows), 'result')}: it"
                f" has no closing line",
                hint=f"go on with 'aigate eval --resume --out {self._source}'; an interrupted run is never compared",
            )
        closing = self._closing[0]
        digest = self._checked_digest(dict(closing), self._closing[1])
        _refuse_other_looks(self.header, self._source)
        if orphans := self._rows.orphans():
            orphan = self._rows.ids[orphans[0]]
            raise RunFileError(
                f"{self._source}: '{orphan}' has results and no repeat 0, which carries the sample", hint=_ALTERED
            )
        return stored_run(
            self.header,
            columns,
            lines,
            digest=digest,
            finished_at=closing["finished_at"],
            source=self._source,
            judge_anchors=_judge_anchors(closing, self._source),
        )

    def _columns(self) -> RunColumns:
        try:
            return self._rows.sorted()
        except RepeatedRowError as error:
            id_, repeat = self._rows.ids[error.row], self._rows.answers.repeats[error.row]
            told = f"{self._source}:{error.row + 2}: '{id_}' repeat {repeat} stands twice"
            raise RunFileError(told, hint=_ALTERED) from None

    def _checked_digest(self, closing: dict[str, Any], line: bytes) -> str:
        """The run's digest, after comparing it and the counts with what the closing line says."""
        source, stated = self._source, closing.pop("digest", None)
        computed = _whole_digest(self._header_digest, self._digests, closing)
        if stated != computed:
            raise RunFileError(
                f"{source}: altered after it was closed: the closing line says {stated}, the content gives {computed}",
                hint=_ALTERED,
            )
        # White space is the one change that the digest cannot see.
        if self._closing is not None and line != json_line({"closing": self._closing[0]}).encode():
            raise RunFileError(f"{source}: the closing line is not written as it was", hint=_ALTERED)
        counts = _counts(self._rows)
        if any(closing.get(name) != count for name, count in counts.items()):
            raise RunFileError(f"{source}: the closing counts are not those of the lines", hint=_ALTERED)
        if not isinstance(closing.get("finished_at"), str):
            raise RunFileError(f"{source}: the closing line has no finished_at", hint=_ALTERED)
        return computed


def decode(lines: Iterable[str], *, source: str) -> Run:
    """A finished run from the lines of its file.

    Args:
        lines: The file's lines, without line ends.
        source: The file's name, for messages.

    Raises:
        RunFileError: Not a run file, another format, a broken line, interrupted, or altered after it was closed.
    """
    reading, content = _read(list(lines), source)
    return reading.run(content)


def decode_partial(lines: Sequence[str], *, source: str) -> PartialRun:
    """Whatever stands in a run file, finished or not; a torn last line is left out and said.

    Raises:
        RunFileError: Not a run file, another format, or a broken line that is not the last.
    """
    reading, content = _read(lines, source)
    return reading.partial(content)


def decode_header(line: bytes, source: str) -> RunHeader:
    """The header of a run file, from its first line.

    Raises:
        RunFileError: Not a run file, another format, or a broken header.
    """
    try:
        row = strict_json(line)
        found = row.get("format") if isinstance(row, dict) else None
    except (ValueError, RecursionError):
        found = None
    if found != RUN_FORMAT:
        if isinstance(found, str) and found.startswith("aigate.run/"):
            raise RunFileError(
                f"{source}:1: format {found!r} is not read by this version, which reads {RUN_FORMAT!r}",
                hint="install the version of aigate that wrote it",
            )
        raise RunFileError(f'{source}:1: not a run file: expected "format": "{RUN_FORMAT}"', hint=_MAKE)
    try:
        return RunHeader.from_dict(row)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise RunFileError(f"{source}:1: broken header: {_described(error)}", hint=_ALTERED) from None


@dataclass(frozen=True, slots=True)
class _Content:
    """The content of a file that is held whole; see `Lines`."""

    whole: bytes

    def __call__(self, offset: int, length: int) -> bytes:
        return self.whole[offset : offset + length]


def _read(lines: Sequence[str], source: str) -> tuple[RunReading, Lines]:
    header, *rest = lines or ("",)
    reading = RunReading(header.encode("utf-8", "surrogatepass") if lines else None, source=source)
    content = "".join(f"{line}\n" for line in rest).encode("utf-8", "surrogatepass")
    if rest:
        repeats = reading.header.repeats
        reading.take(read_block(content, repeats=repeats, source=source, first=2, offset=0, ends=True))
    return reading, _Content(content)


def _row_at(columns: RunColumns | RowColumns, lines: Lines, row: int) -> Any:
    answers = columns.answers
    try:
        return strict_json(lines(answers.offsets[row], answers.lengths[row]))
    except ValueError:
        raise RunFileError("a run file was changed while it was in use", hint=_ALTERED) from None


def _decode_closing(row: Mapping[str, Any]) -> Mapping[str, Any]:
    closing = row["closing"]
    if not isinstance(closing, dict):
        raise TypeError("the closing line holds no record")
    return closing


def _add_row(row: Any, rows: RowColumns, *, repeats: int, offset: int, length: int) -> None:
    """Add the row of a result, after checking that it is one.

    Raises:
        KeyError, TypeError, ValueError, AttributeError: It is none; nothing was added.
    """
    if not _as_written(row):
        Result.from_dict(row)
    sample_id, repeat = row["id"], row["repeat"]
    if not isinstance(sample_id, str):
        raise TypeError(f"'id' is {sample_id!r}: expected a text")
    if type(repeat) is not int or not 0 <= repeat < repeats:
        raise ValueError(f"'repeat' is {repeat!r}: expected a whole number from 0 to {repeats - 1}")
    if (repeat == 0) is not ("sample" in row):
        raise ValueError(f"repeat {repeat} of '{sample_id}': repeat 0, and no other, carries the sample")
    if repeat == 0 and rows.samples.add_row(row["sample"]) != sample_id:
        raise ValueError(f"'{sample_id}' carries the sample '{row['sample']['id']}'")
    rows.add(row, offset=offset, length=length)


def _as_written(row: Any) -> bool:
    """True for what `Result.to_dict` writes of an output with scores, which `Result.from_dict` surely takes.

    It is asked of every line, and making the result would take several times as long.
    """
    try:
        response, scores = row["response"], row["scores"].values()
        if row["outcome"] not in _OUTCOME_NAMES or "judging" in row or "fault" in response:
            return False
        for name in _TEXTS:
            if (text := response.get(name)) is not None and type(text) is not str:
                return False
        for score in scores:
            if "unscored" in score or type(score["value"]) is not float or not 0.0 <= score["value"] <= 1.0:
                return False
        return type(response["output"]) is str
    except (KeyError, TypeError, AttributeError):
        return False


def _counts(rows: RowColumns) -> dict[str, Any]:
    """What the closing line counts."""
    return {"samples": len(rows.samples), "results": len(rows), "ledger": rows.answers.ledger().to_dict()}


def _judge_anchors(closing: Mapping[str, Any], source: str) -> Mapping[str, AnchorsJudged]:
    try:
        return {metric: AnchorsJudged.from_dict(judged) for metric, judged in closing.get("judge_anchors", {}).items()}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise RunFileError(f"{source}: the closing line's judge anchors: {_described(error)}", hint=_ALTERED) from None


def _refuse_other_looks(header: RunHeader, source: str) -> None:
    if header.looks is not None and header.looks.looks[-1].repeats != header.repeats:
        planned = header.looks.looks[-1].repeats
        told = f"the last look uses {planned} repeats, the run has {header.repeats}"
        raise RunFileError(f"{source}:1: broken header: {told}", hint=_ALTERED)


def _whole_digest(header_digest: str, digests: bytes | bytearray, closing: Mapping[str, Any]) -> str:
    first = ["header:" + header_digest, "closing:" + digest_of(closing)]
    return combined_raw_digest(sorted_raw_digests(digests), first)


def _after_closing(source: str, number: int) -> RunFileError:
    return RunFileError(f"{source}:{number}: a line after the closing line", hint=_ALTERED)


def _described(error: Exception) -> str:
    return f"missing {error}" if isinstance(error, KeyError) else str(error)


_TEXTS = ("served_model", "fingerprint", "finish_reason", "journaled_at")
_OUTCOME_NAMES = frozenset(map(str, OUTCOMES))
_MAKE = "make one with 'aigate eval --out RUN'"
_ALTERED = "take the file from where it was written, or run 'aigate eval' again"
