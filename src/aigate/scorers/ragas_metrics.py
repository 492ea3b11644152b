"""The scorers `ragas:METRIC`: metrics of ragas 0.4, computed by ragas itself, asked and believed as our own judge is.

=======================  ===================================  =========================================================
metric                   needs                                what the judge is asked
=======================  ===================================  =========================================================
`faithfulness`           contexts                             the statements of the answer, then a verdict for each
`response_groundedness`  contexts                             twice, in other words, how well the contexts support it
`context_relevance`      contexts                             twice, in other words, how relevant the contexts are
`context_precision`      contexts, a reference that is text   of each context, whether it helps to the reference
`context_utilization`    contexts                             of each context, whether it helps to the answer
`context_recall`         contexts, a reference that is text   of each statement of the reference, whether it is there
`context_entity_recall`  contexts, a reference that is text   the entities of the reference, and those of the contexts
`answer_accuracy`        a reference that is text             twice, in other words, how well the answer agrees with it
`factual_correctness`    a reference that is text             the claims of either, and whether the other supports each
`answer_correctness`     reference; an embedding model        the statements of either, and which of them agree
`answer_relevancy`       an embedding model                   three times, for a question that the answer would answer
=======================  ===================================  =========================================================

ragas makes the prompts and the score; every call goes through the judge of the suite: its limiter, retries, budget and
journal. No client of ragas is made, so its retries, its cache and its telemetry have nothing to do.

What ragas does not check is checked here; a reply that fails is asked again, and then is a judge error:

- A verdict per statement, in its words, neither fewer nor more; ragas divides by those that came, and calls one verdict
  of four 1.0.
- Verdicts are 0 or 1, ratings on their scale; ragas computes with what comes.
- Every sentence of the text that is taken apart is among its statements, and none twice; at least half the words of
  each statement are that text's, or the question's.
- Two judgements are two: where one of a pair of ratings is missing, ragas takes the other for both.
- Statements of an answer are classified once each, and nothing but statements. Of a text without statements ragas makes
  a correctness of 1.0.
- Entities stand in their text. A reference without any has no score; ragas gives 0.
- A score that is not what the replies are worth, or no number, is none.

What was asked and answered stands in the score's details. Of an answer without statements ragas gives NaN: a missing
score here, a judge error. An empty answer scores 0.

**What it cannot do.** ragas asks for no quotations, so a verdict cannot be checked; and it puts an answer into a prompt
without marking it as data. Our own `faithfulness` does better in both. A judge that leaves claims of the reference out,
or entities, is not found out.
"""

from __future__ import annotations

import math
import os
import re
import warnings
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any, NamedTuple, get_origin

from aigate.core.counts import count_of
from aigate.core.digest import digest_of
from aigate.core.registry import nearest
from aigate.core.response import Response
from aigate.core.sample import Sample
from aigate.core.score import MetricSpec, Score, ScoreOrNot, Unscored
from aigate.core.vectors import Vector, cosine
from aigate.errors import ConfigError, MissingExtraError
from aigate.scorers.asked import Asked, judgeable, shortened
from aigate.scorers.base import JudgedScorer, ScorerSettings
from aigate.scorers.faithfulness import claims_nothing, sentences_of
from aigate.scorers.grounding import content_words
from aigate.scorers.judge import JudgeAccess, JudgeError, Question, UnusableReplyError
from aigate.scorers.options import metric_option
from aigate.scorers.quotes import normalised

__all__ = ["METRICS", "Ragas", "RagasMetric", "from_settings"]

NAME = "ragas"
NO_TRACKING = "RAGAS_DO_NOT_TRACK"
MOST_ROWS = 100
COVERED = 0.5  # share of a text's content words that what is said for it must hold
SAME = 1e-6  # ragas adds up to 1e-8 to denominators
ROUNDED = 0.005 + SAME  # where it rounds to hundredths
REASON_CHARACTERS = 100  # of a judge's reason, in details
_SEEN = re.compile(r"\w")


class Told(NamedTuple):
    """One reply of the judge, or of the embedding model.

    Attributes:
        asked: What it was asked about: the input of ragas's prompt; `texts` that were embedded.
        reply: What it said; their `vectors`.
    """

    asked: Mapping[str, Any]
    reply: Mapping[str, Any]


