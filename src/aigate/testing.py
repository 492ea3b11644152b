"""Public fakes for your own tests: a provider, a scorer, an OpenAI-compatible server on this machine, broken run files.

The server is a real HTTP server on 127.0.0.1, so that retries, timeouts and streams are tested over a real socket. It
runs as a process too, for benchmarks: `python -m aigate.testing --port 0 --latency 0.1` prints its base URL, and with
`--stall 1:2` it stops for two seconds once, one second after its first request.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import hmac
import json
import re
import signal
import sys
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self, TypeVar, cast
from urllib.parse import parse_qsl, urlsplit

from aigate.core.response import Fault, FaultKind, Response
from aigate.core.sample import Message, Sample
from aigate.core.score import MetricSpec, Score, ScoreOrNot, Unscored
from aigate.core.vectors import Vector, packed, refuse_unsound
from aigate.core.version import VersionId
from aigate.errors import CallError
from aigate.providers.base import Request
from aigate.running.judging import judgement
from aigate.scorers.base import JudgedScorer, ScorerSettings, asks_a_judge, make_scorer
from aigate.scorers.faithfulness import sentences_of
from aigate.scorers.judge import Judge, JudgeError, Question, UnusableReplyError, messages_of, read_reply
from aigate.scorers.local_models import quietly_loading
from aigate.scorers.quotes import find_quote, normalised

__all__ = [
    "FakeAccess",
    "FakeJudge",
    "FakeProvider",
    "FakeScorer",
    "JudgeAsked",
    "LoopbackServer",
    "Reply",
    "RequestSeen",
    "Script",
    "careful_judge",
    "corrupt_run",
    "echo",
    "fake_judge_identity",
    "fake_vector",
    "judged_scorer",
    "main",
    "save_cross_encoder",
    "save_embedder",
    "stalling",
]

HEADER_LIMIT_BYTES = 1 << 20
BODY_LIMIT_BYTES = 64 << 20
SECRET_HEADERS = frozenset({"authorization", "api-key", "x-api-key", "cookie"})
REDACTED = "[redacted]"
PROMPT = "prompt"  # the rule for what no scorer of ours made
T = TypeVar("T")
FAKE_DIMENSIONS = 32
DIGEST = r"(sha256:)([0-9a-f])(?=[0-9a-f]{63}\b)"


class FakeProvider:
    """Answers from a mapping or a function, after a real wait; faults by sample id.

    Args:
        answers: The output by sample id, or a function of the sample.
        latency_s: Seconds every call takes.
        faults: What goes wrong, by sample id; raised as CallError.
        sleep: How to wait.

    >>> provider = FakeProvider({"a": "yes"})
    >>> asyncio.run(provider.respond(Request(Sample("a", "Is it?"), messages=()))).output
    'yes'
    """

    name = "fake"

    def __init__(
        self,
        answers: Mapping[str, str] | Callable[[Sample], str],
        *,
        latency_s: float = 0.0,
        faults: Mapping[str, Fault] | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._answers = answers
        self._latency_s = latency_s
        self._faults = dict(faults or {})
        self._sleep = sleep
        self.requests: list[Request] = []
        self.closed = False

    def describe(self) -> Mapping[str, Any]:
        """Name and adapter version."""
        return {"name": self.name, "adapter": 1}

    async def respond(self, request: Request) -> Response:
        """The answer to the request's sample.

        Raises:
            CallError: The sample's fault; TIMEOUT when the latency is longer than the request may take; MISSING when
                the mapping holds no answer.
        """
        self.requests.append(request)
        await self._sleep(min(self._latency_s, request.timeout_s))
        if self._latency_s > request.timeout_s:
            raise CallError(f"no answer within {request.timeout_s:g} s", kind=FaultKind.TIMEOUT)
        if (fault := self._faults.get(request.sample.id)) is not None:
            raise CallError(fault.message, kind=fault.kind)
        return Response(output=self._output(request.sample), latency_s=self._latency_s)

    async def aclose(self) -> None:
        """Remember that it was closed."""
        self.closed = True

    def _output(self, sample: Sample) -> str:
        if callable(self._answers):
            return self._answers(sample)
        if sample.id not in self._answers:
            raise CallError(f"the fake has no answer for sample '{sample.id}'", kind=FaultKind.MISSING)
        return self._answers[sample.id]


class FakeScorer:
    """Scores from a mapping or a function.

    Args:
        scores: The score by sample id (samples left out are not applicable), or a function of sample and response.
        metric: The metric's name.
    """

    def __init__(
        self,
        scores: Mapping[str, float | ScoreOrNot] | Callable[[Sample, Response], float | ScoreOrNot],
        *,
        metric: str = "fake",
    ) -> None:
        self._scores = scores
        self.spec = MetricSpec(metric=metric, scorer="fake")

    def applies_to(self, sample: Sample) -> Unscored | None:
        """None when there is a score for the sample."""
        if callable(self._scores) or sample.id in self._scores:
            return None
        return Unscored("not_applicable", "the fake has no score for this sample")

    def score(self, sample: Sample, response: Response) -> ScoreOrNot:
        """The score of the sample."""
        found = self._scores(sample, response) if callable(self._scores) else self._scores[sample.id]
        return found if isinstance(found, Score | Unscored) else Score(float(found))


@dataclass(frozen=True, slots=True)
class JudgeAsked:
    """One question as a judge gets it.

    Attributes:
        question: Its name, e.g. `faithfulness_claims`.
        data: The data to judge, parsed.
        messages: All messages, as they are sent.
        attempt: Which attempt at this very data it is, from 1: more where a reply could not be used.
        seen: How often this data was asked about before, this attempt left out, whatever became of it.
    """

    question: str
    data: Mapping[str, Any]
    messages: Sequence[Message]
    attempt: int
    seen: int


JudgeReply = Mapping[str, Any] | str
JudgeRule = Callable[[JudgeAsked], "JudgeReply | Reply"]


class FakeJudge:
    """A scripted judge: a rule per question, which sees the data that a real judge would see.

    It serves in three places: as a script of a `LoopbackServer` (real HTTP), as what a scorer asks in a unit test
    (`access()` and `score()`), and as a record of what was asked.

    Args:
        rules: By the question's name, a rule or the reply itself: a mapping (sent as JSON), a text (sent as it is), or,
            over HTTP, a `Reply` (a refusal, an HTTP error, a hang). The rule `prompt` is for the prompts of other
            libraries: it gets one as `data["prompt"]`.
        vector: The vector of a text, where it is asked for embeddings.

    Attributes:
        asked: Every question so far, in order.
        embedded: Every request for embeddings so far: its texts.

    >>> judge = FakeJudge({"demo_grade": {"grade": 1}})
    >>> question = Question("demo_grade", "Grade it.", {"answer": "yes"}, {"type": "object"})
    >>> asyncio.run(judge.access().ask(question, lambda reply: reply["grade"]))
    1
    """

    def __init__(
        self,
        rules: Mapping[str, JudgeRule | JudgeReply | Reply],
        *,
        vector: Callable[[str], Sequence[float]] | None = None,
    ) -> None:
        self._rules = rules
        self._vector = vector or fake_vector
        self.asked: list[JudgeAsked] = []
        self.embedded: list[tuple[str, ...]] = []

    def __call__(self, request: RequestSeen) -> Reply:
        """The reply to a request over HTTP: `LoopbackServer(judge)`."""
        body = request.body if isinstance(request.body, dict) else {}
        if request.path.endswith("/embeddings"):
            return Reply.embeddings(self.vectors(_texts_in(body)))
        found = self.reply(body.get("messages") or body.get("input") or [])
        return found if isinstance(found, Reply) else Reply.text(_reply_text(found))

    def reply(self, messages: Sequence[Message]) -> JudgeReply | Reply:
        """What the rules say to some messages.

        Raises:
            ValueError: They hold no question, or one without a rule.
        """
        asked = self._read(messages)
        self.asked.append(asked)
        if asked.question not in self._rules:
            raise ValueError(f"the fake judge has no rule for '{asked.question}': it has {', '.join(self._rules)}")
        rule = self._rules[asked.question]
        return rule(asked) if callable(rule) else rule

    def vectors(self, texts: Sequence[str]) -> list[Vector]:
        """The vectors of some texts."""
        self.embedded.append(tuple(texts))
        return [tuple(self._vector(text)) for text in texts]

    def access(self, judge: Judge | None = None) -> FakeAccess:
        """A way to ask it without HTTP, for a unit test of a scorer."""
        return FakeAccess(self, judge or fake_judge_identity())

    def score(self, scorer: JudgedScorer, sample: Sample, output: str) -> ScoreOrNot:
        """What the runner would store for an output that this judge judges, without HTTP."""
        judge = Judge.from_identity(scorer.spec.judge or fake_judge_identity().identity({}))
        accesses = [self.access(judge) for _ in range(judge.repeats)]
        score, _signs = asyncio.run(judgement(scorer, sample, Response(output), accesses))
        return score

    def _read(self, messages: Sequence[Message]) -> JudgeAsked:
        texts = [_content_text(message.get("content")) for message in messages if message.get("role") == "user"]
        name, data = self._question_in(texts[0] if texts else "")
        before = [asked for asked in self.asked if asked.question == name and asked.data == data]
        return JudgeAsked(name, data, messages, attempt=1 + (len(texts) > 1) * len(before), seen=len(before))

    def _question_in(self, text: str) -> tuple[str, Mapping[str, Any]]:
        """A question's name, and its data."""
        if (found := _SEALED.fullmatch(text)) is not None:
            return found["name"], json.loads(found["data"])
        if text and PROMPT in self._rules:
            return PROMPT, {PROMPT: text}
        raise ValueError("no question of an aigate scorer: expected its name, then sealed data")


