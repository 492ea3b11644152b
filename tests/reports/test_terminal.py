"""The terminal report: readable at 80 columns without colour, and deaf to what a model wrote."""

import io
import os
import re

import pytest
from rich.cells import cell_len

from aigate.core.verdict import CheckOutcome, Moved, Reason, Status
from aigate.reports.story import tell
from aigate.reports.terminal import console_for, print_story
from aigate.reports.text import width_for

HOSTILE = "\x1b[2J\x1b]0;owned\x07\x1b[31m\r\x08\x9b31m[bold red]markup[/] :smile: \u202ereversed"


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self):
        return True


def printed(story, *, stream=None, columns=None):
    stream = stream or io.StringIO()
    print_story(story, console_for(stream, environ_columns=columns))
    return stream.getvalue()


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch):
    for name in ("COLUMNS", "LINES", "FORCE_COLOR", "NO_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")


def controls(text):
    return sorted(
        {character for character in text if (ord(character) < 32 and character != "\n") or 127 <= ord(character) < 160}
    )


def test_at_80_columns_there_is_no_colour_and_no_line_is_longer(failing):
    story = failing("An answer of many words. " * 30, question="A long question? " * 20, note="note " * 30)
    text = printed(story)
    assert controls(text) == []
    assert max(cell_len(line) for line in text.splitlines()) <= 80
    assert "An answer of many words." in text


@pytest.mark.parametrize("force", ["1", "0", ""])
def test_no_colour_is_written_to_a_file_even_when_it_is_forced(failing, monkeypatch, force):
    monkeypatch.setenv("FORCE_COLOR", force)
    assert controls(printed(failing("x"))) == []


@pytest.mark.parametrize(
    ("columns", "width"), [(None, 80), ("100", 100), ("500", 120), ("5", 40), ("many", 80), ("", 80)]
)
def test_the_width_is_that_of_the_environment_within_bounds(columns, width):
    assert console_for(io.StringIO(), environ_columns=columns).width == width


@pytest.mark.parametrize(("size", "width"), [((100, 30), 100), ((30, 30), 30), ((500, 30), 120), ((0, 0), 80)])
def test_without_it_the_width_is_that_of_the_terminal(monkeypatch, size, width):
    monkeypatch.setattr(Terminal, "fileno", lambda _: 2, raising=False)
    monkeypatch.setattr(os, "get_terminal_size", lambda _: os.terminal_size(size))
    assert width_for(Terminal()) == width
    assert width_for(io.StringIO()) == 80


def test_a_terminal_gets_colour():
    assert console_for(Terminal()).color_system is not None
    assert console_for(io.StringIO()).color_system is None


@pytest.mark.parametrize("stream", [io.StringIO, Terminal])
def test_hostile_text_never_reaches_the_stream(make_run, stream):
    row = {"tag": HOSTILE, "n": 1, "baseline_mean": 0.9, "candidate_mean": 0.5, "difference": -0.4, "p": 0.1, "q": 0.1}
    found = CheckOutcome(
        HOSTILE,
        Status.FAIL,
        HOSTILE,
        metric=HOSTILE,
        threshold=0.5,
        moved=(Moved(HOSTILE, 1.0, 0.0, HOSTILE),),
        reasons=(Reason("x", HOSTILE, HOSTILE),),
        details={"slices": [row]},
        n_repeats=(1, 1),
    )
    note = CheckOutcome(HOSTILE, Status.PASS, HOSTILE, reasons=(Reason("x", HOSTILE),), integrity=True)
    threshold = CheckOutcome("min-score", Status.PASS, HOSTILE, metric=HOSTILE, threshold=0.5)
    from aigate.core.verdict import Verdict

    verdict = Verdict(
        Status.FAIL, (note, threshold, found), HOSTILE, HOSTILE, {}, {}, metrics={HOSTILE: {"mean": 1.0, "missing": 0}}
    )
    run = make_run(
        {HOSTILE: [0.0]}, metric=HOSTILE, outputs={HOSTILE: HOSTILE}, inputs={HOSTILE: HOSTILE}, suite_name=HOSTILE
    )
    text = printed(tell(verdict, run, run), stream=stream())
    ours = re.sub(r"\x1b\[[0-9;]*m", "", text)  # the styles that rich writes to a terminal
    assert controls(ours) == []
    assert "\x1b[2J" not in text
    assert "\u202e" not in text
    assert "[bold red]markup[/]" in ours
    assert ":smile:" in ours
    if stream is io.StringIO:
        assert controls(text) == []


@pytest.mark.parametrize("text", ["[/closing]", "[bold]", "[link=x]y", "a[red]b", "\\[x]", ":smile:"])
def test_text_that_looks_like_markup_is_shown_as_it_is(make_run, check, verdict, text):
    before = make_run({text: [1.0]}, outputs={text: text}, inputs={text: text})
    now = make_run({text: [0.0]}, outputs={text: text}, inputs={text: text})
    moved = (Moved(text, 1.0, 0.0, text),)
    found = check(check="c", metric="m", moved=moved, reasons=(Reason("x", text, text),))
    note = check(Status.PASS, check="d", metric="m", reasons=(Reason("x", text),))
    lines = printed(tell(verdict(Status.FAIL, found, note, candidate=text, baseline=text), now, before)).splitlines()
    shown = [" ".join(line.split()) for line in lines if text in line]
    assert shown == [
        f"FAIL {text} against {text}",
        f"- c m: {text}",
        f"{text} c m 1 → 0 {text}",
        f"asked: {text}",
        f"{text} {text}",
        f"- note: d m: {text}",
        f"next: {text}",
        f"FAIL {text} against {text}",
    ]


