"""Showing a verdict: for people on standard error, as a document on standard output."""

from __future__ import annotations

import argparse
import shlex
import sys
from contextlib import suppress
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from aigate.errors import UsageError

if TYPE_CHECKING:
    from aigate.cli.main import Context
    from aigate.core.run import Run
    from aigate.core.verdict import Verdict
    from aigate.reports.documents import Shown
    from aigate.reports.story import Story

__all__ = ["deliver", "load", "note", "show_story", "shown_of", "write_html"]


def deliver(
    verdict: Verdict,
    candidate: Run,
    baseline: Run | None,
    *,
    arguments: argparse.Namespace,
    context: Context,
    stored: str | None = None,
    suite: Path | None = None,
) -> int:
    """Show the verdict, write the documents that were asked for, and give the exit code.

    Args:
        verdict: What was decided.
        candidate: The run under test.
        baseline: The run it was held against.
        arguments: The command's; `format` names the document, `report` the HTML file.
        context: Where to write.
        stored: The run file, where this command wrote it.
        suite: The suite's folder, where it is known.
    """
    from aigate.cli.options import report_file
    from aigate.reports.documents import document
    from aigate.reports.story import tell

    if arguments.format and sys.stdout is None:
        raise UsageError("standard output is closed: the document cannot be delivered", hint="leave out --format")
    report = report_file(arguments, (candidate, baseline))
    story = tell(verdict, candidate, baseline)
    if path := stored or candidate.source:
        named = f"promote {shlex.quote(str(path))}"
        story = replace(story, next_steps=tuple(step.replace("promote RUN", named) for step in story.next_steps))
    shown = shown_of(story, candidate, baseline, suite=suite, context=context)
    if report is not None:
        write_html(report, story, candidate, baseline)
    if arguments.format == "github":
        _deliver_to_github(shown, context)
        return verdict.exit_code
    if arguments.format:
        context.stdout.write(document(arguments.format, shown))
    context.stdout.flush()
    try:
        show_story(story, context)
        if stored is not None:
            print(f"run: {stored}", file=context.stderr)
        if report is not None:
            print(f"report: {report}", file=context.stderr)
    except OSError:  # nobody reads on (`2>&1 | head -1`): that takes a pass back, and nothing else
        if verdict:
            raise
    return verdict.exit_code


def load() -> None:
    """Import what deciding and `deliver` need, ahead of time."""
    for name in ("aigate.gating.decision", "aigate.reports.documents", "aigate.reports.terminal"):
        import_module(name)


def write_html(path: Path, story: Story, candidate: Run, baseline: Run | None) -> None:
    """Put the HTML report in place, whole."""
    from aigate.files import write_atomically
    from aigate.reports.html import html_pieces

    write_atomically(path, (piece.encode("utf-8") for piece in html_pieces(story, candidate, baseline)))


def note(text: str, context: Context) -> None:
    """Tell something that changes nothing, wrapped like the verdict."""
    from textwrap import wrap

    from aigate.reports.text import printable, width_for

    width = width_for(context.stderr, environ_columns=context.environ.get("COLUMNS"))
    with suppress(OSError):  # nobody reads on (`2>&1 | head -1`): what changes nothing does not end the run
        for line in wrap(printable(f"note: {text}"), width):
            print(line, file=context.stderr)


def show_story(story: Story, context: Context, *, on_stdout: bool = False) -> None:
    """Tell people; in a GitHub job the runner is told to obey nothing of it."""
    from aigate.reports.job_log import commands_stopped
    from aigate.reports.terminal import console_for, print_story

    stream = context.stdout if on_stdout else context.stderr
    with commands_stopped(stream, context.environ):
        print_story(story, console_for(stream, environ_columns=context.environ.get("COLUMNS")))


def shown_of(story: Story, candidate: Run, baseline: Run | None, *, suite: Path | None, context: Context) -> Shown:
    """What documents are made of, with places as seen from the top of the repository."""
    from aigate.reports.documents import Shown
    from aigate.reports.places import places_of_run, places_of_suite

    tops = (context.environ.get(name) for name in ("GITHUB_WORKSPACE", "CI_PROJECT_DIR", "WORKSPACE"))
    root = Path(next((top for top in tops if top), str(context.cwd)))
    places = places_of_run(candidate, root=root) if suite is None else places_of_suite(suite, root=root)
    return Shown(story.verdict, candidate, baseline, story, places)


def _deliver_to_github(shown: Shown, context: Context) -> None:
    """Everything on one stream: the runner reads two at once, and might take a command while it obeys none."""
    from aigate.reports.documents import document
    from aigate.reports.github import append_outputs, append_summary

    show_story(shown.story, context, on_stdout=True)
    context.stdout.write(document("github", shown))
    if path := context.environ.get("GITHUB_STEP_SUMMARY"):
        append_summary(Path(path), shown.verdict, shown.candidate, shown.baseline)
    if path := context.environ.get("GITHUB_OUTPUT"):
        append_outputs(Path(path), shown.verdict, shown.candidate)
