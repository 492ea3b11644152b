"""The real ragas: what it gets right comes through as it is, and what it gets wrong is no score.

Most tests give it replies of our own choice in a row; some run it over real HTTP. `ragas_alone` is ragas with the same
replies and nothing of ours around it: it shows that each defect that is contained here is really there.
"""

import asyncio
import json
import os
import re
import subprocess
import sys
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aigate.core.response import Response
from aigate.core.sample import Sample
from aigate.core.score import MetricSpec, Score, Unscored
from aigate.core.vectors import cosine
from aigate.errors import ConfigError, ScoringError
from aigate.running.evaluation import evaluate
from aigate.scorers.base import ScorerSettings, make_scorer, scorer_from_spec
from aigate.scorers.judge import JudgeError
from aigate.scorers.ragas_metrics import METRICS
from aigate.testing import (
    FakeJudge,
    FakeProvider,
    LoopbackServer,
    Reply,
    careful_judge,
    fake_embeddings_identity,
    fake_judge_identity,
    fake_vector,
    judged_scorer,
)

CONTEXTS = ("Opened items may be returned within 45 days.", "Refunds take 5 working days.")
SAMPLE = Sample("s", "How are returns handled?", reference="Refunds take 5 working days.", contexts=CONTEXTS)
ANSWER = "Refunds take 5 working days. Shipping is free."
FOUR = ["Refunds take 5 working days.", "Shipping is free.", "Pigs fly.", "The moon is cheese."]
LONG = " ".join(FOUR)

pytestmark = [pytest.mark.integration, pytest.mark.ragas]


def in_a_row(replies):
    """A judge that gives the next reply of a list, whatever it is asked."""
    left = list(replies)
    return FakeJudge({"prompt": lambda asked: left.pop(0)})


def statements(*texts):
    return {"statements": list(texts)}


def verdicts(*numbers, texts=FOUR):
    return {"statements": [{"statement": t, "reason": "r", "verdict": v} for t, v in zip(texts, numbers, strict=False)]}


def helps(verdict):
    return {"reason": "r", "verdict": verdict}


def rated(*numbers):
    return [{"rating": number} for number in numbers]


def entities(*names):
    return {"entities": list(names)}


def recalled(*numbers, texts=("Refunds take 5 working days.",)):
    rows = [{"statement": t, "reason": "r", "attributed": n} for t, n in zip(texts, numbers, strict=True)]
    return {"classifications": rows}


def claims(*texts):
    return {"claims": list(texts)}


def classified(right, wrong, missing=()):
    lists = {"TP": right, "FP": wrong, "FN": missing}
    return {key: [{"statement": text, "reason": "r"} for text in texts] for key, texts in lists.items()}


def asking(question, *, noncommittal=0):
    return {"question": question, "noncommittal": noncommittal}


def scorer_of(metric, **options):
    judge = fake_judge_identity(embeddings=fake_embeddings_identity())
    return judged_scorer("ragas", argument=metric, judge=judge, **options)


def judged(metric, replies, *, sample=SAMPLE, output=LONG):
    """What the runner would store, and the judge that was asked."""
    fake = in_a_row(replies)
    return fake.score(scorer_of(metric), sample, output), fake


def ragas_alone(metric, replies, *, sample=SAMPLE, output=LONG):
    """The number that ragas itself makes of the same replies, where they are of the form that it asks for."""
    from ragas.embeddings.base import BaseRagasEmbedding
    from ragas.llms.base import InstructorBaseRagasLLM
    from ragas.metrics import collections

    left = list(replies)

    class Canned(InstructorBaseRagasLLM):
        def generate(self, prompt, response_model):
            raise NotImplementedError

        async def agenerate(self, prompt, response_model):
            return response_model.model_validate(left.pop(0))

    class Vectors(BaseRagasEmbedding):
        def embed_text(self, text, **_):
            raise NotImplementedError

        async def aembed_text(self, text, **_):
            return fake_vector(text)

    scorer = scorer_of(metric)
    embeddings = {"embeddings": Vectors()} if scorer.kind.embeds else {}
    made = getattr(collections, scorer.kind.made_by)(llm=Canned(), **embeddings)
    return float(asyncio.run(made.ascore(**scorer._data(sample, output))).value)


