"""How far a scorer says what people say: for a terminal, and as Markdown."""

from __future__ import annotations

from collections.abc import Iterator
from textwrap import wrap

from rich import box
from rich.console import Console
from rich.table import Table

from aigate.reports.text import printable
from aigate.scorers.calibration import WEAK, Calibration, Estimate, Quality

__all__ = ["calibration_lines", "calibration_markdown", "print_calibration"]

HEAD = ("answers", "n", "groups", "good", "AUROC", "kappa", "sensitivity", "specificity", "balanced accuracy", "J")
NARROW = ("answers", "n", "groups", "good", "AUROC", "kappa", "sens.", "spec.", "J")  # what 80 columns hold
METHOD = (
    "95 % intervals over groups (Wilson, Newcombe; counts divided by the design effect);"
    " J = sensitivity + specificity - 1"
)


def calibration_lines(calibration: Calibration) -> Iterator[str]:
    """What it comes to, in sentences: the cut, what is left of a change, whether it may gate."""
    overall, metric = calibration.overall, calibration.metric
    how = f"good is a score of at least {calibration.cut:g} ({calibration.chosen})"
    if calibration.elsewhere and calibration.seen_j is not None:
        how += (
            "; the figures at the cut are those of cuts chosen on other groups"
            f" (J on the rows it was chosen on: {calibration.seen_j:.2f})"
        )
    yield how
    if calibration.missing:
        told = ", ".join(f"{count} {reason}" for reason, count in calibration.missing.items())
        yield f"without a score, and in no figure: {told}"
    gap = overall.contrast
    if gap.value is not None:
        yield (
            f"10 points more good answers raise the mean of {metric} by {10 * gap.value:.1f} points"
            f" ({10 * gap.low:.1f} to {10 * gap.high:.1f})"
        )
    yield f"balanced accuracy is {_figure(overall.balanced_accuracy)}"
    may = f"at least {WEAK}: {metric} may gate"
    if not calibration.strong:
        may = f'below {WEAK}: {metric} may gate only where [policy] says accept-weak-judge = ["{metric}"]'
    yield f"J is {_figure(overall.youden_j)}, {may}"


def print_calibration(calibration: Calibration, console: Console) -> None:
    """Write the table and its sentences; without padding at line ends."""
    with console.capture() as captured:
        headline = f"{calibration.metric} against {calibration.human}"
        console.print(*wrap(printable(headline), console.width), sep="\n", markup=False)
        console.print(_table(calibration))
        for line in (*calibration_lines(calibration), METHOD):
            console.print(*wrap(printable(line), console.width, subsequent_indent="  "), sep="\n", markup=False)
    console.file.write("".join(f"{line.rstrip()}\n" for line in captured.get().splitlines()))


def calibration_markdown(calibration: Calibration) -> str:
    """The table and its sentences as Markdown."""
    lines = [f"## {calibration.metric} against {calibration.human}", ""]
    lines += [f"| {' | '.join(HEAD)} |", f"| {' | '.join('---' for _ in HEAD)} |"]
    lines += [f"| {' | '.join(_cells(name, quality, ' '))} |" for name, quality in _rows(calibration)]
    lines += ["", *(f"- {line}" for line in calibration_lines(calibration)), "", METHOD]
    return "\n".join(lines) + "\n"


def _rows(calibration: Calibration) -> Iterator[tuple[str, Quality]]:
    yield "all", calibration.overall
    yield from calibration.slices.items()


def _table(calibration: Calibration) -> Table:
    table = Table(box=box.SIMPLE, pad_edge=False, collapse_padding=True)
    for name in NARROW:
        table.add_column(name, justify="left" if name == "answers" else "right", no_wrap=name != "answers")
    for name, quality in _rows(calibration):
        *before, _, j = _cells(printable(name), quality, "\n")
        table.add_row(*before, j)
    return table


def _cells(name: str, quality: Quality, between: str) -> list[str]:
    share = f"{quality.good / quality.n:.0%}" if quality.n else "–"
    figures = (
        quality.auroc,
        quality.kappa,
        quality.sensitivity,
        quality.specificity,
        quality.balanced_accuracy,
        quality.youden_j,
    )
    return [name, str(quality.n), str(quality.groups), share, *(_cell(figure, between) for figure in figures)]


def _cell(figure: Estimate, between: str) -> str:
    if figure.value is None:
        return "–"
    return f"{_short(figure.value)}{between}{_short(figure.low)}–{_short(figure.high)}"


def _figure(figure: Estimate) -> str:
    """A figure in a sentence."""
    return "not defined" if figure.value is None else f"{figure.value:.2f} ({figure.low:.2f} to {figure.high:.2f})"


def _short(value: float) -> str:
    """Two decimals without the zero before the point, so that ten columns fit on a terminal.

    >>> _short(0.5), _short(-0.25), _short(1.0)
    ('.50', '-.25', '1.00')
    """
    return f"{value:.2f}".replace("0.", ".", 1) if abs(value) < 0.995 else f"{value:.2f}"
