"""`aigate judge calibrate`: how far a scorer says what people say, stored with the suite."""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aigate.cli.options import add_command, add_format, add_journal, add_judge, add_suite, chosen, judge_choices

if TYPE_CHECKING:
    from aigate.cli.main import Context
    from aigate.cli.options import Chosen
    from aigate.running.evaluation import Choices
    from aigate.running.labelled import Answers, Found, Labels
    from aigate.scorers.calibration import Calibration, Cut

__all__ = ["add_parser"]

SETTINGS = (
    *("suite", "max_cost", "max_calls", "prices", "journal", "judge", "judge_provider", "judge_base_url"),
    *("judge_api_key_env", "judge_model", "judge_repeats", "judge_concurrency", "judge_price"),
)


def add_parser(commands: Any) -> None:
    """Say what the command takes."""
    parser = add_command(
        commands,
        "judge",
        about="how far a scorer says what people say",
        example="aigate judge calibrate answers.jsonl --scorer grounding --human human_faithful",
    )
    verbs = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    calibrating = add_command(
        verbs,
        "calibrate",
        about="agreement of a scorer with people's labels: AUROC, kappa, sensitivity, specificity, J, and where to cut",
        example="aigate judge calibrate answers.jsonl --scorer grounding --human human_faithful",
    )
    calibrating.add_argument(
        "answers", metavar="ANSWERS", nargs="+", help="answers to the suite: recordings (JSON Lines, .gz) or run files"
    )
    calibrating.add_argument(
        "--scorer", metavar="NAME", required=True, help="a metric of the suite, or any scorer as suite.toml names it"
    )
    calibrating.add_argument(
        "--human",
        metavar="LABEL",
        required=True,
        help="people's label: NAME for scores.NAME of the answers, metadata.NAME of the samples, a column of --labels",
    )
    calibrating.add_argument(
        "--labels",
        metavar="FILE",
        help="a table of labels (CSV, JSON Lines, JSON, Parquet) with the column id, and where needed repeat, answers",
    )
    calibrating.add_argument(
        "--good",
        metavar="VALUE",
        action="append",
        default=[],
        help="the label that means good, any other is bad; may be given several times (default: 1, true, yes)",
    )
    calibrating.add_argument("--good-at-least", metavar="X", help="labels are numbers, and good from X on")
    calibrating.add_argument("--threshold", metavar="T", help="a score of T or more is good, fixed beforehand")
    calibrating.add_argument(
        "--specificity", metavar="P", help="cut where at least this share of bad answers is found (default: largest J)"
    )
    calibrating.add_argument("--dry-run", action="store_true", help="store nothing")
    calibrating.add_argument("--quiet", action="store_true", help="no progress")
    add_suite(calibrating)
    add_judge(calibrating)
    costs = calibrating.add_argument_group("what it may cost, where a model judges")
    costs.add_argument("--max-cost", metavar="USD", help="make no call that could bring the cost above this")
    costs.add_argument("--max-calls", metavar="N", help="calls at most")
    costs.add_argument("--prices", metavar="FILE", help="a price table of your own (TOML)")
    add_journal(costs)
    add_format(calibrating)
    calibrating.set_defaults(run=run)


def run(arguments: argparse.Namespace, context: Context) -> int:
    """Measure, show, store."""
    from aigate.reports.calibration import calibration_markdown, print_calibration
    from aigate.reports.terminal import console_for
    from aigate.running.provenance import utc_now
    from aigate.scorers.calibration import FOLDER, calibrate, store_calibration

    labels, cut = _labels(arguments), _cut(arguments)
    found = chosen(context, {key: getattr(arguments, key) for key in SETTINGS})
    judged = _judged(arguments, found, labels, context)
    calibration = calibrate(judged.rows, judged.spec, human=str(labels), cut=cut, made_at=utc_now())
    print_calibration(calibration, console_for(context.stderr, environ_columns=context.environ.get("COLUMNS")))
    _tell_left_out(judged, context)
    if not arguments.dry_run:
        path = store_calibration(found.suite.path / FOLDER, calibration)
        print(f"stored: {path}\n  next: commit it; every run of the suite reads it", file=context.stderr)
    if arguments.format == "markdown":
        context.stdout.write(calibration_markdown(calibration))
    elif arguments.format == "json":
        context.stdout.write(_json(calibration))
    return 0


def _judged(arguments: argparse.Namespace, found: Chosen, labels: Labels, context: Context) -> Found:
    from aigate.cli.progress import progress_for
    from aigate.running.labelled import labelled, load_answers, scorer_entry

    choices = _choices(found)
    entry = scorer_entry(found.suite, arguments.scorer, choices)
    answers = [load_answers(Path(path)) for path in arguments.answers]
    with progress_for(context.stderr, total=_total(answers), quiet=arguments.quiet) as progress:
        return labelled(found.suite, entry, answers, labels, choices, environ=context.environ, progress=progress)


def _total(answers: list[Answers]) -> int:
    return sum(len(each.recording.answers) for each in answers)


def _choices(found: Chosen) -> Choices:
    from aigate.running.evaluation import Choices, JournalAt

    return Choices(
        max_cost_usd=found["max-cost"],
        max_calls=found["max-calls"],
        prices=None if found["prices"] is None else Path(found["prices"]),
        journal=JournalAt(Path(found["journal"]), found["journal-days"]) if found["journal"] else None,
        judge=judge_choices(found),
    )


def _labels(arguments: argparse.Namespace) -> Labels:
    from aigate.errors import UsageError
    from aigate.running.labelled import Goodness, Labels

    if arguments.good and arguments.good_at_least is not None:
        raise UsageError("--good and --good-at-least are both given", hint="leave one out")
    at_least = None if arguments.good_at_least is None else _number("--good-at-least", arguments.good_at_least)
    goodness = Goodness(frozenset(arguments.good), at_least)
    return Labels(arguments.human, goodness, None if arguments.labels is None else Path(arguments.labels))


def _cut(arguments: argparse.Namespace) -> Cut:
    from aigate.errors import UsageError
    from aigate.scorers.calibration import Cut

    if arguments.threshold is not None and arguments.specificity is not None:
        raise UsageError("--threshold and --specificity are both given", hint="leave one out")
    at = None if arguments.threshold is None else _number("--threshold", arguments.threshold)
    specificity = None if arguments.specificity is None else _number("--specificity", arguments.specificity)
    for flag, value in (("--threshold", at), ("--specificity", specificity)):
        if value is not None and not 0.0 < value < 1.0:
            raise UsageError(f"{flag} is {value:g}: expected a number between 0 and 1", hint=f"e.g. {flag} 0.8")
    return Cut(at, specificity)


def _number(flag: str, text: str) -> float:
    from aigate.errors import UsageError

    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise UsageError(f"{flag} is {text!r}: expected a number")
    return value


def _tell_left_out(judged: Found, context: Context) -> None:
    """What stands in no figure."""
    told = {
        "without a label": judged.unlabelled,
        "no answer that a scorer judges (faults, refusals, cut-off answers)": judged.unanswered,
        "to no sample of the suite": len(judged.foreign),
    }
    for what, count in told.items():
        if count:
            print(f"note: {count} {what}", file=context.stderr)


def _json(calibration: Calibration) -> str:
    return json.dumps(calibration.to_dict(), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