RIGHT = {
    "faithfulness, half": ("faithfulness", [statements(*FOUR), verdicts(1, 0, 0, 1)], 0.5),
    "faithfulness, all": ("faithfulness", [statements(*FOUR), verdicts(1, 1, 1, 1)], 1.0),
    "faithfulness, none": ("faithfulness", [statements(*FOUR), verdicts(0, 0, 0, 0)], 0.0),
    "faithfulness, in other words": (
        "faithfulness",
        [statements(*FOUR), verdicts(1, 1, 0, 0, texts=["Working refunds take 5 days.", *FOUR[1:]])],
        0.5,
    ),
    "faithfulness, in another order": (
        "faithfulness",
        [statements(*FOUR), verdicts(1, 0, 0, 0, texts=FOUR[::-1])],
        0.25,
    ),
    "response_groundedness": ("response_groundedness", rated(2, 1), 0.75),
    "context_relevance": ("context_relevance", rated(0, 1), 0.25),
    "context_precision, first": ("context_precision", [helps(1), helps(0)], 1.0),
    "context_precision, second": ("context_precision", [helps(0), helps(1)], 0.5),
    "context_precision, none": ("context_precision", [helps(0), helps(0)], 0.0),
    "context_utilization": ("context_utilization", [helps(1), helps(1)], 1.0),
    "context_recall": ("context_recall", [recalled(1)], 1.0),
    "context_entity_recall": (
        "context_entity_recall",
        [entities("Refunds", "5 working days"), entities("Refunds")],
        0.5,
    ),
    "answer_accuracy": ("answer_accuracy", rated(4, 2), 0.75),
    "factual_correctness": (
        "factual_correctness",
        [claims(*FOUR[:3]), verdicts(1, 0, 0), claims(FOUR[0]), verdicts(1)],
        0.5,
    ),
    "factual_correctness, rounded": (
        "factual_correctness",
        [claims(*FOUR[:2]), verdicts(1, 0), claims(FOUR[0]), verdicts(1)],
        0.67,
    ),
    "factual_correctness, none": (
        "factual_correctness",
        [claims(FOUR[2]), verdicts(0, texts=FOUR[2:]), claims(FOUR[0]), verdicts(0)],
        0.0,
    ),
}

LIKE = cosine(fake_vector(LONG), fake_vector(SAMPLE.reference))
RIGHT |= {
    "answer_correctness": (
        "answer_correctness",
        [statements(*FOUR), statements(FOUR[0]), classified(FOUR[:1], FOUR[1:])],
        0.75 * 0.4 + 0.25 * LIKE,
    ),
    "answer_correctness, none": (
        "answer_correctness",
        [statements(*FOUR), statements(FOUR[0]), classified([], FOUR, FOUR[:1])],
        0.25 * LIKE,
    ),
    "answer_relevancy, the same": ("answer_relevancy", [asking(SAMPLE.text)] * 3, 1.0),
    "answer_relevancy, evasive once": (
        "answer_relevancy",
        [asking(SAMPLE.text), asking(SAMPLE.text, noncommittal=1), asking(SAMPLE.text)],
        1.0,
    ),
    "answer_relevancy, evasive": ("answer_relevancy", [asking(SAMPLE.text, noncommittal=1)] * 3, 0.0),
}


@pytest.mark.parametrize(("metric", "replies", "value"), RIGHT.values(), ids=RIGHT)
def test_where_ragas_is_right_its_score_comes_through(metric, replies, value):
    found, fake = judged(metric, replies)
    assert found.value == pytest.approx(value, abs=1e-6) == pytest.approx(ragas_alone(metric, replies), abs=1e-6)
    assert len(fake.asked) == len(replies)
    assert found.details["claims"]


def test_every_metric_is_tried():
    assert {metric for metric, _, _ in RIGHT.values()} == set(METRICS)


