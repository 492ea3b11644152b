"""Options that several commands share, and what they resolve to."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aigate.reports.formats import FORMATS

if TYPE_CHECKING:
    from aigate.cli.main import Context
    from aigate.core.run import Run
    from aigate.gating.policy import Policy
    from aigate.goldens.settings import Setting
    from aigate.goldens.suite import Suite
    from aigate.running.judges import JudgeChoices
    from aigate.storing.baselines import Baselines

__all__ = [
    "Chosen",
    "add_asked",
    "add_caps",
    "add_command",
    "add_format",
    "add_journal",
    "add_judge",
    "add_pace",
    "add_suite",
    "baseline_in_force",
    "baselines_of",
    "chosen",
    "judge_choices",
    "named_anchor",
    "named_baseline",
    "policy_in_force",
    "refuse_runs",
    "report_file",
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
        return self.settings[key].origin.startswith(("flag", "marker", "AIGATE_"))


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


def add_asked(group: Any) -> None:
    """What is asked: version, provider and its options."""
    group.add_argument(
        "--version", metavar="ID", help="model/provider-version/prompt-version, e.g. gpt-4o/2024-11-20/v3"
    )
    group.add_argument("--provider", metavar="NAME", help="openai, callable, replay, extractive, or an installed one")
    group.add_argument("--target", metavar="MODULE:FUNCTION", help="the function to call; implies --provider callable")
    group.add_argument(
        "--base-url", metavar="URL", help="endpoint (vLLM, Ollama, Azure, a gateway); implies --provider openai"
    )
    group.add_argument(
        "--api-key-env", metavar="NAME", help="environment variable that holds the key (default OPENAI_API_KEY)"
    )
    group.add_argument("--model", metavar="NAME", help="model to ask the endpoint for (default MODEL-PROVIDER_VERSION)")
    group.add_argument(
        "--option",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        help="an option of the provider; VALUE is JSON or text",
    )


def add_pace(group: Any) -> None:
    """How long anything may take, and how much may be asked in a minute."""
    group.add_argument(
        "--timeout", "--timeout-s", metavar="SECONDS", dest="timeout_s", help="seconds per attempt (default 60)"
    )
    group.add_argument("--retries", metavar="N", help="attempts after the first, where a retry can help (default 4)")
    group.add_argument(
        "--sample-deadline",
        metavar="SECONDS",
        dest="sample_deadline_s",
        help="seconds per answer, all attempts and waits together (default 600)",
    )
    group.add_argument(
        "--deadline",
        metavar="SECONDS",
        dest="deadline_s",
        help="seconds after which nothing more is asked: no pass then",
    )
    group.add_argument("--requests-per-minute", metavar="N", help="calls started per minute (default: no limit)")
    group.add_argument("--tokens-per-minute", metavar="N", help="tokens per minute (default: no limit)")


def add_caps(group: Any) -> None:
    """What it may cost."""
    group.add_argument("--max-cost", metavar="USD", help="make no call that could bring the cost above this")
    group.add_argument("--max-calls", metavar="N", help="calls at most, retries and judges included")
    group.add_argument("--max-tokens", metavar="N", help="tokens sent and received at most")
    group.add_argument("--price", metavar="IN,OUT", help="USD per million tokens, where the table lacks the model")
    group.add_argument("--prices", metavar="FILE", help="a price table of your own (TOML)")


def add_format(parser: argparse.ArgumentParser) -> None:
    """`--format` and `--report`."""
    parser.add_argument("--format", choices=tuple(FORMATS), help="also write this document on standard output")
    parser.add_argument("--report", metavar="FILE.html", help="also write the report as one HTML file, to read offline")


def report_file(arguments: argparse.Namespace, runs: Iterable[Run | None] = ()) -> Path | None:
    """Where `--report` wants the HTML report; None where it does not. Looked at before anything is paid for.

    Raises:
        UsageError: A name that is no HTML file's, a folder, or one of the runs themselves.
    """
    from aigate.errors import UsageError

    if arguments.report is None:
        return None
    path = Path(arguments.report)
    if path.suffix.lower() not in {".html", ".htm"}:
        raise UsageError(
            f"--report {path}: expected a file that ends in .html",
            hint="other documents: --format markdown > FILE, or aigate report RUN --format FORMAT --out FILE",
        )
    if path.is_dir():
        raise UsageError(f"--report {path}: is a folder", hint=f"name a file in it: {path / 'report.html'}")
    refuse_runs("--report", path, runs)
    return path


def refuse_runs(flag: str, path: Path, runs: Iterable[Run | None]) -> None:
    """Refuse to write over a run that is being read.

    Raises:
        UsageError: The path is one of theirs.
    """
    from aigate.errors import UsageError

    if any(run is not None and run.source and Path(run.source).resolve() == path.resolve() for run in runs):
        raise UsageError(f"{flag} {path} would write over a run", hint="choose another file")


def add_judge(parser: argparse.ArgumentParser) -> None:
    """`--judge` and its like."""
    judge = parser.add_argument_group("who judges, where a scorer asks a model (suite.toml: [judge])")
    judge.add_argument("--judge", metavar="ID", help="the judge's version, e.g. gpt-4o-mini/2024-07-18/v1")
    judge.add_argument("--judge-provider", metavar="NAME", help="as --provider (default openai)")
    judge.add_argument("--judge-base-url", metavar="URL", help="as --base-url")
    judge.add_argument("--judge-api-key-env", metavar="NAME", help="as --api-key-env")
    judge.add_argument("--judge-model", metavar="NAME", help="as --model")
    judge.add_argument("--judge-repeats", metavar="N", help="judgements per answer; their mean counts (default 1)")
    judge.add_argument("--judge-concurrency", metavar="N", help="questions in flight (default 8)")
    judge.add_argument("--judge-price", metavar="IN,OUT", help="as --price")


def add_journal(group: argparse._ArgumentGroup) -> None:
    """`--journal` and `--no-journal`."""
    group.add_argument(
        "--journal", metavar="FILE", help="where paid answers are kept and looked for (default .aigate/journal.sqlite)"
    )
    group.add_argument(
        "--no-journal",
        action="store_const",
        const="",
        dest="journal",
        help="keep no answers, and take none that were kept: everything is asked",
    )


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
    places["origins"] = context.origins
    first = resolve_settings(**places, suite=None)
    if first["suite"].value is None:
        raise ConfigError(
            "no suite is named", hint='--suite FOLDER, or suite = "goldens/NAME" under [tool.aigate] in pyproject.toml'
        )
    suite = load_suite(Path(first["suite"].value), root=context.cwd)
    return Chosen(suite, resolve_settings(**places, suite=suite.config))


def judge_choices(found: Chosen) -> JudgeChoices:
    """What flags, the environment and pyproject.toml say about the judge; what suite.toml says stands in the suite."""
    from aigate.goldens.settings import JUDGE_KEYS
    from aigate.running.judges import JudgeChoices

    given = {key: name for key, name in JUDGE_KEYS.items() if found.given(key) and found[key] is not None}
    over = {name: found[key] for key, name in given.items() if found.asked_for(key)}
    return JudgeChoices(over, {name: found[key] for key, name in given.items() if name not in over})


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


def baseline_in_force(found: Chosen) -> Run | None:
    """The baseline that the settings name; None when the suite never had it and no flag or variable asks for it.

    Raises:
        BaselineError, RunFileError, StoreError: It cannot be used; names the flag or variable that asks for it.
    """
    from aigate.errors import BaselineError, RunFileError

    asked = found.asked_for("baseline")
    try:
        return named_baseline(found, found["baseline"], explicit=asked)
    except (BaselineError, RunFileError) as error:
        if not asked:
            raise
        told = f"{found.settings['baseline'].origin}: {error.message}"
        raise type(error)(told, hint=error.hint) from None


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
