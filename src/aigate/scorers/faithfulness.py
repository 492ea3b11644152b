"""The scorer `faithfulness`: the share of an answer's claims that its contexts support, as a judge finds them.

Two questions per judgement. First the judge takes the answer, cut into numbered sentences, apart into claims; then it
gives a verdict per numbered claim and copies the passage that shows it. The score is the number of supported claims by
the number of all. Nothing of it is taken on trust that can be checked:

- Each reply must have every id once and no other, verdicts of the three words and no other. Else it is asked again.
- Claims must be of the answer: half their words, and every number and name, from the answer or the question, and a word
  from their own sentence. What is claimed twice counts once. A sentence whose words, numbers, names or negation its
  claims leave out is judged as it stands, so that leaving a claim out gains nothing. Only questions, short headings
  that end in a colon, and courtesies of a list of English words may be without claims.
- A supported claim needs a quotation that stands in one of the contexts word for word (`aigate.scorers.quotes`); the
  answer is never looked at for it. Else it is asked again. What cannot be used in the end is a judge error, a missing
  score: not 0, since that would be the judge's fault counted against the candidate, and never a support.

**Answers without claims.** An empty answer scores 0. So does one that claims nothing ("Sure, happy to help!"), and one
that says that it does not know or that the texts do not say (`abstained`), except where the sample carries the tag of
those that cannot be answered (`unanswerable`; the option `unanswerable` names another): there it scores 1. So an answer
that says nothing does not look faithful. Sentences that abstain are told in English; the option `abstention`, a regular
expression, adds others.

**What it cannot do.** The judge may be wrong about a verdict with a true quotation; how often is for `aigate judge
calibrate` to say. Text that talks to the judge is looked for by the runner (`aigate.scorers.steering`).
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from aigate.core.counts import count_of
from aigate.core.response import Response
from aigate.core.sample import Sample
from aigate.core.score import MetricSpec, Score, ScoreOrNot, Unscored
from aigate.errors import ScoringError
from aigate.scorers.base import JudgedScorer, ScorerSettings
from aigate.scorers.grounding import content_words
from aigate.scorers.judge import JudgeAccess, JudgeError, Question, Template, UnusableReplyError, rows_by_id, template
from aigate.scorers.options import metric_option, pattern_option, tag_option
from aigate.scorers.quotes import find_quote, normalised
from aigate.scorers.reading import output_of, shown
from aigate.scorers.shape import is_abstention

__all__ = [
    "Claim",
    "Faithfulness",
    "Sentence",
    "claimless",
    "claims_nothing",
    "from_settings",
    "has_contexts",
    "sentences_of",
    "unclaimed",
]

NAME = "faithfulness"
UNANSWERABLE = "unanswerable"
Verdict = Literal["supported", "contradicted", "not_in_context"]
VERDICTS: tuple[Verdict, ...] = ("supported", "contradicted", "not_in_context")

MOST_SENTENCES = 200
MOST_CLAIMS = 100
MOST_CLAIMS_OF_A_SENTENCE = 20
LONGEST_CLAIM = 600
CLAIMS_A_QUESTION = 25
OWN_WORDS = 0.5  # share of a claim's words that must be the answer's or the question's
COVERED = 2 / 3  # share of a sentence's words that its claims must hold
LONGEST_HEADING = 4  # words of a line that ends in a colon and need not claim anything
KEPT_CHARACTERS = 400  # of a claim and of a quote, in the run file
SHOWN_CLAIMS = 5

CLAIMS_REPLY: Mapping[str, Any] = {
    "type": "object",
    "properties": {
        "sentences": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {"id": {"type": "string"}, "claims": {"type": "array", "items": {"type": "string"}}},
                "required": ["id", "claims"],
                "additionalProperties": False,
            },
        }
    },
    "required": ["sentences"],
    "additionalProperties": False,
}
VERDICTS_REPLY: Mapping[str, Any] = {
    "type": "object",
    "properties": {
        "verdicts": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    "id": {"type": "string"},
                    "quote": {"type": "string"},
                    "verdict": {"type": "string", "enum": list(VERDICTS)},
                },
                "required": ["id", "quote", "verdict"],
                "additionalProperties": False,
            },
        }
    },
    "required": ["verdicts"],
    "additionalProperties": False,
}

_SENTENCE_END = re.compile(r"(?<=[.!?…])[\"'”’)\]*_]*\s+|(?<=[。！？])|\n+")
_NUMBER = re.compile(r"\d+(?:[.,:]\d+)*")
_NAME = re.compile(r"[^\W\d_]+")
_SEEN = re.compile(r"\w")
_NEGATION = re.compile(
    r"\b(?:not|no(?! ?[,.;:!])|never|none|nobody|nothing|nowhere|neither|nor|cannot|without)\b|n['’]t\b", re.IGNORECASE
)
_NUMBER_WORDS = dict(
    zip(
        "zero one two three four five six seven eight nine ten eleven twelve".split(),  # noqa: SIM905
        map(str, range(13)),
        strict=True,
    )
)


@dataclass(frozen=True, slots=True)
class Sentence:
    """One sentence of an answer.

    Attributes:
        id: `s1`, `s2`, ...
        text: As it stands.
        abstains: It says that the answer is not known, or not in the texts.
    """

    id: str
    text: str
    abstains: bool


@dataclass(frozen=True, slots=True)
class Claim:
    """One claim of an answer, and what the judge found.

    Attributes:
        id: `c1`, `c2`, ...
        text: The claim.
        sentence: The sentence it was taken from.
        as_it_stands: It is the sentence itself, since its claims left out what it says.
        verdict: The judge's.
        quote: The passage that shows it; empty where there is none.
        context: The place of the context that the passage stands in, from 0; None where there is none.
    """

    id: str
    text: str
    sentence: str
    as_it_stands: bool = False
    verdict: Verdict = "not_in_context"
    quote: str = ""
    context: int | None = None

    def to_dict(self) -> dict[str, Any]:
        """The claim as JSON, long texts shortened."""
        whole: dict[str, Any] = {
            "id": self.id,
            "sentence": self.sentence,
            "claim": _shortened(self.text),
            "verdict": self.verdict,
            "quote": _shortened(self.quote),
        }
        if self.context is not None:
            whole["context"] = self.context
        return {**whole, "as_it_stands": True} if self.as_it_stands else whole


def from_settings(settings: ScorerSettings) -> JudgedScorer:
    """Make the scorer. Options: `metric`, `unanswerable` (a tag), `abstention` (a regular expression).

    Raises:
        ConfigError: An unknown option, a wrong value, no judge, or a prompt version that there is none of.
    """
    settings.only("metric", "unanswerable", "abstention")
    judge = settings.needed_judge()
    version = judge.version.prompt_version
    claims, verdicts = (template(NAME, version, step) for step in ("claims", "verdicts"))
    metric = metric_option(settings, NAME)
    abstention = pattern_option(settings, "abstention")
    unanswerable = tag_option(settings, "unanswerable", default=UNANSWERABLE)
    spec = MetricSpec(
        metric,
        NAME,
        options={
            "metric": metric,
            "unanswerable": unanswerable,
            "abstention": None if abstention is None else abstention.pattern,
        },
        deterministic=False,
        judge=judge.identity({"claims": claims.digest, "verdicts": verdicts.digest}),
    )
    return Faithfulness(spec, claims, verdicts, unanswerable, abstention)


@dataclass(frozen=True)
class Faithfulness:
    """The share of the answer's claims that the contexts support."""

    spec: MetricSpec
    claims: Template = field(repr=False)
    verdicts: Template = field(repr=False)
    unanswerable: str = UNANSWERABLE
    abstention: re.Pattern[str] | None = None

    def applies_to(self, sample: Sample) -> Unscored | None:
        """Samples without a word of context lie outside the metric."""
        return has_contexts(sample)

    def score(self, sample: Sample, response: Response) -> ScoreOrNot:  # noqa: ARG002 - the protocol's signature
        """Refuse: a model is asked, through `judge`.

        Raises:
            ScoringError: Always.
        """
        output_of(response)  # a fault has a message of its own
        raise ScoringError(f"'{NAME}' asks a model: judge it with one")

    def questions(self, sample: Sample, output: str) -> Sequence[Question]:
        """What will be asked of such an output, each sentence taken for one claim."""
        sentences = sentences_of(output, self.abstention)
        claims = [Claim(f"c{number}", sentence.text, sentence.id) for number, sentence in enumerate(sentences, 1)]
        parts = (self._verdicts_question(sample, part) for part in _parts(claims))
        return (self._claims_question(sample, sentences), *parts) if sentences else ()

    async def judge(self, sample: Sample, response: Response, access: JudgeAccess) -> ScoreOrNot:
        """Judge once: claims, then verdicts.

        Raises:
            JudgeError: The judge gave no usable reply, or the answer is too long to be taken apart.
        """
        output = output_of(response)
        sentences = sentences_of(output, self.abstention)
        if (found := unclaimed(sample, output, sentences, self.unanswerable)) is not None:
            return found
        if len(sentences) > MOST_SENTENCES:
            raise JudgeError(
                f"the answer has {len(sentences)} sentences, more than the {MOST_SENTENCES} that are judged"
            )
        question = self._claims_question(sample, sentences)
        claims = await access.ask(question, lambda reply: _read_claims(reply, sentences, sample.text))
        if not claims:
            return claimless(sample, output, sentences, self.unanswerable)
        parts = await asyncio.gather(*(self._decided(sample, part, access) for part in _parts(claims)))
        return _scored([claim for part in parts for claim in part])

    async def _decided(self, sample: Sample, claims: Sequence[Claim], access: JudgeAccess) -> Sequence[Claim]:
        question = self._verdicts_question(sample, claims)
        return await access.ask(question, lambda reply: _read_verdicts(reply, claims, sample.contexts))

    def _claims_question(self, sample: Sample, sentences: Sequence[Sentence]) -> Question:
        data = {"question": sample.text, "sentences": [{"id": s.id, "text": s.text} for s in sentences]}
        return Question(f"{NAME}_claims", self.claims.text, data, CLAIMS_REPLY)

    def _verdicts_question(self, sample: Sample, claims: Sequence[Claim]) -> Question:
        data = {
            "contexts": list(sample.contexts),
            "claims": [{"id": claim.id, "text": claim.text} for claim in claims],
        }
        return Question(f"{NAME}_verdicts", self.verdicts.text, data, VERDICTS_REPLY)