def test_the_order_is_verdict_why_samples_next(failing):
    text = printed(failing("the new answer"))
    order = ["FAIL", "- no-regression correct: correct fell", "what it found", "asked: why?", "the new answer"]
    places = [text.index(part) for part in [*order, "outcomes: 1 scored", "next: read the samples"]]
    assert places == sorted(places)


def test_the_verdict_stands_at_the_end_too_where_samples_pushed_it_away(failing, check, verdict, make_run):
    assert printed(failing("x")).splitlines()[-1] == "FAIL  m/2/v1 against m/1/v1"
    short = printed(tell(verdict(Status.PASS, check(Status.PASS)), make_run({"a": [1.0]})))
    assert short.count("PASS  m/2/v1") == 1


def styled(text):
    """The words of a terminal's output by their colour: red 31, green 32."""
    return {code: re.findall(rf"\x1b\[{code}m([^\x1b]+)\x1b\[0m", text) for code in ("31", "32")}


def test_words_that_differ_are_marked_by_colour_on_a_terminal(failing):
    found = styled(
        printed(failing("Within 30 days of delivery.", before="Within 45 days of delivery."), stream=Terminal())
    )
    assert "45" in found["31"]
    assert "30" in found["32"]
    assert "Within" not in " ".join(found["31"] + found["32"])


def test_answers_with_nothing_in_common_are_not_marked(failing):
    found = styled(printed(failing("Ask somebody else!", before="Within 45 days of delivery."), stream=Terminal()))
    assert not {"45", "Within", "Ask", "somebody"} & set(found["31"] + found["32"])


def test_a_difference_far_into_an_answer_is_shown(failing):
    start = "The same words again and again. " * 40
    text = printed(failing(f"{start}In 30 days.", before=f"{start}In 45 days."))
    assert "In 30 days." in text
    assert "In 45 days." in text
    assert "… " in text


def test_what_is_marked_is_as_deaf_to_control_characters(failing):
    text = printed(failing("Within \x1b[2J30 days.", before="Within \x1b[2J45 days."), stream=Terminal())
    assert "\x1b[2J" not in text
    assert r"\x1b[" in text


def test_what_the_threshold_means_is_said_first(make_run, check, verdict):
    run = make_run({"a": [1.0]})
    text = printed(tell(verdict(Status.FAIL, check(check="min-score", threshold=0.85)), run))
    assert text.startswith("threshold 0.85 means: the mean of correct over all 1 sample")


def test_both_answers_stand_side_by_side(failing):
    lines = printed(failing("the new answer", before="the old answer")).splitlines()
    (line,) = (line for line in lines if "the new answer" in line)
    assert line.index("the old answer") < line.index("the new answer")


def test_without_a_baseline_the_one_answer_is_shown(make_run, check, verdict):
    run = make_run({"a": [0.0]}, outputs={"a": "the only answer"})
    moved = (Moved("a", None, 0.0),)
    text = printed(tell(verdict(Status.FAIL, check(check="must-pass", moved=moved), baseline=None), run))
    assert "the only answer" in text
    assert "baseline" not in text
    gone = printed(tell(verdict(Status.FAIL, check(moved=(Moved("z", None, None, "gone"),)), baseline=None), run))
    assert "no answer" in gone


@pytest.mark.parametrize(
    ("status", "mark"), [(Status.PASS, "✓"), (Status.FAIL, "✗"), (Status.INCONCLUSIVE, "?"), (Status.ERROR, "!")]
)
def test_each_check_has_the_mark_of_its_status(make_run, check, verdict, status, mark):
    run = make_run({"a": [1.0]})
    text = printed(tell(verdict(status, check(status, check="min-score")), run, run))
    assert text.startswith(str(status).upper())
    assert any(re.match(rf"\s*{re.escape(mark)}\s+min-score correct", line) for line in text.splitlines())


def test_samples_are_counted_with_their_groups_where_these_are_fewer(make_run, check, verdict):
    run = make_run({"a": [1.0]})
    text = printed(tell(verdict(Status.FAIL, check(n_samples=40, n_groups=7)), run, run))
    assert "40 in 7" in text
    assert "groups" in text


def test_a_stopped_run_says_on_what_its_numbers_rest_and_how_many_moved(make_run, check, verdict):
    run = make_run({f"s{n}": [0.0] for n in range(9)}, skipped={("s8", 0)})
    moved = tuple(Moved(f"s{n}", 1.0, 0.0) for n in range(8))
    measured = {"correct": {"scored": 8, "missing": 0, "mean": 0.0}}
    text = printed(tell(verdict(Status.FAIL, check(moved=moved), metrics=measured), run), columns="120")
    assert "over the 8 of 9 samples that were asked" in text
    assert "… and 3 more samples that moved; --format json lists the worst 50 of each check" in text
    whole = printed(tell(verdict(Status.FAIL, check(), metrics=measured), make_run({"a": [0.0]})))
    assert "were asked" not in whole


def test_a_pipe_that_nobody_reads_is_an_error_and_not_the_exit_code_of_a_failed_gate():
    class Closed(io.StringIO):
        def write(self, text):
            raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        console_for(Closed()).print("a note")