def careful_judge(
    passage: Callable[[str, Sequence[str]], str | None] | None = None, **rules: JudgeRule | JudgeReply | Reply
) -> FakeJudge:
    """A judge of `faithfulness` and of `ragas:faithfulness` that reads well: each sentence of an answer is a claim.

    Args:
        passage: Of a claim and the contexts, the passage that shows it, or None; default: the claim itself, where it
            stands in a context word for word.
        **rules: Rules for other questions, or instead of these.
    """
    shows = passage or _word_for_word
    own = {name: lambda asked: _careful(asked.data, shows) for name in ("faithfulness_claims", "faithfulness_verdicts")}
    return FakeJudge({**own, PROMPT: lambda asked: _careful_with_ragas(asked.data[PROMPT], shows), **rules})


def _word_for_word(claim: str, contexts: Sequence[str]) -> str | None:
    return claim if find_quote(claim, contexts) is not None else None


def _careful(data: Mapping[str, Any], shows: Callable[[str, Sequence[str]], str | None]) -> JudgeReply:
    if "sentences" in data:
        return {"sentences": [{"id": row["id"], "claims": [row["text"][:500]]} for row in data["sentences"]]}
    found = [(claim["id"], shows(claim["text"], data["contexts"])) for claim in data["claims"]]
    verdicts = {True: "supported", False: "not_in_context"}
    return {"verdicts": [{"id": id_, "quote": quote or "", "verdict": verdicts[bool(quote)]} for id_, quote in found]}


def _careful_with_ragas(prompt: str, shows: Callable[[str, Sequence[str]], str | None]) -> JudgeReply:
    data = json.loads(prompt.rpartition("\ninput: ")[2].removesuffix("\nOutput: "))
    if "answer" in data:
        texts = {normalised(sentence.text): sentence.text for sentence in sentences_of(data["answer"])}
        return {"statements": list(texts.values())}
    found = [(text, shows(text, [data["context"]])) for text in data["statements"]]
    rows = [{"statement": text, "reason": quote or "not there", "verdict": int(bool(quote))} for text, quote in found]
    return {"statements": rows}


_SEALED = re.compile(r"(?P<name>\w+)\n<<(?P<seal>data-[0-9a-f]+)>>\n(?P<data>.*)\n<<(?P=seal)>>", re.DOTALL)


