"""What a failing test says: the check, observed and bound, why, and the samples that moved with a word diff.

Every line begins with a mark or a space of ours, and every text of a model is made printable, so that nothing in it can
act on a terminal or in the log of a CI job.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from aigate.core.run import Run
from aigate.core.score import Score
from aigate.core.verdict import CheckOutcome, Moved, Status, Verdict
from aigate.gating.checks.no_regression import LISTED
from aigate.reports.story import Answer, MovedSample, Story, tell
from aigate.reports.text import excerpt, printable
from aigate.reports.words import marked, word_changes

__all__ = ["outcome_texts", "sample_text", "verdict_text"]

SHOWN = 5
ANSWER_LIMIT = 600
PROMOTES = "run pytest with --aigate-update-baseline"


def outcome_texts(verdict: Verdict, candidate: Run, baseline: Run | None) -> tuple[str, ...]:
    """One text per check of the verdict; empty for those that pass."""
    return tuple(
        "" if check.status is Status.PASS else "\n".join(_outcome_lines(check, verdict, candidate, baseline))
        for check in verdict.checks
    )


def verdict_text(verdict: Verdict, candidate: Run, baseline: Run | None) -> str:
    """The whole verdict, for a test that gated a run: what is no pass, then the samples that moved."""
    story = tell(verdict, candidate, baseline, shown=SHOWN, unmoved=True)
    bad = [check for check in verdict.checks if check.status is not Status.PASS]
    lines = [printable(story.headline), *(line for check in bad for line in _findings(check))]
    lines += _samples(story)
    return "\n".join((*lines, *_next(story.next_steps)))


def sample_text(sample_id: str, check: CheckOutcome, candidate: Run, baseline: Run | None) -> str:
    """One sample of a check that names it."""
    moved = next((moved for moved in check.moved if moved.sample_id == sample_id), Moved(sample_id, None, None))
    alone = _story_of(replace(check, moved=(moved,)), candidate, baseline)
    return "\n".join(line for sample in alone.moved for line in _sample_lines(sample)).lstrip()


def _outcome_lines(check: CheckOutcome, verdict: Verdict, candidate: Run, baseline: Run | None) -> Iterator[str]:
    yield from _findings(check)
    yield f"    candidate {_line(verdict.candidate)}, baseline {_line(verdict.baseline or 'none')}"
    yield from _samples(_story_of(check, candidate, baseline))
    yield from _next(reason.hint for reason in check.reasons)


def _findings(check: CheckOutcome) -> Iterator[str]:
    """What a check found: one line for a summary, and the rest as pytest marks errors."""
    yield f"{_line(check.label)}: {check.status}: {_line(check.summary)}"
    told = (*_numbers(check), *(reason.text for reason in check.reasons if reason.text != check.summary))
    yield from (f"E   {_line(line)}" for line in dict.fromkeys(told))


def _numbers(check: CheckOutcome) -> Iterator[str]:
    if check.observed is not None and check.threshold is not None:
        yield f"observed {check.observed:.4g}, bound {check.threshold:.4g}"


def _story_of(check: CheckOutcome, candidate: Run, baseline: Run | None) -> Story:
    """The story of one check alone."""
    alone = Verdict(check.status, (_with_samples(check, candidate),), str(candidate.version), None, {}, {})
    return tell(alone, candidate, baseline, shown=SHOWN, unmoved=True)


def _with_samples(check: CheckOutcome, candidate: Run) -> CheckOutcome:
    """The check; where it held a number over the whole run against a threshold, with the samples that lower it.

    A verdict names none for `accuracy.f1_macro`: they are those that miss the best score of `accuracy`.
    """
    metric, _, number = (check.metric or "").partition(".")
    spec = candidate.header.metric(metric)
    if check.check != "min-score" or not number or spec is None:
        return check
    scores = ((result.sample_id, result.scores.get(metric)) for result in candidate.results)
    found = sorted((spec.better(score.value), id_) for id_, score in scores if isinstance(score, Score))
    low: dict[str, Moved] = {}
    for value, id_ in found:
        if value < 1.0:
            low.setdefault(id_, Moved(id_, None, value))  # the worst of its repeats
    return replace(check, metric=metric, moved=tuple(low.values())[:LISTED])


def _samples(story: Story) -> Iterator[str]:
    for sample in story.moved:
        yield from _sample_lines(sample)
    if story.more_moved:
        least = "" if story.all_counted else "at least "
        yield ""
        yield f"    … and {least}{story.more_moved} more"


def _sample_lines(sample: MovedSample) -> Iterator[str]:
    before, now, note = sample.moved.baseline, sample.moved.candidate, sample.moved.note
    scores = [f"{number:.3g}" for number in (before, now) if number is not None]
    yield ""
    yield "    " + "  ".join(part for part in (_line(sample.moved.sample_id), " → ".join(scores), _line(note)) if part)
    for name, text in (("asked", sample.question), ("right", sample.reference)):
        if text:
            yield f"      {name}: {_line(text)}"
    yield from _answers(sample.baseline, sample.candidate)
    if sample.candidate is not None and sample.candidate.explanation:
        yield f"      why: {_line(sample.candidate.explanation)}"


def _answers(before: Answer | None, now: Answer | None) -> Iterator[str]:
    """Both answers: as one text with its changed words marked where they have much in common."""
    if before is not None and now is not None and before.text == now.text:
        yield from _prefixed("      = ", now.text)
        return
    changes = None if before is None or now is None else word_changes(before.text, now.text)
    if changes is not None:
        yield from _prefixed("      ~ ", marked(changes))
        return
    for mark, answer in (("-", before), ("+", now)):
        if answer is not None:
            yield from _prefixed(f"      {mark} ", answer.text)


def _prefixed(mark: str, text: str) -> Iterator[str]:
    return (f"{mark}{line}" for line in excerpt(text, ANSWER_LIMIT).splitlines() or [""])


def _line(text: str) -> str:
    """A text on one line."""
    return " ".join(excerpt(text, ANSWER_LIMIT).split())


def _next(hints: Iterable[str]) -> Iterator[str]:
    """What to do next; what the command line promotes with, pytest does with a flag."""
    told = [hint for hint in dict.fromkeys(hints) if hint]
    if told:
        yield ""
    for hint in told:
        promotes = "aigate baseline promote" in hint
        yield f"next: {PROMOTES + ' to make this run the baseline' if promotes else printable(hint)}"
