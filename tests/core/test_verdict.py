"""Verdict: true only for a pass; everything else blocks, each with its own error and exit code."""

import itertools
import json

import pytest

from aigate.core.digest import canonical_json
from aigate.core.verdict import VERDICT_FORMAT, CheckOutcome, Interval, Moved, Reason, Status, Verdict, worst
from aigate.errors import GateErrored, GateFailed, GateInconclusive, VerdictError

PASS, FAIL, INCONCLUSIVE, ERROR = Status.PASS, Status.FAIL, Status.INCONCLUSIVE, Status.ERROR
CHECK_FIELDS = {
    "against",
    "look",
    "looks",
    *("check", "metric", "status", "summary", "observed", "interval", "threshold", "n_samples", "n_groups"),
    *("n_repeats", "alpha", "smallest_detectable_drop", "share_used", "moved", "reasons", "details", "integrity"),
}
VERDICT_FIELDS = {
    *(
        "format",
        "status",
        "reason_codes",
        "candidate",
        "baseline",
        "checks",
        "ledger",
        "bound",
        "valid_until",
        "metrics",
    ),
}


def outcome(status, **fields):
    return CheckOutcome("min-score", status, "0.9 ≥ 0.85", metric="correct", **fields)


def verdict(status, *checks, **fields):
    whole = {"candidate": "m/1/v1", "baseline": None, "bound": {"candidate": "sha256:0"}, "ledger": {"scored": 1}}
    return Verdict(status, checks, **{**whole, **fields})


FULL = verdict(
    FAIL,
    outcome(
        FAIL,
        observed=0.5,
        interval=Interval(0.4, 0.6, 0.9, "t"),
        threshold=0.85,
        n_samples=10,
        n_groups=5,
        n_repeats=(1, 2),
        alpha=0.05,
        smallest_detectable_drop=0.1,
        share_used=1.0,
        moved=(Moved("a", 1.0, 0.0), Moved("b", None, None, "gone")),
        reasons=(Reason("below-threshold", "0.5 < 0.85", "read the samples"), Reason("a-code", "text")),
        details={"slices": [{"tag": "t", "q": 0.5}]},
    ),
    outcome(PASS, reasons=(Reason("a-note", "by the way"),), integrity=True),
    baseline="m/0/v1",
    valid_until="2026-01-08T00:00:00Z",
    metrics={"correct": {"mean": 0.5, "scored": 10, "missing": 0}},
)


@pytest.mark.parametrize("status", Status)
def test_a_verdict_is_true_only_for_a_pass(status):
    assert bool(verdict(status, outcome(status))) is (status is PASS)


@pytest.mark.parametrize(
    ("status", "code", "error"),
    [(PASS, 0, None), (FAIL, 1, GateFailed), (INCONCLUSIVE, 3, GateInconclusive), (ERROR, 4, GateErrored)],
)
def test_each_status_has_its_exit_code_and_its_error(status, code, error):
    found = verdict(status, outcome(status))
    assert found.exit_code == status.exit_code == code
    if error is None:
        found.raise_for_status()
        return
    with pytest.raises(VerdictError, match=f"{status}: m/1/v1\n  min-score correct: 0.9") as caught:
        found.raise_for_status()
    assert type(caught.value) is error
    assert caught.value.verdict is found
    assert caught.value.exit_code == code


def test_a_pass_that_rests_on_no_check_is_no_pass():
    empty = verdict(PASS)
    assert not empty
    assert empty.exit_code == 4
    with pytest.raises(GateErrored) as caught:
        empty.raise_for_status()
    assert caught.value.exit_code == empty.exit_code


def test_only_the_checks_that_stand_in_the_way_are_in_the_error():
    mixed = verdict(FAIL, outcome(PASS), CheckOutcome("must-pass", FAIL, "a broke"))
    with pytest.raises(GateFailed) as caught:
        mixed.raise_for_status()
    assert str(caught.value) == str(mixed) == "fail: m/1/v1\n  must-pass: a broke"


def test_the_worst_of_none_is_an_error():
    assert worst([]) is ERROR


@pytest.mark.parametrize("statuses", [c for n in range(1, 5) for c in itertools.combinations(Status, n)])
def test_fail_is_worse_than_error_than_inconclusive_than_pass(statuses):
    expected = min(statuses, key=[FAIL, ERROR, INCONCLUSIVE, PASS].index)
    assert all(worst(list(order)) is expected for order in itertools.permutations(statuses))
    assert worst([*statuses, *statuses]) is expected


@pytest.mark.parametrize("found", [FULL, verdict(PASS, outcome(PASS)), verdict(ERROR)])
def test_a_verdict_round_trips_through_json(found):
    back = Verdict.from_dict(json.loads(canonical_json(found.to_dict())))
    assert back == found
    assert back.digest == found.digest


def test_every_field_is_always_there():
    for found in (FULL, verdict(PASS, CheckOutcome("c", PASS, "fine"))):
        row = found.to_dict()
        assert set(row) == VERDICT_FIELDS
        assert all(set(check) == CHECK_FIELDS for check in row["checks"])
        assert row["format"] == VERDICT_FORMAT == "aigate.verdict/1"
    assert set(FULL.to_dict()["checks"][0]["interval"]) == {"low", "high", "level", "method"}
    assert set(FULL.to_dict()["checks"][0]["moved"][0]) == {"id", "baseline", "candidate", "note"}
    assert set(FULL.to_dict()["checks"][0]["reasons"][0]) == {"code", "text", "hint"}


def test_reasons_are_of_the_checks_that_decided_and_notes_of_those_that_passed():
    assert [reason.code for reason in FULL.reasons] == ["below-threshold", "a-code"]
    assert [reason.code for reason in FULL.notes] == ["a-note"]
    assert FULL.to_dict()["reason_codes"] == ["a-code", "below-threshold"]


@pytest.mark.parametrize("format_", ["aigate.verdict/2", None, "aigate.run/1"])
def test_another_format_is_refused(format_):
    with pytest.raises(ValueError, match=r"expected format 'aigate.verdict/1'"):
        Verdict.from_dict({**FULL.to_dict(), "format": format_})


def test_a_status_that_is_none_is_refused():
    with pytest.raises(ValueError, match="passed"):
        Verdict.from_dict({**FULL.to_dict(), "status": "passed"})


def test_a_check_compared_with_a_baseline_when_it_used_the_repeats_of_two_runs():
    assert outcome(PASS, n_repeats=(1, 1)).baseline_bound
    assert not outcome(PASS, n_repeats=(1,)).baseline_bound
    assert outcome(PASS).label == "min-score correct"
    assert CheckOutcome("same-shape", PASS, "").label == "same-shape"
