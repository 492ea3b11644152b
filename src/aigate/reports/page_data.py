"""What the script of the HTML report reads: an index of all samples, small enough to sort and filter, and their texts.

Both are JSON, deflated, in base 64: letters that can end no element, whatever a model wrote. The texts come in blocks
of samples, so that opening one sample unpacks little, and 50,000 samples need not be unpacked to show a table of them.
A block has a sample a line, every letter as it is: a search looks for words in its text, and parses nothing.
"""

from __future__ import annotations

import base64
import json
import math
import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from aigate.core.counts import count_of
from aigate.core.ledger import Outcome
from aigate.core.run import Result, Run
from aigate.core.sample import Sample
from aigate.core.score import MetricSpec, Score
from aigate.core.verdict import Verdict
from aigate.gating.comparison import EVEN, Comparison

__all__ = ["Block", "blocks_of", "index_of", "inline_json", "packed"]

EXCERPT_CHARACTERS = 120
LONGEST_TEXT = 100_000  # characters of one text; the run file holds the rest
BLOCK_CHARACTERS = 400_000
DECIMALS = 6
_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Block:
    """The texts of some consecutive samples.

    Attributes:
        first: Number of its first sample, from 0.
        count: How many it holds.
        packed: Their texts, packed.
    """

    first: int
    count: int
    packed: str


def index_of(verdict: Verdict, candidate: Run, baseline: Run | None) -> dict[str, Any]:
    """The index, in columns: one entry per sample of the candidate, in the run's order.

    Per metric there are the mean scores of candidate and baseline over repeats, as stored; null where missing. Where
    the candidate's answers were held against this baseline's, those are worth what a version is against itself.
    """
    tags = sorted({tag for sample in candidate.samples.values() for tag in sample.tags})
    number = {tag: place for place, tag in enumerate(tags)}
    samples = list(candidate.samples.values())
    ours = [candidate.by_sample[sample.id] for sample in samples]
    theirs = [_baseline_results(sample, baseline) for sample in samples]
    return {
        "ids": [sample.id for sample in samples],
        "asked": [_excerpt(sample.text) for sample in samples],
        "answered": [_answered(results) for results in ours],
        "tagNames": tags,
        "tags": [[number[tag] for tag in sample.tags] for sample in samples],
        "outcomes": [str(outcome) for outcome in Outcome],
        "outcome": [_worst_outcome(results) for results in ours],
        "baselineOutcome": [_worst_outcome(results) for results in theirs],
        "latency": [_latency(results) for results in ours],
        "scores": {
            spec.metric: [_means(spec.metric, ours), _baseline_means(spec, theirs, candidate, baseline)]
            for spec in candidate.header.metrics
        },
        "named": _named(verdict, {sample.id: place for place, sample in enumerate(samples)}),
    }


def blocks_of(candidate: Run, baseline: Run | None) -> Iterator[Block]:
    """The texts of all samples, block by block; one block at a time is held in memory."""
    first, rows, size = 0, [], 0
    for sample in candidate.samples.values():
        rows.append(row := _row(sample, candidate, baseline))
        size += len(row)
        if size >= BLOCK_CHARACTERS:
            yield Block(first, len(rows), _packed("\n".join(rows)))
            first, rows, size = first + len(rows), [], 0
    if rows:
        yield Block(first, len(rows), _packed("\n".join(rows)))


def packed(value: Any) -> str:
    """A JSON value, deflated (raw, as RFC 1951 has it), in base 64."""
    return _packed(_ascii(value))


def _packed(text: str) -> str:
    deflate = zlib.compressobj(level=6, wbits=-zlib.MAX_WBITS)
    return base64.b64encode(deflate.compress(text.encode("utf-8")) + deflate.flush()).decode("ascii")


def inline_json(value: Any) -> str:
    """JSON that can stand in a script element: nothing in it can end the element or begin a comment."""
    return _ascii(value).replace("<", "\\u003c").replace(">", "\\u003e")


