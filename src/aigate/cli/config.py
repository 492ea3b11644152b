"""`aigate config`: the configuration in force, with the origin of every value."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING, Any

from aigate.cli.options import add_command, add_suite, chosen

if TYPE_CHECKING:
    from aigate.cli.main import Context

__all__ = ["add_parser", "run"]


def add_parser(commands: Any) -> None:
    """Say what the command takes."""
    parser = add_command(
        commands, "config", about="print every setting in force and where it came from", example="aigate config"
    )
    add_suite(parser)
    parser.add_argument("--format", choices=("json",), help="print JSON instead of a table")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace, context: Context) -> int:
    """Print the settings."""
    found = chosen(context, {"suite": arguments.suite})
    rows = {key: (_shown(setting.value), setting.origin) for key, setting in found.settings.items()}
    policy = found.suite.config.policy
    source = str(found.suite.config.source)
    rows["scorers"] = (", ".join(map(str, found.suite.config.scorers or ("exact_match",))), source)
    rows["policy"] = (json.dumps(policy) if policy else "none", source if policy else "default")
    if arguments.format == "json":
        whole = {key: {"value": value, "origin": origin} for key, (value, origin) in rows.items()}
        context.stdout.write(json.dumps(whole, indent=2) + "\n")
        return 0
    widest = max(map(len, rows))
    for key, (value, origin) in rows.items():
        print(f"{key:<{widest}}  {value}  ({origin})", file=context.stdout)
    return 0


def _shown(value: Any) -> str:
    return "not set" if value is None else str(value)
