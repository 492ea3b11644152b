"""Metrics of wins and losses against the baseline's answers: even is 0.5, one answer each, a family of their own."""

import numpy as np
import pytest

from aigate.core.score import MetricSpec
from aigate.core.verdict import Status
from aigate.gating.checks.no_regression import NoRegression
from aigate.gating.comparison import Comparison
from aigate.gating.decision import gate
from aigate.gating.policy import Policy

IDS = [f"s{i:03}" for i in range(60)]
OTHER = MetricSpec("correct", "recorded:correct", deterministic=False)


def against(digest):
    return MetricSpec("pairwise", "pairwise", deterministic=False, against=digest)


@pytest.fixture
def runs(make_run):
    """A baseline, and a candidate with scores against it; both with repeats."""

    def make(scores, *, correct=1.0, repeats=1, baseline_repeats=1, digest=None):
        baseline = make_run({"correct": {id_: [1.0] * baseline_repeats for id_ in IDS}}, specs=[OTHER])
        tables = {
            "correct": {id_: [correct] * repeats for id_ in IDS},
            "pairwise": {id_: [score, *[1.0] * (repeats - 1)] for id_, score in zip(IDS, scores, strict=True)},
        }
        specs = [OTHER, against(baseline.digest if digest is None else digest)]
        return make_run(tables, specs=specs, version="m/1/v2"), baseline

    return make


def outcome(candidate, baseline, *checks):
    verdict = gate(candidate, Policy(checks or (NoRegression("pairwise", margin=0.1),)), baseline=baseline)
    return {c.metric: c for c in verdict.checks if c.check == "no-regression"}, verdict


def test_the_baseline_is_worth_a_half_for_each_sample_and_only_first_answers_count(runs):
    candidate, baseline = runs([1.0] * 20 + [0.0] * 40, repeats=3, baseline_repeats=2)
    paired = Comparison(candidate, baseline).paired("pairwise")
    assert paired.candidate.values.shape == paired.baseline.values.shape == (60, 1)
    assert np.unique(paired.baseline.values).tolist() == [0.5]
    assert paired.candidate.values.sum() == 20


@pytest.mark.parametrize("repeats", [1, 3])
def test_losses_block_and_wins_pass_beside_a_metric_with_other_repeats(runs, repeats):
    checks = (NoRegression("pairwise", margin=0.1), NoRegression("correct", margin=0.1))
    candidate, baseline = runs([0.0] * 40 + [1.0] * 20, repeats=repeats, baseline_repeats=2)
    found, verdict = outcome(candidate, baseline, *checks)
    assert (found["pairwise"].status, found["correct"].status) == (Status.FAIL, Status.PASS)
    candidate, baseline = runs([1.0] * 50 + [0.5] * 10, repeats=repeats, baseline_repeats=2)
    found, verdict = outcome(candidate, baseline, *checks)
    assert verdict.status is Status.PASS


def test_each_family_spends_its_share_of_alpha(runs):
    # 23 losses and 11 wins: p = 0.029 one-sided, which blocks alone at 5 %, and not at half of it.
    scores = [0.0] * 23 + [1.0] * 11 + [0.5] * 26
    candidate, baseline = runs(scores)
    assert outcome(candidate, baseline)[0]["pairwise"].status is Status.FAIL
    found, _ = outcome(candidate, baseline, NoRegression("pairwise", margin=0.1), NoRegression("correct", margin=0.1))
    assert found["pairwise"].status is Status.INCONCLUSIVE


def test_the_error_rate_of_equal_versions_is_kept():
    """Scores of equal versions against each other: as often won as lost, a third of them ties."""
    from aigate.stats.relabel import TrialRows, relabel_test

    rng = np.random.default_rng(5)
    blocked = 0
    for _ in range(400):
        scores = rng.choice([0.0, 0.5, 1.0], size=(40, 1, 1))
        even, mask = np.full((40, 1, 1), 0.5), np.ones((40, 1), dtype=bool)
        result = relabel_test(TrialRows(scores, even, mask, np.arange(40)), seed=int(rng.integers(2**32)), alpha=0.05)
        blocked += bool(result.p[0] <= 0.05)
    assert blocked / 400 <= 0.075  # 5 %, and twice its standard error


@pytest.mark.parametrize("digest", ["", "sha256:" + "0" * 64])
def test_scores_against_another_run_or_none_cannot_be_compared(runs, digest):
    candidate, baseline = runs([1.0] * 60, digest=digest)
    found, verdict = outcome(candidate, baseline)
    codes = {why.code for check in verdict.checks for why in check.reasons}
    assert (found["pairwise"].status, "other-baseline" in codes) == (Status.ERROR, True)


def test_the_baseline_misses_no_scores_that_it_never_had(runs):
    candidate, baseline = runs([None] * 3 + [1.0] * 57)
    found, verdict = outcome(candidate, baseline)
    codes = {why.code for check in verdict.checks for why in check.reasons}
    assert (found["pairwise"].status, "missing-arms-differ" in codes) == (Status.PASS, False)


def test_a_baseline_that_was_judged_again_is_still_the_one_it_was(runs, make_run):
    candidate, baseline = runs([1.0] * 60)
    again = make_run({"correct": {id_: [1.0] for id_ in IDS}}, specs=[OTHER], rejudged_from=baseline.digest)
    assert again.digest != baseline.digest
    assert outcome(candidate, again)[0]["pairwise"].status is Status.PASS


def test_the_spec_of_other_metrics_is_stored_as_before():
    assert "against" not in OTHER.to_dict()
    assert MetricSpec.from_dict(OTHER.to_dict()) == OTHER
    assert MetricSpec.from_dict(against("x").to_dict()) == against("x")