def test_statements_and_verdicts_are_kept_in_their_order():
    found, _ = judged("faithfulness", [statements(*FOUR), verdicts(0, 0, 0, 1, texts=FOUR[::-1])])
    assert found.explanation == "ragas: 1 of 4 verdicts are good"
    assert found.details["claims"] == [
        {"claim": FOUR[0], "verdict": "supported", "reason": "r"},
        *({"claim": text, "verdict": "not_in_context", "reason": "r"} for text in FOUR[1:]),
    ]


def test_ratings_and_entities_are_kept():
    assert judged("context_relevance", rated(0, 1))[0].explanation == "ragas: rated 0 and rated 1"
    found, _ = judged("context_entity_recall", [entities("Refunds", "5 working days"), entities("Refunds")])
    assert [row["verdict"] for row in found.details["claims"]] == ["supported", "not_in_context"]


# What ragas alone makes of replies that are wrong; here they are all asked again and then an error.
WRONG = {
    "one verdict for four statements": ("faithfulness", [statements(*FOUR), verdicts(1)], 1.0),
    "a verdict that is no 0 or 1": ("faithfulness", [statements(*FOUR), verdicts(2, -1, 7, 0)], 0.75),
    "more verdicts than statements": (
        "faithfulness",
        [statements(LONG), verdicts(1, 1, 1, 0)],
        0.75,
    ),
    "one statement four times": ("faithfulness", [statements(*FOUR), verdicts(1, 1, 1, 1, texts=FOUR[:1] * 4)], 1.0),
    "one verdict on all at once": ("faithfulness", [statements(*FOUR), verdicts(1, 1, 1, 1, texts=[LONG] * 4)], 1.0),
    "verdicts of other statements": (
        "faithfulness",
        [statements(*FOUR), verdicts(1, 1, 1, 1, texts=["Water is wet.", "Fire burns.", "Snow falls.", "Birds sing."])],
        1.0,
    ),
    "statements that leave the rest out": ("faithfulness", [statements(FOUR[0]), verdicts(1)], 1.0),
    "a statement that is there twice": ("faithfulness", [statements(*FOUR, FOUR[0]), verdicts(1, 0, 0, 0, 1)], 0.25),
    "statements that nobody made": (
        "faithfulness",
        [statements(*FOUR, *CONTEXTS[:1]), verdicts(1, 0, 0, 0, 1, texts=[*FOUR, *CONTEXTS[:1]])],
        0.4,
    ),
    "claims that nobody made": (
        "factual_correctness",
        [claims(FOUR[0], "Water is wet."), verdicts(1, 1), claims(FOUR[0]), verdicts(1)],
        1.0,
    ),
    "a recall of what nobody said besides": (
        "context_recall",
        [recalled(0, 1, texts=(FOUR[0], CONTEXTS[0]))],
        0.5,
    ),
    "a context that helps five times": ("context_utilization", [helps(0), helps(5)], 2.5),
    "a context that harms": ("context_precision", [helps(-1), helps(2)], 2.0),
    "a recall of what was not asked": ("context_recall", [recalled(1, texts=("Pigs fly.",))], 1.0),
    "a recall of two": ("context_recall", [recalled(2)], 2.0),
    "entities that are not there": (
        "context_entity_recall",
        [entities("Refunds", "5 working days"), entities("Refunds", "5 working days", "Paris")],
        1.0,
    ),
    "claims of nothing": (
        "factual_correctness",
        [claims(FOUR[0]), verdicts(1), claims()],
        1.0,
    ),
    "fewer verdicts than claims": (
        "factual_correctness",
        [claims(*FOUR), verdicts(1), claims(FOUR[0]), verdicts(1)],
        1.0,
    ),
    "a classification of nothing": (
        "answer_correctness",
        [statements(*FOUR), statements(FOUR[0]), classified([], [])],
        0.75 + 0.25 * LIKE,
    ),
    "a classification of what nobody said": (
        "answer_correctness",
        [statements(*FOUR), statements(FOUR[0]), classified(["Water is wet."] * 4, [])],
        0.75 + 0.25 * LIKE,
    ),
    "a miss of what was not asked": (
        "answer_correctness",
        [statements(*FOUR), statements(FOUR[0]), classified(FOUR[:1], FOUR[1:], ["Water is wet."])],
        0.25 + 0.25 * LIKE,
    ),
    "questions that are not there": (
        "answer_relevancy",
        [asking(SAMPLE.text), asking(""), asking("")],
        1.0,
    ),
}
ASKED_AGAIN = {
    "questions that are not there": 1,
    "statements that leave the rest out": 0,
    "statements that nobody made": 0,
    "claims that nobody made": 0,
    "a statement that is there twice": 0,
    "claims of nothing": 2,
    "fewer verdicts than claims": 1,
    "a context that harms": 0,
}


