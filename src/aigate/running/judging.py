"""Asking judges: what a judged scorer asks goes through a limiter, retries, the run's budget and the journal.

Each endpoint and model has a limiter and a circuit breaker of its own, shared by all scorers that ask it; the budget is
the run's. A reply that was used is in the journal before the score is: under the whole request, the scorer's version
and the number of the judgement, so that an answer that is judged twice costs once. A reply that cannot be used is asked
for again, with a word on what was wrong, and is never kept.
"""

from __future__ import annotations

import asyncio
import random as random_module
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import reduce
from typing import TYPE_CHECKING, Any, TypeVar

from aigate.core.counts import count_of
from aigate.core.digest import digest_of
from aigate.core.response import Fault, FaultKind, Response
from aigate.core.run import AnchorScore, AnchorsJudged, JudgeUse, Run
from aigate.core.sample import Message, Sample
from aigate.core.score import MetricSpec, Score, ScoreOrNot, Unscored
from aigate.core.vectors import Vector, vectors_in
from aigate.goldens.judge_anchors import JudgeAnchor
from aigate.providers.base import Provider, Request, is_offline, journal_identity_of
from aigate.running.asking import RetryPolicy, ask
from aigate.running.budget import ASSUMED_OUTPUT_TOKENS, Budget, BudgetSpentError, Estimate, input_tokens_of
from aigate.running.limiter import CircuitBreaker, Limiter
from aigate.running.prices import Price, priced
from aigate.scorers.base import JudgedScorer, Scorer, asks_a_judge, embedded_by
from aigate.scorers.judge import (
    Judge,
    JudgeAccess,
    JudgeError,
    Question,
    UnusableReplyError,
    messages_of,
    read_reply,
)
from aigate.scorers.steering import flagged, steering_signs, withheld

if TYPE_CHECKING:
    from aigate.running.journal import Journal

__all__ = ["JudgePlan", "Judging", "estimate_judging", "judge_anchors", "judgement", "mean_of"]

T = TypeVar("T")
ASSUMED_ANSWER = " ".join(["This sentence stands for one of an answer that is still to come."] * 5)
NO_SAMPLE = Sample("judge", "judge")  # a judge's request belongs to no golden case; providers that call send messages


@dataclass(frozen=True)
class JudgePlan:
    """One judge, and how it is asked.

    Attributes:
        judge: Who it is: what stands in the run's header.
        provider: Who answers for it.
        concurrency: Calls in flight.
        timeout_s: Seconds per attempt.
        retry: When to ask again after a fault.
        requests_per_minute: Calls that may be started in a minute; None: as many as the server takes.
        tokens_per_minute: Tokens in a minute; likewise.
        price: What the model costs; None: not known.
        embeddings: The embedding model beside it, for scorers that ask both; None without one.
    """

    judge: Judge
    provider: Provider
    concurrency: int = 8
    timeout_s: float = 60.0
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    requests_per_minute: float | None = None
    tokens_per_minute: float | None = None
    price: Price | None = None
    embeddings: JudgePlan | None = None

    @property
    def endpoint(self) -> str:
        """What a limiter is for: where the calls go, and to which model."""
        told = self.provider.describe()
        return digest_of([*(told.get(name) for name in ("name", "base_url", "model")), self.judge.embeds])

    @property
    def asked(self) -> Sequence[JudgePlan]:
        """It, and the embedding model where there is one: whoever may be asked."""
        return (self,) if self.embeddings is None else (self, self.embeddings)


@dataclass(frozen=True)
class _Line:
    """The way to one endpoint."""

    plan: JudgePlan
    limiter: Limiter
    breaker: CircuitBreaker
    budget: Budget | None


