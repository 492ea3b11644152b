"""Showing a verdict: for people on standard error, as a document on standard output."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

from aigate.errors import UsageError

if TYPE_CHECKING:
    from aigate.cli.main import Context
    from aigate.core.run import Run
    from aigate.core.verdict import Verdict

__all__ = ["deliver", "verdict_json"]


def deliver(
    verdict: Verdict,
    candidate: Run,
    baseline: Run | None,
    *,
    arguments: argparse.Namespace,
    context: Context,
    stored: str | None = None,
) -> int:
    """Show the verdict, write the document that was asked for, and give the exit code."""
    from aigate.reports.markdown import markdown
    from aigate.reports.story import tell
    from aigate.reports.terminal import console_for, print_story

    if arguments.format and sys.stdout is None:
        raise UsageError("standard output is closed: the document cannot be delivered", hint="leave out --format")
    story = tell(verdict, candidate, baseline)
    if path := stored or candidate.source:
        named = f"promote {shlex.quote(str(path))}"
        story = replace(story, next_steps=tuple(step.replace("promote RUN", named) for step in story.next_steps))
    if arguments.format == "json":
        context.stdout.write(verdict_json(verdict))
    elif arguments.format == "markdown":
        context.stdout.write(markdown(story))
    context.stdout.flush()
    try:
        print_story(story, console_for(context.stderr, environ_columns=context.environ.get("COLUMNS")))
        if stored is not None:
            print(f"run: {stored}", file=context.stderr)
    except OSError:  # nobody reads on (`2>&1 | head -1`): that takes a pass back, and nothing else
        if verdict:
            raise
    return verdict.exit_code


def verdict_json(verdict: Verdict) -> str:
    """The verdict as a JSON document: the same bytes for the same verdict."""
    return json.dumps(verdict.to_dict(), ensure_ascii=True, allow_nan=False, indent=2) + "\n"
