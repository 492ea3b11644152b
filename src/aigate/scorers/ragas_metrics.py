"""The scorers `ragas:METRIC`: metrics of ragas 0.4, computed by ragas itself, asked and believed as our own judge is.

=====================  ===================================  ===========================================================
metric                 needs                                what the judge is asked
=====================  ===================================  ===========================================================
`faithfulness`         contexts                             the statements of the answer, then a verdict for each
`context_precision`    contexts, a reference that is text   of each context, whether it helps to the reference
`context_recall`       contexts, a reference that is text   of each statement of the reference, whether it stands there
`context_utilization`  contexts                             of each context, whether it helps to the answer
=====================  ===================================  ===========================================================

ragas makes the prompts and the score; every call goes through the judge of the suite: its limiter, retries, budget and
journal. No client of ragas is made, so its retries, its cache and its telemetry have nothing to do.

What it does not check is checked here, and asked again where it fails, and then is a judge error:

- `faithfulness`: a verdict per statement, neither fewer nor more; ragas takes what comes, and calls one verdict of four
  1.0. A list that repeats one statement in place of another is refused too.
- Verdicts are 0 or 1; ragas counts every other number as a yes, and computes with it.
- `context_recall`: every sentence of the reference is among the statements; ragas divides by those that came.
- A score that is not what the verdicts are worth, or no number, is none.

What was asked and answered stands in the score's details. Of an answer without statements ragas gives NaN: a missing
score here, a judge error. An empty answer scores 0.

**What it cannot do.** ragas asks for no quotations, so a verdict cannot be checked; a judge that leaves a statement out
when it takes an answer apart is not found out; and it puts an answer into a prompt without marking it as data. Our own
`faithfulness` does better in all three.
"""

from __future__ import annotations

import math
import os
import re
import warnings
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from aigate.core.digest import digest_of
from aigate.core.registry import nearest
from aigate.core.response import Response
from aigate.core.sample import Message, Sample
from aigate.core.score import MetricSpec, Score, ScoreOrNot, Unscored
from aigate.errors import ConfigError, MissingExtraError
from aigate.scorers.asked import Asked, judgeable, shortened
from aigate.scorers.base import JudgedScorer, ScorerSettings
from aigate.scorers.grounding import content_words
from aigate.scorers.judge import JudgeAccess, JudgeError, Question, ReplyForm, UnusableReplyError, read_reply
from aigate.scorers.options import metric_option
from aigate.scorers.quotes import normalised

__all__ = ["METRICS", "Ragas", "RagasMetric", "from_settings"]

NAME = "ragas"
NO_TRACKING = "RAGAS_DO_NOT_TRACK"
MOST_ROWS = 100
COVERED = 0.5  # share of a sentence's words that the statements must hold
SAME = 1e-6  # ragas adds 1e-10 to denominators
SHOWN_CHARACTERS = 160
_SEEN = re.compile(r"\w")
_SENTENCE_END = re.compile(r"(?<=[.!?…])\s+|\n+")


@dataclass(frozen=True, slots=True)
class RagasMetric:
    """One metric of ragas.

    Attributes:
        made_by: Its class in `ragas.metrics.collections`.
        takes: What its `ascore` takes.
        prompts: Its prompts' attributes, in the order they are asked.
    """

    made_by: str
    takes: tuple[str, ...]
    prompts: tuple[str, ...]

    @property
    def of_answer(self) -> bool:
        """True where it looks at the answer at all."""
        return "response" in self.takes


METRICS: Mapping[str, RagasMetric] = {
    "faithfulness": RagasMetric(
        "Faithfulness",
        ("user_input", "response", "retrieved_contexts"),
        ("statement_generator_prompt", "nli_statement_prompt"),
    ),
    "context_precision": RagasMetric(
        "ContextPrecision", ("user_input", "reference", "retrieved_contexts"), ("prompt",)
    ),
    "context_recall": RagasMetric("ContextRecall", ("user_input", "retrieved_contexts", "reference"), ("prompt",)),
    "context_utilization": RagasMetric(
        "ContextUtilization", ("user_input", "response", "retrieved_contexts"), ("prompt",)
    ),
}