@pytest.mark.parametrize("case", WRONG)
def test_where_ragas_is_wrong_there_is_no_score(case):
    metric, replies, alone = WRONG[case]
    assert ragas_alone(metric, replies) == pytest.approx(alone, abs=1e-6)
    wrong = ASKED_AGAIN.get(case, len(replies) - 1)
    found, fake = judged(metric, [*replies[:wrong], *[replies[wrong]] * 3])
    assert found.reason == "judge_error", found
    assert "no usable reply in 3 attempts" in found.explanation
    assert len(fake.asked) == wrong + 3
    assert "could not be used" in fake.asked[-1].messages[-1]["content"]


@pytest.mark.parametrize("metric", ["response_groundedness", "context_relevance", "answer_accuracy"])
def test_one_judgement_of_two_is_no_judgement(metric):
    best, bad = METRICS[metric].scale[-1], {"rating": 3}
    assert ragas_alone(metric, [{"rating": best}, *[bad] * 5]) == 1.0
    found, fake = judged(metric, [{"rating": best}, *[bad] * 3])
    assert found.reason == "judge_error"
    assert len(fake.asked) == 4  # ragas tries five times more by itself


def test_nan_is_a_missing_score():
    assert str(ragas_alone("faithfulness", [statements()])) == "nan"
    assert str(ragas_alone("faithfulness", [statements(*FOUR), {"statements": []}])) == "nan"
    assert judged("faithfulness", [statements()])[0].reason == "judge_error"
    assert judged("faithfulness", [statements(*FOUR), *[{"statements": []}] * 3])[0].reason == "judge_error"
    assert judged("context_recall", [{"classifications": []}] * 3)[0].reason == "judge_error"
    assert ragas_alone("answer_correctness", [statements(), statements()]) == pytest.approx(0.75 + 0.25 * LIKE)
    assert judged("answer_correctness", [statements(), statements()])[0].reason == "judge_error"
    assert ragas_alone("context_entity_recall", [entities(), entities("Refunds")]) == 0.0
    assert judged("context_entity_recall", [entities(), entities("Refunds")])[0].reason == "judge_error"


BROKEN = {
    "empty": "",
    "cut": '{"statements": [{"statement": "Refunds',
    "prose": "All of it is true.",
    "a verdict that is a text": verdicts("1", "1", "1", "1"),
    "a verdict that is true": verdicts(True, True, True, True),
    "a verdict that is a fraction": verdicts(1.0, 1.0, 1.0, 0.9),
    "another key": {**verdicts(1, 1, 1, 1), "score": 1},
    "a refusal": Reply.refusal("no"),
    "a token limit": Reply.text(json.dumps(verdicts(1, 1, 1, 1)), finish_reason="length"),
}


@pytest.mark.parametrize("reply", BROKEN.values(), ids=BROKEN)
def test_a_reply_that_is_no_verdicts_is_asked_again_and_then_an_error(reply):
    found, fake = judged("faithfulness", [statements(*FOUR), reply, reply, reply])
    assert found.reason == "judge_error"
    assert len(fake.asked) == 4  # with ragas's own attempts it would be more
    found, _ = judged("faithfulness", [statements(*FOUR), reply, verdicts(1, 0, 0, 0)])
    assert found.value == 0.25