def has_contexts(sample: Sample) -> Unscored | None:
    """None where a sample has a word of context; otherwise why it lies outside the metric."""
    if any(_SEEN.search(context) for context in sample.contexts):
        return None
    return Unscored("not_applicable", "the sample has no contexts")


def unclaimed(sample: Sample, output: str, sentences: Sequence[Sentence], unanswerable: str) -> Score | None:
    """The score of an answer that is empty, or abstains as a whole; None of any other.

    Args:
        sample: What was asked.
        output: The answer.
        sentences: Its sentences.
        unanswerable: The tag of samples that cannot be answered.
    """
    if not sentences:
        return Score(0.0, "the answer is empty", details={"outcome": "empty", "claims": []})
    if is_abstention(output) or all(sentence.abstains for sentence in sentences):
        return _abstained(sample, output, unanswerable)
    return None


def claimless(sample: Sample, output: str, sentences: Sequence[Sentence], unanswerable: str) -> Score:
    """The score of an answer in which no claim was found; arguments as `unclaimed`."""
    if any(sentence.abstains for sentence in sentences):
        return _abstained(sample, output, unanswerable)
    return Score(0.0, f"the answer claims nothing: {shown(output)}", details={"outcome": "claimless", "claims": []})


def _abstained(sample: Sample, output: str, unanswerable: str) -> Score:
    right = unanswerable in sample.tags
    told = f"the sample is tagged '{unanswerable}'" if right else f"no tag '{unanswerable}'"
    explanation = f"the answer abstains, {told}: {shown(output)}"
    return Score(float(right), explanation, details={"outcome": "abstained", "claims": []})