class Asks(NamedTuple):
    """One question of a metric.

    Attributes:
        prompt: The metric's attribute that holds the prompt.
        about: What of the metric's input is judged in it.
    """

    prompt: str
    about: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RagasMetric:
    """One metric of ragas.

    Attributes:
        made_by: Its class in `ragas.metrics.collections`.
        takes: What its `ascore` takes.
        asks: What the judge is asked, in order.
        worth: The score of the judge's replies, or NaN where they are worth none.
        each_context: True where its one question is asked of each context.
        scale: What a rating may be.
        within: How far ragas's number may lie from what the replies are worth.
        embeds: True where texts are embedded too.
    """

    made_by: str
    takes: tuple[str, ...]
    asks: tuple[Asks, ...]
    worth: Callable[[Sequence[Told]], float]
    each_context: bool = False
    scale: tuple[int, ...] = (0, 1, 2)
    within: float = SAME
    embeds: bool = False

    @property
    def of_answer(self) -> bool:
        """True where it looks at the answer at all."""
        return "response" in self.takes


def from_settings(settings: ScorerSettings) -> JudgedScorer:
    """Make the scorer `ragas:METRIC`. Options: `metric`.

    Raises:
        ConfigError: No metric or one that is not supported, an unknown option, no judge, or no embedding model.
        MissingExtraError: The extra `ragas` is not installed, or what is installed does not import.
    """
    settings.only("metric", argument=True)
    if settings.argument not in METRICS:
        raise ConfigError(
            f"scorer '{NAME}:{settings.argument}': expected one of {', '.join(METRICS)} after '{NAME}:'",
            hint=nearest(settings.argument, METRICS, kind="metrics"),
        )
    judge = settings.needed_judge()
    kind = METRICS[settings.argument]
    if kind.embeds:
        settings.needed_embeddings()
    metric = metric_option(settings, f"{NAME}_{settings.argument}")
    spec = MetricSpec(
        metric,
        f"{NAME}:{settings.argument}",
        options={"metric": metric},
        deterministic=False,
        judge=judge.identity({NAME: _prompts_digest(kind)}, embeds=kind.embeds),
    )
    return Ragas(spec, kind)


@dataclass(frozen=True)
class Ragas(Asked):
    """What ragas makes of the judge's replies, where these can be believed."""

    kind: RagasMetric

    def applies_to(self, sample: Sample) -> Unscored | None:
        """Samples without question, contexts or reference, where these are needed, lie outside the metric."""
        needs = self.kind.takes
        if "reference" in needs and not (isinstance(sample.reference, str) and _SEEN.search(sample.reference)):
            return Unscored("no_reference", "the sample has no reference that is a text")
        if "retrieved_contexts" in needs and not any(map(_SEEN.search, sample.contexts)):
            return Unscored("not_applicable", "the sample has no contexts")
        if "user_input" in needs and not _SEEN.search(sample.text):
            return Unscored("not_applicable", "the sample has no question")
        return None

    def questions(self, sample: Sample, output: str) -> Sequence[Question]:
        """As many questions as ragas will ask, each as long as its prompt and what is judged in it."""
        if self.kind.of_answer and not output.strip():
            return ()
        data = self._data(sample, output)
        told = [
            blank + "".join(str(data[name]) for name in asks.about)
            for blank, asks in zip(_blank_prompts(self.kind), self.kind.asks, strict=True)
        ]
        if self.kind.each_context:
            told = [told[0] + context for context in sample.contexts]
        return tuple(Question(NAME, "", {}, {"type": "object"}, prompt=prompt) for prompt in told)

    def embedded(self, sample: Sample, output: str) -> Sequence[Sequence[str]]:
        """What will be embedded, call by call; for questions that are still to come the sample's stands."""
        if not self.kind.embeds or not output.strip():
            return ()
        if "reference" in self.kind.takes:
            return ((output,), (str(sample.reference),))
        return ((sample.text,), (sample.text,) * len(self.kind.asks))

    async def judge(self, sample: Sample, response: Response, access: JudgeAccess) -> ScoreOrNot:
        """Judge once.

        Raises:
            JudgeError: The judge gave no usable reply, or ragas failed.
        """
        output = judgeable(response)
        if self.kind.of_answer and not output.strip():
            return Score(0.0, "the answer is empty", details={"outcome": "empty", "claims": []})
        calls = _Calls(access, self.kind)
        value = await self._ascore(calls, self._data(sample, output))
        worth = self.kind.worth(calls.told) if math.isfinite(value) and calls.told else math.nan
        if not math.isfinite(worth):
            return Unscored("judge_error", "ragas: the judge found nothing in the text that could be judged")
        if not abs(value - worth) <= self.kind.within:
            raise JudgeError(f"ragas gives {value:.6g} for replies that are worth {worth:.6g}")
        evidence = _evidence(calls.told)
        explanation = _explained(evidence) + (", beside the likeness of embeddings" if self.kind.embeds else "")
        return Score(min(max(value, 0.0), 1.0), explanation, details={"outcome": "judged", "claims": evidence})

    async def _ascore(self, calls: _Calls, data: Mapping[str, Any]) -> float:
        """What ragas gives. What our side raised inside it comes out as it was raised, and never as a number."""
        try:
            found = float((await _made(self.kind, calls).ascore(**data)).value)
        except Exception as error:  # noqa: BLE001 - ragas may raise anything
            if calls.failed is None:
                raise JudgeError(f"ragas raised {type(error).__name__}: {shortened(str(error))}") from None
            found = math.nan
        if calls.failed is not None:
            raise calls.failed
        return found

    def _data(self, sample: Sample, output: str) -> Mapping[str, Any]:
        whole = {
            "user_input": sample.text,
            "response": output,
            "reference": sample.reference,
            "retrieved_contexts": list(sample.contexts),
        }
        return {name: whole[name] for name in self.kind.takes}


