"""A latency benchmark for people: a table of quantiles with their bounds, what it compares with, what to know of it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from aigate.core.counts import count_of
from aigate.reports.text import printable
from aigate.running.measurement import Benchmark
from aigate.running.timings import QuantileTime
from aigate.stats.ratios import RatioInterval

__all__ = ["benchmark_markdown", "print_benchmark"]


def print_benchmark(found: Benchmark, console: Console) -> None:
    """Write it on a terminal, or without padding at line ends where it is none."""
    with console.capture() as captured:
        console.print(Text(printable(_headline(found)), style="bold"))
        console.print()
        console.print(_table(found))
        for line in _lines(found):
            console.print(Text(printable(line)))
        for note in found.notes:
            console.print(Text(printable(f"note: {note}"), style="dim"))
    text = captured.get()
    if console.is_terminal:
        console.file.write(text)
        return
    console.file.write("".join(f"{line.rstrip()}\n" for line in text.splitlines()))


def benchmark_markdown(found: Benchmark) -> str:
    """The same as GitHub-flavoured markdown, ending in a newline."""
    head, *rows = _cells(found)
    lines = [f"## {_plain(_headline(found))}", "", f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    lines += [f"| {' | '.join(row)} |" for row in rows]
    lines += ["", *(f"- {_plain(line)}" for line in _lines(found)), ""]
    lines += [f"> note: {_plain(note)}  " for note in found.notes]
    return "\n".join(lines).rstrip() + "\n"


def _headline(found: Benchmark) -> str:
    load = found.load
    how = (
        f"open loop, {load['rate']:g} requests/s"
        if found.open_loop
        else f"closed loop, {load['concurrency']} in flight"
    )
    return f"{found.version}: {count_of(len(found.calls), 'request')}, {how}, {found.wall_s:.3g} s"


def _table(found: Benchmark) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    head, *rows = _cells(found)
    for number, name in enumerate(head):
        table.add_column(Text(name), justify="left" if number == 0 else "right")
    for row in rows:
        table.add_row(*map(Text, row))
    return table


def _cells(found: Benchmark) -> Iterable[Sequence[str]]:
    """Headings, then one row per quantile and one for the slowest answer. What is not the benchmark's has no bounds."""
    shown = [("latency", found.latency, True)]
    if found.comparison is not None:
        shown.append(("before", found.comparison.before, False))
    if found.open_loop:
        shown.append(("of it service", found.service, False))
    shown.append(("time to first token", found.ttft, True))
    columns = [(name, summary, bounds) for name, summary, bounds in shown if summary.quantiles]
    yield "seconds", *(name for name, _, _ in columns)
    for place, quantile in enumerate(found.latency.quantiles):
        yield quantile.name, *(_cell(summary.quantiles[place], bounds=bounds) for _, summary, bounds in columns)
    yield "slowest", *(_number(max(summary.answered, default=math.inf)) for _, summary, _ in columns)


def _cell(found: QuantileTime, *, bounds: bool) -> str:
    if not bounds:
        return _number(found.seconds)
    low, high = ("?" if bound is None else _number(bound) for bound in (found.low, found.high))
    return f"{_number(found.seconds)} ({low} to {high})"


def _number(seconds: float) -> str:
    return "no answer" if math.isinf(seconds) else f"{seconds:.3g}"


def _lines(found: Benchmark) -> Iterable[str]:
    one_sided = (1.0 + found.latency.level) / 2.0
    yield f"in brackets: bounds that hold with {one_sided:.0%} each, for every distribution; ?: too few for one"
    rate = f"{found.throughput_per_s:.3g} answers/s"
    tokens = found.output_tokens_per_s
    cost = "" if found.cost_usd is None else f", {found.cost_usd:.3g} USD"
    yield f"throughput: {rate}{'' if tokens is None else f', {tokens:.3g} tokens/s'}{cost}"
    errors = ", ".join(f"{count} {kind}" for kind, count in found.errors.items())
    yield f"errors: {errors or 'none'}"
    if found.comparison is not None:
        yield from _compared("latency", found.comparison.latency, found.comparison.against)
        if found.comparison.ttft is not None:
            yield from _compared("time to first token", found.comparison.ttft, found.comparison.against)


def _compared(what: str, ratio: RatioInterval | None, against: str) -> Iterable[str]:
    if ratio is None:
        yield f"{what}: nothing to compare with {against}: fewer than two samples have a time in both"
        return
    bounds = f"{ratio.low:.3g} to {ratio.high:.3g}"
    yield f"{what}: the typical question takes {ratio.ratio:.3g} times as long ({bounds}) as with {against}"


def _plain(text: str) -> str:
    """Text without what markdown would read as markup."""
    return " ".join(printable(text).split()).replace("|", "\\|").replace("<", "&lt;").replace("*", "\\*")