class Judging:
    """The judges of one run, by metric. For one event loop; counts, so it serves one run.

    Args:
        plans: The judge of each judged metric.
        budget: The run's caps; None for none.
        journal: Where paid judgements are kept; None for nowhere.
        random: Draws from [0, 1), for retry jitter.
        sleep: Waits between retries.
        clock: Seconds that only grow.
    """

    def __init__(
        self,
        plans: Mapping[str, JudgePlan],
        *,
        budget: Budget | None = None,
        journal: Journal | None = None,
        random: Callable[[], float] = random_module.random,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.plans = plans
        self.given: set[str] = set()  # digests of the questions that were answered in this run, not before it
        self._journal = journal
        self._random, self._sleep, self._clock = random, sleep, clock
        self._lines: dict[str, _Line] = {}
        self._dimensions: dict[str, int] = {}  # of the first vector that each endpoint gave
        for plan in self._everybody:
            if plan.endpoint not in self._lines:
                self._lines[plan.endpoint] = self._line(plan, budget)

    @property
    def _everybody(self) -> Sequence[JudgePlan]:
        return [asked for plan in self.plans.values() for asked in plan.asked]

    @property
    def hopeless(self) -> str:
        """Why no judge can be reached any more; empty while one can."""
        return next((line.breaker.reason for line in self._lines.values() if line.breaker.reason), "")

    async def judge(
        self,
        scorer: JudgedScorer,
        sample: Sample,
        response: Response,
        *,
        time_left_s: Callable[[], float],
        labelled: bool = False,
    ) -> tuple[ScoreOrNot, JudgeUse]:
        """Judge one answer as often as its judge repeats, and tell what it cost.

        Args:
            scorer: Who asks.
            sample: The sample that was asked.
            response: Its answer.
            time_left_s: Seconds that may still be used; 0.0 when nothing more may be asked.
            labelled: True for an answer whose score people gave, to see what the judge says today: it is asked anew
                whatever the journal holds, and an answer that talks to it is judged too.

        Raises:
            BudgetSpentError: A cap or the deadline keeps the judge from being asked.
            CannotJudgeError: The journal cannot be used any more.
            UsageError: The judge cannot be asked like this at all.
        """
        plan = self.plans[scorer.spec.metric]
        votes = range(plan.judge.repeats)
        journal = None if labelled else self._journal
        accesses = [_Access(self, plan, scorer.spec, vote, time_left_s, journal) for vote in votes]
        try:
            score, signs = await judgement(scorer, sample, response, accesses, withholds=not labelled)
        except BudgetSpentError as error:
            raise BudgetSpentError(str(error), {scorer.spec.metric: _used(accesses)}) from None
        return score, JudgeUse(steering=signs).plus(_used(accesses))

    async def aclose(self) -> None:
        """Give back connections."""
        for plan in self._everybody:
            await plan.provider.aclose()

    def line_to(self, plan: JudgePlan) -> _Line:
        """The way to a judge's endpoint, shared by all that ask there."""
        return self._lines[plan.endpoint]

    def dimensions_of(self, plan: JudgePlan, found: int) -> int:
        """How long an embedding model's vectors are: as long as the first in this run, which `found` may be."""
        return self._dimensions.setdefault(plan.endpoint, found)

    def _line(self, plan: JudgePlan, budget: Budget | None) -> _Line:
        limiter = Limiter(
            concurrency=plan.concurrency,
            requests_per_minute=plan.requests_per_minute,
            tokens_per_minute=plan.tokens_per_minute,
            clock=self._clock,
            random=self._random,
        )
        paid = budget is not None and not is_offline(plan.provider)
        whose = f"the judge {plan.judge.version}"
        breaker = CircuitBreaker(concurrency=plan.concurrency, what=f"questions to {whose}")
        return _Line(plan, limiter, breaker, budget.beside(plan.price, whose=whose) if budget and paid else None)

    async def call(self, access: _Access, plan: JudgePlan, request: Request) -> Response:
        """One answer of a judge, retries included; counted whatever becomes of it.

        Raises:
            BudgetSpentError: The deadline was reached, or a cap.
            JudgeError: The judge was given up before.
        """
        line = self.line_to(plan)
        if gone := line.breaker.reason:
            raise JudgeError(f"given up: {gone}")
        if (left_s := access.time_left_s()) <= 0.0:
            raise BudgetSpentError("the deadline was reached")
        response = priced(
            await ask(
                plan.provider,
                request,
                retry=plan.retry,
                limiter=line.limiter,
                budget=line.budget,
                deadline_s=left_s,
                random=self._random,
                sleep=self._sleep,
                clock=self._clock,
            ),
            plan.price,
        )
        access.count(response)
        return response


def _used(accesses: Sequence[_Access]) -> JudgeUse:
    return reduce(JudgeUse.plus, (access.use for access in accesses), JudgeUse())


_Asked = Callable[[], Awaitable[Mapping[str, Any]]]


class _Access:
    """`JudgeAccess` for one judgement: counts what it uses."""

    def __init__(
        self,
        judging: Judging,
        plan: JudgePlan,
        spec: MetricSpec,
        vote: int,
        time_left_s: Callable[[], float],
        journal: Journal | None,
    ) -> None:
        self._judging, self._spec, self._vote, self._journal = judging, spec, vote, journal
        self._plan, self._line, self.time_left_s = plan, judging.line_to(plan), time_left_s
        self.use = JudgeUse()

    @property
    def judge(self) -> Judge:
        """Who is asked."""
        return self._plan.judge

    async def ask(self, question: Question, read: Callable[[Any], T]) -> T:
        """See `JudgeAccess.ask`."""
        fresh: list[T] = []

        async def asked() -> Mapping[str, Any]:
            response, found = await self._until_usable(question, read)
            fresh.append(found)
            return _kept(response)

        key = self._key(self._request(question), draw=question.draw)
        said = await self._said(key, asked)
        if fresh:
            return fresh[0]
        self._count_journaled(said, key)
        try:
            return read(read_reply(Response.from_dict(said["response"]), question, reply=self.judge.reply))
        except (KeyError, TypeError, ValueError) as error:
            raise JudgeError(f"'{question.name}': the journaled reply cannot be used: {error}") from None

    async def embed(self, texts: Sequence[str]) -> Sequence[Vector]:
        """See `JudgeAccess.embed`. What decides a vector is the model and the text: any scorer may use what is kept."""
        plan = self._plan if self.judge.embeds else self._plan.embeddings
        if plan is None:
            raise JudgeError(f"'{self._spec.scorer}': no embedding model is named")
        request = Request(
            NO_SAMPLE,
            tuple({"role": "user", "content": text} for text in texts),
            plan.judge.parameters,
            timeout_s=plan.timeout_s,
            embeds=True,
        )
        identity = journal_identity_of(plan.provider, request)
        key = None if identity is None else {**identity, "embeddings": str(plan.judge.version)}
        response = await self._answer(plan, request, key)
        dimensions = plan.judge.parameters.get("dimensions")
        try:
            found = vectors_in(response.output or "", count=len(texts), dimensions=dimensions)
        except ValueError as error:
            raise JudgeError(f"{plan.judge.version}: the embeddings cannot be used: {error}") from None
        if (known := self._judging.dimensions_of(plan, len(found[0]))) != (length := len(found[0])):
            raise JudgeError(f"{plan.judge.version}: vectors of {length} numbers, and of {known} before")
        return found

    async def _answer(self, plan: JudgePlan, request: Request, key: Mapping[str, Any] | None) -> Response:
        """An answer that needs no reading to be kept."""
        fresh: list[Response] = []

        async def asked() -> Mapping[str, Any]:
            response = await self._judging.call(self, plan, request)
            self._judging.line_to(plan).breaker.note(response)
            if response.fault is not None:
                raise JudgeError(f"{plan.judge.version}: {response.fault.kind}: {response.fault.message}")
            fresh.append(response)
            return _kept(response)

        said = await self._said(key, asked)
        if fresh:
            return fresh[0]
        self._count_journaled(said, key)
        return Response.from_dict(said["response"])

    def count(self, response: Response) -> None:
        """Add one answer's calls, tokens and cost."""
        self.use = self.use.plus(
            JudgeUse(
                calls=response.attempts,
                input_tokens=response.input_tokens or 0,
                output_tokens=response.output_tokens or 0,
                cost_usd=response.cost_usd,
                served_models=(response.served_model,) if response.served_model else (),
            )
        )

    async def _said(self, key: Mapping[str, Any] | None, asked: _Asked) -> Mapping[str, Any]:
        """What the judge says, from the journal where it is there."""
        if self._journal is None or key is None:
            return await asked()

        async def noted() -> Mapping[str, Any]:
            found = await asked()
            self._judging.given.add(digest_of(key))
            return found

        return await self._journal.judgement(key, noted)

    async def _until_usable(self, question: Question, read: Callable[[Any], T]) -> tuple[Response, T]:
        """Ask until a reply can be used, or has been asked for as often as the judge's `reasks` allow."""
        defect = ""
        for _ in range(1 + self.judge.reasks):
            response = await self._judging.call(self, self._plan, self._request(question, defect=defect))
            if response.fault is not None:
                self._line.breaker.note(response)
                raise JudgeError(f"'{question.name}': {response.fault.kind}: {response.fault.message}")
            try:
                found = read(read_reply(response, question, reply=self.judge.reply))
            except UnusableReplyError as error:
                defect = str(error)
                continue
            self._line.breaker.note(response)
            return response, found
        told = f"'{question.name}': no usable reply in {1 + self.judge.reasks} attempts; the last: {defect}"
        self._line.breaker.note(Response(fault=Fault(FaultKind.BAD_RESPONSE, told)))
        raise JudgeError(told)

    def _request(self, question: Question, *, defect: str = "") -> Request:
        form = _form(question, self.judge, api=self._plan.provider.describe().get("api"))
        return self._made(
            messages_of(question, reply=self.judge.reply, defect=defect), {**self.judge.parameters, **form}
        )

    def _made(self, messages: tuple[Message, ...], parameters: Mapping[str, Any]) -> Request:
        return Request(NO_SAMPLE, messages, parameters, repeat=self._vote, timeout_s=self._plan.timeout_s)

    def _key(self, request: Request, *, draw: int) -> Mapping[str, Any] | None:
        """What the journal keeps the judgement under; None where the provider's answers must not be kept."""
        identity = journal_identity_of(self._plan.provider, request)
        if identity is None:
            return None
        scorer = f"{self._spec.scorer}/{self._spec.scorer_version}"
        whole = {**identity, "judge": str(self.judge.version), "scorer": scorer, "judgement": self._vote}
        return {**whole, "draw": draw} if draw else whole

    def _count_journaled(self, said: Mapping[str, Any], key: Mapping[str, Any] | None) -> None:
        """Take note of a reply that was there; one that this very run was given is no earlier judgement."""
        served = said["response"].get("served_model")
        earlier = digest_of(key) not in self._judging.given
        self.use = self.use.plus(JudgeUse(from_journal=int(earlier), served_models=(served,) if served else ()))


def estimate_judging(
    scorers: Sequence[Scorer],
    plans: Mapping[str, JudgePlan],
    samples: Sequence[Sample],
    *,
    repeats: int,
    most_repeats: int,
    baseline: Run | None = None,
    anchors: Sequence[JudgeAnchor] = (),
) -> tuple[Estimate, ...]:
    """What judges will be asked in a run, one estimate per judge; what has to be asked again is not in it.

    Args:
        scorers: Those of the run.
        plans: The judge of each judged metric.
        samples: What will be answered.
        repeats: Answers per sample.
        most_repeats: Answers per sample where nothing is decided with fewer.
        baseline: Its answers are taken for those to come; without one, answers of some 60 words.
        anchors: Labelled answers, which are judged once.
    """
    asked: dict[str, list[Estimate]] = {}
    for scorer in filter(asks_a_judge, scorers):
        plan = plans[scorer.spec.metric]
        answers = [(sample, _answer_like(sample, baseline)) for sample in samples]
        labelled = [(a.sample, a.output) for a in anchors if a.metric in {None, scorer.spec.metric}]
        for who in plan.asked:
            calls, sent = _asked_about(answers, scorer, who, votes=plan.judge.repeats)
            once, sent_once = _asked_about(labelled, scorer, who, votes=plan.judge.repeats)
            sent = sent * repeats + sent_once
            received = 0 if who.judge.embeds else (calls * repeats + once) * ASSUMED_OUTPUT_TOKENS
            found = Estimate(
                calls=calls * repeats + once,
                most_calls=calls * most_repeats + once,
                input_tokens=sent,
                output_tokens=received,
                assumed=not who.judge.embeds,
                cost_usd=None if who.price is None else who.price.cost_usd(sent, received),
                price=who.price,
                model=str(who.judge.version),
                judges=True,
                embeds=who.judge.embeds,
            )
            asked.setdefault(who.endpoint, []).append(found)
    return tuple(_together(found) for found in asked.values())


def _asked_about(
    answers: Sequence[tuple[Sample, str]], scorer: JudgedScorer, plan: JudgePlan, *, votes: int
) -> tuple[int, int]:
    """How many calls some answers are worth, all judgements together, and how many tokens these are."""
    concerned = [(sample, output) for sample, output in answers if scorer.applies_to(sample) is None]
    if plan.judge.embeds:
        batches = [batch for sample, output in concerned for batch in embedded_by(scorer, sample, output)]
        sent = sum(input_tokens_of([{"role": "user", "content": text} for text in batch]) for batch in batches)
        return len(batches) * votes, sent * votes
    questions = [question for sample, output in concerned for question in scorer.questions(sample, output)]
    sent = sum(input_tokens_of(messages_of(question, reply=plan.judge.reply)) for question in questions)
    return len(questions) * votes, sent * votes


def _answer_like(sample: Sample, baseline: Run | None) -> str:
    """An answer as it may come: the baseline's, or a text of usual length."""
    rows = () if baseline is None else baseline.by_sample.get(sample.id, ())
    told = next((row.response.output for row in rows if row.response is not None and row.response.output), None)
    return told or ASSUMED_ANSWER


def _together(estimates: Sequence[Estimate]) -> Estimate:
    """What several scorers ask of one judge."""
    costs = [found.cost_usd for found in estimates if found.cost_usd is not None]
    return replace(
        estimates[0],
        calls=sum(found.calls for found in estimates),
        most_calls=sum(found.most_calls for found in estimates),
        input_tokens=sum(found.input_tokens for found in estimates),
        output_tokens=sum(found.output_tokens for found in estimates),
        cost_usd=sum(costs) if costs else None,
    )


async def judge_anchors(
    anchors: Sequence[JudgeAnchor],
    scorers: Sequence[Scorer],
    judging: Judging,
    *,
    time_left_s: Callable[[], float],
) -> Mapping[str, AnchorsJudged]:
    """Have every judged metric's judge judge the labelled answers again, all at once: the limiters space them.

    Args:
        anchors: The suite's.
        scorers: Those of the run.
        judging: Their judges. The journal is left out: what was said yesterday does not show what is said today.
        time_left_s: Seconds that may still be used.

    Returns:
        By metric; empty where no anchor concerns one. An anchor that a cap or the deadline kept from being judged has
        no score, as one that the judge failed on.
    """
    found = {}
    for scorer in filter(asks_a_judge, scorers):
        metric = scorer.spec.metric
        mine = [
            anchor for anchor in anchors if anchor.metric in {None, metric} and scorer.applies_to(anchor.sample) is None
        ]
        if mine:
            judged = await asyncio.gather(*(_anchor(anchor, scorer, judging, time_left_s) for anchor in mine))
            use = JudgeUse()
            for _row, its_use in judged:
                use = use.plus(its_use)
            found[metric] = AnchorsJudged(tuple(row for row, _use in judged), use)
    return found


async def _anchor(
    anchor: JudgeAnchor, scorer: JudgedScorer, judging: Judging, time_left_s: Callable[[], float]
) -> tuple[AnchorScore, JudgeUse]:
    """One labelled answer, judged."""
    try:
        answer = Response(anchor.output)
        score, use = await judging.judge(scorer, anchor.sample, answer, time_left_s=time_left_s, labelled=True)
    except BudgetSpentError as error:
        score, use = Unscored("not_run", str(error)), error.judging.get(scorer.spec.metric, JudgeUse())
    value, why = (score.value, "") if isinstance(score, Score) else (None, score.explanation)
    return AnchorScore(anchor.sample.id, anchor.digest, anchor.label, value, why), use


async def judgement(
    scorer: JudgedScorer,
    sample: Sample,
    response: Response,
    accesses: Sequence[JudgeAccess],
    *,
    withholds: bool = True,
) -> tuple[ScoreOrNot, tuple[str, ...]]:
    """The score of one answer: one judgement per access, their mean; and what in the answer talks to its judge.

    Args:
        scorer: Who asks.
        sample: The sample that was asked.
        response: Its answer.
        accesses: One for each judgement, at least one.
        withholds: False where an answer that talks to its judge is judged whatever the judge's settings say.

    Raises:
        Exception: Whatever the scorer or its access raises, but for a judge that gives no judgement.
    """
    signs = steering_signs(sample, response.output or "")
    if signs and withholds and accesses[0].judge.steering == "withhold":
        return withheld(signs), signs
    votes = await asyncio.gather(
        *(_vote(scorer, sample, response, access) for access in accesses), return_exceptions=True
    )
    if error := next((found for found in votes if isinstance(found, BaseException)), None):
        raise error
    score = mean_of([found for found in votes if not isinstance(found, BaseException)])
    return (flagged(score, signs) if signs else score), signs


def mean_of(votes: Sequence[ScoreOrNot]) -> ScoreOrNot:
    """One score of several judgements of one answer: their mean, with the details of the one nearest to it.

    Where one of them is missing, all are: the mean of those that came would be the score of another, easier question.
    """
    if missing := next((vote for vote in votes if isinstance(vote, Unscored)), None):
        return missing
    scores = [vote for vote in votes if isinstance(vote, Score)]
    if len(scores) == 1:
        return scores[0]
    values = [score.value for score in scores]
    mean = sum(values) / len(values)
    nearest = min(scores, key=lambda score: abs(score.value - mean))
    told = ", ".join(f"{value:.3g}" for value in values)
    explanation = f"mean of {count_of(len(values), 'judgement')} ({told}); {nearest.explanation}"
    return replace(nearest, value=mean, explanation=explanation, details={**nearest.details, "votes": values})


async def _vote(scorer: JudgedScorer, sample: Sample, response: Response, access: JudgeAccess) -> ScoreOrNot:
    """One judgement; a judge that gives none is a missing score, and what it cost is counted all the same."""
    try:
        return await scorer.judge(sample, response, access)
    except JudgeError as error:
        return Unscored("judge_error", f"judge {error.message}")


def _kept(response: Response) -> Mapping[str, Any]:
    """What of a reply is kept: not how long it took."""
    return {"response": replace(response, latency_s=None, ttft_s=None, attempts=1, retry_wait_s=0.0).to_dict()}


def _form(question: Question, judge: Judge, *, api: object) -> Mapping[str, Any]:
    """The request parameters that demand the form of the reply, as the API spells them."""
    if judge.reply == "text":
        return {}
    if judge.reply == "json-object":
        plain = {"type": "json_object"}
        return {"text": {"format": plain}} if api == "responses" else {"response_format": plain}
    schema = {"name": question.name, "strict": True, "schema": dict(question.schema)}
    if api == "responses":
        return {"text": {"format": {"type": "json_schema", **schema}}}
    return {"response_format": {"type": "json_schema", "json_schema": schema}}
