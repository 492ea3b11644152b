"""The tables of scorers against people."""

import calibration
from aigate.core.score import Score, Unscored
from aigate.scorers.calibration import Labelled


def rows(score):
    return [Labelled(f"s{i}", f"o{i}", f"u{i % 30}", (), score(i), good=i % 3 > 0) for i in range(90)]


def test_a_scorer_is_one_line_with_its_figures():
    good = Score(0.9), Score(0.1)
    *_, told = calibration.table(iter([("mine", rows(lambda i: good[0] if i % 3 else good[1]))]))
    assert told.startswith("| mine | 90 | 30 | 67% | 1.000 (")
    assert "| 1.000 | 1.000 (" in told
    assert told.endswith("| yes |")


def test_f1_is_that_of_finding_bad_answers():
    # 30 bad of 90, of which 15 are found; no good one is called bad: precision 1, recall 1/2.
    found = rows(lambda i: Score(0.0 if i % 6 == 0 else 1.0))
    *_, told = calibration.table(iter([("half", found)]))
    assert "| 0.667 |" in told


def test_a_scorer_that_often_fails_gets_a_line_that_says_so():
    *_, told = calibration.table(iter([("broken", rows(lambda i: Unscored("judge_error", "no value")))]))
    assert told.startswith("| broken | 90 |")
    assert "90 of 90 labelled answers got no score" in told
