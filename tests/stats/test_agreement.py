"""Agreement with human labels, against sklearn and statsmodels, and its intervals by simulation."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import ndtri
from scipy.stats import norm
from sklearn.metrics import balanced_accuracy_score, cohen_kappa_score, confusion_matrix, roc_auc_score
from statsmodels.stats.proportion import confint_proportions_2indep, proportion_confint

from aigate.stats.agreement import agreement, auroc, detectable_under_judge


def labels(tp, fn, fp, tn):
    """Judge and human labels with these counts."""
    return [1] * tp + [0] * fn + [1] * fp + [0] * tn, [1] * (tp + fn) + [0] * (fp + tn)


TABLES = [(40, 5, 3, 12), (1, 2, 3, 4), (70, 10, 10, 10), (20, 0, 0, 5), (0, 6, 7, 0), (5, 5, 5, 5)]


@pytest.mark.parametrize("table", TABLES)
def test_figures_agree_with_sklearn(table):
    judge, human = labels(*table)
    found = agreement(judge, human)
    assert [[found.true_negatives, found.false_positives], [found.false_negatives, found.true_positives]] == (
        confusion_matrix(human, judge).tolist()
    )
    assert found.n == len(human)
    assert found.kappa == pytest.approx(cohen_kappa_score(judge, human))
    assert found.balanced_accuracy == pytest.approx(balanced_accuracy_score(human, judge))
    assert found.youden_j == pytest.approx(balanced_accuracy_score(human, judge, adjusted=True))
    assert found.sensitivity == pytest.approx(table[0] / (table[0] + table[1]))
    assert found.specificity == pytest.approx(table[3] / (table[2] + table[3]))


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("level", [0.90, 0.95])
def test_intervals_agree_with_statsmodels(table, level):
    tp, fn, fp, tn = table
    found = agreement(*labels(*table), level=level)
    alpha = 1 - level
    assert found.sensitivity_interval == pytest.approx(proportion_confint(tp, tp + fn, alpha, "wilson"))
    assert found.specificity_interval == pytest.approx(proportion_confint(tn, tn + fp, alpha, "wilson"))
    newcombe = confint_proportions_2indep(tp, tp + fn, fp, fp + tn, method="newcomb", compare="diff", alpha=alpha)
    assert found.youden_j_interval == pytest.approx(newcombe, abs=1e-12)


@pytest.mark.parametrize("table", TABLES)
def test_kappa_interval_is_wilsons_rescaled_by_chance_agreement(table):
    tp, fn, fp, tn = table
    found, n = agreement(*labels(*table)), sum(table)
    chance = ((tp + fn) * (tp + fp) + (fp + tn) * (fn + tn)) / n**2
    ends = [(end - chance) / (1 - chance) for end in proportion_confint(tp + tn, n, 0.05, "wilson")]
    assert found.kappa_interval == pytest.approx((max(-1.0, ends[0]), ends[1]))
    assert found.kappa_interval[0] <= found.kappa <= found.kappa_interval[1]


@pytest.mark.parametrize(("prevalence", "sensitivity", "specificity"), [(0.5, 0.9, 0.8), (0.8, 0.9, 0.8), (0.5, 1, 1)])
def test_kappa_interval_covers_what_it_says_with_fifty_labels(prevalence, sensitivity, specificity):
    cells = np.outer([prevalence, 1 - prevalence], [1, 1]) * [
        [sensitivity, 1 - sensitivity],
        [1 - specificity, specificity],
    ]
    judged = cells[0, 0] + cells[1, 0]
    chance = prevalence * judged + (1 - prevalence) * (1 - judged)
    truth = (cells[0, 0] + cells[1, 1] - chance) / (1 - chance)
    random, covered, runs = np.random.default_rng(3), 0, 600
    for _ in range(runs):
        tp, fn, fp, tn = random.multinomial(50, cells.ravel())
        low, high = agreement(*labels(tp, fn, fp, tn)).kappa_interval
        covered += low - 1e-12 <= truth <= high + 1e-12
    assert covered / runs >= 0.95 - 3 * math.sqrt(0.05 * 0.95 / runs)


def test_full_agreement_of_few_labels_is_not_certainty():
    found = agreement(*labels(10, 0, 0, 10))
    assert (found.kappa, found.youden_j) == (1.0, 1.0)
    assert found.kappa_interval[0] < 0.8
    assert found.youden_j_interval[0] < 0.7
    assert (found.kappa_interval[1], found.youden_j_interval[1]) == (1.0, 1.0)


def test_humans_who_say_one_thing_only_leave_the_other_share_undefined():
    good = agreement([1, 1, 0], [1, 1, 1])
    assert (good.sensitivity, good.specificity, good.kappa) == (pytest.approx(2 / 3), None, 0.0)
    assert (good.balanced_accuracy, good.youden_j) == (None, None)
    assert (good.specificity_interval, good.youden_j_interval) == ((0.0, 1.0), (-1.0, 1.0))
    bad = agreement([1, 0, 0], [0, 0, 0])
    assert (bad.sensitivity, bad.specificity, bad.youden_j) == (None, pytest.approx(2 / 3), None)


@pytest.mark.parametrize("both", [0, 1])
def test_kappa_is_undefined_where_both_say_the_same_thing_throughout(both):
    found = agreement([both] * 5, [both] * 5)
    assert (found.kappa, found.kappa_interval) == (None, (-1.0, 1.0))


def test_without_samples_every_figure_is_undefined():
    found = agreement([], [])
    assert found.n == 0
    assert {found.kappa, found.sensitivity, found.specificity, found.balanced_accuracy, found.youden_j} == {None}


def test_booleans_are_labels():
    assert agreement([True, False], np.array([True, True])) == agreement([1, 0], [1, 1])


@given(st.lists(st.tuples(st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0]), st.booleans()), min_size=2, max_size=40))
def test_area_agrees_with_sklearn_also_with_ties(rows):
    scores, truth = [score for score, _ in rows], [good for _, good in rows]
    found = auroc(scores, truth)
    assert (found.positives, found.negatives) == (sum(truth), len(truth) - sum(truth))
    if all(truth) or not any(truth):
        assert (found.estimate, found.low, found.high) == (None, 0.0, 1.0)
    else:
        assert found.estimate == pytest.approx(roc_auc_score(truth, scores))
        assert 0.0 <= found.low <= found.estimate <= found.high <= 1.0


@pytest.mark.parametrize("area", [0.6, 0.85, 0.97])
@pytest.mark.parametrize(("positives", "negatives"), [(40, 10), (60, 60)])
def test_area_interval_covers_what_it_says(area, positives, negatives):
    random, shift, covered, runs = np.random.default_rng(4), norm.ppf(area) * math.sqrt(2), 0, 500
    truth = np.repeat([1, 0], [positives, negatives])
    for _ in range(runs):
        found = auroc(random.normal(size=positives + negatives) + shift * truth, truth)
        covered += found.low <= area <= found.high
    assert 0.95 - 3 * math.sqrt(0.05 * 0.95 / runs) <= covered / runs


def test_area_interval_ends_where_the_area_is_z_standard_errors_away():
    found, m, n, z = auroc([3, 2, 1, 4, 5, 2.5, 0, 1.5], [1, 0, 0, 1, 1, 0, 0, 1], level=0.9), 4, 4, ndtri(0.95)
    for end in (found.low, found.high):
        # Hanley and McNeil (1982), with both class sizes replaced by their mean.
        q1, q2, mean = end / (2 - end), 2 * end**2 / (1 + end), (m + n) / 2
        variance = (end * (1 - end) + (mean - 1) * (q1 + q2 - 2 * end**2)) / (m * n)
        assert abs(end - found.estimate) == pytest.approx(z * math.sqrt(variance), abs=1e-9)


def test_scores_that_separate_few_labels_are_not_certain_to():
    found = auroc([0.9, 0.8, 0.7, 0.2, 0.1], [1, 1, 1, 0, 0])
    assert (found.estimate, found.high) == (1.0, 1.0)
    assert found.low < 0.75
    opposite = auroc([0.2, 0.1, 0.9, 0.8, 0.7], [1, 1, 0, 0, 0])
    assert (opposite.estimate, opposite.low) == (0.0, 0.0)
    assert opposite.high > 0.25


def test_a_judges_errors_enlarge_the_smallest_drop_that_is_seen():
    assert detectable_under_judge(0.067, 0.67) == pytest.approx(0.1)
    assert detectable_under_judge(0.07, 1.0) == 0.07
    assert detectable_under_judge(0.5, 0.3) == 1.0


@pytest.mark.parametrize("j", [0.0, -0.4])
def test_nothing_is_detected_through_a_judge_no_better_than_chance(j):
    assert detectable_under_judge(0.0, j) == 1.0


def test_independent_judge_errors_shrink_a_drop_by_j():
    random, n, sensitivity, specificity = np.random.default_rng(5), 200_000, 0.9, 0.8
    seen = []
    for share in (0.88, 0.78):
        truth = random.random(n) < share
        judged = np.where(truth, random.random(n) < sensitivity, random.random(n) >= specificity)
        seen.append(judged.mean())
        found = agreement(judged, truth)
    assert detectable_under_judge(seen[0] - seen[1], found.youden_j) == pytest.approx(0.10, abs=0.01)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: agreement([1, 0.5], [1, 0]), r"^judge: got 0.5, expected 0 or 1"),
        (lambda: agreement([1, 0], [1, 2]), r"^human: got 2.0, expected 0 or 1"),
        (lambda: agreement([1, 0], [1, math.nan]), r"^human: got nan at \[1\]"),
        (lambda: agreement([1, 0], [1]), r"^human: got 1 labels, expected one for each of 2"),
        (lambda: agreement([1, 0], [1, 0], level=95), r"^level: got 95"),
        (lambda: auroc([0.1, math.nan], [1, 0]), r"^scores: got nan"),
        (lambda: auroc([0.1, 0.2], [1, 3]), r"^labels: got 3.0"),
        (lambda: auroc([0.1, 0.2], [1]), r"^labels: got 1 of them"),
        (lambda: auroc([0.1, 0.2], [1, 0], level=1.0), r"^level: got 1.0"),
        (lambda: detectable_under_judge(-0.1, 0.5), r"^drop: got -0.1"),
        (lambda: detectable_under_judge(math.nan, 0.5), r"^drop: got nan"),
        (lambda: detectable_under_judge(0.1, 1.5), r"^youden_j: got 1.5"),
    ],
)
def test_what_cannot_be_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