CHANGES = st.sampled_from(["drop", "copy", "text", "number", "type", "key", "cut"])


@settings(max_examples=60)
@given(changes=st.lists(CHANGES, min_size=1, max_size=3), data=st.data())
def test_no_malformed_reply_gives_a_better_score(changes, data):
    """The judge's replies are worth a quarter; whatever is done to them, it is an error or no more than that."""
    which = data.draw(st.integers(0, 1))
    replies = [statements(*FOUR), verdicts(1, 0, 0, 0)]
    broken = json.loads(json.dumps(replies[which]))
    for change in changes:
        broken = changed(broken, change, data.draw)
    found, _ = judged("faithfulness", [*replies[:which], *[broken] * 3, *replies[which + 1 :]])
    assert isinstance(found, Unscored) or found.value <= 0.25


def changed(reply, change, draw):
    """A reply with one thing more wrong with it."""
    if isinstance(reply, str) or not reply["statements"]:
        return reply
    rows = list(reply["statements"])
    place = draw(st.integers(0, len(rows) - 1))
    if change == "cut":
        return json.dumps(reply)[: draw(st.integers(0, 60))]
    if change == "key":
        return {**reply, "more": 1}
    if change == "drop":
        del rows[place]
    elif change == "copy":
        rows.append(rows[place])
    elif change == "type":
        rows[place] = draw(st.sampled_from([None, 1, "1", {}, {"statement": FOUR[0], "verdict": 1}]))
    elif isinstance(rows[place], dict):
        texts, numbers = ["", "Water is wet.", FOUR[0]], [2, -1, 100, None, "1", True]
        key, wrong = ("statement", texts) if change == "text" else ("verdict", numbers)
        rows[place] = {**rows[place], key: draw(st.sampled_from(wrong))}
    return {**reply, "statements": rows}


def test_another_prompt_of_ragas_is_another_judge(monkeypatch):
    from ragas.metrics.collections.faithfulness.util import NLIStatementPrompt

    from aigate.scorers import ragas_metrics

    before = {metric: scorer_of(metric).spec.judge for metric in ("faithfulness", "context_recall")}
    with monkeypatch.context() as patched:
        patched.setattr(NLIStatementPrompt, "instruction", "Judge.")
        ragas_metrics._blank_prompts.cache_clear()
        changed_ones = [metric for metric, judge in before.items() if scorer_of(metric).spec.judge != judge]
    ragas_metrics._blank_prompts.cache_clear()
    assert changed_ones == ["faithfulness"]


def test_a_metric_that_embeds_names_the_embedding_model():
    assert "embeddings" in scorer_of("answer_relevancy").spec.judge
    assert "embeddings" not in scorer_of("faithfulness").spec.judge
    with pytest.raises(ConfigError, match="embedding model"):
        judged_scorer("ragas", argument="answer_relevancy")


def test_embeddings_that_fail_are_a_judge_error():
    fake = FakeJudge({"prompt": asking("What?")}, vector=lambda text: [0.0, 0.0])
    assert fake.score(scorer_of("answer_relevancy"), SAMPLE, LONG).reason == "judge_error"


def test_what_our_side_raises_comes_out_as_it_was_raised_even_where_ragas_would_go_on():
    class BudgetSpentError(Exception):
        pass

    def spent(asked):
        raise BudgetSpentError("spent")

    for metric in ("faithfulness", "answer_accuracy"):
        fake = FakeJudge({"prompt": spent})
        with pytest.raises(BudgetSpentError):
            fake.score(judged_scorer("ragas", argument=metric), SAMPLE, LONG)
        assert len(fake.asked) == 1


def test_what_ragas_itself_raises_is_a_judge_error(monkeypatch):
    from ragas.metrics.collections import Faithfulness

    monkeypatch.setattr(Faithfulness, "_compute_score", lambda self, found: 1 / 0)
    assert "ZeroDivisionError" in judged("faithfulness", [statements(*FOUR), verdicts(1, 0, 0, 0)])[0].explanation