def from_settings(settings: ScorerSettings) -> JudgedScorer:
    """Make the scorer `ragas:METRIC`. Options: `metric`.

    Raises:
        ConfigError: No metric or an unknown one, an unknown option, or no judge.
        MissingExtraError: The extra `ragas` is not installed, or what is installed does not import.
    """
    settings.only("metric", argument=True)
    if settings.argument not in METRICS:
        if settings.argument == "answer_relevancy":
            raise ConfigError(
                "scorer 'ragas:answer_relevancy' needs embeddings, and a judge gives none",
                hint="take 'correctness' or 'rubric', which ask the judge whether the answer meets the question",
            )
        raise ConfigError(
            f"scorer '{NAME}:{settings.argument}' is none, expected one of {', '.join(METRICS)} after '{NAME}:'",
            hint=nearest(settings.argument, METRICS, kind="metrics"),
        )
    judge = settings.needed_judge()
    kind = METRICS[settings.argument]
    metric = metric_option(settings, f"{NAME}_{settings.argument}")
    spec = MetricSpec(
        metric,
        f"{NAME}:{settings.argument}",
        options={"metric": metric},
        deterministic=False,
        judge=judge.identity({"ragas": _prompts_digest(kind)}),
    )
    return Ragas(spec, kind)


@dataclass(frozen=True)
class Ragas(Asked):
    """What ragas makes of the judge's verdicts, where these can be believed."""

    kind: RagasMetric

    def applies_to(self, sample: Sample) -> Unscored | None:
        """Samples without question, contexts, or a reference where one is needed, lie outside the metric."""
        if "reference" in self.kind.takes and not (isinstance(sample.reference, str) and sample.reference.strip()):
            return Unscored("no_reference", "the sample has no reference that is a text")
        if not sample.text.strip() or not any(_SEEN.search(context) for context in sample.contexts):
            return Unscored("not_applicable", "the sample has no question, or no contexts")
        return None

    def questions(self, sample: Sample, output: str) -> Sequence[Question]:
        """What will be asked, about; the prompts are made by ragas when it is."""
        data = self._data(sample, output)
        asked = len(sample.contexts) if self.kind.made_by in _BY_CONTEXT else len(self.kind.prompts)
        text = "" if self.kind.of_answer and not output.strip() else _told(self.kind)
        return tuple(Question(f"{NAME}_{n}", text, data, {"type": "object"}) for n in range(asked)) if text else ()

    async def judge(self, sample: Sample, response: Response, access: JudgeAccess) -> ScoreOrNot:
        """Judge once.

        Raises:
            JudgeError: The judge gave no usable reply, or ragas failed.
        """
        output = judgeable(response)
        if self.kind.of_answer and not output.strip():
            return Score(0.0, "the answer is empty", details={"outcome": "empty", "claims": []})
        calls = _Calls(access, sample.reference if self.kind.made_by == "ContextRecall" else None)
        value = await self._ascore(calls, self._data(sample, output))
        rows = calls.rows
        if not math.isfinite(value) or not rows:
            return Unscored("judge_error", "ragas gives no number: the judge made no statements of the answer")
        if abs(value - (worth := _WORTH[self.kind.made_by](rows))) > SAME:
            raise JudgeError(f"ragas gives {value:.6g} for verdicts that are worth {worth:.6g}")
        good = sum(row["verdict"] == "supported" for row in rows)
        details = {"outcome": "judged", "supported": good, "total": len(rows), "claims": rows}
        return Score(min(max(value, 0.0), 1.0), f"ragas: {good} of {len(rows)} verdicts are 1", details=details)

    async def _ascore(self, calls: _Calls, data: Mapping[str, Any]) -> float:
        """What ragas gives. What our side raised inside it comes out as it was raised."""
        try:
            found = await _made(self.kind, calls).ascore(**data)
            return float(found.value)
        except Exception as error:  # noqa: BLE001 - ragas may raise anything
            if calls.failed is not None:
                raise calls.failed from None
            raise JudgeError(f"ragas raised {type(error).__name__}: {shortened(str(error))}") from None

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
        reference: The text whose sentences must all be among the statements of a recall; None for other metrics.
        statements: Those that the judge made of the answer; None before it did.
        rows: What was judged: claim, verdict and reason.
        failed: What our side raised last.
    """

    access: JudgeAccess
    reference: str | None = None
    statements: Sequence[str] | None = None
    rows: list[dict[str, Any]] = field(default_factory=list)
    failed: Exception | None = None
    sent: Counter[str] = field(default_factory=Counter)

    async def ask(self, prompt: str, model: Any) -> Any:
        """The judge's reply to a prompt of ragas, as ragas's own model of it.

        Raises:
            JudgeError: No usable reply.
        """
        try:
            reply = await self._until_usable(prompt, model)
            self._keep(model.__name__, reply, prompt)
            return model.model_validate(reply)
        except Exception as error:
            self.failed = error
            raise

    async def _until_usable(self, prompt: str, model: Any) -> Any:
        judge = self.access.judge
        question = Question(f"{NAME}_{model.__name__}", "", {}, _strict(model.model_json_schema()))
        messages: tuple[Message, ...] = ({"role": "user", "content": prompt},)
        draw, self.sent[prompt] = self.sent[prompt], self.sent[prompt] + 1
        form = _form(question, judge.reply, api=judge.provider.get("api"))
        defect = ""
        for _ in range(1 + judge.reasks):
            again = f"An earlier reply could not be used: {defect}. Answer again, completely."
            asked = (*messages, {"role": "user", "content": again}) if defect else messages
            try:
                response = await self.access.respond(
                    asked, form, usable=lambda found: self._read(found, question, judge.reply), draw=draw
                )
                return self._read(response, question, judge.reply)
            except UnusableReplyError as error:
                defect = str(error)
        raise JudgeError(f"'{question.name}': no usable reply in {1 + judge.reasks} attempts; the last: {defect}")

    def _read(self, response: Response, question: Question, form: ReplyForm) -> Any:
        """The reply, validated.

        Raises:
            UnusableReplyError: It cannot be believed.
        """
        reply = read_reply(response, question, reply=form)
        rows = reply.get("statements", reply.get("classifications", [reply]))
        if len(rows) > MOST_ROWS:
            raise UnusableReplyError(f"it has {len(rows)} statements, and at most {MOST_ROWS} can be judged")
        texts = [row if isinstance(row, str) else row.get("statement", "-") for row in rows]
        if not all(row == "-" or _SEEN.search(row) for row in texts):
            raise UnusableReplyError("a statement is empty")
        verdicts = [row.get("verdict", row.get("attributed")) for row in rows if not isinstance(row, str)]
        if any(type(verdict) is not int or verdict not in (0, 1) for verdict in verdicts):
            raise UnusableReplyError("a verdict is neither 0 nor 1")
        if question.name == f"{NAME}_NLIStatementOutput":
            _refuse_other_statements(texts, self.statements or ())
        if self.reference is not None:
            _refuse_left_out(texts, self.reference)
        return reply

    def _keep(self, name: str, reply: Any, prompt: str) -> None:
        if name == "StatementGeneratorOutput":
            self.statements = reply["statements"]
        elif name == "NLIStatementOutput":
            told = zip(self.statements or (), reply["statements"], strict=True)
            self.rows += [_row(text, row["verdict"], row["reason"]) for text, row in told]
        elif name == "ContextRecallOutput":
            self.rows += [_row(r["statement"], r["attributed"], r["reason"]) for r in reply["classifications"]]
        elif name == "ContextPrecisionOutput":
            self.rows.append(_row(f"context {len(self.rows) + 1} helps", reply["verdict"], reply["reason"]))
        else:
            raise JudgeError(
                f"ragas asks for {name}, which this version of aigate does not know ({len(prompt)} characters)"
            )


def _row(claim: str, verdict: int, reason: str) -> dict[str, Any]:
    told = "supported" if verdict else "not_in_context"
    return {"claim": shortened(claim, SHOWN_CHARACTERS), "verdict": told, "reason": shortened(reason, SHOWN_CHARACTERS)}


def _refuse_other_statements(texts: Sequence[str], wanted: Sequence[str]) -> None:
    """Refuse verdicts that are not one for each statement.

    Raises:
        UnusableReplyError: Another number, or one statement several times in place of others.
    """
    if len(texts) != len(wanted):
        raise UnusableReplyError(f"it has {len(texts)} verdicts for {len(wanted)} statements")
    if len(set(map(normalised, texts))) < len(set(map(normalised, wanted))):
        raise UnusableReplyError("it repeats a statement in place of another")


def _refuse_left_out(texts: Sequence[str], reference: str) -> None:
    """Refuse statements that leave a sentence of the reference out.

    Raises:
        UnusableReplyError: They do.
    """
    held = set(content_words(" ".join(texts)))
    for number, sentence in enumerate(_SENTENCE_END.split(reference), start=1):
        words = set(content_words(sentence))
        if len(words & held) < COVERED * len(words) or not texts:
            raise UnusableReplyError(f"its statements leave out sentence {number} of the answer")


def _share(rows: Sequence[Mapping[str, Any]]) -> float:
    return [row["verdict"] for row in rows].count("supported") / len(rows)


def _average_precision(rows: Sequence[Mapping[str, Any]]) -> float:
    """The mean, over the contexts that help, of the share of such contexts down to each; 0 where none does."""
    helps = [row["verdict"] == "supported" for row in rows]
    found: list[float] = [sum(helps[: place + 1]) / (place + 1) for place, good in enumerate(helps) if good]
    return sum(found) / len(found) if found else 0.0


_WORTH: Mapping[str, Callable[[Sequence[Mapping[str, Any]]], float]] = {
    "Faithfulness": _share,
    "ContextRecall": _share,
    "ContextPrecision": _average_precision,
    "ContextUtilization": _average_precision,
}
_BY_CONTEXT = frozenset({"ContextPrecision", "ContextUtilization"})


def _form(question: Question, reply: ReplyForm, *, api: object) -> Mapping[str, Any]:
    """The request parameters that demand the form of the reply; ragas tells the schema in the prompt anyway."""
    if reply == "text":
        return {}
    schema = {"type": "json_schema", "name": question.name, "strict": True, "schema": dict(question.schema)}
    if api == "responses":
        return {"text": {"format": {"type": "json_object"} if reply == "json-object" else schema}}
    if reply == "json-object":
        return {"response_format": {"type": "json_object"}}
    return {"response_format": {"type": schema.pop("type"), "json_schema": schema}}


def _strict(schema: Any) -> Any:
    """A JSON Schema in which no object has more properties than it names."""
    if isinstance(schema, list):
        return [_strict(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    whole = {key: _strict(value) for key, value in schema.items()}
    return {**whole, "additionalProperties": False} if whole.get("type") == "object" else whole


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


def _made(kind: RagasMetric, calls: _Calls) -> Any:
    """A metric of ragas whose model is our judge."""
    made_by = getattr(_collections(), kind.made_by)
    from ragas.llms.base import InstructorBaseRagasLLM

    class Asking(InstructorBaseRagasLLM):  # type: ignore[misc] # untyped
        def generate(self, prompt: str, response_model: Any) -> Any:  # noqa: ARG002 - as ragas calls it
            raise JudgeError("ragas asks without waiting, which a judge cannot be")

        async def agenerate(self, prompt: str, response_model: Any) -> Any:
            return await calls.ask(prompt, response_model)

    return made_by(llm=Asking())


def _prompts(kind: RagasMetric) -> Sequence[Any]:
    metric = _made(kind, _Calls(_NOBODY))
    return [getattr(metric, name) for name in kind.prompts]


_NOBODY: Any = None  # for looking at a metric without asking anybody


def _prompts_digest(kind: RagasMetric) -> str:
    """The digest of all that ragas tells a judge besides the data, and of its version: any change is another judge."""
    told = [
        [prompt.instruction, [[given.model_dump(), wanted.model_dump()] for given, wanted in prompt.examples]]
        for prompt in _prompts(kind)
    ]
    schemas = [prompt.output_model.model_json_schema() for prompt in _prompts(kind)]
    from ragas import __version__

    return digest_of({"ragas": __version__, "told": told, "schemas": schemas})


def _told(kind: RagasMetric) -> str:
    """About as much text as the largest prompt of a metric has besides the data."""
    return max((f"{prompt.instruction}{prompt.examples}" for prompt in _prompts(kind)), key=len)