class FakeAccess:
    """`JudgeAccess` over a `FakeJudge`, in this process: no limiter, no journal.

    Args:
        fake: Who replies.
        judge: Who it says it is.
    """

    def __init__(self, fake: FakeJudge, judge: Judge) -> None:
        self._fake, self.judge = fake, judge

    async def ask(self, question: Question, read: Callable[[Any], T]) -> T:
        """See `JudgeAccess.ask`."""
        defect = ""
        for _ in range(1 + self.judge.reasks):
            response = self._replied(messages_of(question, reply=self.judge.reply, defect=defect))
            try:
                return read(read_reply(response, question, reply=self.judge.reply))
            except UnusableReplyError as error:
                defect = str(error)
        raise JudgeError(f"'{question.name}': no usable reply in {1 + self.judge.reasks} attempts; the last: {defect}")

    def _replied(self, messages: Sequence[Message]) -> Response:
        found = self._fake.reply(messages)
        if not isinstance(found, Reply):
            return Response(_reply_text(found), finish_reason="stop")
        if found.kind not in {"text", "refusal"}:
            raise JudgeError(f"the judge gave no answer: {found.kind}")
        refused = found.kind == "refusal"
        return Response(found.output, finish_reason=found.finish_reason, refusal=refused)

    async def embed(self, texts: Sequence[str]) -> Sequence[Vector]:
        """See `JudgeAccess.embed`."""
        vectors = self._fake.vectors(texts)
        try:
            refuse_unsound(vectors, count=len(texts))
        except ValueError as error:
            raise JudgeError(f"the embeddings cannot be used: {error}") from None
        return vectors


def fake_judge_identity(**fields: Any) -> Judge:
    """A judge that no endpoint stands behind, for `ScorerSettings(judge=...)` in unit tests."""
    given = {"version": "fake-judge/1/v1", "provider": {"name": "fake"}, **fields}
    return Judge(**{**given, "version": VersionId.parse(str(given["version"]))})


def fake_embeddings_identity(**fields: Any) -> Judge:
    """An embedding model that no endpoint stands behind, likewise."""
    given = {"version": "fake-embeddings/1/v1", "provider": {"name": "fake", "api": "embeddings"}, "steering": "flag"}
    return fake_judge_identity(**{**given, **fields})


def fake_vector(text: str, dimensions: int = FAKE_DIMENSIONS) -> Vector:
    """A vector of a text that is the same on every machine: the sum of one drawn for each of its words.

    Texts that share words point the same way; which words are alike it does not know.

    Args:
        text: Any; upper and lower case are one.
        dimensions: How many numbers.
    """
    drawn = [_of_word(word, dimensions) for word in re.findall(r"\w+", text.casefold())]
    summed = tuple(map(sum, zip(*drawn, strict=True)))
    return summed if any(summed) else _of_word("", dimensions)  # a text without words has a direction too


def _of_word(word: str, dimensions: int) -> Vector:
    digest = hashlib.shake_256(word.encode("utf-8", "surrogatepass")).digest(dimensions)
    return tuple(byte - 127.5 for byte in digest)


def judged_scorer(name: str, *, judge: Judge | None = None, argument: str = "", **options: Any) -> JudgedScorer:
    """A judged scorer by name, for unit tests; option names with underscores for hyphens.

    Raises:
        TypeError: The scorer asks no judge.
    """
    given = {key.replace("_", "-"): value for key, value in options.items()}
    scorer = make_scorer(ScorerSettings(name, argument, given, judge=judge or fake_judge_identity()))
    if not asks_a_judge(scorer):
        raise TypeError(f"scorer '{name}' asks no judge")
    return scorer


def save_cross_encoder(
    folder: Path,
    *,
    proof: str = "proof",
    doubt: str = "not",
    kind: Literal["sequence", "single", "tokens"] = "sequence",
    labels: Sequence[str] = (),
    most_tokens: int = 64,
    seed: int | None = None,
) -> Path:
    """Save a model of a few kilobytes that the scorer `entailment` loads as any other (extra `local`).

    A passage and a claim are entailed where `proof` stands in both together more often than `doubt`: attention is the
    same to every token, so that the first one holds their mean. As a token classifier it supports every token but
    `doubt`.

    Args:
        folder: Where to.
        proof: A word in lower case.
        doubt: Another one.
        kind: A classifier of pairs with two labels or with one output, or of tokens.
        labels: Names of the two labels, the one for what is entailed last.
        most_tokens: That it reads at once.
        seed: Weights drawn at random instead, by this seed.
    """
    import torch
    from transformers import BertConfig, BertForSequenceClassification, BertForTokenClassification

    names = labels or (("hallucinated", "supported") if kind == "tokens" else ("not_entailment", "entailment"))
    torch.manual_seed(seed or 0)
    config = BertConfig(
        **_TINY,
        vocab_size=len(_SPECIAL) + 2,
        num_hidden_layers=1,
        max_position_embeddings=most_tokens,
        initializer_range=1.0,
        **({"num_labels": 1} if kind == "single" else {"id2label": dict(enumerate(names))}),
    )
    model: Any = (BertForTokenClassification if kind == "tokens" else BertForSequenceClassification)(config)
    if seed is None:
        _set_by_hand(model, kind)
    with quietly_loading("to be saved"):
        model.save_pretrained(folder)
    _save_tokenizer(folder, (proof, doubt), most_tokens)
    return folder


_SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")
_TINY: Mapping[str, Any] = {
    "hidden_size": 4,
    "num_attention_heads": 1,
    "intermediate_size": 4,
    "hidden_dropout_prob": 0.5,  # at work only where a model is left in training
    "attention_probs_dropout_prob": 0.5,
}


def _set_by_hand(model: Any, kind: str) -> None:
    """The first number of a token says how it speaks: for, against, or not at all; the first label is against."""
    import torch

    weights = dict(model.named_parameters())
    with torch.no_grad():
        for name, weight in weights.items():
            weight.fill_(1.0 if name.endswith("LayerNorm.weight") else 0.0)
        neutral, speaks_for, against = [0.0, 0.0, 1.0, -1.0], [1.0, -1.0, 0.0, 0.0], [-1.0, 1.0, 0.0, 0.0]
        weights["bert.embeddings.word_embeddings.weight"].copy_(
            torch.tensor([*[neutral] * len(_SPECIAL), speaks_for, against])
        )
        if kind != "tokens":
            layer = "bert.encoder.layer.0.attention"
            for name in (f"{layer}.self.value.weight", f"{layer}.output.dense.weight"):
                weights[name].copy_(torch.eye(4))
            weights["bert.pooler.dense.weight"].copy_(1000.0 * torch.eye(4))
        if kind == "single":
            weights["classifier.weight"][0, 0] = 8.0
        else:
            weights["classifier.weight"][:, 0] = torch.tensor([-4.0, 4.0])
        weights["classifier.bias"].copy_(torch.tensor(_BIAS[kind]))


