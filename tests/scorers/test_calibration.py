"""A scorer against people's labels: what is measured, what is refused, and what is stored."""

import json
from dataclasses import replace

import numpy as np
import pytest

from aigate.core.score import MetricSpec, Score, Unscored
from aigate.errors import CannotJudgeError, ConfigError, UsageError
from aigate.scorers.calibration import (
    Calibration,
    Cut,
    Labelled,
    calibrate,
    calibrations_in,
    load_calibrations,
    store_calibration,
)

SPEC = MetricSpec("faithful", "grounding", scorer_version=2)


def rows(n=120, *, accuracy=0.85, seed=1, groups=40, graded=True):
    random = np.random.default_rng(seed)
    made = []
    for i in range(n):
        good = bool(random.random() < 0.6)
        right = random.random() < accuracy
        value = float(good == right)
        value = 0.6 * value + 0.4 * float(random.random()) if graded else value
        tags = ("long",) if i % 3 == 0 else ()
        made.append(Labelled(f"s{i}", f"o{i}", f"group:{i % groups}", tags, Score(value), good=good))
    return made


def measured(labelled, cut=Cut(), spec=SPEC):  # noqa: B008
    return calibrate(labelled, spec, human="scores.human", cut=cut, made_at="2026-01-01T00:00:00Z")


def test_a_good_judge_is_told_from_a_bad_one():
    good, bad = measured(rows(accuracy=0.95, n=300)), measured(rows(accuracy=0.6, n=300))
    assert good.strong
    assert good.overall.youden_j.value == pytest.approx(0.9, abs=0.12)
    assert good.overall.auroc.value > 0.9
    assert not bad.strong


def test_every_estimate_lies_in_its_interval_overall_and_per_slice():
    found = measured(rows(n=300))
    assert set(found.slices) == {"long"}
    assert found.slices["long"].n == 100
    for quality in (found.overall, *found.slices.values()):
        for name in ("auroc", "kappa", "sensitivity", "specificity", "balanced_accuracy", "youden_j", "contrast"):
            figure = getattr(quality, name)
            assert figure.low <= figure.value <= figure.high


def test_figures_at_a_chosen_cut_are_judged_on_other_groups():
    found = measured(rows(accuracy=0.5, n=200, seed=3))  # noise: every cut is chosen on chance
    assert found.elsewhere
    assert found.overall.youden_j.value < found.seen_j


def test_a_cut_that_was_fixed_beforehand_is_taken_as_it_is():
    found = measured(rows(), Cut(at=0.5))
    assert (found.cut, found.chosen, found.elsewhere, found.seen_j) == (0.5, "as given", False, None)


def test_a_wanted_specificity_is_kept():
    found = measured(rows(n=400, accuracy=0.8), Cut(specificity=0.9))
    assert found.chosen == "specificity of at least 0.9"
    assert found.overall.specificity.value > 0.82


def test_scores_of_0_and_1_need_no_cut_and_contrast_is_j():
    found = measured(rows(graded=False))
    assert (found.cut, found.chosen) == (0.5, "scores are 0 or 1")
    assert found.overall.contrast.value == pytest.approx(found.overall.youden_j.value)


def test_a_metric_whose_lower_values_are_better_is_turned():
    turned = [replace(row, score=Score(1.0 - row.score.value)) for row in rows(n=300)]
    lower = measured(turned, spec=replace(SPEC, direction="lower"))
    assert lower.overall.auroc.value == pytest.approx(measured(rows(n=300)).overall.auroc.value)


def test_groups_make_intervals_wider():
    alone = [replace(row, unit=f"sample:{i}") for i, row in enumerate(rows())]
    twice = [replace(row, unit=f"sample:{i}") for i, row in enumerate(rows())] * 4
    width = [found.youden_j.high - found.youden_j.low for found in (measured(alone).overall, measured(twice).overall)]
    assert width[1] > 0.9 * width[0]  # copies tell nothing new


def test_answers_without_a_score_are_counted_and_those_outside_the_metric_are_not():
    labelled = rows()
    labelled[0] = replace(labelled[0], score=Unscored("judge_error", "broke"))
    labelled[1] = replace(labelled[1], score=Unscored("not_applicable", "no contexts"))
    found = measured(labelled)
    assert found.overall.n == 118
    assert found.missing == {"judge_error": 1}


def test_a_judge_that_often_fails_is_not_calibrated():
    labelled = [replace(row, score=Unscored("judge_error", "broke")) if i < 20 else row for i, row in enumerate(rows())]
    with pytest.raises(CannotJudgeError, match=r"20 of 120 labelled answers got no score .*broke"):
        measured(labelled)


@pytest.mark.parametrize("kind", [True, False])
def test_too_few_labels_of_a_kind_are_refused(kind):
    labelled = [row for row in rows(n=300) if row.good is not kind][:60]
    labelled += [row for row in rows(n=300) if row.good is kind][:9]
    with pytest.raises(UsageError, match=f"9 of 69 scored answers are labelled {'good' if kind else 'bad'}"):
        measured(labelled)


def test_labels_of_one_kind_from_one_group_cannot_judge_a_cut():
    labelled = [replace(row, unit="one" if not row.good else row.unit) for row in rows()]
    with pytest.raises(UsageError, match="so few groups"):
        measured(labelled)


def test_it_is_stored_and_read_back(tmp_path):
    found = measured(rows())
    path = store_calibration(tmp_path / "calibration", found)
    assert path.name == "faithful.json"
    assert load_calibrations(tmp_path / "calibration") == {"faithful": found}
    assert calibrations_in(tmp_path, ["faithful"]) == {"faithful": found.to_dict()}
    assert calibrations_in(tmp_path, ["other"]) == {}
    assert calibrations_in(tmp_path / "nowhere", ["faithful"]) == {}


def test_a_metric_with_a_slash_gets_a_file_of_its_own(tmp_path):
    found = measured(rows(), spec=replace(SPEC, metric="a/b"))
    assert store_calibration(tmp_path, found).parent == tmp_path
    assert set(load_calibrations(tmp_path)) == {"a/b"}


def edited(row):
    row["overall"]["youden_j"]["value"] = 0.9


def of_another_format(row):
    row["format"] = "aigate.calibration/9"


def without_a_field(row):
    del row["cut"]


@pytest.mark.parametrize("change", [edited, of_another_format, without_a_field])
def test_a_file_that_was_changed_is_refused(tmp_path, change):
    path = store_calibration(tmp_path, measured(rows()))
    row = json.loads(path.read_text())
    change(row)
    path.write_text(json.dumps(row))
    with pytest.raises(ConfigError, match=r"faithful\.json: no calibration: "):
        load_calibrations(tmp_path)


def test_a_file_called_like_another_metric_is_refused(tmp_path):
    store_calibration(tmp_path, measured(rows())).rename(tmp_path / "other.json")
    with pytest.raises(ConfigError, match="is of the metric 'faithful'"):
        load_calibrations(tmp_path)


def test_it_holds_for_the_very_same_computation_only():
    found = measured(rows())
    assert found.holds_for(SPEC)
    assert not found.holds_for(replace(SPEC, scorer_version=3))
    assert not found.holds_for(replace(SPEC, judge={"version": "m/1/v1"}))


def test_the_same_labels_give_the_same_calibration():
    assert measured(rows()).digest == measured(list(reversed(rows()))).digest
    assert Calibration.from_dict(json.loads(json.dumps(measured(rows()).to_dict()))) == measured(rows())
