"""Options that several commands share, and what they resolve to."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from aigate.cli.main import Context
    from aigate.core.run import Run
    from aigate.gating.policy import Policy
    from aigate.goldens.settings import Setting
    from aigate.goldens.suite import Suite
    from aigate.storing.baselines import Baselines

__all__ = [
    "Chosen",
    "add_command",
    "add_format",
    "add_suite",
    "baselines_of",
    "chosen",
    "named_anchor",
    "named_baseline",
    "policy_in_force",
    "require_same_suite",
    "without_threshold",
]


@dataclass(frozen=True)
class Chosen:
    """The suite and the settings in force.

    Attributes:
        suite: The suite.
        settings: Every setting with its origin.
    """

    suite: Suite
    settings: Mapping[str, Setting]

    def __getitem__(self, key: str) -> Any:
        """The value of a setting."""
        return self.settings[key].value

    def given(self, key: str) -> bool:
        """True when something other than the default set it."""
        return self.settings[key].origin != "default"

    def asked_for(self, key: str) -> bool:
        """True when a flag or the environment set it: what it names must then be there."""
        return self.settings[key].origin.startswith(("flag", "AIGATE_"))


def add_command(commands: Any, name: str, *, about: str, example: str) -> argparse.ArgumentParser:
    """A command's parser, with its example in the help."""
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=about,
        description=about[0].upper() + about[1:] + ".",
        epilog=f"example: {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.set_defaults(parser=parser)
    return parser


def add_suite(parser: argparse.ArgumentParser) -> None:
    """`--suite`."""
    parser.add_argument(
        "--suite", metavar="FOLDER", help="the golden suite; default: that of [tool.aigate] in pyproject.toml"
    )


def add_format(parser: argparse.ArgumentParser) -> None:
    """`--format`."""
    parser.add_argument("--format", choices=("json", "markdown"), help="also write this document on standard output")


def chosen(context: Context, flags: Mapping[str, Any]) -> Chosen:
    """The settings in force, and the suite they name.

    Raises:
        UsageError: A wrong setting, or a suite that cannot be read.
    """
    from aigate.errors import ConfigError
    from aigate.goldens.settings import find_pyproject, resolve_settings
    from aigate.goldens.suite import load_suite

    pyproject = find_pyproject(context.cwd)
    places: dict[str, Any] = {"flags": flags, "environ": context.environ, "pyproject": pyproject}
    first = resolve_settings(**places, suite=None)
    if first["suite"].value is None:
        raise ConfigError(
            "no suite is named", hint='--suite FOLDER, or suite = "goldens/NAME" under [tool.aigate] in pyproject.toml'
        )
    suite = load_suite(Path(first["suite"].value), root=context.cwd)
    return Chosen(suite, resolve_settings(**places, suite=suite.config))


def policy_in_force(found: Chosen, primary: str) -> Policy:
    """The suite's policy, with `--threshold` in it.

    Raises:
        ConfigError: No policy and no threshold, or a wrong policy.
    """
    from aigate.errors import ConfigError
    from aigate.gating.policy import Policy

    where = f"{found.suite.path / 'suite.toml'}: [policy]"
    threshold = found["threshold"]
    if found.suite.config.policy is None and threshold is None:
        raise ConfigError(f"{where}: there is no policy", hint="give --threshold 0.85, or write a [policy] with checks")
    return Policy.with_flag(found.suite.config.policy or {}, primary=primary, threshold=threshold, where=where)


def without_threshold(context: Context) -> Context:
    """The context without AIGATE_THRESHOLD: what is stored is decided by what is stored, not by an environment."""
    environ = {name: value for name, value in context.environ.items() if name != "AIGATE_THRESHOLD"}
    return replace(context, environ=environ)


def require_same_suite(run: Run, suite: Suite) -> None:
    """Refuse to judge a run by the policy of a suite that it did not run.

    Raises:
        NotComparableError: The suite's samples are not those of the run.
    """
    from aigate.errors import NotComparableError

    if run.header.suite_digest != suite.digest:
        ran = f"{run.source} ran '{run.header.suite_name}' ({run.header.suite_digest[7:19]})"
        reasons = (f"{ran}, '{suite.name}' now is {suite.digest[7:19]}",)
        raise NotComparableError(reasons, hint="run the suite as it is now, or name the suite it ran with --suite")


def baselines_of(found: Chosen) -> Baselines:
    """The suite's baselines: in its folder, or where the setting `baselines` says."""
    from aigate.storing.baselines import Baselines

    return Baselines(found["baselines"] or found.suite.path / "baselines")


def named_baseline(found: Chosen, name: str, *, explicit: bool) -> Run | None:
    """The run that a baseline's name or a run file's path or URL stands for.

    Args:
        found: The suite whose baselines are meant.
        name: A name, or the path or URL of a run file.
        explicit: True when somebody asked for it: then it must be there.

    Returns:
        The run; None when the suite never had a baseline of that name and nobody asked for it.

    Raises:
        BaselineError, RunFileError, StoreError: It cannot be used.
    """
    from aigate.stores import is_url
    from aigate.storing.runs import load_run

    if is_url(name):
        return load_run(name)
    baselines = baselines_of(found)
    if name in baselines.names():
        return baselines.load(name)
    if "/" in name or name.endswith(".jsonl") or (explicit and Path(name).is_file()):
        return load_run(name)
    promoted_before = any(line.name == name for line in baselines.history())
    return baselines.load(name) if explicit or promoted_before else None


def named_anchor(found: Chosen, *, explicit: bool) -> Run | None:
    """The older run that drops are held against too; None when the suite has none and nobody asked for one.

    Args:
        found: The suite, and the setting `anchor`: a name, or the path or URL of a run file.
        explicit: True when a flag or the environment asked for it: then it must be there.

    Raises:
        BaselineError, RunFileError, StoreError: It cannot be used.
    """
    from aigate.errors import ConfigError

    if explicit and found["anchor"] == found["baseline"]:
        told = f"{found.settings['anchor'].origin}: anchor and baseline are both '{found['anchor']}'"
        raise ConfigError(told, hint="the anchor is an older run: aigate baseline promote RUN --name anchor")
    return named_baseline(found, found["anchor"], explicit=explicit)
