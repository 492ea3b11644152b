"""Showing a verdict: for people on standard error, as a document on standard output."""

from __future__ import annotations

import argparse
import shlex
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from aigate.errors import UsageError

if TYPE_CHECKING:
    from aigate.cli.main import Context
    from aigate.core.run import Run
    from aigate.core.verdict import Verdict
    from aigate.reports.documents import Shown
    from aigate.reports.story import Story

__all__ = ["deliver", "show_story", "shown_of"]


def deliver(
    verdict: Verdict,
    candidate: Run,
    baseline: Run | None,
    *,
    arguments: argparse.Namespace,
    context: Context,
    stored: Path | None = None,
    suite: Path | None = None,
) -> int:
    """Show the verdict, write the document that was asked for, and give the exit code.

    Args:
        verdict: What was decided.
        candidate: The run under test.
        baseline: The run it was held against.
        arguments: The command's; `format` names the document.
        context: Where to write.
        stored: The run file, where this command wrote it.
        suite: The suite's folder, where it is known.
    """
    from aigate.reports.documents import document
    from aigate.reports.story import tell

    if arguments.format and sys.stdout is None:
        raise UsageError("standard output is closed: the document cannot be delivered", hint="leave out --format")
    story = tell(verdict, candidate, baseline)
    if path := stored or candidate.source:
        named = f"promote {shlex.quote(str(path))}"
        story = replace(story, next_steps=tuple(step.replace("promote RUN", named) for step in story.next_steps))
    shown = shown_of(story, candidate, baseline, suite=suite, context=context)
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
    except OSError:  # nobody reads on (`2>&1 | head -1`): that takes a pass back, and nothing else
        if verdict:
            raise
    return verdict.exit_code


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
