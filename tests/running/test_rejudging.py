"""Answers that are there are judged, and judged again, without asking anybody for them."""

import json
from dataclasses import replace

import pytest

from aigate.core.ledger import Outcome
from aigate.core.response import Fault, FaultKind
from aigate.goldens.suite import load_suite
from aigate.running.evaluation import Choices, JournalAt, evaluate, prepare
from aigate.running.judges import JudgeChoices
from aigate.running.rejudging import holds_answers_of, other_judges, rejudge
from aigate.storing.runs import load_run
from aigate.testing import FakeJudge, FakeProvider, LoopbackServer, Reply

N = 6
TOML = """\
version = "m/1/v1"
scorers = ["faithfulness", "exact_match"]

[policy]
checks = [{ check = "no-regression", metric = "faithfulness" }]
"""


def by_verdict(verdict):
    """A judge that always says the same."""

    def rule(asked):
        if "sentences" in asked.data:
            return {"sentences": [{"id": s["id"], "claims": [s["text"]]} for s in asked.data["sentences"]]}
        quote = asked.data["contexts"][0]
        return {"verdicts": [{"id": c["id"], "quote": quote, "verdict": verdict} for c in asked.data["claims"]]}

    return FakeJudge({"faithfulness_claims": rule, "faithfulness_verdicts": rule})


