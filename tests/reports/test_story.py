"""What every report tells, in which order, and which answers it shows."""

import pytest

from aigate.core.response import FaultKind
from aigate.core.score import MetricSpec
from aigate.core.verdict import Moved, Reason, Status
from aigate.reports.story import more_moved, tell

FAIL, PASS, INCONCLUSIVE, ERROR = Status.FAIL, Status.PASS, Status.INCONCLUSIVE, Status.ERROR


@pytest.fixture
def runs(make_run):
    """Seven samples, all right before and all wrong now."""
    ids = "abcdefg"
    before = make_run({id_: [1.0] for id_ in ids}, version="m/1/v1", outputs={id_: f"old {id_}" for id_ in ids})
    now = make_run({id_: [0.0] for id_ in ids}, version="m/2/v1", outputs={id_: f"new {id_}" for id_ in ids})
    return now, before


def moved(ids, **fields):
    return tuple(Moved(id_, 1.0, 0.0, **fields) for id_ in ids)


def test_the_worst_samples_come_first_and_the_rest_is_counted(runs, check, verdict):
    story = tell(verdict(FAIL, check(moved=moved("gfedcba"))), *runs)
    assert [sample.moved.sample_id for sample in story.moved] == list("gfedc")
    assert story.more_moved == 2
    assert tell(verdict(FAIL, check(moved=moved("gfedcba"))), *runs, shown=7).more_moved == 0


def test_a_sample_that_two_checks_name_is_shown_once_under_the_one_that_counts_more(runs, check, verdict):
    uncertain = check(INCONCLUSIVE, check="min-score", moved=moved("ab"))
    failed = check(FAIL, check="must-pass", moved=moved("bc"))
    story = tell(verdict(FAIL, uncertain, failed), *runs)
    shown = [(sample.moved.sample_id, sample.check.check) for sample in story.moved]
    assert shown == [("b", "must-pass"), ("c", "must-pass"), ("a", "min-score")]


def test_samples_of_a_passing_check_are_not_shown_beside_a_failing_one(runs, check, verdict):
    story = tell(verdict(FAIL, check(PASS, check="min-score", moved=moved("a")), check(moved=moved("b"))), *runs)
    assert [sample.moved.sample_id for sample in story.moved] == ["b"]


def test_a_pass_shows_what_moved_against_the_baseline_all_the_same(runs, check, verdict):
    alone = check(PASS, check="min-score", moved=moved("a"), n_repeats=(1,))
    compared = check(PASS, moved=moved("b"), reasons=(Reason("note", "by the way"),))
    story = tell(verdict(PASS, alone, compared), *runs)
    assert [sample.moved.sample_id for sample in story.moved] == ["b"]
    assert story.why == ()
    assert story.notes == ("min-score correct: correct fell", "no-regression correct: by the way")
    assert "promote" in story.next_steps[0]


@pytest.mark.parametrize(
    ("status", "order", "notes"),
    [
        (FAIL, ["fail"], ("b correct: unsure", "c correct: error", "a correct: a note")),
        (ERROR, ["error", "fail", "unsure"], ("a correct: a note",)),
    ],
)
def test_the_causes_come_in_the_order_of_their_weight_and_those_of_a_fail_are_what_failed(
    runs, check, verdict, status, order, notes
):
    checks = [
        check(PASS, check="a", reasons=(Reason("x", "a note", "not this"),)),
        check(INCONCLUSIVE, check="b", reasons=(Reason("x", "unsure", "more samples"),)),
        check(ERROR, check="c", reasons=(Reason("x", "error", "repair it"),)),
        check(FAIL, check="d", reasons=(Reason("x", "fail", "read it"), Reason("y", "fail", "read it"))),
    ]
    story = tell(verdict(status, *checks), *runs)
    assert [line.split(": ")[1] for line in story.why] == order
    hints = {"fail": "read it", "error": "repair it", "unsure": "more samples"}
    assert list(story.next_steps) == [hints[word] for word in order]
    assert story.notes == notes


def test_both_answers_the_question_and_the_reference_are_shown(make_run, check, verdict):
    now = make_run({"a": [0.0]}, outputs={"a": "new"}, inputs={"a": "why?"})
    before = make_run({"a": [1.0]}, outputs={"a": "old"}, inputs={"a": "why?"})
    (sample,) = tell(verdict(FAIL, check(moved=moved("a"))), now, before).moved
    assert (sample.question, sample.reference) == ("why?", "")
    assert (sample.baseline.text, sample.baseline.score) == ("old", 1.0)
    assert (sample.candidate.text, sample.candidate.score, sample.candidate.explanation) == ("new", 0.0, "told")