@dataclass
class _Calls:
    """What ragas asks in one judgement: sent to the judge, read, validated, and kept as evidence.

    Attributes:
        access: The way to the judge.
        kind: The metric.
        inputs: What each prompt is about, by its text.
        sent: How often each prompt was sent.
        told: The replies, in order.
        failed: What our side raised; nobody is asked any more then, although ragas may try.
    """

    access: JudgeAccess
    kind: RagasMetric
    inputs: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    sent: Counter[str] = field(default_factory=Counter)
    told: list[Told] = field(default_factory=list)
    failed: Exception | None = None

    def watched(self, to_string: Callable[[Any], str]) -> Callable[[Any], str]:
        """The same way to make a prompt, which takes note of what it is about."""

        def noted(data: Any) -> str:
            prompt = to_string(data)
            self.inputs[prompt] = data.model_dump()
            return prompt

        return noted

    async def ask(self, prompt: str, model: Any) -> Any:
        """The judge's reply to a prompt of ragas, as ragas's own model of it.

        Raises:
            JudgeError: No usable reply, now or earlier in this judgement.
        """
        if self.failed is not None:
            raise self.failed
        try:
            reply = await self._replied(prompt, model.__name__, model.model_json_schema())
            return model.model_validate(reply)
        except Exception as error:
            self.failed = error
            raise

    async def embed(self, texts: Sequence[str]) -> Sequence[Vector]:
        """The vectors of some texts.

        Raises:
            JudgeError: There are none.
        """
        if self.failed is not None:
            raise self.failed
        try:
            vectors = await self.access.embed(texts)
        except Exception as error:
            self.failed = error
            raise
        self.told.append(Told({"texts": list(texts)}, {"vectors": vectors}))
        return vectors

    async def _replied(self, prompt: str, form: str, schema: Mapping[str, Any]) -> Mapping[str, Any]:
        if form not in _READ:
            raise JudgeError(f"ragas asks for {form}, which this version of aigate does not know")
        asked, draw = self.inputs[prompt], self.sent[prompt]
        self.sent[prompt] += 1
        question = Question(f"{NAME}_{form}", "", {}, _strict(schema, self.kind.scale), prompt, draw)
        reply: Mapping[str, Any] = await self.access.ask(question, lambda found: _READ[form](found, asked))
        self.told.append(Told(asked, reply))
        return reply


def _strict(schema: Any, scale: Sequence[int]) -> Any:
    """A JSON Schema whose objects have no other properties than it names, and whose verdicts are on their scale."""
    if isinstance(schema, list):
        return [_strict(item, scale) for item in schema]
    if not isinstance(schema, dict):
        return schema
    whole = {key: _strict(value, scale) for key, value in schema.items()}
    if whole.get("type") != "object":
        return whole
    properties = {
        name: {**told, "enum": list(scale if name == "rating" else (0, 1))} if told.get("type") == "integer" else told
        for name, told in whole["properties"].items()
    }
    return {**whole, "properties": properties, "additionalProperties": False}


