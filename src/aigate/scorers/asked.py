"""What scorers that ask one question of a judge share: who does not score by itself, and what is too long to judge."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from aigate.core.registry import nearest
from aigate.core.response import Response
from aigate.core.sample import Sample
from aigate.core.score import MetricSpec, ScoreOrNot, Unscored
from aigate.errors import ConfigError, ScoringError
from aigate.scorers.base import ScorerSettings
from aigate.scorers.judge import JudgeError, UnusableReplyError, visible
from aigate.scorers.options import texts_option
from aigate.scorers.reading import output_of

__all__ = [
    "LONGEST_ANSWER",
    "Asked",
    "judgeable",
    "lacks_what_is_shown",
    "reason_in",
    "shortened",
    "shown_option",
    "what_is_shown",
    "word_schema",
]

LONGEST_ANSWER = 100_000  # characters; no judge reads more of one answer with care
KEPT_CHARACTERS = 300  # of a judge's reasoning, in details and explanations
SHOWN = ("contexts", "reference")


@dataclass(frozen=True)
class Asked:
    """A scorer whose score is a model's judgement."""

    spec: MetricSpec

    def score(self, sample: Sample, response: Response) -> ScoreOrNot:  # noqa: ARG002 - the protocol's signature
        """Refuse: a model is asked, through `judge`.

        Raises:
            ScoringError: Always.
        """
        output_of(response)  # a fault has a message of its own
        raise ScoringError(f"'{self.spec.scorer}' asks a model: judge it with one")


def judgeable(response: Response) -> str:
    """The output of a response, where it is not too long to be judged.

    Raises:
        JudgeError: It is.
        ScoringError: There is none.
    """
    output = output_of(response)
    if len(output) > LONGEST_ANSWER:
        raise JudgeError(f"the answer has {len(output)} characters, more than the {LONGEST_ANSWER} that are judged")
    return output


def shown_option(settings: ScorerSettings) -> tuple[str, ...]:
    """What of a sample the judge sees besides the question: the option `show`.

    Raises:
        ConfigError: Something else than `contexts` and `reference`.
    """
    show = texts_option(settings, "show") or ()
    for name in show:
        if name not in SHOWN:
            raise ConfigError(
                f"scorer '{settings.name}': option 'show' holds {name!r}, expected any of {', '.join(SHOWN)}",
                hint=nearest(name, SHOWN, kind="values"),
            )
    return show


def lacks_what_is_shown(sample: Sample, show: Sequence[str]) -> Unscored | None:
    """None where a sample has all that the judge is to be shown; otherwise why it lies outside the metric."""
    if "reference" in show and sample.reference in (None, ""):
        return Unscored("no_reference", "the sample has no reference to show to the judge")
    if "contexts" in show and not any(context.strip() for context in sample.contexts):
        return Unscored("not_applicable", "the sample has no contexts to show to the judge")
    return None


def what_is_shown(sample: Sample, show: Sequence[str]) -> Mapping[str, Any]:
    """That, as data of a question."""
    more = {"contexts": list(sample.contexts), "reference": sample.reference}
    return {name: more[name] for name in show}


def word_schema(key: str, words: tuple[str, ...]) -> Mapping[str, Any]:
    """The schema of a reply that reasons first and then gives one of some words."""
    return {
        "type": "object",
        "properties": {"reasoning": {"type": "string"}, key: {"type": "string", "enum": list(words)}},
        "required": ["reasoning", key],
        "additionalProperties": False,
    }


def reason_in(row: Mapping[str, Any], *, of: str = "") -> str:
    """The reasoning of a reply, on one line and shortened.

    Raises:
        UnusableReplyError: There is none: a grade without a reason was not thought about.
    """
    found = shortened(row["reasoning"])
    if not any(character.isalnum() for character in found):
        raise UnusableReplyError("it gave no reasoning" + (f" for {of}" if of else ""))
    return found


def shortened(text: str, limit: int = KEPT_CHARACTERS) -> str:
    """A text on one line, nothing invisible in it, with an ellipsis where it is longer than the limit."""
    plain = visible(" ".join(text.split()))
    return plain if len(plain) <= limit else f"{plain[: limit - 1]}…"