def test_a_sample_that_only_one_run_has_is_shown_from_that_run(make_run, check, verdict):
    now, before = make_run({"a": [0.0]}), make_run({"b": [1.0]}, inputs={"b": "only before"})
    (gone,) = tell(verdict(FAIL, check(moved=(Moved("b", 1.0, None, "gone"),))), now, before).moved
    assert (gone.question, gone.candidate) == ("only before", None)
    assert gone.baseline is not None
    (unknown,) = tell(verdict(FAIL, check(moved=moved("z"))), now).moved
    assert (unknown.question, unknown.baseline, unknown.candidate) == ("", None, None)


@pytest.mark.parametrize(("direction", "best", "worst"), [("higher", "r1", "r2"), ("lower", "r2", "r1")])
def test_of_the_baseline_the_best_repeat_is_shown_and_of_the_candidate_the_worst(
    make_run, check, verdict, direction, best, worst
):
    specs = [MetricSpec("correct", "recorded:correct", direction=direction, deterministic=False)]
    run = make_run({"a": [0.5, 1.0, 0.0]}, specs=specs)
    (sample,) = tell(verdict(FAIL, check(moved=moved("a"))), run, run).moved
    named = {f"r{result.repeat}": result.response.output for result in run.results}
    assert sample.baseline.text == named[best]
    assert sample.candidate.text == named[worst]


def test_a_missing_score_counts_as_the_worst_one(make_run, check, verdict):
    run = make_run({"a": [0.0, None]})
    (sample,) = tell(verdict(FAIL, check(moved=moved("a"))), run, run).moved
    assert (sample.candidate.score, sample.candidate.explanation) == (None, "judge broke")
    assert sample.baseline.score == 0.0


def test_what_happened_instead_of_an_answer_is_told(make_run, check, verdict):
    faulty = make_run({"a": [0.0], "b": [0.0]}, faults={"a": FaultKind.TIMEOUT}, outputs={"b": ""})
    story = tell(verdict(FAIL, check(moved=moved("ab"))), faulty)
    assert [sample.candidate.text for sample in story.moved] == ["[timeout] broken", "(empty)"]


def test_the_headline_names_the_status_and_both_versions(runs, check, verdict):
    assert tell(verdict(FAIL, check()), *runs).headline.split() == ["FAIL", "m/2/v1", "against", "m/1/v1"]
    assert tell(verdict(ERROR, check(ERROR), baseline=None), runs[0]).headline.split() == ["ERROR", "m/2/v1"]


def test_the_threshold_is_explained_where_there_is_one(runs, check, verdict):
    story = tell(verdict(FAIL, check(), check(check="min-score", threshold=0.85)), *runs)
    assert story.threshold_means.startswith("threshold 0.85 means: the mean of correct over all 7 samples of suite")
    assert "every missing score counted as the worst" in story.threshold_means
    assert tell(verdict(FAIL, check(threshold=0.05)), *runs).threshold_means == ""


def test_slices_that_fell_beyond_chance_are_marked(runs, check, verdict):
    row = {"tag": "t", "n": 9, "baseline_mean": 0.9, "candidate_mean": 0.5, "difference": -0.4, "p": 0.01, "q": 0.05}
    rows = [row, {**row, "q": 0.051}, {**row, "difference": 0.4}]
    story = tell(verdict(FAIL, check(details={"slices": rows})), *runs)
    assert [found.fell for found in story.slices] == [True, False, False]
    assert {found.metric for found in story.slices} == {"correct"}


# --- runs that were stopped -------------------------------------------------------------------------------------------


def test_what_an_early_stop_skipped_is_no_answer_of_the_candidate(make_run, check, verdict):
    asked_once = {"a": [0.0, 1.0], "b": [0.0, 1.0]}
    now = make_run(asked_once, outputs={"a": "wrong", "b": "never"}, skipped={("a", 1), ("b", 0), ("b", 1)})
    before = make_run({"a": [1.0], "b": [1.0]}, outputs={"a": "right", "b": "right"})
    first, second = tell(verdict(FAIL, check(moved=moved("ab"))), now, before).moved
    assert (first.candidate.text, first.candidate.score) == ("wrong", 0.0)
    assert second.candidate is None
    assert second.baseline.text == "right"