def test_a_score_that_the_replies_are_not_worth_is_an_error(monkeypatch):
    from ragas.metrics.collections import Faithfulness

    monkeypatch.setattr(Faithfulness, "_compute_score", lambda self, found: 1.0)
    found, _ = judged("faithfulness", [statements(*FOUR), verdicts(1, 0, 0, 0)])
    assert found.reason == "judge_error"
    assert "ragas gives 1 for replies that are worth 0.25" in found.explanation


def test_a_prompt_that_is_not_known_is_an_error(monkeypatch):
    from aigate.scorers import ragas_metrics

    monkeypatch.setattr(ragas_metrics, "_READ", {})
    found, fake = judged("faithfulness", [statements(*FOUR)])
    assert "StatementGeneratorOutput" in found.explanation
    assert fake.asked == []


def test_what_lies_outside_and_what_is_empty():
    bare = Sample("b", "?", contexts=CONTEXTS)
    outside = {metric: scorer_of(metric).applies_to(bare) for metric in METRICS}
    assert {metric for metric, found in outside.items() if found is None} == {"response_groundedness"}
    assert outside["context_recall"].reason == "no_reference"
    assert outside["context_relevance"].reason == "not_applicable"
    assert judged_scorer("ragas", argument="faithfulness").applies_to(Sample("b", "What?")).reason == "not_applicable"
    assert judged("faithfulness", [], output=" ")[0].value == 0.0
    assert judged("context_recall", [recalled(0)], output=" ")[0].value == 0.0


@pytest.mark.parametrize("argument", ["", "faithfullness", "noise_sensitivity"])
def test_a_metric_that_is_not_supported_is_refused_with_those_that_are(argument):
    with pytest.raises(ConfigError, match=", ".join(METRICS)) as caught:
        judged_scorer("ragas", argument=argument)
    assert caught.value.hint


def test_it_is_a_judged_scorer_like_the_others():
    scorer = judged_scorer("ragas", argument="faithfulness", metric="mine")
    assert scorer_from_spec(MetricSpec.from_dict(json.loads(json.dumps(scorer.spec.to_dict())))) == scorer
    assert scorer.questions(SAMPLE, "") == ()
    with pytest.raises(ScoringError, match="asks a model"):
        scorer.score(SAMPLE, Response("x"))
    with pytest.raises(ConfigError, match="needs a judge"):
        make_scorer(ScorerSettings("ragas", "faithfulness"))


@pytest.mark.parametrize("metric", METRICS)
def test_the_estimate_knows_how_many_questions_there_are_and_about_how_long(metric):
    replies = next(found for name, found, _ in RIGHT.values() if name == metric)
    wordy = replace(SAMPLE, contexts=tuple(context + " Bananas ripen." * 200 for context in CONTEXTS))
    _, fake = judged(metric, replies, sample=wordy)
    expected = scorer_of(metric).questions(wordy, LONG)
    assert len(expected) == len(fake.asked)
    embedded = scorer_of(metric).embedded(wordy, LONG)
    assert [len(texts) for texts in embedded] == [len(texts) for texts in fake.embedded]
    lengths = [sum(map(len, texts)) for texts in ([q.prompt for q in expected], [a.data["prompt"] for a in fake.asked])]
    assert 0.9 < lengths[0] / lengths[1] < 1.1


def test_the_same_prompt_twice_is_two_judgements():
    """Two contexts that are one text: ragas asks about each, and the second is no copy of the first's journal entry."""
    asked = []

    class Noting:
        judge = fake_judge_identity()

        async def ask(self, question, read):
            asked.append(question)
            return read(helps(len(asked) % 2))

    twins = Sample("t", "What?", reference="Refunds.", contexts=("Refunds take 5 days.",) * 2)
    scorer = judged_scorer("ragas", argument="context_precision")
    assert asyncio.run(scorer.judge(twins, Response("x"), Noting())).value == pytest.approx(1.0)
    assert [question.draw for question in asked] == [0, 1]
    assert asked[0].prompt == asked[1].prompt


