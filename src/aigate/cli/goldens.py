"""`aigate goldens`: check a suite, say what it can see, import samples."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aigate.cli.options import add_command
from aigate.cli.power import add_power
from aigate.core.counts import count_of

if TYPE_CHECKING:
    from aigate.cli.main import Context
    from aigate.gating.policy import Policy
    from aigate.goldens.suite import Suite

__all__ = ["add_parser"]


def add_parser(commands: Any) -> None:
    """Say what the command takes."""
    parser = add_command(
        commands,
        "goldens",
        about="check a golden suite, say what it can see, or import samples",
        example="aigate goldens check goldens/support-faq",
    )
    verbs = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    checking = add_command(
        verbs,
        "check",
        about="every problem of a suite at once, and a description",
        example="aigate goldens check goldens/support-faq",
    )
    checking.add_argument("folder", metavar="FOLDER", nargs="?", help="the suite; default: that of pyproject.toml")
    checking.add_argument("--suite", metavar="FOLDER", dest="folder_too", help="the same as FOLDER")
    checking.add_argument("--format", choices=("json",), help="print JSON instead of text")
    checking.set_defaults(run=check)
    add_power(verbs)
    importing = add_command(
        verbs,
        "import",
        about="samples from JSON Lines, JSON, CSV, Parquet or a Hugging Face data set; a suite from another tool's",
        example="aigate goldens import promptfooconfig.yaml --from promptfoo --out goldens/faq",
    )
    importing.add_argument("source", metavar="SOURCE", help="a file, or the name of a data set on the Hugging Face hub")
    importing.add_argument(
        "--from",
        metavar="TOOL",
        dest="peer",
        help="promptfoo, deepeval, inspect or ragas: --out is then a suite's folder; default: seen where it is certain",
    )
    importing.add_argument(
        "--out",
        metavar="PATH",
        required=True,
        help="the samples.jsonl, or the suite's folder, to write; must not exist",
    )
    for field in ("id", "input", "reference", "contexts", "tags", "group"):
        importing.add_argument(
            f"--{field}",
            f"--{field}-field",
            metavar="FIELD",
            dest=f"{field}_field",
            help=f"the field that holds {field}; default: a well-known name",
        )
    importing.add_argument("--split", metavar="NAME", help="the split of a data set")
    importing.add_argument("--revision", metavar="REV", help="the revision of a data set on the hub")
    importing.add_argument("--limit", metavar="N", type=int, help="only the first N rows")
    importing.set_defaults(run=import_)


def check(arguments: argparse.Namespace, context: Context) -> int:
    """Print problems, warnings and a description. Exits 2 when there is a problem."""
    from aigate.goldens.check import check_suite

    report = check_suite(_folder(arguments, context), root=context.cwd)
    problems, warnings = [*report.problems], list(report.warnings)
    if report.passed:
        more_problems, more_warnings = _with_scorers_and_policy(report.path, context)
        problems, warnings = problems + more_problems, warnings + more_warnings
    if arguments.format == "json":
        whole = {**report.to_dict(), "problems": problems, "warnings": warnings}
        context.stdout.write(json.dumps(whole, indent=2, ensure_ascii=False) + "\n")
    else:
        _print(report.description, problems, warnings, context)
    return 2 if problems else 0


def _with_scorers_and_policy(path: Path, context: Context) -> tuple[list[str], list[str]]:
    """Problems and warnings that only the scorers and the policy can tell."""
    from aigate.errors import AigateError
    from aigate.gating.policy import Policy
    from aigate.gating.run_metrics import run_metric_names
    from aigate.goldens.check import in_one_line
    from aigate.goldens.suite import load_suite
    from aigate.running.evaluation import primary_metric
    from aigate.running.judges import scorer_errors, scorers_of
    from aigate.scorers.calibration import calibrations_in

    where = f"{path / 'suite.toml'}: [policy]"
    try:
        suite = load_suite(path, root=context.cwd)
        calibrations_in(path, ())
        if unmade := scorer_errors(suite):
            return [in_one_line(error) for error in unmade], []
        scorers = scorers_of(suite)
        primary_metric(suite, scorers)
        if suite.config.policy is None:
            return [], []
        policy = Policy.from_config(suite.config.policy, where=where)
        names = [scorer.spec.metric for scorer in scorers]
        policy.require_metrics(names, run_metric_names(scorers), suite.tags, where=where)
    except AigateError as error:
        return [in_one_line(error)], []
    return [], _too_small(suite, policy)


def _too_small(suite: Suite, policy: Policy) -> list[str]:
    """Checks that can never pass on so few samples or groups, whatever a candidate answers."""
    from aigate.gating.checks.no_regression import NoRegression
    from aigate.gating.margins import least_passing_margin, pass_units, spread_of

    found = []
    for check in policy.checks:
        if not isinstance(check, NoRegression):
            continue
        spread = spread_of(None, check.metric, candidate_repeats=1, samples=suite.samples)
        margin = policy.margin if check.margin is None else check.margin
        least = least_passing_margin(spread, alpha=policy.alpha)
        if (least >= 1.0) if margin == "auto" else (least > margin):
            floor = pass_units(spread, least if margin == "auto" else margin, alpha=policy.alpha)
            found.append(
                f"no-regression {check.metric} can never pass: {floor} {spread.units} are the least for a margin of"
                f" {margin}, there are {spread.n_units}; add samples, or allow a larger margin"
            )
    return found


def _print(description: Any, problems: list[str], warnings: list[str], context: Context) -> None:
    for problem in problems:
        print(f"problem: {problem}", file=context.stdout)
    for warning in warnings:
        print(f"warning: {warning}", file=context.stdout)
    for key, value in description.items():
        shown = value if isinstance(value, str | int | float) else json.dumps(value, ensure_ascii=False)
        print(f"{key}: {shown}", file=context.stdout)
    print(f"{count_of(len(problems), 'problem')}, {count_of(len(warnings), 'warning')}", file=context.stdout)


def _folder(arguments: argparse.Namespace, context: Context) -> Path:
    from aigate.errors import ConfigError
    from aigate.goldens.settings import find_pyproject, resolve_settings

    if given := arguments.folder or arguments.folder_too:
        return Path(given)
    settings = resolve_settings(flags={}, environ=context.environ, suite=None, pyproject=find_pyproject(context.cwd))
    if settings["suite"].value is None:
        raise ConfigError("no suite is named", hint="aigate goldens check FOLDER")
    return Path(settings["suite"].value)


def import_(arguments: argparse.Namespace, context: Context) -> int:
    """Write samples, and say which field became what."""
    from aigate.errors import UsageError
    from aigate.goldens.interchange import import_samples
    from aigate.goldens.samples import dump_samples

    out = Path(arguments.out)
    if (peer := _peer(arguments, out)) is not None:
        return _import_suite(Path(arguments.source), peer, out, context)
    if out.exists():
        raise UsageError(f"--out {out}: exists already", hint="choose another file; nothing is written over")
    fields = {
        f"{name}_field": getattr(arguments, f"{name}_field")
        for name in ("id", "input", "reference", "contexts", "tags", "group")
    }
    found = import_samples(
        arguments.source, **fields, split=arguments.split, revision=arguments.revision, limit=arguments.limit
    )
    out.parent.mkdir(parents=True, exist_ok=True)
    dump_samples(found.samples, out)
    told = ", ".join(f"{field} from '{name}'" for field, name in found.mapping.items())
    print(f"{out}: {count_of(len(found.samples), 'sample')} ({told})", file=context.stdout)
    if found.ignored_fields:
        print(f"not used: {', '.join(found.ignored_fields)}", file=context.stderr)
    return 0


def _peer(arguments: argparse.Namespace, out: Path) -> str | None:
    """The tool whose suite is read: the one that is named, or for a suite's folder the one that is seen.

    Raises:
        UsageError: A tool and fields, which it brings itself; or a folder to write, and no tool that is certain.
    """
    from aigate.errors import UsageError
    from aigate.goldens.peers.base import recognised

    folder = not out.name.endswith((".jsonl", ".jsonl.gz"))
    named: str | None = arguments.peer
    given = [
        name
        for name in ("id", "input", "reference", "contexts", "tags", "group", "split", "revision", "limit")
        if getattr(arguments, f"{name}_field", getattr(arguments, name, None)) is not None
    ]
    if named is not None and given:
        raise UsageError(
            f"--from {named} and --{given[0]}: the tool's own fields are read", hint=f"leave --{given[0]} out"
        )
    if named is not None and not folder:
        raise UsageError(f"--out {out}: --from writes a whole suite", hint=f"name its folder: --out {out.parent}")
    if named is not None or not folder:
        return named
    seen = recognised(Path(arguments.source))
    if seen is None:
        told = f"{arguments.source}: not certain to be of promptfoo, DeepEval, Inspect or ragas"
        raise UsageError(told, hint=f"name the tool: --from TOOL; or only the samples: --out {out}/samples.jsonl")
    return seen


def _import_suite(source: Path, peer: str, out: Path, context: Context) -> int:
    """Write a suite, and name everything that could not be carried over."""
    from aigate.goldens.check import check_suite
    from aigate.goldens.peers.base import import_peer, write_suite

    found = import_peer(source, peer)
    files = write_suite(found, out, source=source, peer=peer)
    print(f"{out}: {count_of(len(found.samples), 'sample')} from {peer}", file=context.stdout)
    for path in files:
        print(f"wrote  {path}", file=context.stdout)
    for note in found.notes:
        print(f"note: {note}", file=context.stderr)
    for line in found.left_out:
        print(f"not carried over: {line}", file=context.stderr)
    problems = check_suite(out, root=context.cwd).problems
    for problem in problems:
        print(f"problem: {problem}", file=context.stderr)
    if found.judge:
        print(f"next: name {' and '.join(found.judge)} under [judge] in {out / 'suite.toml'}", file=context.stderr)
    print(f"next: aigate eval --suite {out} --threshold 0.85", file=context.stderr)
    return 2 if problems else 0
