"""Grouped labels: design effects, and the intervals of agreement, AUROC and contrast by simulation."""

import math

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from aigate.stats.agreement import agreement, auroc, contrast
from aigate.stats.design import effect_of, level_for, linear_variance, share_effect, units_of

RUNS = 400


def test_rows_of_their_own_are_no_groups():
    assert units_of(None, n=3) is None
    assert units_of(["a", "b", "c"], n=3) is None
    assert units_of(["a", "b", "a"], n=3).tolist() == [0, 1, 0]


def test_effect_is_the_group_size_where_groups_are_of_one_mind_and_one_where_they_are_not():
    codes = np.repeat(np.arange(100), 5)
    alike = np.repeat(np.arange(100) % 2, 5).astype(float)
    assert share_effect(alike, codes) == pytest.approx(5.0, rel=0.02)
    assert share_effect(np.tile([0.0, 1.0, 0.0, 1.0, 1.0], 100), codes) == 1.0
    assert share_effect(alike, None) == 1.0


def test_without_a_single_error_each_unit_counts_as_one_row():
    assert share_effect(np.ones(40), np.repeat(np.arange(8), 5)) == 5.0
    assert effect_of(np.zeros(6), np.array([0, 0, 0, 1, 2, 3])) == pytest.approx(12 / 6)


def test_few_units_widen_the_level_and_one_knows_nothing():
    assert level_for(0.95, None) == 0.95
    assert level_for(0.95, np.arange(5)) > level_for(0.95, np.arange(50)) > 0.95
    assert level_for(0.95, np.zeros(9, dtype=int)) == 1.0


def test_variance_of_a_mean_is_the_usual_one():
    x = np.random.default_rng(1).normal(size=50)
    assert linear_variance((x - x.mean()) / 50, None) == pytest.approx(x.var(ddof=1) / 50)


def test_units_of_one_row_each_change_nothing():
    judge, human = [1, 1, 0, 0, 1, 0, 1, 1], [1, 0, 0, 0, 1, 1, 1, 0]
    assert agreement(judge, human, units=list("abcdefgh")) == agreement(judge, human)
    scores = [0.9, 0.8, 0.1, 0.3, 0.7, 0.6, 0.5, 0.2]
    assert auroc(scores, human, units=list("abcdefgh")) == auroc(scores, human)
    assert contrast(scores, human, units=list("abcdefgh")) == contrast(scores, human)


def test_a_single_unit_tells_no_interval():
    found = agreement([1, 0, 1, 0], [1, 0, 0, 1], units=["a"] * 4)
    assert found.sensitivity == 0.5
    assert found.sensitivity_interval == (0.0, 1.0)
    assert (found.youden_j_interval, found.kappa_interval) == ((-1.0, 1.0), (-1.0, 1.0))
    area = auroc([0.1, 0.9, 0.4, 0.2], [1, 0, 0, 1], units=["a"] * 4)
    assert (area.low, area.high) == (0.0, 1.0)
    seen = contrast([0.1, 0.9, 0.4, 0.2], [1, 0, 0, 1], units=["a"] * 4)
    assert (seen.low, seen.high) == (-1.0, 1.0)


def test_copies_of_rows_make_no_interval_narrower():
    random = np.random.default_rng(2)
    human = random.integers(0, 2, 80)
    judge = np.where(random.random(80) < 0.8, human, 1 - human)
    scores = judge * 0.5 + random.random(80) * 0.4
    units = np.repeat(np.arange(80), 6)
    for found, alone in (
        (agreement(np.repeat(judge, 6), np.repeat(human, 6), units=units), agreement(judge, human)),
        (auroc(np.repeat(scores, 6), np.repeat(human, 6), units=units), auroc(scores, human)),
    ):
        ends = ("youden_j_interval", "sensitivity_interval") if hasattr(found, "kappa") else ()
        for name in ends:
            assert np.ptp(getattr(found, name)) >= np.ptp(getattr(alone, name)) - 1e-9
        if not ends:
            assert found.high - found.low >= alone.high - alone.low - 1e-9


def test_design_effect_of_an_area_agrees_with_a_bootstrap_over_units():
    scores, human, units = grouped(np.random.default_rng(5), units=60, size=6)
    found = auroc(scores, human, units=units)
    random, areas = np.random.default_rng(6), []
    members = [np.flatnonzero(units == unit) for unit in np.unique(units)]
    for _ in range(RUNS):
        rows = np.concatenate([members[i] for i in random.integers(0, len(members), len(members))])
        areas.append(roc_auc_score(human[rows], scores[rows]))
    assert (found.high - found.low) / (2 * 1.96) == pytest.approx(np.std(areas), rel=0.25)


def grouped(random, *, units, size, sensitivity=0.85, specificity=0.75):
    """Scores and labels of documents that are good or bad as a whole, judged by errors that go with the document."""
    mood = np.repeat(random.random(units), size)
    human = (random.random(units * size) < np.repeat(random.beta(1.5, 1.5, units), size)).astype(float)
    # An error of a row is drawn with its document's mood half of the time: errors within a document are alike.
    draw = np.where(random.random(units * size) < 0.6, mood, random.random(units * size))
    says = np.where(human == 1.0, draw < sensitivity, draw >= specificity).astype(float)
    return 0.6 * says + 0.4 * random.random(units * size), human, np.repeat(np.arange(units), size)


@pytest.mark.parametrize(("units", "size"), [(20, 4), (40, 8), (100, 3)])
def test_intervals_of_grouped_rows_cover_what_they_say(units, size):
    random = np.random.default_rng([units, size])
    truth = {"sensitivity": 0.85, "specificity": 0.75, "youden_j": 0.60}
    scores, human, _ = grouped(np.random.default_rng(9), units=40_000, size=5)
    area, gap = roc_auc_score(human, scores), scores[human == 1].mean() - scores[human == 0].mean()
    inside = dict.fromkeys((*truth, "auroc", "contrast", "ignored"), 0)
    for _ in range(RUNS):
        scores, human, codes = grouped(random, units=units, size=size)
        says = (scores >= 0.5).astype(float)
        found, alone = agreement(says, human, units=codes), agreement(says, human)
        for name, value in truth.items():
            low, high = getattr(found, f"{name}_interval")
            inside[name] += low <= value <= high
        low, high = alone.youden_j_interval
        inside["ignored"] += low <= truth["youden_j"] <= high
        seen, spread = auroc(scores, human, units=codes), contrast(scores, human, units=codes)
        inside["auroc"] += seen.low <= area <= seen.high
        inside["contrast"] += spread.low <= gap <= spread.high
    error = math.sqrt(0.05 * 0.95 / RUNS)
    for name in (*truth, "auroc", "contrast"):
        assert inside[name] / RUNS >= 0.95 - 3 * error, (name, inside)
    if size > 3:
        assert inside["ignored"] / RUNS < 0.95 - 3 * error  # what happens where the documents are forgotten
