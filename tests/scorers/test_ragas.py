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
import warnings

import pytest

from aigate.core.response import Response
from aigate.core.sample import Sample
from aigate.core.score import MetricSpec, Score
from aigate.errors import ConfigError, ScoringError
from aigate.running.evaluation import evaluate
from aigate.scorers.base import ScorerSettings, make_scorer, scorer_from_spec
from aigate.scorers.judge import JudgeError
from aigate.scorers.quotes import find_quote
from aigate.testing import FakeJudge, FakeProvider, LoopbackServer, Reply, fake_judge_identity, judged_scorer

CONTEXTS = ("Opened items may be returned within 45 days.", "Refunds take 5 working days.")
SAMPLE = Sample("s", "How are returns handled?", reference="Refunds take 5 working days.", contexts=CONTEXTS)
ANSWER = "Refunds take 5 working days. Shipping is free."
FOUR = ["Refunds take 5 working days.", "Shipping is free.", "Pigs fly.", "The moon is cheese."]

pytestmark = [pytest.mark.integration, pytest.mark.ragas]


class InARow:
    """Access to a judge that gives the next reply of a list, whatever it is asked."""

    def __init__(self, replies, **identity):
        self.judge = fake_judge_identity(**identity)
        self.left, self.sent = list(replies), []

    async def respond(self, messages, parameters, *, usable=lambda _response: None, draw=0):
        self.sent.append((messages, parameters))
        reply = self.left.pop(0)
        if isinstance(reply, Exception):
            raise reply
        response = reply if isinstance(reply, Response) else Response(text_of(reply), finish_reason="stop")
        usable(response)
        return response


def text_of(reply):
    return reply if isinstance(reply, str) else json.dumps(reply)


def statements(*texts):
    return {"statements": list(texts)}


def verdicts(*numbers, texts=FOUR):
    return {"statements": [{"statement": t, "reason": "r", "verdict": v} for t, v in zip(texts, numbers, strict=False)]}


def helps(verdict):
    return {"reason": "r", "verdict": verdict}


def recalled(*numbers, texts=("Refunds take 5 working days.",)):
    rows = [{"statement": t, "reason": "r", "attributed": n} for t, n in zip(texts, numbers, strict=True)]
    return {"classifications": rows}


def judged(metric, replies, *, sample=SAMPLE, output=ANSWER, **identity):
    """What one judgement gives, or the JudgeError it ends with; and what was sent."""
    access = InARow(replies, **identity)
    scorer = judged_scorer("ragas", argument=metric)
    try:
        return asyncio.run(scorer.judge(sample, Response(output), access)), access
    except JudgeError as error:
        return error, access


def ragas_alone(metric, replies, *, sample=SAMPLE, output=ANSWER):
    """The number that ragas itself makes of the same replies."""
    from ragas.llms.base import InstructorBaseRagasLLM
    from ragas.metrics import collections

    left = list(replies)

    class Canned(InstructorBaseRagasLLM):
        def generate(self, prompt, response_model):
            raise NotImplementedError

        async def agenerate(self, prompt, response_model):
            return response_model.model_validate(left.pop(0))

    scorer = judged_scorer("ragas", argument=metric)
    made = getattr(collections, scorer.kind.made_by)(llm=Canned())
    return float(asyncio.run(made.ascore(**scorer._data(sample, output))).value)


RIGHT = {
    "faithfulness, half": ("faithfulness", [statements(*FOUR), verdicts(1, 0, 0, 1)], 0.5),
    "faithfulness, all": ("faithfulness", [statements(*FOUR[:2]), verdicts(1, 1)], 1.0),
    "faithfulness, none": ("faithfulness", [statements(*FOUR[:1]), verdicts(0)], 0.0),
    "context_precision, first": ("context_precision", [helps(1), helps(0)], 1.0),
    "context_precision, second": ("context_precision", [helps(0), helps(1)], 0.5),
    "context_precision, none": ("context_precision", [helps(0), helps(0)], 0.0),
    "context_utilization": ("context_utilization", [helps(1), helps(1)], 1.0),
    "context_recall": ("context_recall", [recalled(1)], 1.0),
}


@pytest.mark.parametrize(("metric", "replies", "value"), RIGHT.values(), ids=RIGHT)
def test_where_ragas_is_right_its_score_comes_through(metric, replies, value):
    found, access = judged(metric, replies)
    assert found.value == pytest.approx(value, abs=1e-6) == pytest.approx(ragas_alone(metric, replies), abs=1e-6)
    assert len(access.sent) == len(replies)


