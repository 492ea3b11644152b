"""`compare`: differences with intervals, worst samples first, and nothing decided."""

import pytest

from aigate.errors import UsageError
from aigate.gating.checks.min_score import MinScore
from aigate.gating.checks.no_regression import NoRegression
from aigate.gating.decision import gate
from aigate.gating.policy import Policy
from aigate.gating.tables import compare


def scores(good, n=100):
    return {f"s{i:03}": [float(i < good)] for i in range(n)}


def test_rows_hold_every_metric_and_slice_with_an_interval(make_run):
    tags = {f"s{i:03}": ["first" if i < 50 else "second"] for i in range(100)}
    base, worse = make_run(scores(80), tags=tags), make_run(scores(50), tags=tags, version="m/1/v2")
    rows = {row["slice"]: row for row in compare(base, worse).rows()}
    whole = rows[None]
    assert (whole["candidate"], whole["baseline"]) == ("m/1/v2", "m/1/v1")
    assert whole["difference"] == pytest.approx(-0.3)
    assert -1 <= whole["low"] < -0.3 < whole["high"] <= 0
    assert rows["second"]["difference"] == pytest.approx(-0.6)
    assert rows["first"]["difference"] == 0


def test_a_frame_has_the_same_rows(make_run):
    compared = compare(make_run(scores(80)), make_run(scores(50)), make_run(scores(90)))
    frame = compared.to_frame()
    assert len(frame) == len(compared.rows()) == 2
    assert frame["difference"].tolist() == pytest.approx([-0.3, 0.1])


def test_worst_gives_the_samples_that_fell_furthest_with_both_answers(make_run):
    base = make_run({"a": [1.0], "b": [1.0], "c": [0.2]}, outputs={"a": "good a", "b": "good b"})
    now = make_run({"a": [0.7], "b": [0.0], "c": [1.0]}, outputs={"a": "so a", "b": "bad b"})
    worst = compare(base, now).worst(10)
    assert [row["id"] for row in worst] == ["b", "a"]
    assert (worst[0]["baseline_output"], worst[0]["candidate_output"]) == ("good b", "bad b")
    assert len(compare(base, now).worst(1)) == 1


def test_runs_that_are_not_comparable_say_why_and_give_no_number(make_run):
    other = make_run({"x": [1.0], "y": [0.0]})
    rows = compare(make_run(scores(80)), other).rows()
    assert len(rows) == 1
    assert "are the same in both runs" in rows[0]["not_comparable"]
    assert "difference" not in rows[0]
    assert "not comparable" in str(compare(make_run(scores(80)), other))


def test_text_tells_each_metric_with_its_interval(make_run):
    assert "correct  0.800 → 0.500 (-30.0 points, 90% interval" in str(
        compare(make_run(scores(80)), make_run(scores(50)))
    )


def test_one_run_alone_cannot_be_compared(make_run):
    with pytest.raises(UsageError, match="one run alone"):
        compare(make_run(scores(80)))


@pytest.mark.parametrize("policy", [{"margin": 0.1}, {"margin": 0.02, "valid_days": 3}, {}])
def test_the_bounds_are_those_of_the_gate_whatever_its_policy_tolerates(make_run, policy):
    graded = {f"s{i:03}": [i * 37 % 100 / 100] for i in range(60)}
    base, now = make_run(graded), make_run({id_: [1 - mean for mean in means] for id_, means in graded.items()})
    [row] = compare(base, now).rows()
    verdict = gate(now, Policy((NoRegression("correct"), MinScore("correct", at_least=0.1)), **policy), baseline=base)
    [check] = [check for check in verdict.checks if check.check == "no-regression"]
    assert "bootstrap" in check.interval.method
    assert (check.interval.low, check.interval.high) == (row["low"], row["high"])