_BIAS: Mapping[str, Sequence[float]] = {"sequence": [0.0, -2.0], "single": [-2.0], "tokens": [0.0, 2.0]}


def save_embedder(folder: Path, words: Sequence[str], *, most_tokens: int = 16, seed: int = 0) -> Path:
    """Save a sentence-transformers model of a few kilobytes: a text is the mean of vectors drawn for its words.

    Args:
        folder: Where to.
        words: Those it knows, in lower case; all others are one and the same to it.
        most_tokens: That it reads, two marks included.
        seed: Draws the vectors.
    """
    import torch
    from transformers import BertConfig, BertModel

    torch.manual_seed(seed)
    size = len(_SPECIAL) + len(words)
    config = BertConfig(
        **{**_TINY, "hidden_size": 8}, vocab_size=size, num_hidden_layers=0, max_position_embeddings=most_tokens
    )
    model = BertModel(config)
    with torch.no_grad():
        for table in (model.embeddings.position_embeddings, model.embeddings.token_type_embeddings):
            table.weight.zero_()
        model.embeddings.word_embeddings.weight.normal_()[[0, 2, 3]] = 0.0  # marks say nothing
    with quietly_loading("to be saved"):
        model.save_pretrained(folder)
    _save_tokenizer(folder, words, most_tokens)
    (folder / "1_Pooling").mkdir(exist_ok=True)
    for name, content in (
        ("modules.json", [_module(0, "", "Transformer"), _module(1, "1_Pooling", "Pooling")]),
        ("1_Pooling/config.json", {"word_embedding_dimension": 8, "pooling_mode_mean_tokens": True}),
        ("sentence_bert_config.json", {"max_seq_length": most_tokens, "do_lower_case": False}),
    ):
        (folder / name).write_text(json.dumps(content), "utf-8")
    return folder


def _module(place: int, path: str, kind: str) -> Mapping[str, Any]:
    return {"idx": place, "name": str(place), "path": path, "type": f"sentence_transformers.models.{kind}"}


def _save_tokenizer(folder: Path, words: Sequence[str], most_tokens: int) -> None:
    """A tokenizer whose tokens are words."""
    from tokenizers import Tokenizer, normalizers, pre_tokenizers, processors
    from tokenizers.models import WordLevel
    from transformers import PreTrainedTokenizerFast

    vocabulary = {word: place for place, word in enumerate((*_SPECIAL, *words))}
    tokenizer: Any = Tokenizer(WordLevel(vocabulary, unk_token=_SPECIAL[1]))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    special = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=most_tokens, **special).save_pretrained(folder)


def _reply_text(reply: JudgeReply) -> str:
    return reply if isinstance(reply, str) else json.dumps(reply, ensure_ascii=False)


@dataclass(frozen=True, slots=True)
class RequestSeen:
    """One request as the server saw it.

    Attributes:
        method: GET or POST.
        path: Without the query.
        query: Query parameters; of one given twice the last.
        headers: By lower-case name; keys and cookies are redacted.
        body: The parsed JSON; None where there was none or it was malformed.
        at_s: Seconds since the server started.
    """

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: Any
    at_s: float

    @property
    def streamed(self) -> bool:
        """True when the client asks for a stream."""
        return isinstance(self.body, dict) and self.body.get("stream") is True

    @property
    def last_user_text(self) -> str:
        """The text of the last user message, of either API; empty where there is none."""
        body = self.body if isinstance(self.body, dict) else {}
        messages = body.get("messages") or body.get("input") or []
        if isinstance(messages, str):
            return messages
        if all(isinstance(text, str) for text in messages):
            return str(messages[-1]) if messages else ""
        found = (m for m in reversed(messages) if isinstance(m, dict) and m.get("role") == "user")
        return _content_text(next(found, {}).get("content"))


@dataclass(frozen=True, slots=True)
class Reply:
    """What the server answers; made by the constructors below.

    Attributes:
        kind: Which of them.
        output: The answer's text, or its refusal.
        latency_s: Seconds from the request to the last byte.
        ttft_s: Seconds to the first token of a stream; None: all the latency comes before it.
        served_model: The model to name in the answer; None: the one that was asked for.
        fingerprint: `system_fingerprint`.
        finish_reason: As the chat API spells it; the Responses API gets its own words for it.
        input_tokens: Usage; None: words of the request.
        output_tokens: Usage; None: words of the answer.
        code: HTTP status.
        headers: Extra response headers.
        body: The raw body.
        content_type: Of the raw body.
        after_chunks: Content chunks before a cut.
        tidy: True when a cut ends the HTTP body as if it were whole.
        vectors: Embeddings, in the order of the texts.
    """

    kind: Literal["text", "refusal", "embeddings", "status", "raw", "hang", "cut"]
    output: str = ""
    latency_s: float = 0.0
    ttft_s: float | None = None
    served_model: str | None = None
    fingerprint: str | None = None
    finish_reason: str = "stop"
    input_tokens: int | None = None
    output_tokens: int | None = None
    code: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    content_type: str = "application/json"
    after_chunks: int = 0
    tidy: bool = False
    vectors: Sequence[Sequence[float]] = ()

    @classmethod
    def text(
        cls,
        output: str,
        *,
        latency_s: float = 0.0,
        ttft_s: float | None = None,
        served_model: str | None = None,
        fingerprint: str | None = None,
        finish_reason: str = "stop",
        input_tokens: int | None = None,
        output_tokens: int | None = None,
    ) -> Self:
        """An answer. A stream sends its first word after `ttft_s` and spreads the rest evenly up to `latency_s`."""
        return cls(
            "text",
            output=output,
            latency_s=latency_s,
            ttft_s=ttft_s,
            served_model=served_model,
            fingerprint=fingerprint,
            finish_reason=finish_reason,
            input_tokens=input_tokens,
            output_tokens=output_tokens,
        )

    @classmethod
    def refusal(cls, text: str, *, latency_s: float = 0.0) -> Self:
        """An answer that the model marks as a refusal."""
        return cls("refusal", output=text, latency_s=latency_s)

    @classmethod
    def embeddings(
        cls,
        vectors: Sequence[Sequence[float]],
        *,
        latency_s: float = 0.0,
        served_model: str | None = None,
        input_tokens: int | None = None,
    ) -> Self:
        """The vectors of the texts that were sent, in the encoding that was asked for."""
        return cls(
            "embeddings", latency_s=latency_s, served_model=served_model, input_tokens=input_tokens, vectors=vectors
        )

    @classmethod
    def status(
        cls,
        code: int,
        message: str,
        *,
        headers: Mapping[str, str] | None = None,
        code_name: str | None = None,
        latency_s: float = 0.0,
    ) -> Self:
        """An HTTP error with the API's error object; `code_name` is its `code`, e.g. `insufficient_quota`."""
        error = {"error": {"message": message, "type": code_name or "error", "param": None, "code": code_name}}
        body = json.dumps(error).encode()
        return cls("status", code=code, headers=dict(headers or {}), body=body, latency_s=latency_s)

    @classmethod
    def raw(
        cls,
        body: bytes,
        *,
        content_type: str = "application/json",
        code: int = 200,
        headers: Mapping[str, str] | None = None,
        latency_s: float = 0.0,
    ) -> Self:
        """Any bytes: malformed JSON, a proxy's HTML page, a hand-written event stream."""
        return cls(
            "raw", body=body, content_type=content_type, code=code, headers=dict(headers or {}), latency_s=latency_s
        )

    @classmethod
    def hang(cls) -> Self:
        """No answer until the client or the server closes."""
        return cls("hang")

    @classmethod
    def cut(cls, after_chunks: int = 2, *, output: str = "one two three four", tidy: bool = False) -> Self:
        """An answer that breaks off.

        Args:
            after_chunks: Content chunks of a stream that are sent first. A body that is no stream breaks off halfway.
            output: The answer of which a part is sent.
            tidy: False breaks the socket. True ends the HTTP body properly, but without finish reason (a stream) or in
                the middle of the JSON text.
        """
        return cls("cut", output=output, after_chunks=after_chunks, tidy=tidy)