def test_statements_and_verdicts_are_kept():
    found, _ = judged("faithfulness", [statements(*FOUR[:2]), verdicts(1, 0)])
    assert found.explanation == "ragas: 1 of 2 verdicts are 1"
    assert found.details["claims"] == [
        {"claim": FOUR[0], "verdict": "supported", "reason": "r"},
        {"claim": FOUR[1], "verdict": "not_in_context", "reason": "r"},
    ]


# What ragas makes of replies that are wrong, alone; here they are all asked again and then an error.
WRONG = {
    "one verdict for four statements": ("faithfulness", [statements(*FOUR), verdicts(1)], 1.0),
    "a verdict that is no 0 or 1": ("faithfulness", [statements(*FOUR), verdicts(2, -1, 7, 0)], 0.75),
    "more verdicts than statements": ("faithfulness", [statements(*FOUR[1:2]), verdicts(1, 1, 1, 0)], 0.75),
    "one statement four times": (
        "faithfulness",
        [statements(*FOUR), verdicts(1, 1, 1, 1, texts=[FOUR[0]] * 4)],
        1.0,
    ),
    "a context that helps five times": ("context_utilization", [helps(0), helps(5)], 12.5),
    "a context that harms": ("context_precision", [helps(-1), helps(2)], 2.0),
    "a recall of what was not asked": ("context_recall", [recalled(1, texts=("Pigs fly.",))], 1.0),
    "a recall of two": ("context_recall", [recalled(2)], 2.0),
}


@pytest.mark.parametrize(("metric", "replies", "alone"), WRONG.values(), ids=WRONG)
def test_where_ragas_is_wrong_there_is_no_score(metric, replies, alone):
    assert ragas_alone(metric, replies) == pytest.approx(alone, abs=1e-6)
    *before, last = replies
    found, access = judged(metric, [*before, last, last, last])
    assert isinstance(found, JudgeError), found
    assert "no usable reply in 3 attempts" in found.message
    assert len(access.sent) == len(before) + 3
    assert "could not be used" in access.sent[-1][0][-1]["content"]


def test_nan_is_a_missing_score():
    assert str(ragas_alone("faithfulness", [statements()])) == "nan"
    assert str(ragas_alone("faithfulness", [statements(*FOUR), {"statements": []}])) == "nan"
    assert judged("faithfulness", [statements()])[0].reason == "judge_error"
    assert isinstance(judged("faithfulness", [statements(*FOUR), *[{"statements": []}] * 3])[0], JudgeError)
    assert isinstance(judged("context_recall", [{"classifications": []}] * 3)[0], JudgeError)


BROKEN = {
    "empty": "",
    "cut": '{"statements": [{"statement": "Refunds',
    "prose": "All of it is true.",
    "a verdict that is a text": verdicts("1", "1", "1", "1"),
    "a verdict that is true": verdicts(True, True, True, True),
    "a verdict that is a fraction": verdicts(1.0, 1.0, 1.0, 0.9),
    "another key": {**verdicts(1, 1, 1, 1), "score": 1},
    "a refusal": Response("no", refusal=True),
    "a token limit": Response(json.dumps(verdicts(1, 1, 1, 1)), finish_reason="length"),
}


@pytest.mark.parametrize("reply", BROKEN.values(), ids=BROKEN)
def test_a_reply_that_is_no_verdicts_is_asked_again_and_then_an_error(reply):
    found, access = judged("faithfulness", [statements(*FOUR), reply, reply, reply])
    assert isinstance(found, JudgeError)
    assert len(access.sent) == 4  # ragas's own retries would make it more
    found, _ = judged("faithfulness", [statements(*FOUR), reply, verdicts(1, 0, 0, 0)])
    assert found.value == 0.25


def test_what_our_side_raises_comes_out_as_it_was_raised():
    class BudgetSpentError(Exception):
        pass

    with pytest.raises(BudgetSpentError):
        judged("faithfulness", [statements(*FOUR), BudgetSpentError("spent")])
    assert judged("faithfulness", [JudgeError("gone")])[0].message == "gone"


def test_what_ragas_itself_raises_is_a_judge_error(monkeypatch):
    from ragas.metrics.collections import Faithfulness

    monkeypatch.setattr(Faithfulness, "_compute_score", lambda self, found: 1 / 0)
    found, _ = judged("faithfulness", [statements(*FOUR[:1]), verdicts(1)])
    assert "ZeroDivisionError" in found.message


