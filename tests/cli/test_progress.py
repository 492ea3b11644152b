"""Progress: lines for a CI log, a bar for a terminal, and what a look came to in both."""

import io

import pytest

from aigate.cli.progress import PlainProgress, progress_for
from aigate.core.ledger import Outcome
from aigate.core.response import Response
from aigate.core.run import Result
from aigate.running.evaluation import Looked

SCORED = Result("a", 0, Outcome.SCORED, Response(output="x"), {})
REFUSED = Result("b", 0, Outcome.REFUSED, Response(output="no"), {})


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def plain():
    """Progress by a clock that is set by hand."""
    time, stream = [0.0], io.StringIO()
    return time, stream, PlainProgress(stream, planned=5, clock=lambda: time[0])


def test_a_line_every_ten_seconds_names_the_look_and_the_faults(plain):
    time, stream, progress = plain
    progress(SCORED, 1, 50)
    assert stream.getvalue() == ""
    time[0] = 10.0
    progress(REFUSED, 2, 50)
    assert stream.getvalue() == "2/50 answered in 10.0 s, 0.2/s, at most 4 min 0 s left, look 1 of 5 (1 refused)\n"


def test_a_look_that_decides_nothing_is_told_when_a_line_is_due_and_the_next_one_is_named(plain):
    time, stream, progress = plain
    progress.looked(Looked(1, 5, settled=False, not_asked=0, total=50))
    assert stream.getvalue() == ""
    time[0] = 12.0
    progress(SCORED, 11, 50)
    time[0] = 23.5
    progress.looked(Looked(2, 5, settled=False, not_asked=0, total=50))
    time[0] = 24.0
    progress(SCORED, 21, 50)
    assert stream.getvalue().splitlines() == [
        "11/50 answered in 12.0 s, 0.917/s, at most 43 s left, look 2 of 5",
        "look 2 of 5: not decided yet (23.5 s)",
    ]


def test_a_look_that_ends_the_run_says_what_was_saved(plain):
    time, stream, progress = plain
    time[0] = 3.25
    progress.looked(Looked(2, 5, settled=True, not_asked=300, total=500))
    assert stream.getvalue() == "look 2 of 5: decided; 300 of 500 answers not asked (3.2 s)\n"


def test_samples_that_must_pass_are_named_as_such(plain):
    time, stream, progress = plain
    time[0] = 11.0
    progress.looked(Looked(0, 5, settled=False, not_asked=0, total=50))
    progress.looked(Looked(0, 5, settled=True, not_asked=40, total=50))
    time[0] = 22.0
    progress(SCORED, 11, 50)
    assert stream.getvalue().splitlines() == [
        "must-pass samples: not decided yet (11.0 s)",
        "must-pass samples: decided; 40 of 50 answers not asked (11.0 s)",
        "11/50 answered in 22.0 s, 0.5/s, at most 1 min 18 s left, look 1 of 5",
    ]


def test_a_run_with_one_look_names_none():
    stream, terminal = io.StringIO(), Terminal()
    progress = PlainProgress(stream, planned=1, clock=lambda: 0.0, every_s=0.0)
    progress(SCORED, 1, 2)
    progress.looked(Looked(0, 1, settled=False, not_asked=0, total=2))
    progress(SCORED, 1, 2)
    assert "look" not in stream.getvalue()
    with progress_for(terminal, total=2, planned=1) as bar:
        bar(SCORED, 1, 2)
        bar.looked(Looked(0, 1, settled=False, not_asked=0, total=2))
    assert "look" not in terminal.getvalue()


def test_a_stream_that_nobody_reads_on_does_not_end_the_run():
    class Broken(io.StringIO):
        def write(self, text):
            raise BrokenPipeError

    progress = PlainProgress(Broken(), clock=lambda: 0.0, every_s=0.0)
    progress(SCORED, 1, 2)
    progress.looked(Looked(1, 5, settled=True, not_asked=1, total=2))


