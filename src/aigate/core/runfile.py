"""The run file, `aigate.run/1`, as text: lines in, a `Run` out, and back. Pure: reading and writing files is elsewhere.

Line 1 is the header. Then one line per sample and repeat, in whatever order answers arrived; the line of a sample's
repeat 0 carries the sample itself. The last line is `{"closing": {...}}` with counts and the digest. A file without a
closing line is an interrupted run: it can be resumed, and is never compared.

The digest is that of the header line, every result line and the closing counts, in any order of results, so that it
says the same of a run however its answers arrived, and changes with every character of every line.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from aigate.core.digest import combined_digest, digest_of, json_line, sha256_text
from aigate.core.json_text import strict_json
from aigate.core.ledger import Ledger, Outcome
from aigate.core.run import RUN_FORMAT, AnchorsJudged, Result, Run, RunHeader
from aigate.core.sample import Sample
from aigate.errors import RunFileError

__all__ = ["PartialRun", "RunEncoder", "decode", "decode_partial"]


@dataclass
class RunEncoder:
    """Writes the lines of one run file, in order: header, results, closing.

    Attributes:
        header: The run's header.
    """

    header: RunHeader
    _digests: list[str] = field(default_factory=list)
    _known: set[str] = field(default_factory=set)
    _outcomes: list[Outcome] = field(default_factory=list)

    def header_line(self) -> str:
        """Line 1; call it once."""
        return self._counted(json_line(self.header.to_dict()), prefix="header:")

    def result_line(self, result: Result, sample: Sample) -> str:
        """The line of one sample and repeat; that of repeat 0 holds the sample, whenever it comes."""
        row = result.to_dict()
        self._known.add(sample.id)
        if result.repeat == 0:
            row = {"id": row.pop("id"), "repeat": row.pop("repeat"), "sample": sample.to_dict(), **row}
        self._outcomes.append(result.outcome)
        return self._counted(json_line(row))

    def closing_line(self, *, finished_at: str, judge_anchors: Mapping[str, AnchorsJudged] | None = None) -> str:
        """The last line: counts, ledger, time, what judges said of labelled answers where there are any, and digest."""
        closing: dict[str, Any] = {
            "samples": len(self._known),
            "results": len(self._outcomes),
            "ledger": Ledger.of(self._outcomes).to_dict(),
            "finished_at": finished_at,
        }
        if judge_anchors:
            closing["judge_anchors"] = {metric: judged.to_dict() for metric, judged in judge_anchors.items()}
        return json_line({"closing": {**closing, "digest": _whole_digest(self._digests, closing)}})

    def _counted(self, line: str, *, prefix: str = "") -> str:
        self._digests.append(prefix + sha256_text(line))
        return line


@dataclass(frozen=True)
class PartialRun:
    """What stands in a run file, finished or not.

    Attributes:
        header: The header.
        samples: Samples seen, by id, in order of appearance.
        results: Results in order of appearance.
        closing: The closing record; None for an interrupted run.
        torn: True when the last line broke off in the middle.
    """

    header: RunHeader
    samples: Mapping[str, Sample]
    results: tuple[Result, ...]
    closing: Mapping[str, Any] | None
    torn: bool


def decode(lines: Iterable[str], *, source: str) -> Run:
    """A finished run from the lines of its file.

    Args:
        lines: The file's lines, without line ends.
        source: The file's name, for messages.

    Raises:
        RunFileError: Not a run file, another format, a broken line, interrupted, or altered after it was closed.
    """
    lines = list(lines)
    partial = decode_partial(lines, source=source)
    if partial.closing is None:
        raise RunFileError(
            f"{source}: the run was interrupted after {len(partial.results)} results: it has no closing line",
            hint=f"go on with 'aigate eval --resume --out {source}'; an interrupted run is never compared",
        )
    digest = _checked_digest(partial, lines, source)
    _refuse_other_looks(partial.header, source)
    if orphan := next((r.sample_id for r in partial.results if r.sample_id not in partial.samples), None):
        raise RunFileError(f"{source}: '{orphan}' has results and no repeat 0, which carries the sample", hint=_ALTERED)
    order = {sample_id: index for index, sample_id in enumerate(sorted(partial.samples))}
    return Run(
        header=partial.header,
        samples={sample_id: partial.samples[sample_id] for sample_id in sorted(partial.samples)},
        results=tuple(sorted(partial.results, key=lambda result: (order[result.sample_id], result.repeat))),
        digest=digest,
        finished_at=partial.closing["finished_at"],
        source=source,
        judge_anchors=_judge_anchors(partial.closing, source),
    )


def decode_partial(lines: Sequence[str], *, source: str) -> PartialRun:
    """Whatever stands in a run file, finished or not; a torn last line is left out and said.

    Raises:
        RunFileError: Not a run file, another format, or a broken line that is not the last.
    """
    if not lines:
        raise RunFileError(f'{source}: empty: expected a header line with "format": "{RUN_FORMAT}"', hint=_MAKE)
    header = _decode_header(lines[0], source)
    samples: dict[str, Sample] = {}
    results: dict[tuple[str, int], Result] = {}
    closing: Mapping[str, Any] | None = None
    for number, line in enumerate(lines[1:], start=2):
        if closing is not None:
            raise RunFileError(f"{source}:{number}: a line after the closing line", hint=_ALTERED)
        try:
            row = strict_json(line)
            if "closing" in row:
                closing = _decode_closing(row)
                continue
            result = _decode_result(row, samples, header)
        except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
            if number == len(lines):
                return PartialRun(header, samples, tuple(results.values()), None, torn=True)
            raise RunFileError(f"{source}:{number}: broken line: {_described(error)}", hint=_ALTERED) from None
        if result.key in results:
            raise RunFileError(
                f"{source}:{number}: '{result.sample_id}' repeat {result.repeat} stands twice", hint=_ALTERED
            )
        results[result.key] = result
    return PartialRun(header, samples, tuple(results.values()), closing, torn=False)


def _decode_header(line: str, source: str) -> RunHeader:
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


def _decode_closing(row: Mapping[str, Any]) -> Mapping[str, Any]:
    closing = row["closing"]
    if not isinstance(closing, dict):
        raise TypeError("the closing line holds no record")
    return closing


def _decode_result(row: Any, samples: dict[str, Sample], header: RunHeader) -> Result:
    result = Result.from_dict(row)
    if not isinstance(result.sample_id, str):
        raise TypeError(f"'id' is {result.sample_id!r}: expected a text")
    if type(result.repeat) is not int or not 0 <= result.repeat < header.repeats:
        raise ValueError(f"'repeat' is {result.repeat!r}: expected a whole number from 0 to {header.repeats - 1}")
    if (result.repeat == 0) is not ("sample" in row):
        raise ValueError(f"repeat {result.repeat} of '{result.sample_id}': repeat 0, and no other, carries the sample")
    if "sample" in row:
        samples[result.sample_id] = Sample.from_dict(row["sample"])
        if samples[result.sample_id].id != result.sample_id:
            raise ValueError(f"'{result.sample_id}' carries the sample '{samples[result.sample_id].id}'")
    return result


def _checked_digest(partial: PartialRun, lines: Sequence[str], source: str) -> str:
    """The run's digest, after comparing it and the counts with what the closing line says."""
    closing = dict(partial.closing or {})
    stated = closing.pop("digest", None)
    row_digests = [sha256_text(line) for line in lines[1:-1]]
    computed = _whole_digest(["header:" + sha256_text(lines[0]), *row_digests], closing)
    if stated != computed:
        raise RunFileError(
            f"{source}: altered after it was closed: the closing line says {stated}, the content gives {computed}",
            hint=_ALTERED,
        )
    if lines[-1] != json_line({"closing": partial.closing}):  # white space is the one change the digest cannot see
        raise RunFileError(f"{source}: the closing line is not written as it was", hint=_ALTERED)
    counted = (len(partial.samples), len(partial.results), Ledger.of(r.outcome for r in partial.results).to_dict())
    if (closing.get("samples"), closing.get("results"), closing.get("ledger")) != counted:
        raise RunFileError(f"{source}: the closing counts are not those of the lines", hint=_ALTERED)
    if not isinstance(closing.get("finished_at"), str):
        raise RunFileError(f"{source}: the closing line has no finished_at", hint=_ALTERED)
    return computed


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


def _whole_digest(line_digests: Sequence[str], closing: Mapping[str, Any]) -> str:
    return combined_digest([*line_digests, "closing:" + digest_of(closing)])


def _described(error: Exception) -> str:
    return f"missing {error}" if isinstance(error, KeyError) else str(error)


_MAKE = "make one with 'aigate eval --out RUN'"
_ALTERED = "take the file from where it was written, or run 'aigate eval' again"
