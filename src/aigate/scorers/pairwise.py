"""The scorer `pairwise`: whether an answer is better than the baseline's to the same question, as a judge finds.

    { scorer = "pairwise", criteria = ["It answers the question.", "It is short."], show = ["contexts"] }

The judge sees both answers and is asked twice, each of them first once. Better in both orders is a win, 1; worse in
both a loss, 0; anything else a tie, 0.5: where the order decides, nothing is known. How often it decides, and whether
the judge leans to the first or the second place, is kept and reported with an interval (`position-bias`). Equal texts
tie without a question; an empty answer loses without one.

The mean is the share of wins and half the ties. That no version is favoured is 0.5, so that is what the baseline is
worth: `no-regression` on this metric compares with 0.5 for each sample, and its margin is one of the share of wins.
Of several repeats the first decides there: all are held against one and the same answer. Without a baseline the metric
concerns no sample; where the baseline has no answer to a sample the score is missing, never a win. The digest of the
baseline's run stands in the run (`against`): held against another one, the scores say nothing.

**What it cannot do.** Judges like long answers and answers of their own kind, in either order: no order shows that.
Hold it against people's choices before it gates alone.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from aigate.core.response import Response
from aigate.core.sample import Sample
from aigate.core.score import MetricSpec, Score, ScoreOrNot, Unscored
from aigate.scorers.asked import (
    Asked,
    judgeable,
    lacks_what_is_shown,
    reason_in,
    shown_option,
    what_is_shown,
    word_schema,
)
from aigate.scorers.base import BaselineAnswers, JudgedScorer, ScorerSettings
from aigate.scorers.judge import JudgeAccess, Question, Template, template
from aigate.scorers.options import metric_option, texts_option
from aigate.scorers.steering import steering_signs, withheld

__all__ = ["Pairwise", "from_settings", "places_of"]

NAME = "pairwise"
REPLY = word_schema("better", ("first", "second", "tie"))
CRITERIA = ("It answers the question.", "What it says is right.", "It leaves out nothing that matters.")
VALUES: Mapping[str, float] = {"win": 1.0, "tie": 0.5, "loss": 0.0}
Chosen = Literal["candidate", "baseline", "tie"]


def from_settings(settings: ScorerSettings) -> JudgedScorer:
    """Make the scorer. Options: `metric`, `criteria` (texts), `show` (`contexts`, `reference`).

    Raises:
        ConfigError: An unknown option, a wrong value, no judge, or a prompt version that there is none of.
    """
    settings.only("metric", "criteria", "show")
    judge = settings.needed_judge()
    told = template(NAME, judge.version.prompt_version, "better")
    metric, show = metric_option(settings, NAME), shown_option(settings)
    criteria = texts_option(settings, "criteria") or CRITERIA
    options = {"metric": metric, "criteria": list(criteria), "show": list(show) if show else None}
    baseline = settings.baseline or BaselineAnswers()
    spec = MetricSpec(
        metric,
        NAME,
        options=options,
        deterministic=False,
        judge=judge.identity({"better": told.digest}),
        against=baseline.digest,
    )
    return Pairwise(spec, told, criteria, show, baseline)


@dataclass(frozen=True)
class Pairwise(Asked):
    """1 where the answer is better than the baseline's, 0 where it is worse, 0.5 between."""

    told: Template = field(repr=False)
    criteria: tuple[str, ...] = CRITERIA
    show: tuple[str, ...] = ()
    baseline: BaselineAnswers = field(default_factory=BaselineAnswers, compare=False, repr=False)

    def applies_to(self, sample: Sample) -> Unscored | None:
        """Samples that the baseline was not asked lie outside the metric; without a baseline, all."""
        if not self.baseline.asked(sample):
            return Unscored("not_applicable", "the baseline was not asked this sample, or there is no baseline")
        return lacks_what_is_shown(sample, self.show)

    def questions(self, sample: Sample, output: str) -> Sequence[Question]:
        """The same question in both orders, the candidate's answer first in the first of them.

        Of equal answers too, which nobody is asked about: how many will be equal is not known before.
        """
        other = self.baseline.answer(sample)
        if not other or not output.strip():
            return ()
        return tuple(self._question(sample, *pair) for pair in ((output, other), (other, output)))

    async def judge(self, sample: Sample, response: Response, access: JudgeAccess) -> ScoreOrNot:
        """Judge once, in both orders.

        Raises:
            JudgeError: The judge gave no usable reply in one of them, or the answer is too long.
        """
        output, other = judgeable(response), self.baseline.answer(sample)
        if not other:
            return Unscored("infrastructure_error", "the baseline has no answer to compare with")
        if (signs := steering_signs(sample, other)) and access.judge.steering == "withhold":
            missing = withheld(signs)
            return Unscored(missing.reason, f"the baseline's answer: {missing.explanation}")
        if not output.strip():
            return Score(0.0, "loss: the answer is empty", details={"outcome": "loss", "asked": False})
        if output.strip() == other.strip():
            return Score(0.5, "tie: it is the baseline's answer", details={"outcome": "tie", "asked": False})
        first, second = await asyncio.gather(
            *(access.ask(question, _read) for question in self.questions(sample, output))
        )
        return _scored(first, second)

    @property
    def run_metrics(self) -> tuple[str, ...]:
        """Shares of the scored answers, and of those that a judge was asked about."""
        return ("win", "tie", "loss", "order_decides", "first_preferred", "second_preferred")

    def over_run(self, rows: Sequence[tuple[Sample, ScoreOrNot]]) -> Mapping[str, float]:
        """Wins, ties and losses; and of the pairs that were asked, those where the order decided, and for which place.

        Empty where nothing was scored; without a pair that was asked the last three are left out.
        """
        scores = [score for _, score in rows if isinstance(score, Score)]
        if not scores:
            return {}
        outcomes = Counter(score.details.get("outcome") for score in scores)
        found = {name: outcomes[name] / len(scores) for name in VALUES}
        places = places_of(scores)
        if not places:
            return found
        counts = Counter(places)
        shares = {f"{place}_preferred": counts[place] / len(places) for place in ("first", "second")}
        return {**found, "order_decides": sum(shares.values()), **shares}

    def _question(self, sample: Sample, first: str, second: str) -> Question:
        data = {
            "question": sample.text,
            **what_is_shown(sample, self.show),
            "criteria": list(self.criteria),
            "answers": {"first": first, "second": second},
        }
        return Question(f"{NAME}_better", self.told.text, data, REPLY)


