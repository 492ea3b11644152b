"""The runner of a GitHub job obeys nothing that a model wrote."""

import io
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aigate.reports.job_log import commands_stopped, in_github_job
from aigate.reports.text import printable

JOB = {"GITHUB_ACTIONS": "true"}
KNOWN = {
    "set-output",
    "save-state",
    "add-mask",
    "add-matcher",
    "set-env",
    "add-path",
    "error",
    "warning",
    "notice",
    "debug",
}


def obeyed(log):
    """The commands that a runner would obey in a log, as actions/runner reads lines (`ActionCommandManager`)."""
    found, stopped = [], None
    for line in log.split("\n"):
        new = re.match(r"\s*::([A-Za-z-]+)(?: [^:]*)?::(.*)", line)
        old = re.search(r"##\[([A-Za-z-]+)[^\]]*\](.*)", line)
        if stopped is not None:
            if line.strip() == f"::{stopped}::":
                stopped = None
            continue
        for match in (new, old):
            if match is None:
                continue
            if match[1] == "stop-commands":
                stopped = match[2]
            elif match[1].lower() in KNOWN:
                found.append(match[1])
    return found


ATTACKS = [
    "::set-output name=status::pass",
    "   ::add-mask::secret",
    "fine\n::error file=a::owned",
    "text ##[set-output name=status]pass",
    "##[add-matcher]x.json",
    "::stop-commands::x\n::set-output name=a::b\n::x::",
    "a\t::warning::b",
]


@pytest.mark.parametrize("text", ATTACKS)
def test_the_reader_used_here_obeys_what_a_runner_would(text):
    assert obeyed(text) or "stop-commands" in text or text.startswith("a\t")


@pytest.mark.parametrize("text", ATTACKS)
def test_nothing_printable_is_a_command(text):
    assert obeyed(printable(text)) == []
    assert "stop-commands" not in re.findall(r"^\s*::(\S+?)::", printable(text), re.MULTILINE)


@given(st.text(st.sampled_from("::##[]- \n\tsetouperw=,%"), max_size=80))
def test_no_printable_text_holds_one(text):
    shown = printable(text)
    assert not re.search(r"^\s*::", shown, re.MULTILINE)
    assert not re.search(r"##\w*\[", shown)


@pytest.mark.parametrize("text", ATTACKS)
def test_between_the_marks_nothing_is_obeyed(text):
    stream = io.StringIO()
    with commands_stopped(stream, JOB):
        stream.write(f"{text}\n")
    stream.write("::notice::ours\n")
    assert obeyed(stream.getvalue()) == ["notice"]


def test_the_token_cannot_be_known_before():
    tokens = set()
    for _ in range(20):
        stream = io.StringIO()
        with commands_stopped(stream, JOB):
            pass
        tokens.add(re.match(r"::stop-commands::(\S+)\n", stream.getvalue())[1])
    assert len(tokens) == 20
    assert all(len(token) >= 38 for token in tokens)


def test_the_marks_are_closed_after_an_error_too():
    stream = io.StringIO()
    with pytest.raises(ValueError, match="x"), commands_stopped(stream, JOB):
        raise ValueError("x")
    assert obeyed(stream.getvalue() + "::notice::ours\n") == ["notice"]


@pytest.mark.parametrize("environ", [{}, {"GITHUB_ACTIONS": ""}, {"GITHUB_ACTIONS": "false"}])
def test_elsewhere_nothing_is_added(environ):
    stream = io.StringIO()
    with commands_stopped(stream, environ):
        stream.write("x")
    assert stream.getvalue() == "x"
    assert not in_github_job(environ)
