"""`aigate compare`: tables of differences between stored runs. Decides nothing."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from aigate.cli.options import add_command

if TYPE_CHECKING:
    from aigate.cli.main import Context
    from aigate.core.run import Run

__all__ = ["add_parser", "run"]


def add_parser(commands: Any) -> None:
    """Say what the command takes."""
    parser = add_command(
        commands,
        "compare",
        about="show how stored runs differ from the first, metric by metric and sample by sample",
        example="aigate compare v2.jsonl v3.jsonl",
    )
    parser.add_argument(
        "runs",
        metavar="RUN",
        nargs="+",
        help="run files or URLs, at least two; others are held against the first",
    )
    parser.add_argument("--metric", metavar="NAME", action="append", default=[], help="only this metric")
    parser.add_argument("--format", choices=("json", "markdown"), help="also write this document on standard output")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace, context: Context) -> int:
    """Show the differences. Exits 4 when some run is not comparable with the first, else 0."""
    import json

    from aigate.cli.output import show_story
    from aigate.errors import UsageError
    from aigate.gating.tables import compare
    from aigate.reports.markdown import markdown
    from aigate.reports.story import tell
    from aigate.storing.runs import load_run

    if len(arguments.runs) < 2:
        raise UsageError("one run alone cannot be compared", hint="aigate compare BASELINE CANDIDATE")
    first, *others = (load_run(path) for path in arguments.runs)
    _refuse_unknown_metrics(arguments.metric, first)
    compared = compare(first, *others, metrics=arguments.metric)
    for other, findings in zip(others, compared.findings, strict=True):
        story = tell(findings, other, first, decided=False)
        if arguments.format == "markdown":
            context.stdout.write(markdown(story))
        show_story(story, context)
    if arguments.format == "json":
        context.stdout.write(json.dumps(compared.rows(), indent=2, allow_nan=False) + "\n")
    return 4 if any(row.get("not_comparable") for row in compared.rows()) else 0


def _refuse_unknown_metrics(names: list[str], run: Run) -> None:
    from aigate.core.registry import refuse_unknown
    from aigate.errors import UsageError

    known = [spec.metric for spec in run.header.metrics]
    refuse_unknown(names, known, where=run.source, kind="metrics", error=UsageError)