def test_the_schema_is_strict_and_holds_the_scale():
    asked = []

    class Noting:
        judge = fake_judge_identity()

        async def ask(self, question, read):
            asked.append(question)
            raise JudgeError("gone")

    for metric in METRICS:
        with pytest.raises(JudgeError, match="gone"):
            asyncio.run(scorer_of(metric).judge(SAMPLE, Response(LONG), Noting()))
    schemas = {question.name: question.schema for question in asked}
    assert schemas["ragas_AnswerAccuracyOutput"]["properties"]["rating"]["enum"] == [0, 2, 4]
    for schema in schemas.values():
        objects = [part for part in (schema, *schema.get("$defs", {}).values()) if part["type"] == "object"]
        assert all(part["additionalProperties"] is False for part in objects)
        assert all(set(part["required"]) == set(part["properties"]) for part in objects)
        numbers = [told for part in objects for told in part["properties"].values() if told["type"] == "integer"]
        assert all(told["enum"] for told in numbers)


def test_nothing_is_written_and_nobody_is_told(tmp_path):
    """A whole judgement in a process of its own, whose home is empty before and after, and that may not connect."""
    program = """
import socket, sys, time
tried = []
def no(*given, **_):
    tried.append(given[-1])
    raise OSError("no network")
socket.socket.connect = socket.getaddrinfo = socket.create_connection = no
from aigate.core.sample import Sample
from aigate.testing import careful_judge, judged_scorer
sample = Sample("s", "What?", contexts=("Refunds take 5 working days.",))
found = careful_judge().score(
    judged_scorer("ragas", argument="faithfulness"), sample, "Refunds take 5 working days. Pigs fly."
)
from ragas._analytics import LLMUsageEvent, do_not_track, track
assert do_not_track()
print(found.value, tried)
"""
    home = tmp_path / "home"
    home.mkdir()
    names = ("HOME", "XDG_DATA_HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME")
    environ = {**os.environ, **dict.fromkeys(names, str(home)), "PYTHONDONTWRITEBYTECODE": "1"}
    environ.pop("RAGAS_DO_NOT_TRACK", None)
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program], cwd=tmp_path, env=environ, capture_output=True, text=True
    )
    assert done.stdout.strip() == "0.5 []", done.stderr
    assert list(tmp_path.rglob("*")) == [home]


# Over HTTP, beside our own judge.

TOML = """\
version = "m/1/v1"
scorers = {scorers}

[policy]
checks = [{{ check = "max-error-rate", at-most = 0.5 }}]
"""
COUNT = 10


def rows_of_suite():
    for n in range(COUNT):
        contexts = [f"Item {n} may be returned within 45 days.", f"The refund of item {n} takes 5 working days."]
        made_up = [f"Shipping of item {n} costs 9 dollars.", f"Item {n} is sold out everywhere."][: n % 3]
        yield {"id": f"s{n}", "input": f"What of item {n}?", "contexts": contexts}, " ".join([*contexts, *made_up])


@pytest.fixture
def run(tmp_path):
    folder = tmp_path / "suite"
    folder.mkdir()
    rows = list(rows_of_suite())
    (folder / "samples.jsonl").write_text("".join(json.dumps(row) + "\n" for row, _ in rows))
    answers = {row["id"]: answer for row, answer in rows}

    with LoopbackServer(lambda seen: judge(seen)) as server:

        def run_with(fake, scorers=("faithfulness", "ragas:faithfulness"), **said):
            """A run by a judge, and the requests it took."""
            (folder / "suite.toml").write_text(TOML.format(scorers=json.dumps(scorers)))
            nonlocal judge
            judge, before = fake, len(server.requests)
            made = evaluate(
                folder,
                provider=FakeProvider(answers),
                judge={"version": "j/1/v1", "base-url": server.base_url, "api-key-env": "", "concurrency": 4, **said},
                journal=tmp_path / "journal.sqlite",
                out=tmp_path / f"run{len(list(tmp_path.glob('run*')))}.jsonl",
                environ={},
            )
            return made, server.requests[before:]

        judge = None
        yield run_with


