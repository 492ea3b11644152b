"""`aigate report`: the document of a stored run."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from aigate.cli.gate import add_run_and_baseline, decided
from aigate.cli.options import add_command

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
    parser.add_argument("--format", choices=("json", "markdown"), default="markdown", help="default: markdown")
    parser.add_argument(
        "--samples", metavar="N", type=int, default=20, help="how many samples that moved to show (default 20)"
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace, context: Context) -> int:
    """Write the report. A report that could be written exits 0 whatever the verdict is; `gate` is what decides."""
    from aigate.cli.output import verdict_json
    from aigate.errors import UsageError
    from aigate.gating.decision import gate
    from aigate.reports.markdown import markdown
    from aigate.reports.story import tell

    if arguments.samples < 0:
        raise UsageError(f"--samples {arguments.samples}: expected 0 or more")
    candidate, baseline, anchor, policy = decided(arguments, context)
    verdict = gate(candidate, policy, baseline=baseline, anchor=anchor)
    if arguments.format == "json":
        context.stdout.write(verdict_json(verdict))
    else:
        context.stdout.write(markdown(tell(verdict, candidate, baseline, shown=arguments.samples)))
    return 0