@pytest.fixture
def suite(tmp_path):
    folder = tmp_path / "faq"
    folder.mkdir()
    (folder / "suite.toml").write_text(TOML)
    rows = [
        {
            "id": f"s{i}",
            "input": f"Say {i}.",
            "reference": f"It is number {i}.",
            "contexts": [f"This holds number {i}."],
        }
        for i in range(N)
    ]
    (folder / "samples.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return load_suite(folder)


def judge_at(server, version="j/1/v1", **fields):
    return {"version": version, "base-url": server.base_url, "api-key-env": "", "retries": 0, **fields}


def answered(sample):
    return f"It is number {sample.id[1:]}."


def first_run(suite, server, out, **how):
    return evaluate(suite, provider=FakeProvider(answered), judge=judge_at(server), journal=None, out=out, **how)


def conditions(suite, server, version="k/2/v1", **choices):
    judge = JudgeChoices.of(judge_at(server, version))
    return prepare(suite, Choices(provider=FakeProvider({}), judge=judge, **choices), environ={})


def test_a_resumed_run_asks_only_the_judge(suite, tmp_path, held_port):
    provider, out = FakeProvider(answered), tmp_path / "run.jsonl"
    broken = FakeJudge(dict.fromkeys(("faithfulness_claims", "faithfulness_verdicts"), Reply.status(500, "broken")))
    with LoopbackServer(broken, port=held_port) as server:
        judge = judge_at(server)
        first = evaluate(suite, provider=provider, judge=judge, journal=None, out=out)
    assert first.ledger.counts[Outcome.JUDGE_ERROR] == N
    with LoopbackServer(by_verdict("supported"), port=held_port) as server:
        second = evaluate(suite, provider=provider, judge=judge, journal=None, out=out, resume=True)
    assert second.ledger.counts[Outcome.SCORED] == N
    assert len(provider.requests) == N  # nobody was asked for an answer again


def test_a_judge_may_be_any_provider(suite, tmp_path):
    run = evaluate(
        suite,
        provider=FakeProvider(answered),
        judge={"version": "local/1/v1", "provider": _InProcess(by_verdict("supported"))},
        journal=None,
    )
    assert {result.scores["faithfulness"].value for result in run.results} == {1.0}
    assert run.header.metric("faithfulness").judge["provider"] == {"name": "in-process"}


class _InProcess(FakeProvider):
    """A judge in this process."""

    name = "in-process"

    def __init__(self, judge):
        super().__init__({})
        self.judge = judge

    def describe(self):
        return {"name": self.name}

    async def respond(self, request):
        from aigate.core.response import Response

        return Response(json.dumps(self.judge.reply(request.messages)))


def test_answers_are_kept_and_judged_metrics_scored_anew(suite, tmp_path):
    with LoopbackServer(by_verdict("supported")) as server:
        run = first_run(suite, server, tmp_path / "run.jsonl")
    with LoopbackServer(by_verdict("contradicted")) as server:
        how = conditions(suite, server)
        assert other_judges(run, how.header, {"faithfulness"}) == ("faithfulness",)
        again = rejudge(run, how, ("faithfulness",), tmp_path / "again.jsonl")
    assert [r.response for r in again.results] == [r.response for r in run.results]
    assert [r.scores["exact_match"] for r in again.results] == [r.scores["exact_match"] for r in run.results]
    assert {r.scores["faithfulness"].value for r in again.results} == {0.0}
    assert again.header.metric("faithfulness").judge["version"] == "k/2/v1"
    assert (again.header.rejudged_from, again.header.version) == (run.digest, run.header.version)
    assert load_run(tmp_path / "again.jsonl").digest == again.digest
    assert holds_answers_of(again, run)
    assert not holds_answers_of(run, again)
    assert not other_judges(again, how.header, {"faithfulness"})


def test_a_run_judged_twice_still_says_whose_answers_they_are(suite, tmp_path):
    with LoopbackServer(by_verdict("supported")) as server:
        run = first_run(suite, server, tmp_path / "run.jsonl")
        again = rejudge(run, conditions(suite, server), ("faithfulness",), tmp_path / "2.jsonl")
        third = rejudge(again, conditions(suite, server, "l/3/v1"), ("faithfulness",), tmp_path / "3.jsonl")
    assert third.header.rejudged_from == run.digest


def test_the_candidates_faults_keep_their_worst_scores_and_are_not_judged(suite, tmp_path):
    faults = {"s1": Fault(FaultKind.CANDIDATE, "crashed"), "s2": Fault(FaultKind.AUTH, "our key")}
    judge = by_verdict("supported")
    with LoopbackServer(judge) as server:
        provider = FakeProvider(answered, faults=faults)
        run = evaluate(suite, provider=provider, judge=judge_at(server), journal=None, out=tmp_path / "run.jsonl")
        before = len(judge.asked)
        again = rejudge(run, conditions(suite, server), ("faithfulness",), tmp_path / "again.jsonl")
    assert len(judge.asked) - before == 2 * (N - 2)
    by_id = {result.sample_id: result for result in again.results}
    assert (by_id["s1"].outcome, by_id["s1"].scores["faithfulness"].value) == (Outcome.PROVIDER_ERROR, 0.0)
    assert (by_id["s2"].outcome, by_id["s2"].scores["faithfulness"].reason) == (
        Outcome.INFRASTRUCTURE_ERROR,
        "infrastructure_error",
    )


def test_what_a_judge_failed_on_is_judged_now(suite, tmp_path):
    with LoopbackServer(FakeJudge({"faithfulness_claims": "nonsense"})) as server:
        run = first_run(suite, server, tmp_path / "run.jsonl")
    assert run.ledger.counts[Outcome.JUDGE_ERROR] == N
    with LoopbackServer(by_verdict("supported")) as server:
        again = rejudge(run, conditions(suite, server), ("faithfulness",), tmp_path / "again.jsonl")
    assert again.ledger.counts[Outcome.SCORED] == N


def test_a_cap_leaves_a_run_that_says_so_and_goes_on(suite, tmp_path):
    judge = by_verdict("supported")
    with LoopbackServer(judge) as server:
        run = first_run(suite, server, tmp_path / "run.jsonl")
        before, out = len(judge.asked), tmp_path / "again.jsonl"
        capped = rejudge(run, conditions(suite, server, max_calls=4), ("faithfulness",), out)
        assert capped.ledger.counts[Outcome.BUDGET] > 0
        assert len(judge.asked) - before <= 4


def test_the_journal_keeps_judgements_for_the_next_time_unless_they_must_be_fresh(suite, tmp_path):
    judge, journal = by_verdict("supported"), JournalAt(tmp_path / "journal.sqlite")
    with LoopbackServer(judge) as server:
        run = first_run(suite, server, tmp_path / "run.jsonl")
        asked = []
        for name, fresh in (("1", False), ("2", False), ("3", True)):
            before = len(judge.asked)
            how = conditions(suite, server, journal=journal)
            rejudge(run, how, ("faithfulness",), tmp_path / f"{name}.jsonl", fresh=fresh)
            asked.append(len(judge.asked) - before)
    assert asked == [2 * N, 0, 2 * N]


def test_one_that_broke_off_is_gone_on_with(suite, tmp_path):
    judge, out = by_verdict("supported"), tmp_path / "again.jsonl"
    with LoopbackServer(judge) as server:
        run = first_run(suite, server, tmp_path / "run.jsonl")
        how = conditions(suite, server)
        whole = rejudge(run, how, ("faithfulness",), out)
        lines = out.read_text().splitlines(keepends=True)
        out.write_text("".join(lines[:4]))  # the header and three results
        before = len(judge.asked)
        again = rejudge(run, how, ("faithfulness",), out)
    assert len(judge.asked) - before == 2 * (N - 3)
    assert [r.scores for r in again.results] == [r.scores for r in whole.results]


def test_only_metrics_that_both_judge_are_judged_again(suite, tmp_path):
    with LoopbackServer(by_verdict("supported")) as server:
        run = first_run(suite, server, tmp_path / "run.jsonl")
        header = conditions(suite, server).header
    plain = replace(run.header.metric("faithfulness"), judge=None)
    unjudged = replace(run, header=replace(run.header, metrics=(plain,)))
    assert other_judges(run, header, {"exact_match"}) == ()
    assert other_judges(unjudged, header, {"faithfulness"}) == ()
    assert other_judges(run, run.header, {"faithfulness"}) == ()


def test_a_run_that_holds_other_answers_is_none_of_it(suite, tmp_path):
    with LoopbackServer(by_verdict("supported")) as server:
        run = first_run(suite, server, tmp_path / "run.jsonl")
        again = rejudge(run, conditions(suite, server), ("faithfulness",), tmp_path / "again.jsonl")
    first = replace(again.results[0], response=replace(again.results[0].response, output="other"))
    assert not holds_answers_of(replace(again, results=(first, *again.results[1:])), run)