# How replies are read, by the name of ragas's model: each gives the reply back, or raises UnusableReplyError.


def _statements(reply: Any, asked: Mapping[str, Any]) -> Any:
    """Statements of an answer: none is empty or there twice, and together they leave no sentence out.

    No statements at all are let through: ragas asks nothing then, and gives no number.
    """
    _refuse_rows(reply["statements"])
    if reply["statements"]:
        _refuse_left_out(reply["statements"], asked["answer"])
        _refuse_brought_in(reply["statements"], asked["question"], asked["answer"])
    return reply


def _claims(reply: Any, asked: Mapping[str, Any]) -> Any:
    """Claims of a text. ragas asks for few of them, so what they leave out cannot be held against them."""
    if not reply["claims"]:
        raise UnusableReplyError("it has no claims")
    _refuse_rows(reply["claims"])
    _refuse_brought_in(reply["claims"], asked["response"])
    return reply


def _verdicts(reply: Any, asked: Mapping[str, Any]) -> Any:
    """One verdict for each statement, brought into their order."""
    rows, wanted = reply["statements"], asked["statements"]
    if len(rows) != len(wanted):
        raise UnusableReplyError(f"it has {len(rows)} verdicts for {len(wanted)} statements")
    places = _places([row["statement"] for row in rows], wanted)
    if places is None:
        raise UnusableReplyError("its verdicts are not of the statements, one of each and in its words")
    return {**reply, "statements": [row for _, row in sorted(zip(places, rows, strict=True), key=lambda pair: pair[0])]}


def _places(texts: Sequence[str], wanted: Sequence[str]) -> Sequence[int] | None:
    """Of each text the place of the one that it is, or says in other words; None where that cannot be said of all."""
    said = [normalised(text) for text in texts]
    left = {place: normalised(text) for place, text in enumerate(wanted)}
    found: dict[int, int] = {}
    for alike in (str.__eq__, _covers):
        for number, text in enumerate(said):
            fits = [place for place, one in left.items() if number not in found and alike(text, one)]
            if fits:
                found[number] = number if number in fits else fits[0]
                del left[found[number]]
    return [found[number] for number in range(len(said))] if len(found) == len(set(said)) == len(said) else None


def _recalled(reply: Any, asked: Mapping[str, Any]) -> Any:
    texts = [row["statement"] for row in reply["classifications"]]
    _refuse_rows(texts)
    _refuse_left_out(texts, asked["answer"])
    _refuse_brought_in(texts, asked["question"], asked["answer"])
    return reply


def _entities(reply: Any, asked: Mapping[str, Any]) -> Any:
    _refuse_rows(reply["entities"])
    text = normalised(asked["text"])
    if strange := sum(normalised(entity) not in text for entity in reply["entities"]):
        raise UnusableReplyError(f"{strange} of its entities do not stand in the text as they are written")
    return reply


def _classified(reply: Any, asked: Mapping[str, Any]) -> Any:
    """Every statement of the answer is right or wrong, and what is missing is the reference's."""
    ours, missing = ([row["statement"] for key in keys for row in reply[key]] for keys in (("TP", "FP"), ("FN",)))
    if len(ours) != len(asked["answer"]) or _places(ours, asked["answer"]) is None:
        raise UnusableReplyError("TP and FP together are not the statements of the answer, each once and in its words")
    if _places(missing, asked["ground_truth"]) is None:
        raise UnusableReplyError("FN holds what is no statement of the ground truth, or one twice")
    return reply


def _question(reply: Any, asked: Mapping[str, Any]) -> Any:  # noqa: ARG001 - one signature for all
    """A question. ragas leaves empty ones out, and takes the mean of the others."""
    _refuse_rows([reply["question"]])
    return reply


def _as_it_is(reply: Any, asked: Mapping[str, Any]) -> Any:  # noqa: ARG001
    """One number, of which the schema says all there is to say."""
    return reply


