"""The verdict as JUnit XML, as Jenkins, GitLab and most others read it.

One test case per check and one per sample. Whatever is no pass is a failure or an error, never a skipped test: that
turns no build red, and what was not decided must not look like a pass. Statistics stand in the suite's properties. Only
characters that XML 1.0 allows are written.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from xml.sax.saxutils import escape, quoteattr

from aigate.core.ledger import Outcome
from aigate.core.run import Result, Run
from aigate.core.verdict import CheckOutcome, Status, Verdict
from aigate.reports.places import Places
from aigate.reports.text import excerpt, printable

__all__ = ["junit"]

TEXT_LIMIT = 4_000
ELEMENTS = {Status.FAIL: "failure", Status.INCONCLUSIVE: "failure", Status.ERROR: "error"}


def junit(verdict: Verdict, candidate: Run, places: Places) -> str:
    """The document, ending in a newline.

    Args:
        verdict: What was decided.
        candidate: The run under test.
        places: Where the suite stands.
    """
    named = _named_samples(verdict)
    samples = list(_samples(candidate, named))
    cases = [*(_check(check, candidate) for check in verdict.checks), *(case for case, _, _ in samples)]
    bad = [check for check in verdict.checks if check.status is not Status.PASS]
    failures = sum(ELEMENTS[check.status] == "failure" for check in bad) + sum(failed for _, failed, _ in samples)
    errors = sum(ELEMENTS[check.status] == "error" for check in bad)
    seconds = sum(seconds for _, _, seconds in samples)
    counts = f'tests="{len(cases)}" failures="{failures}" errors="{errors}" time="{seconds:.3f}"'
    name = _attribute(candidate.header.suite_name)
    inner = [f"    <property name={_attribute(key)} value={_attribute(value)}/>" for key, value in _properties(verdict)]
    return "\n".join(
        [
            '<?xml version="1.0" encoding="UTF-8"?>',
            f'<testsuites name="aigate" {counts}>',
            f'<testsuite name={name} {counts} skipped="0" file={_attribute(places.file)}{_timestamp(candidate)}>',
            *("  <properties>", *inner, "  </properties>"),
            *cases,
            "</testsuite>",
            "</testsuites>",
            "",
        ]
    )


def _check(check: CheckOutcome, candidate: Run) -> str:
    case = f"  <testcase classname={_attribute(f'aigate.{candidate.header.suite_name}')} name={_attribute(check.label)}"
    if check.status is Status.PASS:
        return f'{case} time="0"><system-out>{_text(check.summary)}</system-out></testcase>'
    told = "\n".join(
        (check.summary, *(line for reason in check.reasons for line in (reason.text, reason.hint) if line))
    )
    kind = ELEMENTS[check.status]
    opened = f'<{kind} type="{check.status}" message={_attribute(check.summary)}>'
    return f'{case} time="0">{opened}{_text(told)}</{kind}></testcase>'


def _samples(candidate: Run, named: dict[str, list[str]]) -> Iterator[tuple[str, bool, float]]:
    """Per sample its test case, whether it fails, and the seconds its answers took."""
    classname = _attribute(f"aigate.{candidate.header.suite_name}.samples")
    for sample_id, results in candidate.by_sample.items():
        seconds = sum(_seconds(result) for result in results)
        case = f'  <testcase classname={classname} name={_attribute(sample_id)} time="{seconds:.3f}"'
        if sample_id in named:
            message = "; ".join(named[sample_id])
            told = "\n".join((message, *_answers(results)))
            inside = f'<failure type="moved" message={_attribute(message)}>{_text(told)}</failure>'
            yield f"{case}>{inside}</testcase>", True, seconds
        else:
            unscored = [str(result.outcome) for result in results if result.outcome is not Outcome.SCORED]
            note = f"<system-out>{_text(', '.join(dict.fromkeys(unscored)))}</system-out>" if unscored else ""
            yield f"{case}>{note}</testcase>" if note else f"{case}/>", False, seconds


def _named_samples(verdict: Verdict) -> dict[str, list[str]]:
    """Samples that stand in the way of a pass, with what is said of each. Of a pass there are none."""
    found: dict[str, list[str]] = {}
    if verdict:
        return found
    for check in verdict.checks:
        for moved in check.moved if check.status is not Status.PASS else ():
            if moved.got_worse:
                numbers = [f"{number:.3g}" for number in (moved.baseline, moved.candidate) if number is not None]
                said = " ".join(part for part in (check.label, " → ".join(numbers), moved.note) if part)
                found.setdefault(moved.sample_id, []).append(said)
    return found


def _answers(results: Iterable[Result]) -> Iterator[str]:
    for result in results:
        response = result.response
        if response is not None and response.output is not None:
            yield f"answer: {excerpt(response.output, TEXT_LIMIT)}"
        elif response is not None and response.fault is not None:
            yield f"no answer: {response.fault.kind}: {response.fault.message}"


def _seconds(result: Result) -> float:
    return (result.response.latency_s or 0.0) if result.response is not None else 0.0


def _properties(verdict: Verdict) -> Iterator[tuple[str, str]]:
    yield "status", str(verdict.status)
    yield "exit-code", str(verdict.exit_code)
    yield "candidate", verdict.candidate
    yield "baseline", verdict.baseline or "none"
    yield from ((f"digest.{name}", digest) for name, digest in verdict.bound.items() if digest)
    yield from ((f"outcome.{name}", str(count)) for name, count in verdict.ledger.items() if count)
    for check in verdict.checks:
        name = check.label.replace(" ", ".")
        interval = {} if check.interval is None else check.interval.to_dict()
        numbers = {
            "observed": check.observed,
            "bound": check.threshold,
            "interval-low": interval.get("low"),
            "interval-high": interval.get("high"),
            "alpha": check.alpha,
            "smallest-detectable-drop": check.smallest_detectable_drop,
            "samples": check.n_samples or None,
            "groups": check.n_groups or None,
        }
        yield from ((f"{name}.{key}", f"{number:.6g}") for key, number in numbers.items() if number is not None)


def _timestamp(candidate: Run) -> str:
    ended = candidate.finished_at.removesuffix("Z")
    return f" timestamp={_attribute(ended)}" if ended else ""


def _text(text: str) -> str:
    """Text between tags; what `printable` leaves (tab, line feed, what has a glyph) XML 1.0 allows."""
    return escape(excerpt(text, TEXT_LIMIT))


def _attribute(text: str) -> str:
    return quoteattr(" ".join(printable(text).split()))
