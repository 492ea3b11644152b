"""The verdict as a GitLab code-quality report: what is no pass, in the merge request, at the lines it speaks of.

The report of tests is JUnit (`aigate.reports.junit`). GitLab shows one finding per fingerprint, so each has its own,
which stays the same as long as it speaks of the same check and sample.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from aigate.core.digest import digest_of
from aigate.core.run import Run
from aigate.core.verdict import CheckOutcome, Moved, Status, Verdict
from aigate.reports.places import Place, Places
from aigate.reports.text import printable

__all__ = ["code_quality"]

SEVERITIES = {Status.FAIL: "critical", Status.ERROR: "blocker", Status.INCONCLUSIVE: "major"}
OF_A_SAMPLE = "minor"


def code_quality(verdict: Verdict, candidate: Run, places: Places) -> list[dict[str, Any]]:
    """The findings, as JSON; none for a pass.

    Args:
        verdict: What was decided.
        candidate: The run under test.
        places: Where checks and samples stand.
    """
    suite = candidate.header.suite_name
    return [finding for check in verdict.checks for finding in _findings(check, suite, places)]


def _findings(check: CheckOutcome, suite: str, places: Places) -> Iterator[dict[str, Any]]:
    if check.status is Status.PASS:
        return
    told = "; ".join(dict.fromkeys((check.summary, *(reason.text for reason in check.reasons))))
    yield _finding(f"{check.label}: {told}", check, SEVERITIES[check.status], places.of_check(check), suite)
    for moved in check.moved:
        place = places.of_sample(moved.sample_id)
        if moved.got_worse and place is not None:
            severity = "blocker" if check.check == "must-pass" else OF_A_SAMPLE
            yield _finding(_told(check, moved), check, severity, place, suite, moved.sample_id)


def _finding(
    told: str, check: CheckOutcome, severity: str, place: Place, suite: str, sample_id: str = ""
) -> dict[str, Any]:
    return {
        "description": " ".join(printable(told).split()),
        "check_name": f"aigate/{check.check}",
        "fingerprint": digest_of([suite, check.label, sample_id]).removeprefix("sha256:"),
        "severity": severity,
        "location": {"path": place.path, "lines": {"begin": place.line}},
    }


def _told(check: CheckOutcome, moved: Moved) -> str:
    scores = [f"{score:.3g}" for score in (moved.baseline, moved.candidate) if score is not None]
    return " ".join(part for part in (f"{check.label}:", moved.sample_id, " → ".join(scores), moved.note) if part)