def sentences_of(output: str, abstention: re.Pattern[str] | None = None) -> tuple[Sentence, ...]:
    """The sentences of an answer that hold a letter or digit, numbered in order.

    >>> [sentence.text for sentence in sentences_of("It costs 3.50 euros. - Ask again!")]
    ['It costs 3.50 euros.', '- Ask again!']
    """
    texts = [text.strip() for text in _SENTENCE_END.split(output) if _SEEN.search(text)]
    return tuple(
        Sentence(f"s{number}", text, is_abstention(text) or (abstention is not None and bool(abstention.search(text))))
        for number, text in enumerate(texts, start=1)
    )


def _parts(claims: Sequence[Claim]) -> Sequence[Sequence[Claim]]:
    return [claims[start : start + CLAIMS_A_QUESTION] for start in range(0, len(claims), CLAIMS_A_QUESTION)]


def _read_claims(reply: Any, sentences: Sequence[Sentence], question: str) -> tuple[Claim, ...]:
    """The claims of a reply, and the sentences that it does not do justice to as claims of their own.

    Raises:
        UnusableReplyError: Ids that are not the sentences', or claims that are not the answer's.
    """
    rows = rows_by_id(reply["sentences"], [sentence.id for sentence in sentences], kind="sentence")
    said = _Words.of(" ".join((question, *(sentence.text for sentence in sentences))))
    claims: dict[str, Claim] = {}  # by what they say: saying one thing twice does not make it count twice
    for sentence in sentences:
        texts = [" ".join(text.split()) for text in rows[sentence.id]["claims"]]
        _refuse_strange(texts, sentence, said)
        found = [Claim("", text, sentence.id) for text in texts]
        if not sentence.abstains and _leaves_out(sentence.text, texts):
            found.append(Claim("", sentence.text, sentence.id, as_it_stands=True))
        for claim in found:
            claims.setdefault(normalised(claim.text).rstrip(".!"), claim)
    if len(claims) > MOST_CLAIMS:
        raise UnusableReplyError(f"it made {len(claims)} claims of the answer, and at most {MOST_CLAIMS} can be judged")
    return tuple(replace(claim, id=f"c{number}") for number, claim in enumerate(claims.values(), start=1))


