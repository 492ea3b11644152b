"""`aigate bench`: how fast a version answers, with intervals. Decides nothing; the check `max-latency` does."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from aigate.cli.options import (
    Chosen,
    add_asked,
    add_caps,
    add_command,
    add_format,
    add_pace,
    add_suite,
    chosen,
    named_baseline,
)

if TYPE_CHECKING:
    from aigate.cli.main import Context
    from aigate.core.run import Run
    from aigate.running.latency import BenchPlan, Load
    from aigate.running.measurement import Benchmark

__all__ = ["add_parser", "run"]

T = TypeVar("T", int, float)

SETTINGS = (
    *(
        "suite",
        "version",
        "provider",
        "base_url",
        "api_key_env",
        "timeout_s",
        "retries",
        "sample_deadline_s",
        "deadline_s",
    ),
    *("requests_per_minute", "tokens_per_minute", "max_cost", "max_calls", "max_tokens", "price", "prices"),
)


def add_parser(commands: Any) -> None:
    """Say what the command takes."""
    parser = add_command(
        commands,
        "bench",
        about="measure how fast a version answers: p50, p95, p99, time to first token, with intervals",
        example="aigate bench --version gpt-4o/2024-11-20/v3 --requests 300 --concurrency 8",
    )
    add_suite(parser)
    what = parser.add_argument_group("what is measured")
    add_asked(what)
    what.add_argument("--limit", metavar="N", type=int, help="only the first N samples")
    what.add_argument("--tag", metavar="TAG", action="append", default=[], help="only samples with this tag")
    load = parser.add_argument_group("under which load")
    load.add_argument(
        "--requests",
        metavar="N",
        help="requests that count (default 300, enough to bound p99; any number in --duration)",
    )
    load.add_argument("--duration", metavar="SECONDS", help="ask nothing more after so long")
    load.add_argument(
        "--warmup", metavar="N", help="requests before those that count (default: as many as in flight; 8 with --rate)"
    )
    load.add_argument(
        "--concurrency", metavar="N", help="requests in flight (default 8); with --rate the most there may be (512)"
    )
    load.add_argument(
        "--rate",
        metavar="R",
        help="an open loop: R requests per second arrive by the clock, whether or not earlier ones are answered, and "
        "latency counts from the moment each was to start",
    )
    add_pace(load)
    load.add_argument("--quiet", action="store_true", help="no progress")
    add_caps(parser.add_argument_group("what it may cost; a cap that is reached ends it (exit code 3)"))
    where = parser.add_argument_group("what becomes of it")
    where.add_argument(
        "--baseline",
        metavar="FILE|NAME",
        help="compare with a benchmark or a run, or with a baseline of the suite, measured under the same load",
    )
    where.add_argument("--out", metavar="FILE", help="keep it, every call with it, as JSON (aigate.bench/1)")
    add_format(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace, context: Context) -> int:
    """Measure. Exits 0; 3 when a cap or the deadline ended it before everything was asked."""
    from aigate.reports.benchmark_report import print_benchmark
    from aigate.reports.terminal import console_for
    from aigate.running.latency import measure

    found, planned = _planned(arguments, context)
    baseline = _baseline(arguments.baseline, found)
    out = None if arguments.out is None else Path(arguments.out)
    _refuse_to_overwrite(out)
    _tell_costs(planned, context)
    try:
        with _progress(arguments, planned, context) as progress:
            measured = measure(planned, baseline=baseline, progress=progress)
    except KeyboardInterrupt:
        print("aigate: interrupted: what was measured is lost", file=context.stderr)
        return 130
    if out is not None:
        from aigate.storing.benchmarks import save_benchmark

        save_benchmark(measured, out)
    _deliver(measured, arguments, context)
    print_benchmark(measured, console_for(context.stderr, environ_columns=context.environ.get("COLUMNS")))
    if out is not None:
        print(f"benchmark: {out}", file=context.stderr)
    return 3 if measured.stopped else 0


def _planned(arguments: argparse.Namespace, context: Context) -> tuple[Chosen, BenchPlan]:
    """Everything looked up and checked; nothing asked yet."""
    from dataclasses import replace

    from aigate.cli.eval import choices_from, implied_provider
    from aigate.running.latency import plan_benchmark

    flags = {key: getattr(arguments, key) for key in SETTINGS}
    own = {"concurrency": arguments.concurrency if arguments.rate is None else None}
    found = chosen(context, {**flags, **own, "provider": implied_provider(arguments)})
    choices = replace(choices_from(arguments, found), journal=None)
    return found, plan_benchmark(found.suite, choices, _load(arguments), environ=context.environ)


def _load(arguments: argparse.Namespace) -> Load:
    from aigate.running.latency import Load

    return Load(
        requests=_parsed("--requests", arguments.requests, int),
        duration_s=_parsed("--duration", arguments.duration, float),
        warmup=_parsed("--warmup", arguments.warmup, int),
        rate=_parsed("--rate", arguments.rate, float),
        most_in_flight=None if arguments.rate is None else _parsed("--concurrency", arguments.concurrency, int),
    )


def _parsed(flag: str, text: str | None, kind: Callable[[str], T]) -> T | None:
    """A flag's number; None where it was not given.

    Raises:
        UsageError: The text is none.
    """
    from aigate.errors import UsageError

    if text is None:
        return None
    try:
        return kind(text)
    except ValueError:
        expected = "a whole number" if kind is int else "a number"
        raise UsageError(f"{flag} is {text!r}: expected {expected}", hint=f"e.g. {flag} 300") from None


def _baseline(name: str | None, found: Chosen) -> Benchmark | Run | None:
    """What to compare with: a file that holds a benchmark or a run, or a baseline of the suite."""
    from aigate.storing.benchmarks import load_timed

    if name is None:
        return None
    is_file = "/" in name or name.endswith((".json", ".jsonl")) or Path(name).is_file()
    return load_timed(name) if is_file else named_baseline(found, name, explicit=True)


def _refuse_to_overwrite(out: Path | None) -> None:
    """Refuse to write over something that is no benchmark, before anything is asked.

    Raises:
        UsageError: It is something else.
    """
    from aigate.errors import CannotJudgeError, UsageError
    from aigate.storing.benchmarks import load_benchmark

    if out is None or not out.exists() or (out.is_file() and out.stat().st_size == 0):
        return
    try:
        load_benchmark(out)
    except CannotJudgeError as error:
        raise UsageError(f"will not write over {error.message}", hint="choose another --out") from None


def _tell_costs(planned: BenchPlan, context: Context) -> None:
    """Say what is about to be asked, what it will cost, and what so few requests cannot show, before the first call."""
    from aigate.cli.output import note
    from aigate.running.budget import estimate

    plan = planned.plan
    if planned.shortfall:
        note(planned.shortfall, context)
    if planned.requests is None:
        note(f"asking for {planned.duration_s:g} s: cap it with --max-calls, --max-tokens or --max-cost", context)
        return
    model = plan.provider.describe().get("model")
    if isinstance(model, str):
        asked = [planned.request(number).messages for number in range(planned.warmup + planned.requests)]
        told = estimate(asked, repeats=1, most_repeats=1, parameters=plan.parameters, price=plan.price, model=model)
        note(str(told), context)


def _progress(arguments: argparse.Namespace, planned: BenchPlan, context: Context) -> Any:
    """Progress where the end is known."""
    from aigate.cli.progress import progress_for

    return progress_for(context.stderr, total=planned.requests or 0, quiet=arguments.quiet or planned.requests is None)


def _deliver(measured: Benchmark, arguments: argparse.Namespace, context: Context) -> None:
    """Write the document that was asked for."""
    import json

    from aigate.reports.benchmark_report import benchmark_markdown

    if arguments.format == "json":
        context.stdout.write(json.dumps(measured.to_dict(), allow_nan=False, indent=2) + "\n")
    elif arguments.format == "markdown":
        context.stdout.write(benchmark_markdown(measured))
    context.stdout.flush()