_READ: Mapping[str, Callable[[Any, Mapping[str, Any]], Any]] = {
    "StatementGeneratorOutput": _statements,
    "AnswerRelevanceOutput": _question,
    "ClaimDecompositionOutput": _claims,
    "ClassificationWithReason": _classified,
    "NLIStatementOutput": _verdicts,
    "ContextRecallOutput": _recalled,
    "ContextPrecisionOutput": _as_it_is,
    "EntitiesList": _entities,
    "AnswerAccuracyOutput": _as_it_is,
    "ContextRelevanceOutput": _as_it_is,
    "ResponseGroundednessOutput": _as_it_is,
}


def _refuse_rows(texts: Sequence[str]) -> None:
    if len(texts) > MOST_ROWS:
        raise UnusableReplyError(f"it has {len(texts)} texts, and at most {MOST_ROWS} can be judged")
    if not all(map(_SEEN.search, texts)):
        raise UnusableReplyError("one of its texts is empty")
    if len(set(map(normalised, texts))) < len(texts):
        raise UnusableReplyError("one of its texts is there twice")


def _refuse_left_out(texts: Sequence[str], whole: str) -> None:
    """Refuse statements that leave a sentence of a text out."""
    said = " ".join(texts)
    for sentence in sentences_of(whole):
        if not (sentence.abstains or claims_nothing(sentence.text) or _covers(said, sentence.text)):
            raise UnusableReplyError(f"its statements leave out sentence {sentence.id[1:]} of the text")


def _refuse_brought_in(texts: Sequence[str], *wholes: str) -> None:
    """Refuse statements that nobody made: a judge could raise a share by adding what is surely true."""
    whole = " ".join(wholes)
    if strange := sum(not _covers(whole, text) for text in texts):
        raise UnusableReplyError(f"{strange} of its statements are not in the words of the text that is taken apart")


def _covers(said: str, text: str) -> bool:
    """True where one text holds at least half of the other's content words."""
    words = content_words(text).keys()
    return len(words & content_words(said).keys()) >= COVERED * len(words)


# What replies are worth.


def _share(told: Sequence[Told]) -> float:
    """The share of verdicts that are 1."""
    found = _found(told)
    return sum(found) / len(found) if found else math.nan


def _average_precision(told: Sequence[Told]) -> float:
    """The mean, over the contexts that help, of the share of such contexts down to each; 0 where none does."""
    helps = _found(told)
    found = [sum(helps[: place + 1]) / (place + 1) for place, good in enumerate(helps) if good]
    return sum(found) / len(found) if found else 0.0


def _mean_rating(told: Sequence[Told], best: int = 2) -> float:
    first, second = (each.reply["rating"] for each in told)
    return float(first + second) / (2 * best)


def _entity_recall(told: Sequence[Told]) -> float:
    """The share of the reference's entities that are the contexts' too."""
    wanted, held = (set(each.reply["entities"]) for each in told)
    return len(wanted & held) / len(wanted) if wanted else math.nan


def _f1(told: Sequence[Told]) -> float:
    """F1 as ragas counts it.

    Right are the answer's claims that the reference supports, wrong its others, and missing those of the reference that
    the answer does not support.
    """
    ours, theirs = _found([told[1]]), _found([told[3]])
    right = sum(ours)
    return 2 * right / (right + len(ours) + theirs.count(0)) if right else 0.0


def _correctness(told: Sequence[Told]) -> float:
    """Three quarters F1 of the statements, one quarter the likeness of the texts."""
    if not all(each.reply["statements"] for each in told[:2]):
        return math.nan
    right, wrong, missing = (len(told[2].reply[key]) for key in ("TP", "FP", "FN"))
    f1 = 2 * right / (2 * right + wrong + missing) if right else 0.0
    return 0.75 * f1 + 0.25 * cosine(told[3].reply["vectors"][0], told[4].reply["vectors"][0])


def _relevancy(told: Sequence[Told]) -> float:
    """How alike the question and those made of the answer are, on average; 0 where it is evasive each time."""
    *made, question, others = told
    likeness = [cosine(question.reply["vectors"][0], vector) for vector in others.reply["vectors"]]
    return 0.0 if all(each.reply["noncommittal"] for each in made) else sum(likeness) / len(likeness)


def _found(told: Sequence[Told]) -> list[int]:
    """Every verdict in some replies."""
    return [row[key] for each in told for row, key in _judged(each.reply)]


def _judged(reply: Mapping[str, Any]) -> Sequence[tuple[Mapping[str, Any], str]]:
    """The rows of a reply that hold a verdict, and the key it stands under."""
    rows = reply.get("classifications", reply.get("statements", [reply]))
    return [(row, key) for row in rows if isinstance(row, dict) for key in ("verdict", "attributed") if key in row]


