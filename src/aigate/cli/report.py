"""`aigate report`: the document of a stored run, on standard output or in a file."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aigate.cli.gate import add_run_and_baseline, decided, folder_of
from aigate.cli.options import add_command, refuse_runs
from aigate.reports.formats import FORMATS

if TYPE_CHECKING:
    from aigate.cli.main import Context
    from aigate.reports.documents import Shown

__all__ = ["add_parser", "run"]

HTML = "html"


def add_parser(commands: Any) -> None:
    """Say what the command takes."""
    parser = add_command(
        commands,
        "report",
        about="write the report of a stored run",
        example="aigate report candidate.jsonl --baseline baseline.jsonl --format html --out report.html",
    )
    add_run_and_baseline(parser)
    parser.add_argument(
        "--format",
        choices=(HTML, *FORMATS),
        help="default: what the ending of --out says (.html, .json, .md), else markdown",
    )
    parser.add_argument("--out", metavar="FILE", help="the file to write (default: standard output)")
    parser.add_argument(
        "--samples", metavar="N", type=int, default=20, help="how many samples that moved to show (default 20)"
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace, context: Context) -> int:
    """Write the report. A report that could be written exits 0 whatever the verdict is; `gate` is what decides."""
    from aigate.cli.output import shown_of
    from aigate.errors import UsageError
    from aigate.files import write_atomically
    from aigate.gating.decision import gate
    from aigate.reports.story import tell

    if arguments.samples < 0:
        raise UsageError(f"--samples {arguments.samples}: expected 0 or more")
    out = None if arguments.out is None else Path(arguments.out)
    if out is not None and out.is_dir():
        raise UsageError(f"--out {out}: is a folder", hint="name a file in it")
    candidate, baseline, anchor, policy = decided(arguments, context)
    if out is not None:
        refuse_runs("--out", out, (candidate, baseline, anchor))
    verdict = gate(candidate, policy, baseline=baseline, anchor=anchor)
    story = tell(verdict, candidate, baseline, shown=arguments.samples)
    form = arguments.format or _format_of(out)
    suite = folder_of(candidate, arguments, context)
    pieces = _pieces(form, shown_of(story, candidate, baseline, suite=suite, context=context))
    if out is None:
        context.stdout.writelines(pieces)
    else:
        write_atomically(out, (piece.encode("utf-8", "backslashreplace") for piece in pieces))
    return 0


def _format_of(out: Path | None) -> str:
    """The format that a file's ending asks for."""
    suffix = "" if out is None else out.suffix.lower()
    return {".html": HTML, ".htm": HTML, ".json": "json"}.get(suffix, "markdown")


def _pieces(form: str, shown: Shown) -> Iterable[str]:
    from aigate.reports.documents import document
    from aigate.reports.html import html_pieces

    if form == HTML:
        return html_pieces(shown.story, shown.candidate, shown.baseline)
    return (document(form, shown),)
