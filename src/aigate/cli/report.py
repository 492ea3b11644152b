"""`aigate report`: the document of a stored run."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from aigate.cli.gate import add_run_and_baseline, decided, folder_of
from aigate.cli.options import add_command
from aigate.reports.formats import FORMATS

if TYPE_CHECKING:
    from aigate.cli.main import Context

__all__ = ["add_parser", "run"]


def add_parser(commands: Any) -> None:
    """Say what the command takes."""
    parser = add_command(
        commands,
        "report",
        about="write the report of a stored run on standard output",
        example="aigate report candidate.jsonl --baseline baseline.jsonl --format markdown > report.md",
    )
    add_run_and_baseline(parser)
    parser.add_argument("--format", choices=tuple(FORMATS), default="markdown", help="default: markdown")
    parser.add_argument(
        "--samples", metavar="N", type=int, default=20, help="how many samples that moved to show (default 20)"
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace, context: Context) -> int:
    """Write the report. A report that could be written exits 0 whatever the verdict is; `gate` is what decides."""
    from aigate.cli.output import shown_of
    from aigate.errors import UsageError
    from aigate.gating.decision import gate
    from aigate.reports.documents import document
    from aigate.reports.story import tell

    if arguments.samples < 0:
        raise UsageError(f"--samples {arguments.samples}: expected 0 or more")
    candidate, baseline, anchor, policy = decided(arguments, context)
    verdict = gate(candidate, policy, baseline=baseline, anchor=anchor)
    story = tell(verdict, candidate, baseline, shown=arguments.samples)
    suite = folder_of(candidate, arguments, context)
    shown = shown_of(story, candidate, baseline, suite=suite, context=context)
    context.stdout.write(document(arguments.format, shown))
    return 0
