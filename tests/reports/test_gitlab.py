"""GitLab's code-quality report: fields, severities, places and fingerprints as GitLab reads them."""

import pytest

from aigate.core.verdict import Moved, Status
from aigate.reports.gitlab import code_quality

SEVERITIES = {"info", "minor", "major", "critical", "blocker"}


@pytest.mark.parametrize(
    ("status", "severity"),
    [(Status.FAIL, "critical"), (Status.ERROR, "blocker"), (Status.INCONCLUSIVE, "major")],
)
def test_a_check_is_a_finding_in_its_row(judged, places, status, severity):
    verdict, candidate, _ = judged(status=status)
    check, sample = code_quality(verdict, candidate, places)
    assert check["severity"] == severity
    assert check["check_name"] == "aigate/no-regression"
    assert check["location"] == {"path": "goldens/faq/suite.toml", "lines": {"begin": 6}}
    assert sample["location"] == {"path": "goldens/faq/samples.jsonl", "lines": {"begin": 2}}
    assert sample["severity"] == "minor"


def test_every_finding_has_what_gitlab_needs(judged, places):
    verdict, candidate, _ = judged()
    for found in code_quality(verdict, candidate, places):
        assert set(found) == {"description", "check_name", "fingerprint", "severity", "location"}
        assert found["severity"] in SEVERITIES
        assert found["description"]
        assert not found["location"]["path"].startswith(("/", "./"))


def test_a_pass_has_no_findings(judged, places, check, verdict):
    _, candidate, _ = judged()
    assert code_quality(verdict(Status.PASS, check(Status.PASS)), candidate, places) == []


def test_a_sample_that_must_pass_blocks(judged, places):
    verdict, candidate, _ = judged(check="must-pass")
    assert [found["severity"] for found in code_quality(verdict, candidate, places)] == ["critical", "blocker"]


def test_fingerprints_differ_and_stay(judged, places, check, verdict):
    _, candidate, _ = judged()
    moved = (Moved("a", 1.0, 0.0), Moved("b", 1.0, 0.5))
    first = code_quality(
        verdict(Status.FAIL, check(moved=moved), check(check="min-score", moved=moved)), candidate, places
    )
    prints = [found["fingerprint"] for found in first]
    assert len(set(prints)) == len(prints) == 6
    worse = (Moved("a", 1.0, 0.1), Moved("b", 1.0, 0.4))
    again = code_quality(
        verdict(Status.FAIL, check(moved=worse), check(check="min-score", moved=worse)), candidate, places
    )
    assert [found["fingerprint"] for found in again] == prints


def test_text_of_a_model_is_on_one_line_and_printable(judged, places, check, verdict):
    _, candidate, _ = judged()
    note = "JSON keys \x1b[2J\n::set-output name=a::b"
    [_, found] = code_quality(verdict(Status.FAIL, check(moved=(Moved("a", None, None, note),))), candidate, places)
    assert "\n" not in found["description"]
    assert "\x1b" not in found["description"]