def test_a_run_without_looks_names_none():
    stream = io.StringIO()
    progress = PlainProgress(stream, clock=lambda: 0.0, every_s=0.0)
    progress(SCORED, 1, 2)
    progress(SCORED, 2, 2)
    assert stream.getvalue().splitlines() == ["1/2 answered in 0.0 s", "2/2 answered in 0.0 s"]


def test_a_terminal_has_a_bar_and_keeps_what_was_saved():
    stream = Terminal()
    with progress_for(stream, total=500, planned=5) as progress:
        progress(REFUSED, 1, 500)
        progress.looked(Looked(1, 5, settled=False, not_asked=0, total=500))
        progress.looked(Looked(2, 5, settled=True, not_asked=300, total=500))
    assert "look 2 of 5: decided; 300 of 500 answers not asked" in stream.getvalue()


def test_who_wants_quiet_gets_nothing_to_call():
    stream = io.StringIO()
    with progress_for(stream, total=5, planned=5, quiet=True) as progress:
        assert progress is None
    assert stream.getvalue() == ""


def paid(cost, **fields):
    return Result("a", 0, Outcome.SCORED, Response(output="x", cost_usd=cost, **fields), {})


def lines(results, *, planned=0, every_s=1.0, total=100):
    """The lines of a run that gives an answer per second."""
    time, stream = [0.0], io.StringIO()
    progress = PlainProgress(stream, planned=planned, clock=lambda: time[0], every_s=every_s)
    for done, result in enumerate(results, start=1):
        time[0] = float(done)
        progress(result, done, total)
    return stream.getvalue().splitlines()


def test_rate_time_left_and_cost_so_far_are_told():
    assert lines([paid(0.5)] * 4)[-1] == "4/100 answered in 4.0 s, 1/s, 1 min 36 s left, $2.00"


def test_small_costs_are_told_to_a_hundredth_of_a_cent():
    assert lines([paid(0.00021)] * 3)[-1].endswith(", $0.0006")


def test_costs_that_are_not_all_known_are_a_lower_bound():
    assert lines([paid(0.5), paid(None), paid(0.5)])[-1].endswith(", at least $1.00")


def test_an_answer_from_the_journal_costs_nothing_now():
    kept = paid(0.5, journaled_at="2026-01-01T00:00:00Z")
    assert lines([paid(0.5), kept, kept])[-1].endswith("left, $0.5000 (2 from the journal)")


def test_no_time_left_is_told_before_there_is_a_rate_to_speak_of_nor_at_the_end():
    assert lines([SCORED, SCORED], total=2) == ["1/2 answered in 1.0 s", "2/2 answered in 2.0 s"]


def test_with_looks_the_time_left_is_an_upper_bound():
    assert lines([SCORED] * 3, planned=5)[-1] == "3/100 answered in 3.0 s, 1/s, at most 1 min 37 s left, look 1 of 5"


def test_the_rate_is_that_of_the_last_half_minute():
    time, stream = [0.0], io.StringIO()
    progress = PlainProgress(stream, clock=lambda: time[0], every_s=0.0)
    for done in range(1, 11):  # ten in the first second, then one every ten
        time[0] = done / 10
        progress(SCORED, done, 100)
    for done in range(11, 21):
        time[0] = 10.0 * (done - 10)
        progress(SCORED, done, 100)
    assert stream.getvalue().splitlines()[-1] == "20/100 answered in 100.0 s, 0.1/s, 13 min 20 s left"


@pytest.mark.parametrize("term", ["dumb", "unknown"])
def test_a_terminal_that_cannot_move_its_cursor_gets_lines(monkeypatch, term):
    monkeypatch.setenv("TERM", term)
    stream = Terminal()
    with progress_for(stream, total=2) as progress:
        assert isinstance(progress, PlainProgress)
        progress(SCORED, 2, 2)
    assert "\x1b" not in stream.getvalue()


def test_a_bar_tells_cost_and_faults(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    stream = Terminal()
    with progress_for(stream, total=5) as progress:
        progress(paid(1.5), 1, 5)
        progress(REFUSED, 2, 5)
        assert progress._told() == "at least $1.50 (1 refused)"
    assert "2/5" in stream.getvalue()