def _refuse_strange(texts: Sequence[str], sentence: Sentence, said: _Words) -> None:
    """Refuse claims that are none, and claims that bring in what neither the question nor the answer holds."""
    if len(texts) > MOST_CLAIMS_OF_A_SENTENCE:
        raise UnusableReplyError(f"it made more than {MOST_CLAIMS_OF_A_SENTENCE} claims of {sentence.id}")
    own = _Words.of(sentence.text).stems
    for text in texts:
        if not _SEEN.search(text) or len(text) > max(LONGEST_CLAIM, 2 * len(sentence.text)):
            raise UnusableReplyError(f"a claim of {sentence.id} is empty or far longer than the sentence")
        words = _Words.of(text)
        if not words.numbers <= said.numbers:
            raise UnusableReplyError(f"a claim of {sentence.id} has a number that neither question nor answer holds")
        if not words.names <= said.stems:
            raise UnusableReplyError(f"a claim of {sentence.id} has a name that neither question nor answer holds")
        if len(words.stems & said.stems) < OWN_WORDS * len(words.stems):
            raise UnusableReplyError(f"a claim of {sentence.id} is not in the words of the question and the answer")
        if own and not words.stems & own:
            raise UnusableReplyError(f"a claim of {sentence.id} has not one word of that sentence")


def _leaves_out(sentence: str, claims: Sequence[str]) -> bool:
    """True where the claims of a sentence leave out what it says: most of its words, a number, a name, its "not"."""
    words, held = _Words.of(sentence), _Words.of(" ".join(claims))
    if not claims:
        return not claims_nothing(sentence)
    covered = len(words.stems & held.stems) >= COVERED * len(words.stems)
    denied = held.negates or not words.negates
    return not (covered and denied and words.numbers <= held.numbers and words.names_within <= held.stems)