def _row(sample: Sample, candidate: Run, baseline: Run | None) -> str:
    """One sample with all answers, as run files have them, without what is longer than anybody reads."""
    texts = {
        "sample": sample.to_dict(),
        "candidate": [result.to_dict() for result in candidate.by_sample[sample.id]],
        "baseline": [result.to_dict() for result in _baseline_results(sample, baseline)],
    }
    row = _line(texts)
    return row if len(row) <= LONGEST_TEXT else _line(_cut(texts))  # looking at each text costs more than writing it


def _line(value: Any) -> str:
    """JSON on one line, with letters as they are; what is no text, a lone surrogate, by its number."""
    text = json.dumps(value, separators=(",", ":"), allow_nan=False, ensure_ascii=False)
    return text if text.isascii() else _SURROGATE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def _ascii(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), allow_nan=False)


def _baseline_results(sample: Sample, baseline: Run | None) -> Sequence[Result]:
    """The baseline's results for the same sample; none for one that was edited since: that is another question."""
    before = None if baseline is None else baseline.samples.get(sample.id)
    if baseline is None or before is None or before.digest != sample.digest:
        return ()
    return baseline.by_sample[sample.id]


def _cut(value: Any) -> Any:
    """The value with every text in it cut to a length, which is said where it was cut."""
    if isinstance(value, str):
        left_out = len(value) - LONGEST_TEXT
        return (
            value
            if left_out <= 0
            else f"{value[:LONGEST_TEXT]} … ({count_of(left_out, 'more character', thousands=True)} in the run file)"
        )
    if isinstance(value, Mapping):
        return {key: _cut(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_cut(item) for item in value]
    return value


def _excerpt(text: str) -> str:
    return " ".join(text[: 4 * EXCERPT_CHARACTERS].split())[:EXCERPT_CHARACTERS]


def _answered(results: Sequence[Result]) -> str:
    """The beginning of the first answer; of a fault, what went wrong."""
    response = next((result.response for result in results if result.response is not None), None)
    if response is None:
        return ""
    return _excerpt(f"[{response.fault.kind}] {response.fault.message}" if response.fault else response.output or "")


def _worst_outcome(results: Sequence[Result]) -> int | None:
    """The outcome that says most: any that is not `scored` before it; None where there is no result."""
    order = list(Outcome)
    places = [order.index(result.outcome) for result in results]
    return max(places, default=None)


def _latency(results: Sequence[Result]) -> float | None:
    """The slowest answer of the sample, in seconds."""
    values = [result.response.latency_s for result in results if result.response is not None]
    return max((round(value, DECIMALS) for value in values if value is not None), default=None)


def _baseline_means(
    spec: MetricSpec, theirs: Sequence[Sequence[Result]], candidate: Run, baseline: Run | None
) -> list[float | None]:
    """The baseline's scores. What its answers were worth against an older run says nothing; here they are even."""
    if spec.against is None:
        return _means(spec.metric, theirs)
    even = EVEN if baseline is not None and Comparison(candidate, baseline).holds_answers_for(spec) else None
    return [even if results else None for results in theirs]


def _means(metric: str, arm: Sequence[Sequence[Result]]) -> list[float | None]:
    return [_mean(metric, results) for results in arm]


def _mean(metric: str, results: Sequence[Result]) -> float | None:
    scores = [result.scores.get(metric) for result in results]
    values = [score.value for score in scores if isinstance(score, Score)]
    return round(math.fsum(values) / len(values), DECIMALS) if values else None


def _named(verdict: Verdict, places: Mapping[str, int]) -> list[dict[str, Any]]:
    """The checks that name samples, with the numbers of these samples."""
    return [
        {
            "label": check.label,
            "samples": [places[moved.sample_id] for moved in check.moved if moved.sample_id in places],
            "notes": {places[m.sample_id]: m.note for m in check.moved if m.note and m.sample_id in places},
        }
        for check in verdict.checks
        if check.moved
    ]