Script = Callable[[RequestSeen], Reply] | Sequence[Reply]
"""Decides each reply: a function of the request (called in the server's thread), or the replies in order."""


def echo(request: RequestSeen) -> Reply:
    """The default script: the last user message comes back."""
    return Reply.text(request.last_user_text)


def stalling(
    script: Callable[[RequestSeen], Reply], *, at_s: float, for_s: float, clock: Callable[[], float] = time.perf_counter
) -> Callable[[RequestSeen], Reply]:
    """A script whose server stops once, as for a garbage collection or a failing disk: what is in the work then waits.

    Args:
        script: What is answered.
        at_s: When it stops, in seconds from the first request.
        for_s: For how long.
        clock: Seconds that only grow.
    """
    begun_s: list[float] = []

    def answer(request: RequestSeen) -> Reply:
        now_s = clock()
        if not begun_s:
            begun_s.append(now_s)
        reply, arrived_s = script(request), now_s - begun_s[0]
        worked_on_s = at_s < arrived_s + reply.latency_s and arrived_s < at_s + for_s
        paused_s = at_s + for_s - max(arrived_s, at_s) if worked_on_s else 0.0
        first_s = None if reply.ttft_s is None else reply.ttft_s + paused_s
        return replace(reply, latency_s=reply.latency_s + paused_s, ttft_s=first_s)

    return answer


