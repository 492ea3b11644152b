"""Judges and people: a weak judge may not gate, what a judge shrinks is said, and people's labels decide."""

from dataclasses import replace

import numpy as np
import pytest

from aigate.core.response import Response
from aigate.core.score import MetricSpec, Score
from aigate.core.verdict import Status
from aigate.errors import ConfigError
from aigate.gating.checks.min_score import MinScore
from aigate.gating.checks.no_regression import NoRegression
from aigate.gating.decision import gate
from aigate.gating.policy import Policy
from aigate.scorers.calibration import Cut, Labelled, calibrate

JUDGED = MetricSpec("faithful", "grounding", deterministic=False)
MODEL = MetricSpec("faithful", "faithfulness", deterministic=False, judge={"version": "j/1/v1"})
PLAIN = MetricSpec("faithful", "recorded:faithful", deterministic=False)


def calibration(spec, accuracy):
    random = np.random.default_rng(1)
    made = []
    for i in range(400):
        good = bool(random.random() < 0.5)
        says = float(good == (random.random() < accuracy))
        made.append(Labelled(f"s{i}", f"o{i}", f"u{i}", (), Score(says), good=good))
    return calibrate(made, spec, human="scores.human", cut=Cut(), made_at="2026-01-01T00:00:00Z").to_dict()


def verdict(make_run, spec=JUDGED, *, known=None, policy=None, good=190):
    scores = {f"s{i:03}": [float(i < good)] for i in range(200)}
    calibrations = {} if known is None else {"faithful": known}
    run = make_run(scores, metric="faithful", specs=[spec], calibrations=calibrations)
    policy = policy or Policy((NoRegression("faithful", margin=0.2),))
    return gate(run, policy, baseline=make_run(scores, metric="faithful", specs=[spec]))


def agreement(found):
    return next((check for check in found.checks if check.check == "judge-agreement"), None)


def test_a_weak_judge_cannot_pass(make_run):
    found = verdict(make_run, known=calibration(JUDGED, 0.7))
    assert found.status is Status.INCONCLUSIVE
    [why] = agreement(found).reasons
    assert why.code == "weak-judge"
    assert 'accept-weak-judge = ["faithful"]' in why.hint


def test_a_weak_judge_passes_where_the_policy_says_so_by_name(make_run):
    policy = Policy((NoRegression("faithful", margin=0.2),), accept_weak_judge=("faithful",))
    found = verdict(make_run, known=calibration(JUDGED, 0.7), policy=policy)
    assert found.status is Status.PASS
    assert [why.code for why in agreement(found).reasons] == ["weak-judge-accepted"]
    other = replace(policy, accept_weak_judge=("another",))
    assert verdict(make_run, known=calibration(JUDGED, 0.7), policy=other).status is Status.INCONCLUSIVE


def test_a_weak_judge_still_blocks(make_run):
    known = calibration(JUDGED, 0.7)
    base = make_run({f"s{i:03}": [1.0] for i in range(200)}, metric="faithful", specs=[JUDGED])
    worse = {f"s{i:03}": [float(i < 100)] for i in range(200)}
    run = make_run(worse, metric="faithful", specs=[JUDGED], calibrations={"faithful": known})
    assert gate(run, Policy((NoRegression("faithful"),)), baseline=base).status is Status.FAIL


def test_a_strong_judge_passes_and_its_drop_is_told_as_people_judge(make_run):
    known = calibration(JUDGED, 0.9)
    found = verdict(make_run, known=known)
    assert found.status is Status.PASS
    assert agreement(found).reasons == ()
    check = next(check for check in found.checks if check.check == "no-regression")
    told, j = check.details["as_people_judge"], known["overall"]["youden_j"]["value"]
    assert told["contrast"] == pytest.approx(j)
    assert told["detectable"] == pytest.approx(check.smallest_detectable_drop / j)
    assert told["margin"] == pytest.approx(0.2 / j)
    assert "; as people judge sees " in check.summary


def test_a_judge_that_nobody_measured_is_told_of(make_run):
    for spec in (JUDGED, MODEL):
        found = agreement(verdict(make_run, spec))
        assert found.status is Status.PASS
        assert [why.code for why in found.reasons] == ["judge-uncalibrated"]
    assert verdict(make_run).status is Status.PASS


def test_other_scorers_stand_for_people_once_they_are_calibrated(make_run):
    assert agreement(verdict(make_run, PLAIN)) is None
    assert verdict(make_run, PLAIN, known=calibration(PLAIN, 0.7)).status is Status.INCONCLUSIVE


