"""Findings point to the lines a reviewer would open."""

from aigate.core.verdict import CheckOutcome, Status
from aigate.reports.places import Place, places_of_run, places_of_suite


def test_a_check_stands_in_its_own_row_of_the_policy(places, check):
    assert places.of_check(check(metric="correct")) == Place("goldens/faq/suite.toml", 6)
    assert places.of_check(check(metric="other")) == Place("goldens/faq/suite.toml", 5)


def test_a_comment_is_no_row(places):
    assert 3 not in places.checks


def test_a_rule_that_nobody_asked_for_stands_at_the_top(places):
    rule = CheckOutcome("comparable", Status.ERROR, "other suite", integrity=True)
    assert places.of_check(rule) == Place("goldens/faq/suite.toml", 1)


def test_a_tag_tells_two_rows_apart(tmp_path):
    rows = '{ check = "must-pass", tag = "a" },\n{ check = "must-pass", tag = "b" }'
    (tmp_path / "suite.toml").write_text(f"[policy]\nchecks = [\n{rows}\n]\n")
    found = CheckOutcome("must-pass", Status.FAIL, "", metric="m", details={"tag": "b"})
    assert places_of_suite(tmp_path, root=tmp_path).of_check(found) == Place("suite.toml", 4)


def test_a_sample_stands_on_its_line(places):
    assert places.of_sample("a") == Place("goldens/faq/samples.jsonl", 2)
    assert places.of_sample("nobody") is None


def test_a_suite_that_was_broken_since_has_no_lines(tmp_path):
    (tmp_path / "samples.jsonl").write_text("{broken")
    found = places_of_suite(tmp_path, root=tmp_path)
    assert found.of_sample("a") is None
    assert found.file == "suite.toml"


def test_a_suite_outside_the_repository_keeps_its_path(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    (tmp_path / "a" / "suite.toml").write_text("")
    assert places_of_suite(tmp_path / "a", root=tmp_path / "b").file == (tmp_path / "a" / "suite.toml").as_posix()


def test_without_a_suite_the_run_file_is_pointed_to(make_run, tmp_path):
    assert places_of_run(make_run({"a": [1.0]}), root=tmp_path).of_sample("a") is None
    assert places_of_run(make_run({"a": [1.0]}), root=tmp_path).file == "run.jsonl"