def places_of(scores: Sequence[Score]) -> list[str]:
    """For each score that a judge was asked for: `first` or `second` where that place won both times, else empty."""
    asked = (score.details.get("order") for score in scores if score.details.get("asked"))
    return [order if order in {"first", "second"} else "" for order in asked]


def _read(reply: Mapping[str, Any]) -> tuple[str, str]:
    """Which place is better, and why."""
    return reply["better"], reason_in(reply)


def _scored(first: tuple[str, str], second: tuple[str, str]) -> Score:
    """The score of two replies: to the candidate's answer first, and second."""
    chosen: tuple[Chosen, Chosen] = (_chosen(first[0], candidate="first"), _chosen(second[0], candidate="second"))
    outcome = {"candidate": "win", "baseline": "loss", "tie": "tie"}[chosen[0]] if chosen[0] == chosen[1] else "tie"
    place = first[0] if first[0] == second[0] and first[0] != "tie" else ""
    agreed = "in both orders" if chosen[0] == chosen[1] else f"{chosen[0]} when it was first, {chosen[1]} when second"
    details = {
        "outcome": outcome,
        "asked": True,
        "candidate_first": {"better": chosen[0], "reasoning": first[1]},
        "candidate_second": {"better": chosen[1], "reasoning": second[1]},
        "order": place,
    }
    return Score(VALUES[outcome], f"{outcome} ({agreed}): {first[1]}", details=details)


def _chosen(better: str, *, candidate: str) -> Chosen:
    if better == "tie":
        return "tie"
    return "candidate" if better == candidate else "baseline"