def test_a_calibration_of_another_computation_does_not_count(make_run):
    old = replace(JUDGED, scorer_version=7)
    found = verdict(make_run, known=calibration(old, 0.95))
    assert [why.code for why in agreement(found).reasons] == ["calibration-stale"]
    assert "as people judge" not in next(c.summary for c in found.checks if c.check == "no-regression")


def test_a_broken_calibration_in_a_run_does_not_count(make_run):
    known = calibration(JUDGED, 0.95)
    known["overall"]["youden_j"]["value"] = 1.0
    assert [why.code for why in agreement(verdict(make_run, known=known)).reasons] == ["calibration-stale"]


def test_a_judge_that_does_not_gate_is_not_asked_about(make_run):
    both = [PLAIN, replace(JUDGED, metric="beside")]
    run = make_run({"faithful": {"a": [1.0]}, "beside": {"a": [1.0]}}, specs=both)
    assert agreement(gate(run, Policy((MinScore("faithful", at_least=0.5),)))) is None


def test_the_calibration_is_bound_to_the_verdict(make_run):
    one, other = (verdict(make_run, known=calibration(JUDGED, accuracy)) for accuracy in (0.9, 0.95))
    assert one.bound["calibrations"] != other.bound["calibrations"]
    assert "calibrations" not in verdict(make_run).bound


def test_accepting_is_read_strictly():
    table = {"checks": [{"check": "no-regression", "metric": "faithful"}]}
    assert Policy.from_config({**table, "accept-weak-judge": "faithful"}).accept_weak_judge == ("faithful",)
    policy = Policy.from_config({**table, "accept-weak-judge": ["faithful"]})
    assert Policy.from_config(policy.to_dict()) == policy
    assert "accept-weak-judge" not in Policy.from_config(table).to_dict()
    with pytest.raises(ConfigError, match="expected the names of metrics"):
        Policy.from_config({**table, "accept-weak-judge": True})
    with pytest.raises(ConfigError, match="unknown metric 'faithfull'"):
        replace(policy, accept_weak_judge=("faithfull",)).require_metrics(["faithful"], [], [], where="here")


# --- people's labels decide (PPI++) -----------------------------------------------------------------------------------

PEOPLE = Policy((NoRegression("faithful", margin=0.15, human="recorded:human"),))


def labelled_runs(
    make_run, *, drop, labels=120, n=400, seed=1, blind=0.0, first_only=None, groups=None, value=None, faults=()
):
    """Two runs in which the judge scores everything and people a random part; `blind`: drops that the judge misses."""
    random = np.random.default_rng(seed)
    ids = [f"s{i:03}" for i in range(n)]
    before = random.random(n) < 0.8
    fell = before & (random.random(n) < drop / 0.8)
    after = before & ~fell
    seen = np.where(fell & (random.random(n) < blind), before, after)
    part = set(ids[:labels] if first_only else random.permutation(ids)[:labels])
    runs = []
    for truth, judged, version in ((after, seen, "m/2/v1"), (before, before, "m/1/v1")):
        run = make_run(
            {id_: [float(x)] for id_, x in zip(ids, judged, strict=True)},
            metric="faithful",
            specs=[JUDGED],
            version=version,
            groups=groups,
        )
        values = dict(zip(ids, truth, strict=True))
        results = tuple(
            replace(
                result,
                response=Response(
                    output=result.response.output,
                    scores={"human": float(values[result.sample_id]) if value is None else value}
                    if result.sample_id in part
                    else {},
                ),
            )
            for result in run.results
        )
        runs.append(replace(run, results=results))
    return runs


def by_people(runs, policy=PEOPLE):
    found = gate(runs[0], policy, baseline=runs[1])
    return next(check for check in found.checks if check.check == "no-regression")


def test_people_pass_what_is_equal_and_block_what_fell(make_run):
    equal = by_people(labelled_runs(make_run, drop=0.0))
    assert (equal.status, equal.observed) == (Status.PASS, 0.0)
    fell = by_people(labelled_runs(make_run, drop=0.3))
    assert fell.status is Status.FAIL
    assert fell.interval.low <= -0.3 <= fell.interval.high
    assert fell.interval.method == "PPI++, Student's t"
    assert (fell.details["labelled"], fell.n_samples) == (120, 400)


