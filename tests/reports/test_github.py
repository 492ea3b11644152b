"""A GitHub job: annotations within limits, a summary that is not dropped, outputs that cannot be forged."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aigate.core.verdict import CheckOutcome, Moved, Reason, Status
from aigate.reports.github import (
    COMMENT_LIMIT_BYTES,
    SUMMARY_LIMIT_BYTES,
    append_outputs,
    append_summary,
    comment,
    shortened,
    workflow_commands,
)

COMMAND = re.compile(r"::(error|warning|notice) ([^:]*)::(.*)")


def commands(text):
    found = [COMMAND.fullmatch(line) for line in text.splitlines()]
    assert all(found), text
    return [(match[1], dict(part.split("=", 1) for part in match[2].split(",")), match[3]) for match in found]


def outputs(path):
    """A file of outputs, read as the runner reads it."""
    found, lines = {}, iter(path.read_text("utf-8").splitlines())
    for line in lines:
        name, _, delimiter = line.partition("<<")
        value = []
        for inner in lines:
            if inner == delimiter:
                break
            value.append(inner)
        found[name] = "\n".join(value)
    return found


# --- annotations ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "level"), [(Status.FAIL, "error"), (Status.ERROR, "error"), (Status.INCONCLUSIVE, "warning")]
)
def test_a_check_is_one_annotation_at_its_row(judged, places, status, level):
    verdict, candidate, _ = judged(status=status)
    [found] = commands(workflow_commands(verdict, candidate, places))
    assert found[0] == level
    assert (found[1]["file"], found[1]["line"]) == ("goldens/faq/suite.toml", "6")
    assert found[1]["title"] == "aigate%3A faq%3A no-regression correct"
    assert found[2] == "correct: 0.9 -> 0.5%0Acorrect fell"


def test_a_pass_is_one_notice(judged, places, check, verdict):
    _, candidate, _ = judged()
    [found] = commands(workflow_commands(verdict(Status.PASS, check(Status.PASS)), candidate, places))
    assert found[0] == "notice"


def test_there_are_at_most_ten_of_each_level_and_the_rest_is_named(judged, places, check, verdict):
    _, candidate, _ = judged()
    many = [check(metric=f"m{n}") for n in range(25)] + [check(Status.INCONCLUSIVE, metric=f"n{n}") for n in range(10)]
    found = commands(workflow_commands(verdict(Status.FAIL, *many), candidate, places))
    levels = [level for level, _, _ in found]
    assert (levels.count("error"), levels.count("warning")) == (10, 10)
    assert found[9][2].startswith("16 more: no-regression m9, ")


@given(st.text(max_size=40))
def test_no_text_leaves_its_annotation(text):
    from aigate.reports.places import Places

    bad = CheckOutcome("same-shape", Status.FAIL, f"keys {text}", metric=text or None, reasons=(Reason("a", text),))
    from aigate.core.verdict import Verdict

    verdict = Verdict(Status.FAIL, (bad,), "m/1/v1", None, {}, {})

    class Header:
        suite_name = text

    class Run:
        header = Header
        source = ""

    lines = workflow_commands(verdict, Run, Places(f"{text}/suite.toml")).split("\n")
    assert lines[-1] == ""
    assert len(lines) == 2
    assert re.fullmatch(r"::error file=[^,:]*,line=1,title=[^,:]*::.*", lines[0])


# --- summary ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def large(make_run, check, verdict):
    """A verdict with fifty long answers."""
    ids = [f"s{n}" for n in range(60)]
    baseline = make_run({id_: [1.0] for id_ in ids}, outputs=dict.fromkeys(ids, "fine " * 400))
    candidate = make_run({id_: [0.0] for id_ in ids}, outputs={id_: f"{id_} é " * 400 for id_ in ids})
    return verdict(Status.FAIL, check(moved=tuple(Moved(id_, 1.0, 0.0) for id_ in ids))), candidate, baseline


def test_a_summary_that_fits_is_whole(large):
    text = shortened(*large, limit_bytes=10**9)
    assert text.count("<details>") == 50
    assert "Shortened" not in text


@pytest.mark.parametrize("limit", [100_000, 20_000, 6_000, 1_500, 400, 120, 0])
def test_a_summary_is_never_larger_than_its_place_and_says_what_is_left_out(large, limit):
    text = shortened(*large, limit_bytes=limit)
    assert len(text.encode()) <= limit
    if limit >= 400:
        assert "_Shortened to " in text or "_Cut here: " in text
        assert text.startswith("## ❌ FAIL m/2/v1")
    assert text.count("<details>") == text.count("</details>")


def test_a_step_that_wrote_before_leaves_less_room(large, tmp_path):
    path = tmp_path / "summary.md"
    path.write_text("x" * (SUMMARY_LIMIT_BYTES - 3_000))
    append_summary(path, *large)
    append_summary(path, *large)
    assert path.stat().st_size <= SUMMARY_LIMIT_BYTES
    assert "FAIL" in path.read_text()[-3_000:]


def test_a_summary_is_added_to_what_is_there(judged, tmp_path):
    path = tmp_path / "summary.md"
    append_summary(path, *judged(suite="one"))
    append_summary(path, *judged(suite="two"))
    assert path.read_text().count("## ❌ FAIL") == 2


# --- comment ----------------------------------------------------------------------------------------------------------


def test_a_comment_begins_with_a_hidden_marker_of_its_suite(judged):
    assert comment(*judged(suite="support-faq")).startswith("<!-- aigate: support-faq -->\n## ❌ FAIL")
    assert comment(*judged(suite="other")).splitlines()[0] != comment(*judged()).splitlines()[0]


@pytest.mark.parametrize("name", ["a --> b", "--", "x\ny", "<script>", "ä ö"])
def test_no_name_of_a_suite_ends_the_marker(judged, name):
    first = comment(*judged(suite=name)).splitlines()[0]
    assert re.fullmatch(r"<!-- aigate: [A-Za-z0-9._-]* -->", first)
    assert "--" not in first.removeprefix("<!--").removesuffix("-->")


def test_a_comment_fits_into_one(large):
    assert len(comment(*large).encode()) <= COMMENT_LIMIT_BYTES


# --- outputs ----------------------------------------------------------------------------------------------------------


def test_outputs_say_what_later_steps_ask_for(judged, tmp_path):
    verdict, candidate, _ = judged()
    append_outputs(tmp_path / "out", verdict, candidate)
    found = outputs(tmp_path / "out")
    assert (found["status"], found["passed"], found["exit-code"]) == ("fail", "false", "1")
    assert (found["candidate"], found["baseline"], found["suite"]) == ("m/2/v1", "m/1/v1", "faq")
    assert found["verdict-digest"] == verdict.digest


def test_no_name_forges_another_output(judged, tmp_path):
    verdict, candidate, _ = judged(suite="x\nghadelimiter_1\npassed=true\nstatus<<E\npass\nE")
    append_outputs(tmp_path / "out", verdict, candidate)
    found = outputs(tmp_path / "out")
    assert (found["status"], found["passed"]) == ("fail", "false")
    assert len(found) == 9


def test_delimiters_are_drawn_anew(judged, tmp_path):
    verdict, candidate, _ = judged()
    append_outputs(tmp_path / "out", verdict, candidate)
    delimiters = re.findall(r"<<(\S+)", (tmp_path / "out").read_text())
    assert len(set(delimiters)) == len(delimiters) == 9
    assert all(len(delimiter) > 40 for delimiter in delimiters)
