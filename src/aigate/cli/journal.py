"""`aigate journal`: look at the answers that were paid for, take old ones out, write them down."""

from __future__ import annotations

import argparse
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aigate.cli.options import add_command
from aigate.core.counts import count_of

if TYPE_CHECKING:
    from aigate.cli.main import Context
    from aigate.running.journal import Entry

__all__ = ["add_parser", "run"]


def add_parser(commands: Any) -> None:
    """Say what the command takes."""
    parser = add_command(
        commands,
        "journal",
        about="inspect, prune or export the journal of answers that were paid for",
        example="aigate journal show",
    )
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    show = add_command(actions, "show", about="what the journal holds", example="aigate journal show")
    show.add_argument("--format", choices=("json",), help="print JSON instead of lines")
    prune = add_command(
        actions, "prune", about="take entries out for good", example="aigate journal prune --older-than 30"
    )
    which = prune.add_mutually_exclusive_group(required=True)
    which.add_argument("--older-than", metavar="DAYS", help="entries that were given more than so many days ago")
    which.add_argument("--model", metavar="NAME", help="entries of one model or judge")
    which.add_argument("--all", action="store_true", help="every entry")
    export = add_command(
        actions, "export", about="write every entry as a line of JSON", example="aigate journal export --out kept.jsonl"
    )
    export.add_argument("--out", metavar="FILE", help="the file to write (default: standard output)")
    for action, work in ((show, _show), (prune, _prune), (export, _export)):
        action.add_argument("--journal", metavar="FILE", help="the journal (default: the setting `journal`)")
        action.set_defaults(run=run, work=work)


def run(arguments: argparse.Namespace, context: Context) -> int:
    """Do what the action says."""
    from aigate.errors import UsageError
    from aigate.goldens.settings import find_pyproject, resolve_settings

    settings = resolve_settings(
        flags={"journal": arguments.journal},
        environ=context.environ,
        suite=None,
        pyproject=find_pyproject(context.cwd),
    )
    if not settings["journal"].value:
        origin = settings["journal"].origin
        raise UsageError(f"there is no journal: {origin} turns it off", hint="name one with --journal FILE")
    code: int = arguments.work(Path(settings["journal"].value), arguments, context)
    return code


def _show(path: Path, arguments: argparse.Namespace, context: Context) -> int:
    from aigate.running.journal import summary_of

    found = summary_of(path)
    whole: dict[str, Any] = {
        "path": str(found.path),
        "format": "aigate.journal/1",
        "size_bytes": found.size_bytes,
        "entries": dict(found.entries),
        "models": dict(sorted(found.models.items())),
        "oldest": found.oldest,
        "newest": found.newest,
    }
    if arguments.format == "json":
        context.stdout.write(json.dumps(whole, indent=2) + "\n")
        return 0
    kinds = ", ".join(f"{count:,} {kind}s" for kind, count in sorted(found.entries.items())) or "no entries"
    lines = [f"{found.path}: {kinds}, {found.size_bytes / 1e6:.1f} MB"]
    lines += [f"  {model}: {count:,}" for model, count in sorted(found.models.items())]
    lines += [f"given {found.oldest} to {found.newest}"] if found.oldest else []
    print("\n".join(lines), file=context.stdout)
    return 0


def _prune(path: Path, arguments: argparse.Namespace, context: Context) -> int:
    from aigate.running.journal import prune

    before = None
    if arguments.older_than is not None:
        before = datetime.now(UTC) - timedelta(days=_days(arguments.older_than))
    taken = prune(path, before=before, model=arguments.model)
    print(f"{path}: {count_of(taken, 'entry', 'entries', thousands=True)} taken out", file=context.stderr)
    return 0


def _days(text: str) -> float:
    from aigate.errors import UsageError

    try:
        days = float(text)
        sound = 0.0 <= days <= 100_000.0
    except ValueError:
        sound = False
    if not sound:
        raise UsageError(f"--older-than is {text!r}: expected a number of days", hint="e.g. --older-than 30")
    return days


def _export(path: Path, arguments: argparse.Namespace, context: Context) -> int:
    from aigate.core.digest import json_line
    from aigate.running.journal import entries_of

    def written(entry: Entry) -> str:
        told = {"kind": entry.kind, "at": entry.at, "repeat": entry.repeat}
        return json_line({**told, "identity": entry.identity, "value": entry.value}) + "\n"

    if arguments.out is None:
        context.stdout.writelines(map(written, entries_of(path)))
        return 0
    with Path(arguments.out).open("w", encoding="utf-8", newline="\n") as file:
        file.writelines(map(written, entries_of(path)))
    return 0
