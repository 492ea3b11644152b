"""The verdict on a terminal: first the verdict, then why, the samples that moved side by side, what to do next."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TextIO

from rich import box
from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from aigate.core.counts import count_of
from aigate.core.verdict import CheckOutcome, Status
from aigate.reports.story import Answer, MetricRow, MovedSample, SliceRow, Story, more_moved
from aigate.reports.text import excerpt, printable, width_for
from aigate.reports.words import Change, word_changes
from aigate.scorers.classification import Confusion

__all__ = ["console_for", "print_story"]

STYLES = {Status.PASS: "green", Status.FAIL: "red", Status.INCONCLUSIVE: "yellow", Status.ERROR: "magenta"}
MARKS = {Status.PASS: "✓", Status.FAIL: "✗", Status.INCONCLUSIVE: "?", Status.ERROR: "!"}
LEAD = 40  # characters shown before the first word that differs
MARKED = {"same": "", "gone": "red", "new": "green"}
SHOWN_CLASSES = 8


def console_for(stream: TextIO, *, environ_columns: str | None = None) -> Console:
    """A console that writes to `stream`: colours only on a terminal, 80 columns where the width is not known."""
    width = width_for(stream, environ_columns=environ_columns)
    if stream.isatty():
        return _Console(file=stream, highlight=False, width=width)
    return _Console(file=stream, highlight=False, width=width, color_system=None)


class _Console(Console):
    """A console that leaves a closed pipe to its caller: rich ends the program, with the exit code of a failed gate."""

    def on_broken_pipe(self) -> None:
        """Called while the error is handled."""
        raise


def print_story(story: Story, console: Console) -> None:
    """Write the whole story; without padding at line ends where it is not for a terminal."""
    if console.is_terminal:
        _print(story, console)
        return
    with console.capture() as captured:
        _print(story, console)
    lines = (line.rstrip() for line in captured.get().splitlines())
    console.file.write("".join(f"{line}\n" for line in lines))


def _print(story: Story, console: Console) -> None:
    style = STYLES[story.verdict.status] if story.decided else ""
    if story.threshold_means:
        console.print(Text(printable(story.threshold_means), style="dim"))
    console.print(Text(printable(story.headline), style=f"bold {style}"))
    for line in story.why:
        console.print(_bullet(line))
    console.print()
    sound = [check for check in story.verdict.checks if check.integrity and check.status is Status.PASS]
    console.print(_checks([check for check in story.verdict.checks if check not in sound]))
    if sound:
        console.print(_bullet(f"sound: {', '.join(check.label for check in sound)}", style="dim", mark="✓"))
    console.print(_metrics(story.metrics))
    if story.metrics_over:
        console.print(Text(printable(story.metrics_over), style="dim"))
    for line in story.measured:
        console.print(Text(printable(line)))
    for metric, confusion in story.confusions.items():
        console.print(_confusion(metric, confusion))
    if story.slices:
        console.print(_slices(story.slices))
    for sample in story.moved:
        console.print(_moved(sample, console.width))
    if told := more_moved(story):
        console.print(Text(told, style="dim"))
        console.print()
    for note in story.notes:
        console.print(_bullet(f"note: {note}", style="dim"))
    console.print(Text(f"outcomes: {story.ledger}", style="dim"))
    for line in story.costs:
        console.print(Text(printable(f"cost of {line}"), style="dim"))
    for step in story.next_steps:
        console.print(Text.assemble(("next: ", "bold"), printable(step)))
    if story.decided and story.moved:  # the verdict has scrolled away by now
        console.print(Text(printable(story.headline), style=f"bold {style}"))


def _bullet(line: str, *, style: str = "", mark: str = " -") -> RenderableType:
    """A line that wraps under itself."""
    table = Table.grid(padding=(0, 1))
    table.add_row(Text(mark, style=style), Text(printable(line), style=style))
    return table


def _checks(checks: Sequence[CheckOutcome]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for name in ("", "check", "what it found", "n"):
        table.add_column(name, justify="right" if name == "n" else "left", overflow="fold")
    for check in sorted(checks, key=lambda check: check.integrity):
        mark = Text(MARKS[check.status], style=STYLES[check.status])
        table.add_row(mark, Text(printable(check.label)), Text(printable(check.summary)), _counted(check))
    return table


def _counted(check: CheckOutcome) -> str:
    """Samples, with groups where they are fewer."""
    if 0 < check.n_groups < check.n_samples:
        return f"{check.n_samples} in {count_of(check.n_groups, 'group')}"
    return str(check.n_samples) if check.n_samples else ""


def _metrics(metrics: Sequence[MetricRow]) -> RenderableType:
    compared = any(row.baseline is not None for row in metrics)
    table = _table("metric", *(("baseline", "candidate") if compared else ("mean",)), "missing")
    for row in metrics:
        before = (_number(row.baseline),) if compared else ()
        table.add_row(Text(_brief(row.metric, 60)), *before, _number(row.candidate), str(row.missing or ""))
    return Group(Text(""), table)


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _confusion(metric: str, confusion: Confusion) -> RenderableType:
    """Rows are the right labels, columns the answered ones."""
    shown = confusion.labels[:SHOWN_CLASSES]
    table = _table(f"{_brief(metric, 60)}: right \\ said", *(_brief(label, 12) for label in shown))
    for label, counts in list(zip(confusion.labels, confusion.matrix, strict=False))[:SHOWN_CLASSES]:
        table.add_row(Text(_brief(label, 24)), *(str(count) for count in counts[: len(shown)]))
    return Group(Text(""), table)


def _table(first: str, *others: str) -> Table:
    """A table whose first column is text and whose others are numbers."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    table.add_column(Text(first))
    for name in others:
        table.add_column(Text(name), justify="right")
    return table