METRICS: Mapping[str, RagasMetric] = {
    "faithfulness": RagasMetric(
        "Faithfulness",
        ("user_input", "response", "retrieved_contexts"),
        (
            Asks("statement_generator_prompt", ("user_input", "response")),
            Asks("nli_statement_prompt", ("response", "retrieved_contexts")),
        ),
        _share,
    ),
    "response_groundedness": RagasMetric(
        "ResponseGroundedness",
        ("response", "retrieved_contexts"),
        (
            Asks("judge1_prompt", ("response", "retrieved_contexts")),
            Asks("judge2_prompt", ("response", "retrieved_contexts")),
        ),
        _mean_rating,
    ),
    "context_relevance": RagasMetric(
        "ContextRelevance",
        ("user_input", "retrieved_contexts"),
        (
            Asks("judge1_prompt", ("user_input", "retrieved_contexts")),
            Asks("judge2_prompt", ("user_input", "retrieved_contexts")),
        ),
        _mean_rating,
    ),
    "context_precision": RagasMetric(
        "ContextPrecision",
        ("user_input", "reference", "retrieved_contexts"),
        (Asks("prompt", ("user_input", "reference")),),
        _average_precision,
        each_context=True,
    ),
    "context_utilization": RagasMetric(
        "ContextUtilization",
        ("user_input", "response", "retrieved_contexts"),
        (Asks("prompt", ("user_input", "response")),),
        _average_precision,
        each_context=True,
    ),
    "context_recall": RagasMetric(
        "ContextRecall",
        ("user_input", "retrieved_contexts", "reference"),
        (Asks("prompt", ("user_input", "retrieved_contexts", "reference")),),
        _share,
    ),
    "context_entity_recall": RagasMetric(
        "ContextEntityRecall",
        ("reference", "retrieved_contexts"),
        (Asks("prompt", ("reference",)), Asks("prompt", ("retrieved_contexts",))),
        _entity_recall,
    ),
    "answer_accuracy": RagasMetric(
        "AnswerAccuracy",
        ("user_input", "response", "reference"),
        (
            Asks("judge1_prompt", ("user_input", "response", "reference")),
            Asks("judge2_prompt", ("user_input", "response", "reference")),
        ),
        lambda told: _mean_rating(told, 4),
        scale=(0, 2, 4),
    ),
    "factual_correctness": RagasMetric(
        "FactualCorrectness",
        ("response", "reference"),
        (
            Asks("prompt", ("response",)),
            Asks("nli_prompt", ("response", "reference")),
            Asks("prompt", ("reference",)),
            Asks("nli_prompt", ("response", "reference")),
        ),
        _f1,
        within=ROUNDED,
    ),
    "answer_correctness": RagasMetric(
        "AnswerCorrectness",
        ("user_input", "response", "reference"),
        (
            Asks("statement_generator_prompt", ("user_input", "response")),
            Asks("statement_generator_prompt", ("user_input", "reference")),
            Asks("correctness_classifier_prompt", ("user_input", "response", "reference")),
        ),
        _correctness,
        embeds=True,
    ),
    "answer_relevancy": RagasMetric(
        "AnswerRelevancy", ("user_input", "response"), (Asks("prompt", ("response",)),) * 3, _relevancy, embeds=True
    ),
}


def _evidence(told: Sequence[Told]) -> list[dict[str, Any]]:
    """What the judge found, row by row, as reports show claims."""
    rows = []
    for number, each in enumerate(told, start=1):
        for row, key in _judged(each.reply):
            claim = row.get("statement", f"context {number} helps")
            rows.append(_row(claim, "supported" if row[key] else "not_in_context", row.get("reason", "")))
        for key, verdict in (("TP", "supported"), ("FP", "not_in_context"), ("FN", "missing")):
            rows += [_row(row["statement"], verdict, row["reason"]) for row in each.reply.get(key, ())]
        if "question" in each.reply:
            rows.append(_row(each.reply["question"], "noncommittal" if each.reply["noncommittal"] else "supported"))
        if "rating" in each.reply:
            rows.append(_row(f"judgement {number}", f"rated {each.reply['rating']}"))
    if told and "entities" in told[0].reply:
        held = set(told[1].reply["entities"])
        wanted = dict.fromkeys(told[0].reply["entities"])
        rows += [_row(entity, "supported" if entity in held else "not_in_context") for entity in wanted]
    return rows


