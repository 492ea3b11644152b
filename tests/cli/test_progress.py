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
    assert stream.getvalue() == "2/50 answered in 10.0 s, look 1 of 5 (1 refused)\n"


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
        "11/50 answered in 12.0 s, look 2 of 5",
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
        "11/50 answered in 22.0 s, look 1 of 5",
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