def test_both_numbers_of_a_metric_are_of_the_samples_that_the_candidate_was_asked(make_run, check, verdict):
    before = make_run({"a": [1.0, 0.0], "b": [1.0, 1.0], "c": [0.0, 0.0], "d": [0.0, 0.0]})
    now = make_run({id_: [1.0, 1.0] for id_ in "abcd"}, skipped={("b", 1), *((id_, n) for id_ in "cd" for n in (0, 1))})
    measured = {"correct": {"scored": 3, "missing": 0, "mean": 1.0}}
    story = tell(verdict(FAIL, check(), metrics=measured), now, before)
    assert [(row.baseline, row.candidate) for row in story.metrics] == [(0.75, 1.0)]
    assert story.metrics_over == "over the 2 of 4 samples that were asked"


def test_a_run_that_was_asked_whole_is_compared_with_all_of_the_baseline(make_run, check, verdict):
    before = make_run({"a": [1.0], "b": [0.0], "gone": [0.0]})
    now = make_run({"a": [1.0, 1.0], "b": [1.0, 1.0]}, skipped={("a", 1), ("b", 1)})
    measured = {"correct": {"scored": 2, "missing": 0, "mean": 1.0}}
    story = tell(verdict(FAIL, check(), metrics=measured), now, before)
    assert story.metrics[0].baseline == pytest.approx(1 / 3)
    assert story.metrics_over == ""


@pytest.mark.parametrize(
    ("fields", "ends"),
    [
        ({"look": 2, "looks": 5, "share_used": 3 / 7}, "is at least 0.85, decided early on 3 of them"),
        ({"look": 2, "looks": 5, "share_used": 3 / 7, "status": INCONCLUSIVE}, "0.85, not decided on 3 of them"),
        ({"look": 5, "looks": 5, "share_used": 3 / 7}, "is at least 0.85"),
        ({"look": 1, "looks": 2, "share_used": 1.0}, "is at least 0.85"),  # all samples, fewer repeats
        ({"share_used": 3 / 7}, "is at least 0.85"),
    ],
)
def test_a_threshold_that_was_decided_on_a_part_says_so(runs, check, verdict, fields, ends):
    story = tell(verdict(FAIL, check(check="min-score", threshold=0.85, **fields)), *runs)
    assert "over all 7 samples of suite" in story.threshold_means
    assert story.threshold_means.endswith(ends)


def test_samples_that_a_look_left_out_are_not_taken_for_such_as_hold_nothing_to_judge_by(runs, check, verdict):
    early = {"look": 2, "looks": 5, "share_used": 3 / 7, "details": {"not_applicable": 1}}
    story = tell(verdict(FAIL, check(check="min-score", threshold=0.85, **early)), *runs)
    assert "all 7 samples" in story.threshold_means


# --- how many moved ---------------------------------------------------------------------------------------------------


def test_a_comparison_that_lists_no_more_knows_how_many_moved(runs, check, verdict):
    fifty = tuple(Moved(f"s{n}", 1.0, 0.0) for n in range(50))
    story = tell(verdict(FAIL, check(moved=fifty, details={"worse": 70, "better": 10})), *runs)
    assert (story.more_moved, story.all_counted) == (75, True)
    assert more_moved(story) == "… and 75 more samples that moved; --format json lists the worst 50 of each check"


def test_where_it_is_not_known_how_many_moved_the_count_is_a_least_one(runs, check, verdict):
    fifty = tuple(Moved(f"s{n}", 1.0, 0.0) for n in range(50))
    lowest = check(check="min-score", moved=fifty)
    story = tell(verdict(FAIL, lowest), *runs)
    assert more_moved(story).startswith("… and at least 45 more samples")
    both = tell(verdict(FAIL, lowest, check(moved=fifty[:3], details={"worse": 70, "better": 0})), *runs)
    assert (both.more_moved, both.all_counted) == (65, False)


def test_a_list_that_is_not_full_is_all_there_is(runs, check, verdict):
    story = tell(verdict(FAIL, check(moved=moved("gfedcb"), details={"worse": 9, "better": 0})), *runs)
    assert more_moved(story) == "… and 1 more sample that moved; --format json lists the worst 50 of each check"
    assert more_moved(tell(verdict(FAIL, check(moved=moved("abc"))), *runs)) == ""