def test_people_see_the_drop_that_the_judge_hides(make_run):
    runs = labelled_runs(make_run, drop=0.3, blind=1.0)
    alone = gate(runs[0], Policy((NoRegression("faithful", margin=0.15),)), baseline=runs[1])
    assert next(c for c in alone.checks if c.check == "no-regression").status is Status.PASS
    found = by_people(runs)
    assert found.status is Status.FAIL
    assert (found.details["judge_weight"], found.details["judge_alone"]) == (0.0, 0.0)


def test_a_judge_that_agrees_makes_the_interval_narrower(make_run):
    good, blind = (by_people(labelled_runs(make_run, drop=0.2, blind=blind)) for blind in (0.0, 1.0))
    assert good.interval.high - good.interval.low < 0.9 * (blind.interval.high - blind.interval.low)


@pytest.mark.parametrize("labels", [0, 1, 49])
def test_fewer_than_fifty_labels_decide_nothing(make_run, labels):
    found = by_people(labelled_runs(make_run, drop=0.0, labels=labels))
    assert found.status is Status.INCONCLUSIVE
    assert [why.code for why in found.reasons] == ["too-few-labels"]
    assert f"label {50 - labels} more" in found.reasons[0].hint


def test_labels_of_few_groups_decide_nothing(make_run):
    groups = {f"s{i:03}": f"g{i % 10}" for i in range(400)}
    found = by_people(labelled_runs(make_run, drop=0.0, groups=groups))
    assert [why.code for why in found.reasons] == ["too-few-labels"]


def test_groups_count_as_units(make_run):
    groups = {f"s{i:03}": f"g{i % 60}" for i in range(400)}
    found = by_people(labelled_runs(make_run, drop=0.3, groups=groups))
    assert found.status is Status.FAIL
    assert found.n_groups == 60


def test_labels_on_the_samples_that_did_not_fall_are_seen_to_be_no_random_part(make_run):
    equal, base = labelled_runs(make_run, drop=0.0, labels=400)
    # The judge sees the second half fall; people labelled the first half only.
    results = tuple(
        result
        if result.sample_id < "s200"
        else replace(
            result,
            scores={"faithful": Score(0.0 if int(result.sample_id[1:]) % 3 else 1.0)},
            response=Response(output=f"other {result.sample_id}"),
        )
        for result in equal.results
    )
    found = by_people([replace(equal, results=results), base])
    assert found.status is not Status.PASS
    assert "labels-not-random" in [why.code for why in found.reasons]


def test_a_label_outside_0_and_1_is_an_error(make_run):
    found = by_people(labelled_runs(make_run, drop=0.0, value=3.0))
    assert found.status is Status.ERROR
    assert [why.code for why in found.reasons] == ["labels-unusable"]


def test_rare_breakage_that_no_label_met_is_not_passed(make_run):
    policy = Policy((NoRegression("faithful", margin=0.02, human="recorded:human"),))
    assert by_people(labelled_runs(make_run, drop=0.0, labels=60), policy).status is Status.INCONCLUSIVE


def test_a_weak_judge_does_no_harm_where_people_decide(make_run):
    runs = labelled_runs(make_run, drop=0.0)
    header = replace(runs[0].header, calibrations={"faithful": calibration(JUDGED, 0.7)})
    found = gate(replace(runs[0], header=header), PEOPLE, baseline=runs[1])
    assert agreement(found) is None


def test_people_and_the_relabelling_test_share_one_alpha(make_run):
    runs = labelled_runs(make_run, drop=0.0)
    both = Policy((*PEOPLE.checks, NoRegression("faithful", margin=0.2)))
    found = [c for c in gate(runs[0], both, baseline=runs[1]).checks if c.check == "no-regression"]
    assert found[0].alpha == pytest.approx(0.025)
    assert found[1].details["block_alpha"] == pytest.approx(0.025)
    assert by_people(runs).alpha == pytest.approx(0.05)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"human": "human_faithful"}, "expected recorded:NAME"),
        ({"human": "recorded: "}, "expected recorded:NAME"),
        ({"human": "recorded:x", "slices": ("qa",)}, "cannot go together"),
        ({"human": "recorded:x", "margin": "auto"}, "needs a margin of its own"),
    ],
)
def test_what_people_cannot_decide_is_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        NoRegression("faithful", **options)


def test_an_automatic_margin_of_the_policy_is_refused():
    with pytest.raises(ConfigError, match="has none of its own"):
        Policy((NoRegression("faithful", human="recorded:x"),), margin="auto")
