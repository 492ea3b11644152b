"""The verdict as SARIF 2.1.0, for code scanning: a result per check that is no pass, a rule per check with its page."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from aigate import __version__
from aigate.core.digest import digest_of
from aigate.core.run import Run
from aigate.core.verdict import CheckOutcome, Moved, Status, Verdict
from aigate.errors import UsageError
from aigate.reports.pages import Page, as_markdown, as_text, pages_of
from aigate.reports.places import Place, Places
from aigate.reports.text import printable

__all__ = ["sarif"]

SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"
LEVELS = {Status.FAIL: "error", Status.ERROR: "error", Status.INCONCLUSIVE: "warning"}
NAMED = 20  # samples that a result points to
FINGERPRINT = "aigate/v1"


def sarif(verdict: Verdict, candidate: Run, places: Places) -> dict[str, Any]:
    """The log, as JSON.

    Args:
        verdict: What was decided.
        candidate: The run under test.
        places: Where checks and samples stand.
    """
    bad = [check for check in verdict.checks if check.status is not Status.PASS]
    rules = [_rule(name) for name in dict.fromkeys(check.check for check in bad)]
    order = [rule["id"] for rule in rules]
    return {
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [
            {
                "tool": {"driver": {"name": "aigate", "semanticVersion": __version__, "rules": rules}},
                "automationDetails": {"id": f"aigate/{_line(candidate.header.suite_name)}/"},
                "invocations": [
                    {
                        "executionSuccessful": verdict.status is not Status.ERROR,
                        "exitCode": verdict.exit_code,
                        "exitCodeDescription": str(verdict.status),
                    }
                ],
                "columnKind": "unicodeCodePoints",
                "results": [_result(check, candidate, places, order) for check in bad],
                "properties": {
                    "status": str(verdict.status),
                    "candidate": _line(verdict.candidate),
                    "baseline": _line(verdict.baseline or "none"),
                    "digests": {name: digest for name, digest in verdict.bound.items() if digest},
                },
            }
        ],
    }


def _rule(name: str) -> dict[str, Any]:
    page = _page(name)
    return {
        "id": name,
        "name": "".join(word.capitalize() for word in name.split("-")),
        "shortDescription": {"text": page.summary},
        "fullDescription": {"text": f"{page.summary} {' '.join(page.body.split())}".strip()},
        "help": {"text": as_text(page), "markdown": as_markdown(page)},
        "defaultConfiguration": {"level": "error"},
    }


def _page(name: str) -> Page:
    """The page of a check or rule; of one that no installed package knows any more, its name."""
    try:
        return pages_of(name)[0]
    except UsageError:
        return Page("check", name, f"The check {name}.")


def _result(check: CheckOutcome, candidate: Run, places: Places, order: Sequence[str]) -> dict[str, Any]:
    told = [f"{check.label}: {check.summary}.", *(f"{reason.text}." for reason in check.reasons)]
    return {
        "ruleId": check.check,
        "ruleIndex": order.index(check.check),
        "level": LEVELS[check.status],
        "message": {"text": " ".join(dict.fromkeys(map(_line, told)))},
        "locations": [_location(places.of_check(check))],
        "relatedLocations": list(_related(check.moved, places)),
        "partialFingerprints": {FINGERPRINT: digest_of([candidate.header.suite_name, check.label])[7:39]},
        "properties": dict(_numbers(check)),
    }


def _related(moved: Sequence[Moved], places: Places) -> Iterator[dict[str, Any]]:
    """The first samples that moved, where their lines are known."""
    worse = [sample for sample in moved if sample.got_worse]
    known = ((sample, places.of_sample(sample.sample_id)) for sample in worse[:NAMED])
    for number, (sample, place) in enumerate(known, start=1):
        if place is not None:
            scores = [f"{score:.3g}" for score in (sample.baseline, sample.candidate) if score is not None]
            told = " ".join(part for part in (sample.sample_id, " to ".join(scores), sample.note) if part)
            yield {"id": number, "message": {"text": _line(told)}, **_location(place)}


def _location(place: Place) -> dict[str, Any]:
    return {
        "physicalLocation": {"artifactLocation": {"uri": _uri(place.path)}, "region": {"startLine": place.line}},
    }


def _numbers(check: CheckOutcome) -> Iterator[tuple[str, Any]]:
    found = {
        "status": str(check.status),
        "reasonCodes": [reason.code for reason in check.reasons],
        "observed": check.observed,
        "bound": check.threshold,
        "interval": None if check.interval is None else check.interval.to_dict(),
        "samples": check.n_samples,
        "groups": check.n_groups,
        "alpha": check.alpha,
        "smallestDetectableDrop": check.smallest_detectable_drop,
    }
    return ((name, value) for name, value in found.items() if value is not None)


def _uri(path: str) -> str:
    from urllib.parse import quote

    return quote(printable(path))


def _line(text: str) -> str:
    return " ".join(printable(text).split())