def test_a_score_that_the_verdicts_are_not_worth_is_an_error(monkeypatch):
    from ragas.metrics.collections import Faithfulness

    monkeypatch.setattr(Faithfulness, "_compute_score", lambda self, found: 1.0)
    found, _ = judged("faithfulness", [statements(*FOUR), verdicts(1, 0, 0, 0)])
    assert found.message == "ragas gives 1 for verdicts that are worth 0.25"


def test_the_form_of_replies_is_demanded_as_the_judge_is_told():
    replies = [statements(*FOUR[:1]), verdicts(1)]
    for reply, told in {"json-schema": "json_schema", "json-object": "json_object", "text": None}.items():
        _, access = judged("faithfulness", replies, reply=reply)
        assert access.sent[0][1].get("response_format", {}).get("type") == told
    _, access = judged("faithfulness", replies)
    schema = access.sent[1][1]["response_format"]["json_schema"]["schema"]
    objects = [part for part in (schema, *schema["$defs"].values()) if part["type"] == "object"]
    assert len(objects) == 2
    assert all(part["additionalProperties"] is False for part in objects)


def test_what_lies_outside_and_what_is_empty():
    bare = Sample("b", "?", contexts=CONTEXTS)
    assert judged_scorer("ragas", argument="context_recall").applies_to(bare).reason == "no_reference"
    assert judged_scorer("ragas", argument="faithfulness").applies_to(bare) is None
    assert judged_scorer("ragas", argument="faithfulness").applies_to(Sample("b", "?")).reason == "not_applicable"
    assert judged("faithfulness", [], output=" ")[0].value == 0.0
    assert judged("context_recall", [recalled(0)], output=" ")[0].value == 0.0


@pytest.mark.parametrize("argument", ["", "faithfullness", "answer_relevancy"])
def test_an_unknown_metric_is_refused_with_a_next_step(argument):
    with pytest.raises(ConfigError) as caught:
        judged_scorer("ragas", argument=argument)
    assert caught.value.hint


def test_it_is_a_judged_scorer_like_the_others():
    scorer = judged_scorer("ragas", argument="faithfulness", metric="mine")
    assert scorer_from_spec(MetricSpec.from_dict(json.loads(json.dumps(scorer.spec.to_dict())))) == scorer
    assert len(scorer.questions(SAMPLE, ANSWER)) == 2
    assert len(judged_scorer("ragas", argument="context_precision").questions(SAMPLE, ANSWER)) == 2
    assert scorer.questions(SAMPLE, "") == ()
    with pytest.raises(ScoringError, match="asks a model"):
        scorer.score(SAMPLE, Response("x"))
    with pytest.raises(ConfigError, match="needs a judge"):
        make_scorer(ScorerSettings("ragas", "faithfulness"))
    with pytest.raises(ConfigError, match="metrik"):
        judged_scorer("ragas", argument="faithfulness", metrik="x")


def test_nothing_is_written_and_nobody_is_told(tmp_path):
    """A whole judgement in a process of its own, whose home is empty before and after, and that may not connect."""
    program = (
        "import socket, sys\n"
        "from aigate.testing import judged_scorer, fake_judge_identity\n"
        "def no(self, address, *_): sys.exit(f'connects to {address}')\n"
        "socket.socket.connect = no\n"
        f"sys.path.insert(0, {os.path.dirname(__file__)!r})\n"  # noqa: PTH120
        "from test_ragas import judged, statements, verdicts, FOUR\n"
        "found, _ = judged('faithfulness', [statements(*FOUR), verdicts(1, 0, 0, 0)])\n"
        "print(found.value)\n"
    )
    home = tmp_path / "home"
    home.mkdir()
    names = ("HOME", "XDG_DATA_HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME")
    environ = {**os.environ, **dict.fromkeys(names, str(home)), "PYTHONDONTWRITEBYTECODE": "1"}
    environ.pop("RAGAS_DO_NOT_TRACK", None)
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program], cwd=tmp_path, env=environ, capture_output=True, text=True
    )
    assert done.stdout.strip() == "0.25", done.stderr
    assert list(tmp_path.rglob("*")) == [home]


# Side by side with our own judge over HTTP. The scripted judge is careful: a sentence is a claim, and what stands in
# the contexts word for word is supported. On some samples it gives one verdict only.

TOML = """\
version = "m/1/v1"
scorers = ["faithfulness", "ragas:faithfulness"]

[policy]
checks = [{ check = "min-score", metric = "faithfulness", at-least = 0.5 }]
"""
COUNT = 40


