"""`aigate config`: the configuration in force, with the origin of every value."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from aigate.cli.options import add_command, add_suite, chosen, judge_choices

if TYPE_CHECKING:
    from aigate.cli.main import Context
    from aigate.cli.options import Chosen

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
    rows.update(_suite_rows(found))
    if arguments.format == "json":
        whole = {key: {"value": value, "origin": origin} for key, (value, origin) in rows.items()}
        context.stdout.write(json.dumps(whole, indent=2) + "\n")
        return 0
    widest = max(map(len, rows))
    for key, (value, origin) in rows.items():
        print(f"{key:<{widest}}  {value}  ({origin})", file=context.stdout)
    return 0


def _suite_rows(found: Chosen) -> dict[str, tuple[str, str]]:
    """What only suite.toml can say, defaults filled in: scorers, parameters, and every option of the policy."""
    from aigate.goldens.config import DEFAULTS
    from aigate.running.evaluation import primary_metric
    from aigate.running.judges import named_judges, scorers_of

    suite = found.suite
    scorers = scorers_of(suite, named_judges(suite, judge_choices(found)))
    config, source = suite.config, str(suite.config.source)
    rows = {
        "scorers": (
            ", ".join(map(str, config.scorers or DEFAULTS["scorers"])),
            _origin(config.scorers, source),
        ),
        "primary-metric": (primary_metric(suite, scorers), _origin(config.primary_metric, source)),
    }
    for key, value in (
        ("provider-options", config.provider_options),
        ("parameters", config.parameters),
        ("served-models", list(config.served_models)),
        ("judge-table", config.judge or {}),
    ):
        rows[key] = (json.dumps(value) if value else "none", _origin(value, source))
    rows.update(_policy_rows(config.policy, source))
    return rows


def _origin(value: object, source: str) -> str:
    return source if value else "default"


def _policy_rows(given: Mapping[str, Any] | None, source: str) -> dict[str, tuple[str, str]]:
    from aigate.gating.policy import Policy

    if given is None:
        return {"policy": ("none", "default")}
    whole = Policy.from_config(given, where=f"{source}: [policy]").to_dict()
    rows = {f"policy.{k}": (str(v), source if k in given else "default") for k, v in whole.items() if k != "checks"}
    for number, check in enumerate(whole["checks"], start=1):
        rows[f"policy.checks.{number}"] = (json.dumps(check), source)
    return rows


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return "not set" if value is None else str(value)