def _row(claim: str, verdict: str, reason: str = "") -> dict[str, Any]:
    told = {"reason": shortened(reason, REASON_CHARACTERS)} if reason.strip() else {}
    return {"claim": shortened(claim), "verdict": verdict, **told}


def _explained(evidence: Sequence[Mapping[str, Any]]) -> str:
    ratings = [row["verdict"] for row in evidence if row["verdict"].startswith("rated")]
    if ratings:
        return f"ragas: {' and '.join(ratings)}"
    good = sum(row["verdict"] == "supported" for row in evidence)
    return f"ragas: {good} of {count_of(len(evidence), 'verdict is good', 'verdicts are good')}"


# ragas itself.


@cache
def _collections() -> Any:
    """`ragas.metrics.collections`, telemetry off before anything of it is imported.

    Raises:
        MissingExtraError: It is not there, or does not import.
    """
    os.environ[NO_TRACKING] = "true"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it deprecates parts of itself while it is imported
            import ragas._analytics
            import ragas.metrics.collections
    except ImportError as error:
        raise MissingExtraError(error.name or NAME, extra=NAME, purpose=f"the scorer '{NAME}'") from None
    ragas._analytics.do_not_track.cache_clear()  # noqa: SLF001 - it may have been asked before the switch was set
    return ragas.metrics.collections


@cache
def _asking() -> Any:
    """A model as ragas knows them, which is our judge."""
    _collections()
    from ragas.llms.base import InstructorBaseRagasLLM

    class Asking(InstructorBaseRagasLLM):  # type: ignore[misc] # untyped
        def __init__(self, calls: _Calls) -> None:
            self.calls = calls

        def generate(self, prompt: str, response_model: Any) -> Any:  # noqa: ARG002 - as ragas calls it
            raise JudgeError("ragas asks without waiting, which a judge cannot be")

        async def agenerate(self, prompt: str, response_model: Any) -> Any:
            return await self.calls.ask(prompt, response_model)

    return Asking


@cache
def _embedding() -> Any:
    """An embedding model as ragas knows them, which is that of our judge."""
    _collections()
    from ragas.embeddings.base import BaseRagasEmbedding

    class Embedding(BaseRagasEmbedding):  # type: ignore[misc] # untyped
        def __init__(self, calls: _Calls) -> None:
            super().__init__()
            self.calls = calls

        def embed_text(self, text: str, **_: Any) -> Any:  # noqa: ARG002 - as ragas calls it
            raise JudgeError("ragas asks without waiting, which an embedding model cannot be")

        async def aembed_text(self, text: str, **_: Any) -> Any:
            [vector] = await self.calls.embed([text])
            return vector

        async def aembed_texts(self, texts: Sequence[str], **_: Any) -> Any:
            return await self.calls.embed(texts)

    return Embedding


def _made(kind: RagasMetric, calls: _Calls | None = None) -> Any:
    """A metric of ragas whose models are our judge's; without calls it is there to be looked at."""
    embeddings = {"embeddings": _embedding()(calls)} if kind.embeds else {}
    metric = getattr(_collections(), kind.made_by)(llm=_asking()(calls), **embeddings)
    if calls is not None:
        for prompt in (getattr(metric, name) for name in dict.fromkeys(asks.prompt for asks in kind.asks)):
            prompt.to_string = calls.watched(prompt.to_string)
    return metric


@cache
def _blank_prompts(kind: RagasMetric) -> tuple[str, ...]:
    """A metric's prompts, in the order they are asked, with nothing to judge in them."""
    metric = _made(kind)
    prompts = [getattr(metric, asks.prompt) for asks in kind.asks]
    return tuple(prompt.to_string(_blank(prompt.input_model)) for prompt in prompts)


def _blank(model: Any) -> Any:
    fields = model.model_fields.items()
    return model(**{name: [] if get_origin(told.annotation) is list else "" for name, told in fields})


def _prompts_digest(kind: RagasMetric) -> str:
    """The digest of all that ragas tells a judge besides the data, and of its version: any change is another judge."""
    _collections()
    from ragas import __version__

    return digest_of({"ragas": __version__, "prompts": _blank_prompts(kind)})
