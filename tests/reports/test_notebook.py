"""What a notebook shows of our values: small, escaped, and legible on a dark page."""

import re

import pytest

from aigate.core.response import Response
from aigate.core.verdict import CheckOutcome, Interval, Status
from aigate.gating.comparison import Comparison
from aigate.gating.tables import compare

HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)>\x00\x1b[2J\u202e\ud800&"


def text_of(shown):
    return " ".join(re.sub(r"<[^>]+>", " ", shown).replace("&ensp;", " ").split())


def values(make_run, verdict, check, text):
    run = make_run({text: [0.0]}, metric=text, outputs={text: text}, inputs={text: text}, suite_name=text)
    told = verdict(Status.FAIL, check(metric=text), candidate=text, baseline=text)
    return [run, Comparison(run, run), compare(run, run), told]


def test_what_others_wrote_makes_no_element_and_is_made_visible(make_run, verdict, check):
    for value in values(make_run, verdict, check, HOSTILE):
        shown = value._repr_html_()
        assert "<script" not in shown
        assert "<img" not in shown
        assert not set(shown) & set("\x00\x1b\u202e\ud800")
        assert "&lt;script&gt;alert(1)" in shown
        assert r"\u202e" in shown


def test_no_colour_is_set_but_that_of_the_page(make_run, verdict, check):
    for value in values(make_run, verdict, check, "a"):
        shown = value._repr_html_()
        assert "color: inherit" in shown
        assert not re.search(r"background|#[0-9a-f]{3,6}\b|rgb|class=", shown)


def test_a_megabyte_in_a_name_stays_small(make_run, verdict, check):
    for value in values(make_run, verdict, check, "y" * 1_000_000):
        assert len(value._repr_html_()) < 10_000


@pytest.mark.parametrize("status", list(Status))
def test_a_verdict_shows_its_status_and_every_check(verdict, check, status):
    drawn = check(
        status,
        observed=-0.4,
        threshold=-0.05,
        interval=Interval(-0.5, -0.3, 0.9, "Tango"),
        details={"baseline_mean": 0.9, "candidate_mean": 0.5},
    )
    sound = CheckOutcome("comparable", Status.PASS, "", integrity=True)
    text = text_of(verdict(status, sound, drawn)._repr_html_())
    assert f"{str(status).upper()} m/2/v1 against m/1/v1" in text
    assert "no-regression correct -40.0 -50.0 to -30.0 90% -5.0 3" in text
    assert "sound: comparable" in text


def test_a_run_shows_metrics_outcomes_and_what_answers_took(make_answers):
    run = make_answers({"a": [Response(output="x", latency_s=2.0, cost_usd=0.25)], "b": [Response(output="y")]})
    text = text_of(run._repr_html_())
    assert "m/2/v1 suite, 2 samples" in text
    assert "correct 1.000" in text
    assert "2 scored · median 2 s · $0.25 at least" in text


def test_comparisons_show_each_candidate_and_say_which_is_not_comparable(make_run):
    before = make_run({f"s{n}": [1.0] for n in range(30)}, version="m/1/v1")
    now = make_run({f"s{n}": [float(n > 5)] for n in range(30)}, version="m/2/v1")
    other = make_run({"z": [1.0]}, version="m/3/v1")
    text = text_of(compare(before, now, other)._repr_html_())
    assert "against m/1/v1" in text
    assert "m/2/v1 correct 30 1.000 0.800 -20.0" in text
    assert "m/3/v1 not comparable" in text
    assert "m/2/v1 correct 30" in text_of(Comparison(now, before)._repr_html_())
