"""What many tests need: runs made from a table of scores. No example is refused for being slow on a busy machine."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import settings

from aigate.core.digest import combined_digest
from aigate.core.ledger import Outcome
from aigate.core.response import Fault, FaultKind, Response
from aigate.core.run import Result, Run, RunHeader
from aigate.core.runfile import RunEncoder, decode
from aigate.core.sample import Sample
from aigate.core.score import MetricSpec, Score, Unscored
from aigate.core.version import VersionId

settings.register_profile("aigate", deadline=None)
settings.load_profile("aigate")

Scores = Mapping[str, Sequence[float | None]]
"""Per sample id, a score per repeat; None is a missing score (judge error)."""


def build_run(
    scores: Scores | Mapping[str, Scores],
    *,
    version: str = "m/1/v1",
    metric: str = "correct",
    groups: Mapping[str, str] | None = None,
    tags: Mapping[str, Sequence[str]] | None = None,
    outputs: Mapping[str, str] | None = None,
    inputs: Mapping[str, str] | None = None,
    faults: Mapping[str, FaultKind] | None = None,
    served: str | None = None,
    policy: Mapping[str, Any] | None = None,
    specs: Sequence[MetricSpec] | None = None,
    skipped: Collection[tuple[str, int]] = (),
    responses: Callable[[str, int], Mapping[str, Any]] | None = None,
    **header: Any,
) -> Run:
    """A run with a true digest.

    Args:
        scores: For one metric, `{"a": [1.0], "b": [0.0]}`; for several, `{"correct": {"a": [1.0]}, ...}`.
        outputs: Output by sample id, for every repeat; default: one of its own per sample, repeat, version and score.
        faults: Samples that got no answer, and why.
        skipped: Sample id and repeat of what an early stop left unasked.
        responses: Further fields of the response by sample id and repeat, such as `latency_s`.
        header: Fields of `RunHeader` to override.
    """
    per_metric: Mapping[str, Scores] = (
        {metric: scores} if all(not isinstance(v, Mapping) for v in scores.values()) else scores  # type: ignore[dict-item, assignment]
    )
    ids = list(dict.fromkeys(id_ for table in per_metric.values() for id_ in table))
    groups, tags, outputs, inputs, faults = groups or {}, tags or {}, outputs or {}, inputs or {}, faults or {}
    samples = [
        Sample(id_, inputs.get(id_, f"question {id_}"), tags=tuple(tags.get(id_, ())), group=groups.get(id_))
        for id_ in ids
    ]
    repeats = max((len(row) for table in per_metric.values() for row in table.values()), default=1)
    fields: dict[str, Any] = {
        "version": VersionId.parse(version),
        "provider": {"name": "fake"},
        "suite_name": "suite",
        "suite_digest": combined_digest(sample.digest for sample in samples),
        "suite_size": len(samples),
        "prompt_digest": None,
        "parameters": {},
        "metrics": tuple(specs or (MetricSpec(name, f"recorded:{name}", deterministic=False) for name in per_metric)),
        "primary_metric": next(iter(per_metric), metric),
        "repeats": repeats,
        "policy": policy or {},
        "started_at": "2026-01-01T00:00:00Z",
    }
    encoder = RunEncoder(RunHeader(**{**fields, **header}))
    lines = [encoder.header_line()]
    for sample in samples:
        for repeat in range(repeats):
            row = {
                name: table[sample.id][repeat]
                for name, table in per_metric.items()
                if repeat < len(table.get(sample.id, ()))
            }
            if (sample.id, repeat) in skipped:
                lines.append(encoder.result_line(Result(sample.id, repeat, Outcome.EARLY_STOP, None, {}), sample))
                continue
            if not row:
                continue
            result = _result(sample, repeat, row, version, outputs, faults, served)
            if responses is not None:
                result = replace(result, response=replace(result.response, **responses(sample.id, repeat)))
            lines.append(encoder.result_line(result, sample))
    lines.append(encoder.closing_line(finished_at="2026-01-01T00:01:00Z"))
    return decode(lines, source="run.jsonl")


def _result(
    sample: Sample,
    repeat: int,
    row: Mapping[str, float | None],
    version: str,
    outputs: Mapping[str, str],
    faults: Mapping[str, FaultKind],
    served: str | None,
) -> Result:
    if sample.id in faults:
        kind = faults[sample.id]
        outcome = Outcome.PROVIDER_ERROR if kind.candidate_fault else Outcome.INFRASTRUCTURE_ERROR
        score = Score(0.0, str(outcome)) if kind.candidate_fault else Unscored("infrastructure_error", "no answer")
        return Result(sample.id, repeat, outcome, Response(fault=Fault(kind, "broken")), dict.fromkeys(row, score))
    scores = {
        name: Unscored("judge_error", "judge broke") if value is None else Score(value, "told")
        for name, value in row.items()
    }
    outcome = Outcome.JUDGE_ERROR if None in row.values() else Outcome.SCORED
    output = outputs.get(sample.id, f"answer of {version} to {sample.id}, repeat {repeat}, {row}")
    return Result(sample.id, repeat, outcome, Response(output=output, served_model=served), scores)


@pytest.fixture
def make_run():
    """`build_run`, as a fixture, since tests cannot import one another."""
    return build_run