class LoopbackServer:
    """An OpenAI-compatible HTTP server on 127.0.0.1, in a thread of its own.

    Speaks `POST .../chat/completions` and `POST .../responses` (streamed and not), `POST .../embeddings` and
    `GET .../models`, under any prefix, so that Azure-style paths work too. Every request is recorded; only POSTs are
    scripted. Where the script answers a text to a request for embeddings, these are `fake_vector` of what was sent.

    Args:
        script: What to answer. A sequence that has run out answers 400 `script_exhausted`.
        port: 0 chooses a free one.
        api_key: The key to demand; any other gets 401. None demands none.
        models: What `GET /v1/models` lists.

    >>> with LoopbackServer() as server:
    ...     server.base_url.startswith("http://127.0.0.1:")
    True
    """

    def __init__(
        self,
        script: Script = echo,
        *,
        port: int = 0,
        api_key: str | None = None,
        models: Sequence[str] = ("loopback",),
    ) -> None:
        self._script = script if callable(script) else _in_order(script)
        self._wanted_port = port
        self._api_key = api_key
        self._models = tuple(models)
        self._requests: list[RequestSeen] = []
        self._in_flight = 0
        self._peak_in_flight = 0
        self._port = 0
        self._started_s = 0.0
        self._ready = threading.Event()
        self._failure: BaseException | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._thread: threading.Thread | None = None

    @property
    def base_url(self) -> str:
        """What a client calls its base URL; ends in /v1."""
        return f"{self.origin}/v1"

    @property
    def origin(self) -> str:
        """Scheme, host and port."""
        return f"http://127.0.0.1:{self._port}"

    @property
    def requests(self) -> tuple[RequestSeen, ...]:
        """Every request so far, in order of arrival."""
        return tuple(self._requests)

    @property
    def peak_in_flight(self) -> int:
        """The most requests that were being answered at one time."""
        return self._peak_in_flight

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def start(self) -> None:
        """Listen, in a thread of its own.

        Raises:
            OSError: The port is taken.
        """
        self._thread = threading.Thread(target=self._run, name="aigate-loopback", daemon=True)
        self._thread.start()
        self._ready.wait()
        if self._failure is not None:
            self._thread.join()
            raise self._failure

    def close(self) -> None:
        """Drop every connection and stop. May be called twice."""
        thread, self._thread = self._thread, None
        if thread is not None and self._loop is not None and self._stop is not None:
            with suppress(RuntimeError):  # the loop is closed already
                self._loop.call_soon_threadsafe(self._stop.set)
            thread.join()

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except BaseException as error:  # noqa: BLE001 - raised by `start`, which waits for it
            self._failure = error
        finally:
            self._ready.set()

    async def _serve(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        connections: set[asyncio.Task[None]] = set()

        async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = cast("asyncio.Task[None]", asyncio.current_task())
            connections.add(task)
            try:
                await self._converse(reader, writer)
            finally:
                connections.discard(task)

        server = await asyncio.start_server(
            connected, "127.0.0.1", self._wanted_port, limit=HEADER_LIMIT_BYTES, backlog=1024
        )
        self._port = server.sockets[0].getsockname()[1]
        self._started_s = time.perf_counter()
        self._ready.set()
        await self._stop.wait()
        server.close()
        for task in connections:
            task.cancel()
        await asyncio.gather(*connections, return_exceptions=True)

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the requests of one connection until either side closes it."""
        try:
            while await self._exchange(reader, writer):
                pass
        # The peer went away or wrote no HTTP (ValueError), or the server is closing: each ends a conversation.
        except (OSError, ValueError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, asyncio.CancelledError):
            pass
        finally:
            writer.close()
            with suppress(OSError, asyncio.CancelledError):
                await writer.wait_closed()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Answer one request; False when the connection is to be closed."""
        received = await _read_request(reader)
        if received is None:
            return False
        seen, headers = received
        seen = replace(seen, at_s=time.perf_counter() - self._started_s)
        self._requests.append(seen)
        self._in_flight += 1
        self._peak_in_flight = max(self._peak_in_flight, self._in_flight)
        try:
            kept = await self._answer(seen, headers, reader, writer)
        finally:
            self._in_flight -= 1
        return kept and headers.get("connection", "").lower() != "close"

    async def _answer(
        self, seen: RequestSeen, headers: Mapping[str, str], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        wire = _Wire(writer, time.perf_counter())
        if self._api_key is not None and not _key_matches(headers, self._api_key):
            return await _send_whole(wire, Reply.status(401, "Incorrect API key provided", code_name="invalid_api_key"))
        if seen.method == "GET" and seen.path.endswith("/models"):
            return await _send_whole(wire, Reply.raw(_model_list(self._models)))
        dialect = _dialect_of(seen)
        if dialect is None:
            return await _send_whole(wire, Reply.status(404, f"no such endpoint: {seen.method} {seen.path}"))
        if not isinstance(seen.body, dict):
            return await _send_whole(wire, Reply.status(400, "the body is no JSON object"))
        return await _send(self._scripted(seen), seen, dialect=dialect, wire=wire, reader=reader)

    def _scripted(self, seen: RequestSeen) -> Reply:
        try:
            return self._script(seen)
        except Exception as error:  # noqa: BLE001 - the test's own code; the client gets to see what it raised
            return Reply.status(500, f"the script raised {error!r}", code_name="script_error")


def corrupt_run(
    path: Path,
    how: Literal["truncate", "drop-closing-line", "flip-digest", "edit-score", "newer-format", "drop-line"],
) -> Path:
    """Write a broken copy of a run file beside it, named for its defect.

    Args:
        path: A whole run file: a header line, one line per result, a closing line.
        how: `truncate` ends in the middle of the last result; `drop-closing-line` is an interrupted run; `flip-digest`
            changes one digit of the closing digest; `edit-score` changes one score; `newer-format` raises the format's
            number; `drop-line` takes one result out.

    Returns:
        The path of the copy.

    Raises:
        ValueError: The file is no whole run, or holds nothing of the kind to break.
    """
    lines = path.read_text(encoding="utf-8").split("\n")
    if lines[-1] != "" or len(lines) < 4:
        raise ValueError(f"{path}: no whole run file: expected a header, results and a closing line")
    header, *results, closing = lines[:-1]
    broken = {
        "truncate": lambda: "\n".join([header, *results[:-1], results[-1][: len(results[-1]) // 2]]),
        "drop-closing-line": lambda: _joined([header, *results]),
        "flip-digest": lambda: _joined([header, *results, _changed(closing, DIGEST, _flipped, path)]),
        "edit-score": lambda: _joined([header, *_first_score_edited(results, path), closing]),
        "newer-format": lambda: _joined([_changed(header, r"(aigate\.run/)(\d+)", _raised, path), *results, closing]),
        "drop-line": lambda: _joined([header, *results[1:], closing]),
    }
    copy = path.with_name(f"{path.stem}.{how}{path.suffix}")
    copy.write_text(broken[how](), encoding="utf-8", newline="\n")
    return copy


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until SIGINT or SIGTERM; the base URL is the first line on stdout."""
    parser = argparse.ArgumentParser(
        prog="python -m aigate.testing", description="An OpenAI-compatible loopback server."
    )
    parser.add_argument("--port", type=int, default=0, help="0 (the default) chooses a free one")
    parser.add_argument("--latency", type=float, default=0.0, metavar="S", help="seconds to the last byte")
    parser.add_argument("--ttft", type=float, default=None, metavar="S", help="seconds to the first token of a stream")
    parser.add_argument(
        "--stall",
        type=_stall,
        default=None,
        metavar="AT:S",
        help="stop once, AT seconds after the first request",
    )
    parser.add_argument("--output", default=None, help="answer this text; the default echoes the last user message")
    given = parser.parse_args(argv)

    def scripted(request: RequestSeen) -> Reply:
        output = request.last_user_text if given.output is None else given.output
        return Reply.text(output, latency_s=given.latency, ttft_s=given.ttft)

    script = scripted if given.stall is None else stalling(scripted, at_s=given.stall[0], for_s=given.stall[1])
    stopped = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopped.set())
    with LoopbackServer(script, port=given.port) as server:
        sys.stdout.write(f"{server.base_url}\n")
        sys.stdout.flush()
        stopped.wait()
    return 0


def _stall(text: str) -> tuple[float, float]:
    """`1:2`: after one second, for two."""
    try:
        at_s, for_s = map(float, text.split(":"))
        sound = at_s >= 0.0 and for_s > 0.0
    except ValueError:
        sound = False
    if not sound:
        raise argparse.ArgumentTypeError(f"{text!r}: expected AT:SECONDS, e.g. 1:2")
    return at_s, for_s


def _in_order(replies: Sequence[Reply]) -> Callable[[RequestSeen], Reply]:
    left: Iterator[Reply] = iter(tuple(replies))
    over = Reply.status(400, f"the script holds {len(replies)} replies and all are used", code_name="script_exhausted")
    return lambda _: next(left, over)


async def _read_request(reader: asyncio.StreamReader) -> tuple[RequestSeen, dict[str, str]] | None:
    """The next request and its headers as they came, key included; None when the peer closed between requests."""
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    except asyncio.IncompleteReadError:
        return None
    request_line, *lines = head.rstrip("\r\n").split("\r\n")
    method, target, _ = request_line.split(" ", 2)
    headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    length = int(headers.get("content-length", "0"))
    if length > BODY_LIMIT_BYTES or "transfer-encoding" in headers:
        return None  # no client of this server sends either; closing is an answer
    body = await reader.readexactly(length)
    parts = urlsplit(target)
    shown = {name: REDACTED if name in SECRET_HEADERS else value for name, value in headers.items()}
    return RequestSeen(method, parts.path, dict(parse_qsl(parts.query)), shown, _parsed(body), 0.0), headers


def _parsed(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        return None


def _key_matches(headers: Mapping[str, str], key: str) -> bool:
    given = headers.get("api-key") or headers.get("authorization", "").removeprefix("Bearer ")
    return hmac.compare_digest(given.encode(), key.encode())


def _model_list(models: Sequence[str]) -> bytes:
    rows = [{"id": name, "object": "model", "created": 0, "owned_by": "loopback"} for name in models]
    return json.dumps({"object": "list", "data": rows}).encode()


def _texts_in(body: Mapping[str, Any]) -> list[str]:
    """What is to be embedded: one text or several, each as it stands or as the numbers of its tokens."""
    given = body.get("input")
    texts = given if isinstance(given, list) and not all(isinstance(part, int) for part in given) else [given]
    return [text if isinstance(text, str) else " ".join(map(str, text or ())) for text in texts]


def _content_text(content: Any) -> str:
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else []
    return "".join(part["text"] for part in parts if isinstance(part, dict) and isinstance(part.get("text"), str))


@dataclass(frozen=True, slots=True)
class _Wire:
    """The way back to one client.

    Attributes:
        writer: Its socket.
        started_s: When its request was read, by `time.perf_counter`.
    """

    writer: asyncio.StreamWriter
    started_s: float

    async def until(self, offset_s: float) -> None:
        """Sleep until `offset_s` seconds after the request."""
        if (left_s := self.started_s + offset_s - time.perf_counter()) > 0:
            await asyncio.sleep(left_s)

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def chunk(self, data: bytes) -> None:
        await self.send(b"%x\r\n%b\r\n" % (len(data), data))


async def _send(
    reply: Reply, seen: RequestSeen, *, dialect: _Dialect, wire: _Wire, reader: asyncio.StreamReader
) -> bool:
    """Send a reply; False when the connection cannot be used again."""
    if reply.kind == "hang":
        await reader.read(1)  # until the client gives up
        return False
    if reply.kind in {"status", "raw"}:
        return await _send_whole(wire, reply)
    if seen.streamed:
        return await _send_stream(reply, seen, dialect=dialect, wire=wire)
    body = json.dumps(dialect.body(reply, seen)).encode()
    if reply.kind == "cut":
        return await _send_half(wire, body, tidy=reply.tidy)
    return await _send_whole(wire, Reply.raw(body, latency_s=reply.latency_s))


async def _send_whole(wire: _Wire, reply: Reply) -> bool:
    await wire.until(reply.latency_s)
    head = _head(reply.code, {"content-type": reply.content_type, "content-length": len(reply.body), **reply.headers})
    await wire.send(head + reply.body)
    return True


async def _send_half(wire: _Wire, body: bytes, *, tidy: bool) -> bool:
    half = body[: len(body) // 2]
    promised = len(half) if tidy else len(body)
    await wire.send(_head(200, {"content-type": "application/json", "content-length": promised}) + half)
    return tidy


async def _send_stream(reply: Reply, seen: RequestSeen, *, dialect: _Dialect, wire: _Wire) -> bool:
    pieces = re.findall(r"\S+\s*|\s+", reply.output)
    cut_at = reply.after_chunks if reply.kind == "cut" else None
    await wire.send(_head(200, {"content-type": "text/event-stream", "transfer-encoding": "chunked"}))
    for event in dialect.opening(reply, seen):
        await wire.chunk(event)
    async for piece in _in_time(pieces[:cut_at], reply, wire):
        await wire.chunk(dialect.piece(piece, reply, seen))
    if cut_at is not None and not reply.tidy:
        return False
    await wire.until(reply.latency_s)
    for event in dialect.ending(reply, seen) if cut_at is None else ():
        await wire.chunk(event)
    await wire.send(b"0\r\n\r\n")
    return True


async def _in_time(pieces: Sequence[str], reply: Reply, wire: _Wire) -> AsyncIterator[str]:
    """The pieces: the first at `ttft_s`, the last at `latency_s`, the others evenly between."""
    first_s = reply.latency_s if reply.ttft_s is None else reply.ttft_s
    for index, piece in enumerate(pieces):
        share = index / max(1, len(pieces) - 1)
        await wire.until(first_s + share * max(0.0, reply.latency_s - first_s))
        yield piece


def _head(code: int, headers: Mapping[str, Any]) -> bytes:
    try:
        phrase = HTTPStatus(code).phrase
    except ValueError:
        phrase = "Status"
    lines = [f"HTTP/1.1 {code} {phrase}", *(f"{name}: {value}" for name, value in headers.items())]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


class _Dialect:
    """How one API writes an answer: whole, or as the events of a stream."""

    def body(self, reply: Reply, seen: RequestSeen) -> dict[str, Any]:
        raise NotImplementedError

    def opening(self, reply: Reply, seen: RequestSeen) -> list[bytes]:
        raise NotImplementedError

    def piece(self, piece: str, reply: Reply, seen: RequestSeen) -> bytes:
        raise NotImplementedError

    def ending(self, reply: Reply, seen: RequestSeen) -> list[bytes]:
        raise NotImplementedError


class _Chat(_Dialect):
    def body(self, reply: Reply, seen: RequestSeen) -> dict[str, Any]:
        refused = reply.kind == "refusal"
        message = {
            "role": "assistant",
            "content": None if refused else reply.output,
            "refusal": reply.output if refused else None,
        }
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": reply.finish_reason}
        used_in, used_out = _usage(reply, seen)
        usage = {"prompt_tokens": used_in, "completion_tokens": used_out, "total_tokens": used_in + used_out}
        return {**_chat_frame(reply, seen, "chat.completion"), "choices": [choice], "usage": usage}

    def opening(self, reply: Reply, seen: RequestSeen) -> list[bytes]:
        return [_chat_event(reply, seen, {"role": "assistant", "content": ""})]

    def piece(self, piece: str, reply: Reply, seen: RequestSeen) -> bytes:
        return _chat_event(reply, seen, {"refusal" if reply.kind == "refusal" else "content": piece})

    def ending(self, reply: Reply, seen: RequestSeen) -> list[bytes]:
        events = [_chat_event(reply, seen, {}, finish_reason=reply.finish_reason)]
        if (seen.body.get("stream_options") or {}).get("include_usage"):
            usage = self.body(reply, seen)["usage"]
            events.append(_event({**_chat_frame(reply, seen, "chat.completion.chunk"), "choices": [], "usage": usage}))
        return [*events, b"data: [DONE]\n\n"]


class _Responses(_Dialect):
    def body(self, reply: Reply, seen: RequestSeen) -> dict[str, Any]:
        reason = {"length": "max_output_tokens", "content_filter": "content_filter"}.get(reply.finish_reason)
        kind, key = ("refusal", "refusal") if reply.kind == "refusal" else ("output_text", "text")
        part = {"type": kind, key: reply.output, **({"annotations": []} if key == "text" else {})}
        status = "incomplete" if reason else "completed"
        message = {"id": "msg_1", "type": "message", "role": "assistant", "status": status, "content": [part]}
        used_in, used_out = _usage(reply, seen)
        return {
            **_response_frame(reply, seen),
            "status": status,
            "incomplete_details": {"reason": reason} if reason else None,
            "output": [message],
            "usage": {
                "input_tokens": used_in,
                "input_tokens_details": {"cached_tokens": 0},
                "output_tokens": used_out,
                "output_tokens_details": {"reasoning_tokens": 0},
                "total_tokens": used_in + used_out,
            },
        }

    def opening(self, reply: Reply, seen: RequestSeen) -> list[bytes]:
        started = {**_response_frame(reply, seen), "status": "in_progress", "output": []}
        item = {"id": "msg_1", "type": "message", "role": "assistant", "status": "in_progress", "content": []}
        return [
            _named_event({"type": "response.created", "sequence_number": 0, "response": started}),
            _named_event({"type": "response.output_item.added", "sequence_number": 1, "output_index": 0, "item": item}),
        ]

    def piece(self, piece: str, reply: Reply, seen: RequestSeen) -> bytes:  # noqa: ARG002 - as the chat dialect
        kind = "response.refusal.delta" if reply.kind == "refusal" else "response.output_text.delta"
        place = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
        return _named_event({"type": kind, "sequence_number": 2, **place, "delta": piece, "logprobs": []})

    def ending(self, reply: Reply, seen: RequestSeen) -> list[bytes]:
        whole = self.body(reply, seen)
        return [_named_event({"type": f"response.{whole['status']}", "sequence_number": 3, "response": whole})]


class _Embeddings(_Dialect):
    def body(self, reply: Reply, seen: RequestSeen) -> dict[str, Any]:
        texts = _texts_in(seen.body)
        vectors: Sequence[Sequence[float]] = reply.vectors
        if reply.kind != "embeddings":
            vectors = [fake_vector(text, seen.body.get("dimensions") or FAKE_DIMENSIONS) for text in texts]
        as_text = seen.body.get("encoding_format") == "base64"
        rows = [
            {"object": "embedding", "index": place, "embedding": packed(vector) if as_text else list(vector)}
            for place, vector in enumerate(vectors)
        ]
        words = sum(len(text.split()) for text in texts)
        used = words if reply.input_tokens is None else reply.input_tokens
        usage = {"prompt_tokens": used, "total_tokens": used}
        model = reply.served_model or seen.body.get("model")
        return {"object": "list", "data": rows, "model": model, "usage": usage}


def _dialect_of(seen: RequestSeen) -> _Dialect | None:
    if seen.method != "POST":
        return None
    if seen.path.endswith("/chat/completions"):
        return _Chat()
    if seen.path.endswith("/embeddings"):
        return _Embeddings()
    return _Responses() if seen.path.endswith("/responses") else None


def _chat_frame(reply: Reply, seen: RequestSeen, kind: str) -> dict[str, Any]:
    model = reply.served_model or seen.body.get("model")
    return {"id": "chatcmpl-1", "object": kind, "created": 0, "model": model, "system_fingerprint": reply.fingerprint}


def _chat_event(reply: Reply, seen: RequestSeen, delta: dict[str, Any], *, finish_reason: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
    return _event({**_chat_frame(reply, seen, "chat.completion.chunk"), "choices": [choice], "usage": None})


def _response_frame(reply: Reply, seen: RequestSeen) -> dict[str, Any]:
    return {
        "id": "resp_1",
        "object": "response",
        "created_at": 0,
        "model": reply.served_model or seen.body.get("model"),
        "error": None,
        "incomplete_details": None,
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
    }


def _event(data: Mapping[str, Any]) -> bytes:
    return b"data: " + json.dumps(data).encode() + b"\n\n"


def _named_event(data: Mapping[str, Any]) -> bytes:
    return f"event: {data['type']}\n".encode() + _event(data)


def _usage(reply: Reply, seen: RequestSeen) -> tuple[int, int]:
    words_in, words_out = len(seen.last_user_text.split()), len(reply.output.split())
    used_in = words_in if reply.input_tokens is None else reply.input_tokens
    return used_in, words_out if reply.output_tokens is None else reply.output_tokens


def _joined(lines: Sequence[str]) -> str:
    return "\n".join(lines) + "\n"


def _changed(line: str, pattern: str, change: Callable[[re.Match[str]], str], path: Path) -> str:
    changed, count = re.subn(pattern, change, line, count=1)
    if not count:
        raise ValueError(f"{path}: nothing there to break: no {pattern}")
    return changed


def _flipped(found: re.Match[str]) -> str:
    return found[1] + ("1" if found[2] == "0" else "0")


def _raised(found: re.Match[str]) -> str:
    return f"{found[1]}{int(found[2]) + 1}"


def _first_score_edited(results: Sequence[str], path: Path) -> list[str]:
    for index, line in enumerate(results):
        row = json.loads(line)
        for score in row.get("scores", {}).values():
            if "value" in score:
                score["value"] = 0.25 if score["value"] == 0.5 else 1.0 - score["value"]
                edited = json.dumps(row, ensure_ascii=False, separators=(",", ":"))
                return [*results[:index], edited, *results[index + 1 :]]
    raise ValueError(f"{path}: nothing there to break: no score")


if __name__ == "__main__":
    raise SystemExit(main())
