"""The verdict as GitHub-flavoured markdown. Text of a model stands in fences it cannot close."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from aigate.core.verdict import Status
from aigate.reports.story import Answer, MetricRow, MovedSample, SliceRow, Story, more_moved
from aigate.reports.text import excerpt, printable
from aigate.scorers.classification import Confusion

__all__ = ["markdown"]

MARKS = {Status.PASS: "✅", Status.FAIL: "❌", Status.INCONCLUSIVE: "⚠️", Status.ERROR: "🛑"}
ANSWER_LIMIT = 1500


def markdown(story: Story) -> str:
    """The whole story, ending in a newline."""
    return "\n".join(_lines(story)).rstrip("\n") + "\n"


def _lines(story: Story) -> Iterable[str]:
    mark = f"{MARKS[story.verdict.status]} " if story.decided else ""
    yield f"## {mark}{_inline(story.headline)}"
    yield ""
    if story.threshold_means:
        yield f"_{_inline(story.threshold_means)}_"
        yield ""
    yield from (f"- {_inline(line)}" for line in story.why)
    yield ""
    yield from _table(("", "check", "what it found", "samples"), _check_rows(story))
    yield from _table(("metric", "baseline", "candidate", "missing"), (_metric_row(row) for row in story.metrics))
    if story.metrics_over:
        yield f"_{_inline(story.metrics_over)}_"
        yield ""
    if story.measured:
        yield from (f"- {_inline(line)}" for line in story.measured)
        yield ""
    for metric, confusion in story.confusions.items():
        yield from _table(
            (f"{_inline(metric)}: right \\ said", *map(_inline, confusion.labels)), _confusion_rows(confusion)
        )
    if story.slices:
        yield from _table(("slice", "n", "before", "now", "points", "q"), (_slice_row(row) for row in story.slices))
    for sample in story.moved:
        yield from _moved(sample)
    if told := more_moved(story):
        yield told
        yield ""
    yield from (f"> note: {_inline(note)}" for note in story.notes)
    yield ""
    yield f"Outcomes: {story.ledger}"
    yield ""
    yield from (f"Cost of {_inline(line)}  " for line in story.costs)
    yield from ("",) if story.costs else ()
    yield from (f"**Next:** {_inline(step)}  " for step in story.next_steps)


def _check_rows(story: Story) -> Iterable[Sequence[str]]:
    for check in sorted(story.verdict.checks, key=lambda check: check.integrity):
        yield MARKS[check.status], check.label, check.summary, str(check.n_samples or "")


def _metric_row(row: MetricRow) -> Sequence[str]:
    before, now = ("–" if number is None else f"{number:.4f}" for number in (row.baseline, row.candidate))
    return row.metric, before, now, str(row.missing or "")


def _confusion_rows(confusion: Confusion) -> Iterable[Sequence[str]]:
    for label, counts in zip(confusion.labels, confusion.matrix, strict=False):
        yield label, *map(str, counts)


def _slice_row(found: SliceRow) -> Sequence[str]:
    row = found.row
    name = f"{found.metric} in {row['tag']}{' (fell)' if found.fell else ''}"
    means = (f"{row['baseline_mean']:.3f}", f"{row['candidate_mean']:.3f}", f"{row['difference'] * 100:+.1f}")
    return name, str(row["n"]), *means, f"{row['q']:.2g}"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterable[str]:
    yield f"| {' | '.join(head)} |"
    yield f"|{'---|' * len(head)}"
    yield from (f"| {' | '.join(_inline(cell) for cell in row)} |" for row in rows)
    yield ""


def _moved(sample: MovedSample) -> Iterable[str]:
    before, now = sample.moved.baseline, sample.moved.candidate
    scores = f"{before:.3g} → {now:.3g}" if before is not None and now is not None else ""
    told = " · ".join(part for part in (sample.check.label, scores, sample.moved.note) if part)
    yield f"<details><summary>{_html(sample.moved.sample_id)} — {_html(told)}</summary>"
    yield ""
    for title, text in (("Asked", sample.question), ("Right answer", sample.reference)):
        if text:
            yield from (f"{title}:", "", *_fenced(text), "")
    for title, answer in (("Baseline", sample.baseline), ("Candidate", sample.candidate)):
        if answer is not None:
            yield from (f"{title}:{_explained(answer)}", "", *_fenced(answer.text), "")
            yield from (f"- {_inline(claim)}" for claim in answer.claims)
            yield from ("",) if answer.claims else ()
    yield "</details>"
    yield ""


def _explained(answer: Answer) -> str:
    return f" {_inline(excerpt(answer.explanation, 200))}" if answer.explanation else ""


def _fenced(text: str) -> Iterable[str]:
    """A fence longer than any run of backticks in the text."""
    shown = excerpt(text, ANSWER_LIMIT)
    longest = max((len(run) for run in re.findall(r"`+", shown)), default=0)
    fence = "`" * max(3, longest + 1)
    yield from (f"{fence}text", shown, fence)


def _inline(text: str) -> str:
    """Text that cannot open a table cell, a tag, a link, a mention or a line of its own."""
    flat = " ".join(printable(text).split())
    return _unlinked(re.sub(r"([\\`*_{}\[\]<>|#&~])", r"\\\1", flat))


def _html(text: str) -> str:
    from html import escape

    return _unlinked(escape(" ".join(printable(text).split())))


def _unlinked(text: str) -> str:
    """The text with a space of no width where GitHub would make a mention, a reference or a link of it.

    GitHub looks for these after the markdown was rendered, so that a backslash does not stop it.
    """
    return re.sub(r"(@|(?<!&)#|://|www\.|\bGH-)", "\\1\u200b", text, flags=re.IGNORECASE)
