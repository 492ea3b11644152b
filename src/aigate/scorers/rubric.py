"""The scorer `rubric`: how well an answer meets criteria of the suite's own, as a judge grades it.

    { scorer = "rubric", metric = "tone", criteria = ["It is polite.", "It says what to do next."], scale = 5 }

One question per judgement. For each criterion the judge reasons and then gives a grade from 1 to `scale`, which is
mapped to [0, 1]; the score is the mean over the criteria. With `criteria = "sample"` they are those that each sample
brings in its reference, `{"criteria": ["It is polite."]}`; samples without lie outside the metric. `levels`, a list of
texts from worst to best, says what each grade means, and then their number is the scale. The judge sees the question
and the answer; with `show = ["contexts", "reference"]` it sees these too, and samples without them lie outside the
metric.

A criterion without a grade, with two, or without reasoning is asked again and then a judge error. An empty answer gets
the lowest grade without a question.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from aigate.core.counts import count_of
from aigate.core.response import Response
from aigate.core.sample import Sample
from aigate.core.score import MetricSpec, Score, ScoreOrNot, Unscored
from aigate.errors import ConfigError
from aigate.scorers.asked import (
    Asked,
    judgeable,
    lacks_what_is_shown,
    reason_in,
    shortened,
    shown_option,
    what_is_shown,
)
from aigate.scorers.base import JudgedScorer, ScorerSettings
from aigate.scorers.judge import JudgeAccess, Question, Template, rows_by_id, template
from aigate.scorers.options import count_option, metric_option, texts_option

__all__ = ["Rubric", "from_settings"]

NAME = "rubric"
SCALE = 5
SCALES = range(2, 11)
MOST_CRITERIA = 20
OF_SAMPLE = "sample"  # value of the option `criteria`
TOLD_CRITERIA = 3  # in the explanation


def from_settings(settings: ScorerSettings) -> JudgedScorer:
    """Make the scorer. Options: `metric`, `criteria` (needed), `scale` or `levels`, `show`.

    Raises:
        ConfigError: An unknown option, a wrong value, no criteria, no judge, or a prompt version that there is none of.
    """
    settings.only("metric", "criteria", "scale", "levels", "show")
    judge = settings.needed_judge()
    told = template(NAME, judge.version.prompt_version, "grades")
    metric = metric_option(settings, NAME)
    criteria, levels, show = _criteria(settings), _levels(settings), shown_option(settings)
    scale = _scale(settings, levels)
    options = {
        "metric": metric,
        "criteria": list(criteria) or OF_SAMPLE,
        "scale": scale,
        "levels": list(levels) if levels else None,
        "show": list(show) if show else None,
    }
    identity = judge.identity({"grades": told.digest})
    spec = MetricSpec(metric, NAME, options=options, deterministic=False, judge=identity)
    return Rubric(spec, told, criteria, scale, levels, show)


def _criteria(settings: ScorerSettings) -> tuple[str, ...]:
    """The criteria; none where each sample brings its own."""
    if settings.options.get("criteria") == OF_SAMPLE:
        return ()
    criteria = texts_option(settings, "criteria")
    if criteria is None:
        raise ConfigError(
            f"scorer '{NAME}' has no criteria, expected a list of texts, or '{OF_SAMPLE}' for those of each sample",
            hint='{ scorer = "rubric", criteria = ["It is polite.", "It says what to do next."] }',
        )
    if len(criteria) > MOST_CRITERIA:
        raise ConfigError(
            f"scorer '{NAME}': option 'criteria' holds {len(criteria)} texts, expected at most {MOST_CRITERIA}",
            hint="divide them among several scorers, each with a metric of its own",
        )
    return criteria


def _levels(settings: ScorerSettings) -> tuple[str, ...]:
    levels = texts_option(settings, "levels") or ()
    if levels and len(levels) not in SCALES:
        raise ConfigError(
            f"scorer '{NAME}': option 'levels' holds {count_of(len(levels), 'text')}, expected {SCALES[0]}"
            f" to {SCALES[-1]}",
            hint="give one text per grade, the worst first",
        )
    return levels


def _scale(settings: ScorerSettings, levels: tuple[str, ...]) -> int:
    scale = count_option(settings, "scale")
    if scale is not None and (scale not in SCALES or (levels and scale != len(levels))):
        expected = f"{len(levels)}, the number of 'levels'" if levels else f"{SCALES[0]} to {SCALES[-1]}"
        raise ConfigError(
            f"scorer '{NAME}': option 'scale' is {scale}, expected {expected}", hint="it is the highest grade"
        )
    return scale or len(levels) or SCALE


@dataclass(frozen=True)
class Rubric(Asked):
    """The mean grade over the criteria, mapped to [0, 1]."""

    told: Template = field(repr=False)
    criteria: tuple[str, ...]
    scale: int = SCALE
    levels: tuple[str, ...] = ()
    show: tuple[str, ...] = ()

    def applies_to(self, sample: Sample) -> Unscored | None:
        """Samples without criteria, or without what the judge is to be shown, lie outside the metric."""
        if not self.criteria and not _own_criteria(sample):
            told = f'expected {{"criteria": [...]}}, 1 to {MOST_CRITERIA} different texts'
            return Unscored("not_applicable", f"the reference holds no criteria; {told}")
        return lacks_what_is_shown(sample, self.show)

    def questions(self, sample: Sample, output: str) -> Sequence[Question]:
        """The one question."""
        data = {
            "question": sample.text,
            **what_is_shown(sample, self.show),
            "criteria": [{"id": id_, "text": text} for id_, text in self._numbered(sample).items()],
            "scale": self._grades,
            "answer": output,
        }
        return (Question(f"{NAME}_grades", self.told.text, data, _schema(self.scale)),)

    async def judge(self, sample: Sample, response: Response, access: JudgeAccess) -> ScoreOrNot:
        """Judge once.

        Raises:
            JudgeError: The judge gave no usable reply, or the answer is too long.
        """
        output = judgeable(response)
        if not output.strip():
            return Score(0.0, "the answer is empty", details={"grades": []})
        [question] = self.questions(sample, output)
        return await access.ask(question, partial(self._read, criteria=self._numbered(sample)))

    def _numbered(self, sample: Sample) -> Mapping[str, str]:
        """The criteria by id."""
        return {f"k{number}": text for number, text in enumerate(self.criteria or _own_criteria(sample), start=1)}

    @property
    def _grades(self) -> list[Mapping[str, Any]]:
        """Every grade with what it means, where that is said."""
        ends = {1: "not met at all", self.scale: "met in full"}
        meanings = dict(enumerate(self.levels, start=1)) or ends
        return [{"grade": grade, "meaning": meanings.get(grade, "between")} for grade in range(1, self.scale + 1)]

    def _read(self, reply: Mapping[str, Any], *, criteria: Mapping[str, str]) -> Score:
        """The score of a reply.

        Raises:
            UnusableReplyError: Ids that are not the criteria's, or a grade without reasoning.
        """
        rows = rows_by_id(reply["grades"], list(criteria), kind="criterion")
        grades: list[Mapping[str, Any]] = [
            {
                "id": id_,
                "criterion": shortened(text),
                "grade": int(rows[id_]["grade"]),
                "reasoning": reason_in(rows[id_], of=id_),
            }
            for id_, text in criteria.items()
        ]
        points = sum(int(row["grade"]) - 1 for row in grades)
        value = points / ((self.scale - 1) * len(grades))
        return Score(value, self._explained(grades), details={"scale": self.scale, "grades": grades})

    def _explained(self, grades: Sequence[Mapping[str, Any]]) -> str:
        """The lowest grades, with their reasons."""
        lowest = sorted(grades, key=lambda row: int(row["grade"]))[:TOLD_CRITERIA]
        told = "; ".join(
            f"{row['grade']} of {self.scale} for '{shortened(row['criterion'], 60)}': {shortened(row['reasoning'], 99)}"
            for row in lowest
        )
        more = len(grades) - len(lowest)
        return told + (f"; and {more} more" if more else "")


def _own_criteria(sample: Sample) -> Sequence[str]:
    """The criteria that a sample brings; none where they could not all be graded."""
    given = sample.reference.get("criteria") if isinstance(sample.reference, Mapping) else None
    texts = [text for text in given if isinstance(text, str) and text.strip()] if isinstance(given, list) else []
    sound = texts == given and len(set(texts)) == len(texts) <= MOST_CRITERIA
    return texts if sound else ()


def _schema(scale: int) -> Mapping[str, Any]:
    row = {
        "type": "object",
        "properties": {
            "id": {"type": "string"},
            "reasoning": {"type": "string"},
            "grade": {"type": "integer", "enum": list(range(1, scale + 1))},
        },
        "required": ["id", "reasoning", "grade"],
        "additionalProperties": False,
    }
    return {
        "type": "object",
        "properties": {"grades": {"type": "array", "items": row}},
        "required": ["grades"],
        "additionalProperties": False,
    }