def rows_of_suite():
    for n in range(COUNT):
        contexts = [f"Item {n} may be returned within 45 days.", f"The refund of item {n} takes 5 working days."]
        made_up = [f"Shipping of item {n} costs 9 dollars.", f"Item {n} is sold out everywhere."][: n % 3]
        yield {"id": f"s{n}", "input": f"What of item {n}?", "contexts": contexts}, " ".join([*contexts, *made_up])


def of_ragas(text, *, lazy):
    """The careful judge's reply to a prompt of ragas."""
    data = json.loads(re.search(r"(?s).*\ninput: (.*)\nOutput: $", text)[1])
    if "statements" not in data:
        return {"statements": re.split(r"(?<=\.) ", data["answer"])}
    rows = [
        {"statement": s, "reason": "looked", "verdict": int(find_quote(s, [data["context"]]) is not None)}
        for s in data["statements"]
    ]
    return {"statements": rows[:1] if lazy(data["context"]) else rows}


def of_own(asked):
    if "sentences" in asked.data:
        return {"sentences": [{"id": s["id"], "claims": [s["text"]]} for s in asked.data["sentences"]]}
    rows = []
    for claim in asked.data["claims"]:
        held = find_quote(claim["text"], asked.data["contexts"]) is not None
        verdict = "supported" if held else "not_in_context"
        rows.append({"id": claim["id"], "quote": claim["text"] if held else "", "verdict": verdict})
    return {"verdicts": rows}


@pytest.fixture
def side_by_side(tmp_path):
    folder = tmp_path / "suite"
    folder.mkdir()
    rows = list(rows_of_suite())
    (folder / "suite.toml").write_text(TOML)
    (folder / "samples.jsonl").write_text("".join(json.dumps(row) + "\n" for row, _ in rows))
    answers = {row["id"]: answer for row, answer in rows}

    def run(lazy=lambda context: False):
        own = FakeJudge({"faithfulness_claims": of_own, "faithfulness_verdicts": of_own})

        def script(seen):
            foreign = "\nOutput: " in seen.body["messages"][0]["content"]
            if not foreign:
                return own(seen)
            return Reply.text(json.dumps(of_ragas(seen.body["messages"][0]["content"], lazy=lazy)))

        with LoopbackServer(script) as server, warnings.catch_warnings():
            judge = {"version": "j/1/v1", "base-url": server.base_url, "api-key-env": ""}
            made = evaluate(
                folder,
                provider=FakeProvider(answers),
                judge=judge,
                journal=tmp_path / "journal.sqlite",
                out=tmp_path / f"run{len(list(tmp_path.glob('run*')))}.jsonl",
                environ={},
            )
            return made, len(server.requests)

    return run


def scores_of(made, metric):
    return {result.sample_id: result.scores[metric] for result in made.results}


def test_ragas_and_our_own_judge_agree_on_forty_samples_and_cost_the_same_calls(side_by_side):
    made, requests = side_by_side()
    own, theirs = scores_of(made, "faithfulness"), scores_of(made, "ragas_faithfulness")
    assert len(own) == COUNT
    assert {id_: score.value for id_, score in own.items()} == {id_: score.value for id_, score in theirs.items()}
    assert {score.value for score in own.values()} == {1.0, 2 / 3, 0.5}
    uses = [(r.judging["faithfulness"], r.judging["ragas_faithfulness"]) for r in made.results]
    assert all(a.calls == b.calls == 2 and b.input_tokens > 0 and b.output_tokens > 0 for a, b in uses)
    assert requests == 4 * COUNT

    again, more = side_by_side()  # all of it from the journal
    assert more == 0
    assert scores_of(again, "ragas_faithfulness") == theirs
    assert all(r.judging["ragas_faithfulness"].from_journal == 2 for r in again.results)


def test_where_the_judge_gives_one_verdict_of_many_ragas_alone_would_say_one(side_by_side):
    def lazy(context):
        return re.search(r"Item (\d+) ", context)[1].endswith("7")

    made, _ = side_by_side(lazy)
    theirs, own = scores_of(made, "ragas_faithfulness"), scores_of(made, "faithfulness")
    wrong = [id_ for id_, score in theirs.items() if not isinstance(score, Score)]
    assert sorted(wrong) == ["s17", "s27", "s37", "s7"]
    assert {theirs[id_].reason for id_ in wrong} == {"judge_error"}
    assert all(theirs[id_].value == own[id_].value for id_ in theirs.keys() - set(wrong))
    [lost] = [r for r in made.results if r.sample_id == "s7"]
    assert lost.judging["ragas_faithfulness"].calls == 4  # asked again twice, and none of it was kept