def claims_nothing(sentence: str) -> bool:
    """True for what stands around an answer and need not claim anything: a question, a short heading, a courtesy.

    Not where a number stands in it.
    """
    words = _Words.of(sentence)
    bare = sentence.rstrip("*_\"' ")
    heading = bare.endswith((":", "：")) and len(words.stems) <= LONGEST_HEADING
    return not words.numbers and (heading or bare.endswith(("?", "？")) or words.stems <= _COURTESY)


_COURTESY = frozenset(
    content_words(
        """
        absolutely additional afraid always anything apologies ask assist assistance certainly concerns contact course
        feel following free further glad gladly good great happy hello help here hesitate hi hope information know let
        like look looking made mind more need okay pleased please pleasure question questions regret response right
        sorry summary sure thank thanks welcome wish would yes
        """
    )
)


@dataclass(frozen=True, slots=True)
class _Words:
    """What a text is made of, as stems.

    Attributes:
        stems: Its content words.
        numbers: Its numbers; number words up to twelve too.
        names: Content words that begin with a capital letter.
        names_within: Those of them that do not begin the text, where every word has a capital letter.
        negates: It denies something, in English.
    """

    stems: frozenset[str]
    numbers: frozenset[str]
    names: frozenset[str]
    names_within: frozenset[str]
    negates: bool

    @classmethod
    def of(cls, text: str) -> _Words:
        stems = frozenset(content_words(text))
        written = [found.rstrip(".,:").replace(",", "") for found in _NUMBER.findall(text)]
        spelled = [_NUMBER_WORDS[word] for word in re.findall(r"[a-z]+", text.lower()) if word in _NUMBER_WORDS]
        capital = [word for word in _NAME.findall(text) if word[0].isupper()]
        first = _NAME.search(text)
        within = capital[1:] if first is not None and capital and first[0] == capital[0] else capital
        negates = _NEGATION.search(text) is not None
        return cls(stems, frozenset((*written, *spelled)), _stems(capital), _stems(within), negates)


def _stems(words: Sequence[str]) -> frozenset[str]:
    return frozenset(content_words(" ".join(words)))


def _read_verdicts(reply: Any, claims: Sequence[Claim], contexts: Sequence[str]) -> tuple[Claim, ...]:
    """The claims with their verdicts.

    Raises:
        UnusableReplyError: Ids that are not the claims', or a supported claim whose quotation stands in no context.
    """
    rows = rows_by_id(reply["verdicts"], [claim.id for claim in claims], kind="claim")
    found, unproven = [], []
    for claim in claims:
        row = rows[claim.id]
        place = find_quote(row["quote"], contexts) if row["quote"].strip() else None
        if row["verdict"] == "supported" and place is None:
            unproven.append(claim.id)
        quote = row["quote"] if place is not None else ""
        found.append(replace(claim, verdict=row["verdict"], quote=quote, context=place))
    if unproven:
        raise UnusableReplyError(
            f"the quotes of {', '.join(unproven)} do not stand in the contexts word for word, or are too short"
        )
    return tuple(found)


def _scored(claims: Sequence[Claim]) -> Score:
    supported = [claim for claim in claims if claim.verdict == "supported"]
    details = {
        "outcome": "judged",
        "supported": len(supported),
        "total": len(claims),
        "claims": [claim.to_dict() for claim in claims],
    }
    return Score(len(supported) / len(claims), _explained(claims, len(supported)), details=details)


def _explained(claims: Sequence[Claim], supported: int) -> str:
    failed = [claim for claim in claims if claim.verdict != "supported"]
    told = "; ".join(f"{claim.id} {claim.verdict}: {shown(claim.text, 80)}" for claim in failed[:SHOWN_CLAIMS])
    more = f" and {len(failed) - SHOWN_CLAIMS} more" if len(failed) > SHOWN_CLAIMS else ""
    return f"{supported} of {count_of(len(claims), 'claim is supported', 'claims are supported')}" + (
        f"; {told}{more}" if failed else ""
    )


def _shortened(text: str) -> str:
    plain = " ".join(text.split())
    return plain if len(plain) <= KEPT_CHARACTERS else f"{plain[: KEPT_CHARACTERS - 1]}…"
