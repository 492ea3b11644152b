"""`aigate explain`: what a check, a rule, a scorer, a reason code or an exit code means, and what to do about it."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from aigate.cli.options import add_command

if TYPE_CHECKING:
    from aigate.cli.main import Context

__all__ = ["add_parser", "run"]


def add_parser(commands: Any) -> None:
    """Say what the command takes."""
    parser = add_command(
        commands,
        "explain",
        about="what a check, rule, scorer, reason code or exit code means, and what to do about it",
        example="aigate explain no-regression",
    )
    parser.add_argument("name", metavar="NAME", nargs="?", help="e.g. min-score, drop, 3; without one: every name")
    parser.add_argument("--all", action="store_true", help="every page, one after the other")
    parser.add_argument("--format", choices=("markdown",), help="markdown instead of plain text")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace, context: Context) -> int:
    """Print the pages of a name, every page, or the names there are."""
    from aigate.errors import UsageError
    from aigate.reports.pages import KINDS, as_markdown, as_text, pages_of

    if arguments.name is not None and arguments.all:
        raise UsageError(f"both '{arguments.name}' and --all are asked for", hint="leave one of them out")
    if arguments.name is None and not arguments.all:
        for kind, known in KINDS.items():
            print(f"{kind}s: {', '.join(known.names())}", file=context.stdout)
        return 0
    pages = [kind.page(name) for kind in KINDS.values() for name in kind.names()] if arguments.all else []
    pages = pages or list(pages_of(arguments.name))
    shown = as_markdown if arguments.format == "markdown" else as_text
    context.stdout.write("\n".join(map(shown, pages)))
    return 0
