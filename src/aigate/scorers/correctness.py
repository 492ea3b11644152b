"""The scorer `correctness`: whether an answer says what the reference says, as a judge finds it.

One question per judgement: the judge reasons, then says `correct`, `partly` or `incorrect`. That is 1, 0.5 (the option
`partly` names another value below 1) or 0. Of a reference that is a list of texts, any will do; one that is no text is
shown as JSON. A sample without a reference lies outside the metric. An empty answer is incorrect; nobody is asked.

**What it cannot do.** The reference decides, also where it is wrong or incomplete. How often the judge agrees with
people is for `aigate judge calibrate` to say.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from aigate.core.digest import canonical_json
from aigate.core.response import Response
from aigate.core.sample import Sample
from aigate.core.score import MetricSpec, Score, ScoreOrNot, Unscored
from aigate.errors import ConfigError
from aigate.scorers.asked import Asked, judgeable, reason_in, word_schema
from aigate.scorers.base import JudgedScorer, ScorerSettings
from aigate.scorers.judge import JudgeAccess, Question, Template, template
from aigate.scorers.options import metric_option, number_option
from aigate.scorers.reading import alternatives

__all__ = ["Correctness", "from_settings"]

NAME = "correctness"
REPLY = word_schema("grade", ("correct", "partly", "incorrect"))
PARTLY = 0.5


def from_settings(settings: ScorerSettings) -> JudgedScorer:
    """Make the scorer. Options: `metric`, `partly` (the score of a partly correct answer, from 0 to below 1).

    Raises:
        ConfigError: An unknown option, a wrong value, no judge, or a prompt version that there is none of.
    """
    settings.only("metric", "partly")
    judge = settings.needed_judge()
    told = template(NAME, judge.version.prompt_version, "grade")
    metric = metric_option(settings, NAME)
    given = number_option(settings, "partly")
    partly = PARTLY if given is None else float(given)
    if partly >= 1.0:
        raise ConfigError(
            f"scorer '{settings.name}': option 'partly' is {given!r}, expected a number from 0 to below 1",
            hint="a partly correct answer is worth less than a correct one",
        )
    options = {"metric": metric, "partly": partly}
    identity = judge.identity({"grade": told.digest})
    return Correctness(MetricSpec(metric, NAME, options=options, deterministic=False, judge=identity), told, partly)


@dataclass(frozen=True)
class Correctness(Asked):
    """1 for a correct answer, 0 for an incorrect one, `partly` between."""

    told: Template = field(repr=False)
    partly: float = PARTLY

    def applies_to(self, sample: Sample) -> Unscored | None:
        """Samples without a reference, or with a blank one, lie outside the metric."""
        if sample.reference is not None and any(text.strip() for text in _references(sample)):
            return None
        return Unscored("no_reference", "the sample has no reference")

    def questions(self, sample: Sample, output: str) -> Sequence[Question]:
        """The one question."""
        data = {"question": sample.text, "references": _references(sample), "answer": output}
        return (Question(f"{NAME}_grade", self.told.text, data, REPLY),)

    async def judge(self, sample: Sample, response: Response, access: JudgeAccess) -> ScoreOrNot:
        """Judge once.

        Raises:
            JudgeError: The judge gave no usable reply, or the answer is too long.
        """
        output = judgeable(response)
        if not output.strip():
            return Score(0.0, "the answer is empty", details={"grade": "empty"})
        [question] = self.questions(sample, output)
        return await access.ask(question, self._read)

    def _read(self, reply: Mapping[str, Any]) -> Score:
        grade, reasoning = reply["grade"], reason_in(reply)
        value = {"correct": 1.0, "partly": self.partly, "incorrect": 0.0}[grade]
        return Score(value, f"{grade}: {reasoning}", details={"grade": grade})


def _references(sample: Sample) -> list[str]:
    return list(alternatives(sample.reference) or (canonical_json(sample.reference),))
