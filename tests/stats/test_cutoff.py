import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aigate.stats.agreement import agreement
from aigate.stats.cutoff import judged_elsewhere, specificity_cutoff, youden_cutoff

ROWS = st.lists(st.tuples(st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.5000001, 0.75, 1.0]), st.booleans()), min_size=2)


def both_kinds(rows):
    return len({label for _, label in rows}) == 2


@given(ROWS.filter(both_kinds))
def test_no_other_cut_has_a_larger_j(rows):
    scores, labels = np.array([s for s, _ in rows]), np.array([float(label) for _, label in rows])
    cut = youden_cutoff(scores, labels)
    found = agreement(scores >= cut, labels).youden_j
    others = [agreement(scores >= other, labels).youden_j for other in (*np.unique(scores), 2.0)]
    assert found == pytest.approx(max(others))


@given(ROWS.filter(both_kinds), st.sampled_from([0.3, 0.5, 0.9, 0.99]))
def test_a_wanted_specificity_is_reached_by_no_lower_cut(rows, wanted):
    scores, labels = np.array([s for s, _ in rows]), np.array([float(label) for _, label in rows])
    cut = specificity_cutoff(scores, labels, specificity=wanted)
    assert agreement(scores >= cut, labels).specificity >= wanted - 1e-9
    lower = [other for other in np.unique(scores) if other < cut]
    lower = [other for other in lower if not np.array_equal(scores >= other, scores >= cut)]
    assert all(agreement(scores >= other, labels).specificity < wanted for other in lower)


@pytest.mark.parametrize(
    ("low", "high", "cut"),
    [(0.61234, 0.67891, 0.65), (0.1, 0.9, 0.5), (0.999, 1.0, 1.0), (0.50001, 0.500012, 0.500011), (0.3, 0.4, 0.35)],
)
def test_cuts_are_short_numbers_between_two_scores(low, high, cut):
    assert youden_cutoff([low, high], [0, 1]) == cut


def test_a_judge_that_is_upside_down_calls_all_or_nothing_good():
    cut = youden_cutoff([0.9, 0.8, 0.2, 0.1], [0, 0, 1, 1])
    assert cut > 0.9 or cut <= 0.1


def test_a_cut_chosen_on_noise_is_worth_nothing_elsewhere():
    random = np.random.default_rng(4)
    here, elsewhere = [], []
    for seed in range(60):
        scores, labels, units = random.random(60), np.arange(60) % 2, np.repeat(np.arange(20), 3)
        here.append(agreement(scores >= youden_cutoff(scores, labels), labels).youden_j)
        says = judged_elsewhere(scores, labels, units, cutoff=youden_cutoff, seed=seed)
        elsewhere.append(agreement(says, labels).youden_j)
    assert np.mean(here) > 0.12
    assert abs(np.mean(elsewhere)) < 0.06


def test_no_row_has_a_part_in_its_own_cut():
    scores = np.array([0.1, 0.2, 0.3, 0.7, 0.8, 0.9])
    seen = []

    def cutoff(values, labels):
        seen.append((values.tolist(), labels.tolist()))
        return 0.5

    judged_elsewhere(scores, [0, 0, 0, 1, 1, 1], list("abcabc"), cutoff=cutoff, seed=0)
    assert sorted(values for values, _ in seen) == [[0.1, 0.2, 0.7, 0.8], [0.1, 0.3, 0.7, 0.9], [0.2, 0.3, 0.8, 0.9]]


@pytest.mark.parametrize(
    ("scores", "labels", "message"),
    [([0.1, 0.2], [1, 1], "all of one kind"), ([0.1], [1, 0], "2 of them"), ([0.1, 0.2], [1, 0.5], "0 or 1")],
)
def test_what_cannot_be_cut_is_refused(scores, labels, message):
    with pytest.raises(ValueError, match=message):
        youden_cutoff(scores, labels)


def test_too_few_rows_to_judge_a_cut_are_refused():
    with pytest.raises(ValueError, match="all of one kind"):
        judged_elsewhere([0.1, 0.2, 0.9], [0, 0, 1], list("abc"), cutoff=youden_cutoff, seed=0)