def _slices(slices: Sequence[SliceRow]) -> RenderableType:
    table = _table("slice", "n", "before", "now", "points", "q")
    for found in slices:
        row, style = found.row, "red" if found.fell else ""
        means = (f"{row['baseline_mean']:.3f}", f"{row['candidate_mean']:.3f}", f"{row['difference'] * 100:+.1f}")
        name = f"{_brief(found.metric, 60)} in {_brief(row['tag'], 60)}{' (fell)' if found.fell else ''}"
        table.add_row(Text(name, style=style), str(row["n"]), *means, f"{row['q']:.2g}")
    return Group(Text(""), table)


def _moved(sample: MovedSample, width: int) -> RenderableType:
    scores = _scores(sample)
    title = Text.assemble((_brief(sample.moved.sample_id, 200), "bold"), f"  {printable(sample.check.label)}  {scores}")
    parts: list[RenderableType] = [Text(""), title]
    if sample.question:
        parts.append(Padding(Text(f"asked: {_brief(sample.question, 200)}", style="dim"), (0, 0, 0, 2)))
    if sample.reference:
        parts.append(Padding(Text(f"right: {_brief(sample.reference, 200)}", style="dim"), (0, 0, 0, 2)))
    parts.append(Padding(_side_by_side(sample, width), (0, 0, 0, 2)))
    return Group(*parts)


def _scores(sample: MovedSample) -> str:
    before, now = sample.moved.baseline, sample.moved.candidate
    told = (
        f"{before:.3g} → {now:.3g}"
        if before is not None and now is not None
        else f"{now:.3g}"
        if now is not None
        else ""
    )
    return "  ".join(part for part in (told, printable(sample.moved.note)) if part)


def _side_by_side(sample: MovedSample, width: int) -> RenderableType:
    if sample.baseline is None or sample.candidate is None:
        only = sample.candidate or sample.baseline
        return _answer(only, 500) if only else Text("no answer", style="dim")
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, expand=True)
    table.add_column("baseline", ratio=1, overflow="fold")
    table.add_column("candidate", ratio=1, overflow="fold")
    limit = max(120, 6 * (width // 2))
    table.add_row(*_compared(sample.baseline, sample.candidate, limit))
    return table


def _compared(before: Answer, now: Answer, limit: int) -> tuple[RenderableType, RenderableType]:
    """Both answers, with the words marked that differ; those far in are reached from shortly before the first."""
    changes = word_changes(before.text, now.text)
    if changes is None or len(changes) < 2:
        return _answer(before, limit), _answer(now, limit)
    same = len(changes[0].text) if changes[0].kind == "same" else 0
    start = same - LEAD if same > limit // 2 else 0
    sides = ([change for change in changes if change.kind != other] for other in ("new", "gone"))
    first, second = (_marked(side, start, limit) for side in sides)
    return _explained(first, before), _explained(second, now)


def _marked(changes: Sequence[Change], start: int, limit: int) -> Text:
    """A text as changes, from `start`, at most `limit` characters; says how much was left out."""
    shown, place = Text("… " if start else ""), 0
    for change in changes:
        part = change.text[max(0, start - place) : max(0, start + limit - place)]
        shown.append(printable(part), style=MARKED[change.kind])
        place += len(change.text)
    left_out = place - start - limit
    return shown.append(f" … ({count_of(left_out, 'more character', thousands=True)})") if left_out > 0 else shown


def _answer(answer: Answer, limit: int) -> RenderableType:
    return _explained(Text(excerpt(answer.text, limit)), answer)


def _explained(text: Text, answer: Answer) -> RenderableType:
    parts: list[RenderableType] = [text]
    if answer.explanation:
        parts.append(Text(_brief(answer.explanation, 160), style="dim italic"))
    parts += [Text(_brief(claim, 160), style="dim") for claim in answer.claims]
    return Group(*parts)


def _brief(text: str, limit: int) -> str:
    return excerpt(" ".join(text.split()), limit)