def scores_of(made, metric):
    return {result.sample_id: result.scores[metric] for result in made.results}


def test_it_goes_through_limiter_journal_and_accounts_like_our_own(run):
    made, requests = run(careful_judge())
    own, theirs = scores_of(made, "faithfulness"), scores_of(made, "ragas_faithfulness")
    assert len(own) == COUNT
    assert {id_: score.value for id_, score in own.items()} == {id_: score.value for id_, score in theirs.items()}
    assert {score.value for score in own.values()} == {1.0, 2 / 3, 0.5}
    uses = [(r.judging["faithfulness"], r.judging["ragas_faithfulness"]) for r in made.results]
    assert all(a.calls == b.calls == 2 and b.input_tokens > 0 and b.output_tokens > 0 for a, b in uses)
    assert len(requests) == 4 * COUNT
    told = [request.body["response_format"]["json_schema"] for request in requests]
    assert sum(form["name"] == "ragas_NLIStatementOutput" and form["strict"] for form in told) == COUNT

    again, requests = run(careful_judge())  # all of it from the journal
    assert not requests
    assert scores_of(again, "ragas_faithfulness") == theirs
    assert all(r.judging["ragas_faithfulness"].from_journal == 2 for r in again.results)

    _, requests = run(
        careful_judge(), version="j/2/v1"
    )  # another judge is asked: its answers are not those of the first
    assert len(requests) == 4 * COUNT


def test_where_a_judge_gives_one_verdict_of_many_it_is_an_error(run):
    careful = careful_judge()

    def lazy(asked):
        [*_, item] = re.findall(r"[Ii]tem (\d+)", asked.data["prompt"])
        reply = dict(careful.reply(asked.messages))
        return {"statements": reply["statements"][:1]} if item == "7" and "verdict" in str(reply) else reply

    made, _ = run(careful_judge(prompt=lazy))
    theirs, own = scores_of(made, "ragas_faithfulness"), scores_of(made, "faithfulness")
    assert [id_ for id_, score in theirs.items() if not isinstance(score, Score)] == ["s7"]
    assert theirs["s7"].reason == "judge_error"
    assert all(theirs[id_].value == own[id_].value for id_ in theirs.keys() - {"s7"})
    [lost] = [r for r in made.results if r.sample_id == "s7"]
    assert lost.judging["ragas_faithfulness"].calls == 4  # asked again twice, and none of it was kept


def test_an_endpoint_that_fails_is_asked_again_by_us_alone(run):
    """With ragas, its client and its own attempts the calls would multiply."""
    made, requests = run(careful_judge(prompt=Reply.status(500, "oops")), retries=0)
    assert {score.reason for score in scores_of(made, "ragas_faithfulness").values()} == {"judge_error"}
    assert {score.value for score in scores_of(made, "faithfulness").values()} == {1.0, 2 / 3, 0.5}
    assert len(requests) == 3 * COUNT


def test_relevancy_asks_three_times_and_embeds_through_the_journal_too(run):
    def asks(asked):
        [*_, item] = re.findall(r"[Ii]tem (\d+)", asked.data["prompt"])
        return asking(f"What of item {item}, time {asked.seen}?")

    judge = careful_judge(prompt=asks)
    given = {"scorers": ["ragas:answer_relevancy"], "embeddings": "e/1/v1"}
    made, requests = run(judge, **given)
    scores = scores_of(made, "ragas_answer_relevancy")
    assert all(0.5 < score.value < 1.0 for score in scores.values())
    assert all(len({row["claim"] for row in score.details["claims"]}) == 3 for score in scores.values())
    paths = [request.path.rpartition("/")[2] for request in requests]
    assert (paths.count("completions"), paths.count("embeddings")) == (3 * COUNT, COUNT + COUNT)
    assert {result.judging["ragas_answer_relevancy"].calls for result in made.results} == {5}

    again, requests = run(judge, **given)
    assert not requests
    assert scores_of(again, "ragas_answer_relevancy") == scores
