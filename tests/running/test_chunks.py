"""Recorded answers are judged chunk by chunk, here or in worker processes: the lines are those of the engine."""

import json
import os
import signal
import time
from collections import Counter
from dataclasses import replace

import pytest

from aigate.core.ledger import Outcome
from aigate.errors import CannotJudgeError
from aigate.gating.decision import gate
from aigate.gating.policy import Policy
from aigate.goldens import jsonlines
from aigate.goldens.samples import StoredSamples
from aigate.goldens.suite import load_suite
from aigate.providers.replay import StoredAnswers, load_recorded
from aigate.running import chunks, scoring
from aigate.running.evaluation import evaluate
from aigate.scorers.base import ScorerSettings, make_scorer
from aigate.storing.runs import load_run
from aigate.testing import save_cross_encoder
from aigate.workers import WorkerLostError, Workers

N = 400
TOML = """version = "m/1/v1"
provider = "replay"
scorers = ["exact_match", { scorer = "token_f1" }, "recorded:human"]
price = "1.0,2.0"
[policy]
checks = [{ check = "min-score", metric = "exact_match", at-least = 0.5 }, { check = "max-error-rate", at-most = 0.4 }]
"""


def answer(number, repeat):
    """Right, wrong, failed, cut off, not recorded, or not labelled by people."""
    row = {"id": f"q{number * 7 % N:03}", "repeat": repeat, "input_tokens": 10, "output_tokens": number}
    if number % 50 == 9:
        return None
    if number % 50 == 3:
        return {**row, "error": {"kind": "timeout", "message": "late"}, "latency_s": 9.0}
    row["scores"] = {} if number % 20 == 1 else {"human": 1.0}
    row["finish_reason"] = "length" if number % 40 == 2 else "stop"
    return {**row, "output": f"réponse {number * 7 % N}" if number % 5 else "no", "latency_s": number / 100}


@pytest.fixture
def folder(tmp_path):
    suite = tmp_path / "suite"
    suite.mkdir()
    (suite / "suite.toml").write_text(TOML)
    rows = [
        {
            "id": f"q{number:03}",
            "input": f"Frage {number}?",
            "reference": f"réponse {number}",
            "tags": [f"t{number % 3}"],
        }
        for number in reversed(range(N))
    ]
    told = [row for repeat in range(2) for number in range(N) if (row := answer(number, repeat)) is not None]
    for name, table in (("samples", rows), ("recorded", told)):
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in table)
        (suite / f"{name}.jsonl").write_text(text, encoding="utf-8")
    return suite


@pytest.fixture
def small_chunks(monkeypatch):
    for module, name, value in (
        (chunks, "FIRST", 16),
        (chunks, "AT_ONCE", 64),
        (scoring, "FIRST", 16),
        (scoring, "cores", lambda: 2),
    ):
        monkeypatch.setattr(module, name, value)


def result_lines(path):
    return path.read_bytes().split(b"\n")[1:-2]


def run(folder, out, **options):
    return evaluate(folder, recorded=folder / "recorded.jsonl", repeats=2, out=out, journal=None, **options)


@pytest.mark.parametrize("large", [False, True])
@pytest.mark.parametrize("pooled", [False, True])
def test_lines_and_verdict_are_those_of_the_engine(folder, tmp_path, monkeypatch, small_chunks, large, pooled):
    with monkeypatch.context() as patched:
        patched.setattr(chunks, "is_judged_in_chunks", lambda plan: False)
        whole = run(folder, tmp_path / "engine.jsonl")
    counts = {outcome for outcome, count in whole.ledger.counts.items() if count}
    kinds = {Outcome.PROVIDER_ERROR, Outcome.INFRASTRUCTURE_ERROR, Outcome.TRUNCATED, Outcome.JUDGE_ERROR}
    assert counts == {Outcome.SCORED, *kinds}
    monkeypatch.setattr(scoring, "WORTH_S", -1.0 if pooled else 1e9)
    monkeypatch.setattr(jsonlines, "LARGE_BYTES", 1 if large else 1 << 30)
    suite = load_suite(folder)
    assert isinstance(suite.samples, StoredSamples) is large
    assert isinstance(load_recorded(folder / "recorded.jsonl").answers, StoredAnswers) is large
    judged_by = Counter()
    monkeypatch.setattr(chunks, "Workers", lambda: judged_by.update(["workers"]) or Workers())
    told = []
    found = run(folder, tmp_path / "chunks.jsonl", progress=lambda result, done, total: told.append((done, total)))
    assert judged_by["workers"] == pooled
    lines = result_lines(tmp_path / "chunks.jsonl")
    assert sorted(lines) == sorted(result_lines(tmp_path / "engine.jsonl"))  # the engine's workers take turns
    order = [(sample.id, repeat) for repeat in range(2) for sample in suite.samples]
    assert [(row["id"], row["repeat"]) for row in map(json.loads, lines)] == order
    assert told == [(done, 2 * N) for done in range(1, 2 * N + 1)]
    assert load_run(tmp_path / "chunks.jsonl") == found
    policy = Policy.from_config(dict(found.header.policy))
    stamps = {"started_at", "commit"}
    verdicts = [gate(each, policy).to_dict() for each in (found, whole)]
    for verdict in verdicts:
        for stamp in ("bound", "valid_until"):
            del verdict[stamp]
    assert verdicts[0] == verdicts[1]
    headers = [{k: v for k, v in each.header.to_dict().items() if k not in stamps} for each in (found, whole)]
    assert headers[0] == headers[1]


def test_a_lost_worker_ends_the_run_and_what_was_written_is_gone_on_with(folder, tmp_path, monkeypatch, small_chunks):
    monkeypatch.setattr(scoring, "WORTH_S", -1.0)
    started = []

    class Watched(Workers):
        def __init__(self):
            super().__init__(1)
            started.append(self)

    monkeypatch.setattr(chunks, "Workers", Watched)

    def kill(result, done, total):  # once the worker has judged something
        if done == 100:
            os.kill(started[0]._workers[0]._process.pid, signal.SIGKILL)

    out = tmp_path / "run.jsonl"
    with pytest.raises(WorkerLostError, match="signal 9") as error:
        run(folder, out, progress=kill)
    assert isinstance(error.value, CannotJudgeError)
    assert error.value.exit_code == 4
    kept = len(out.read_bytes().splitlines()) - 1
    assert 100 <= kept < 2 * N
    assert started[0]._workers[0]._process is None
    done = []
    whole = run(folder, out, resume=True, progress=lambda result, *_: done.append(result.key))
    assert 2 * N - kept <= len(done) < 2 * N
    monkeypatch.setattr(chunks, "is_judged_in_chunks", lambda plan: False)
    engine = run(folder, tmp_path / "engine.jsonl")
    assert sorted(result_lines(out)) == sorted(result_lines(tmp_path / "engine.jsonl"))
    assert whole.ledger == engine.ledger


def test_ctrl_c_ends_workers_and_leaves_a_run_to_go_on_with(folder, tmp_path, monkeypatch, small_chunks):
    monkeypatch.setattr(scoring, "WORTH_S", -1.0)

    def stop(result, done, total):
        if done == 300:
            raise KeyboardInterrupt

    out = tmp_path / "run.jsonl"
    with pytest.raises(KeyboardInterrupt):
        run(folder, out, progress=stop)
    assert 300 <= len(out.read_bytes().splitlines()) - 1 < 2 * N
    assert run(folder, out, resume=True).ledger.total == 2 * N


def test_slow_scorers_are_given_to_workers_and_fast_ones_are_not(folder, tmp_path, monkeypatch, small_chunks):
    made = Counter()
    monkeypatch.setattr(chunks, "Workers", lambda: made.update(["workers"]) or Workers())
    with monkeypatch.context() as patched:
        patched.setattr(scoring, "WORTH_S", 60.0)
        run(folder, tmp_path / "fast.jsonl")
    assert not made
    judged, slow = chunks._judged, []

    async def slowly(*arguments):
        slow.append(time.sleep(0.05))  # work, as a scorer that keeps the processor busy does it
        return await judged(*arguments)

    monkeypatch.setattr(chunks, "_judged", slowly)
    run(folder, tmp_path / "slow.jsonl")
    assert made["workers"] == 1
    assert len(slow) == 2  # all further ones elsewhere


def test_a_worker_that_makes_another_scorer_judges_nothing():
    settings = ScorerSettings("exact_match")
    spec = scoring.spec_text(make_scorer(settings))
    recipe = chunks._Recipe((settings.to_json(),), (spec,), None)
    assert chunks._scorers(recipe)[0].spec.metric == "exact_match"
    with pytest.raises(CannotJudgeError, match="other scorers"):
        chunks._scorers(replace(recipe, specs=(spec.replace("exact_match", "exact_match_2"),)))


def test_a_deadline_is_kept_by_the_engine(folder, tmp_path):
    found = run(folder, tmp_path / "run.jsonl", deadline_s=1e-9)
    assert found.ledger.counts[Outcome.BUDGET] > 0


def test_a_recorded_timeout_is_not_asked_for_again(folder, monkeypatch):
    monkeypatch.setattr(chunks, "is_judged_in_chunks", lambda plan: False)
    assert {result.response.attempts for result in run(folder, None).results} == {1}


def test_a_worker_makes_scorers_from_the_folder_that_they_were_made_from(tmp_path):
    settings = ScorerSettings("entailment", options={"model": "nli"}, folder=tmp_path)
    assert ScorerSettings.from_dict(json.loads(json.dumps(settings.to_dict()))) == settings


@pytest.mark.integration
def test_a_model_in_the_suite_s_folder_is_found_by_workers(folder, tmp_path, monkeypatch, small_chunks):
    save_cross_encoder(folder / "nli", proof="response", doubt="zzz")
    (folder / "suite.toml").write_text(TOML.replace('"exact_match", {', '{ scorer = "entailment", model = "nli" }, {'))
    suite = (folder / "suite.toml").read_text().replace('metric = "exact_match"', 'metric = "entailment"')
    (folder / "suite.toml").write_text(suite)
    monkeypatch.setattr(scoring, "WORTH_S", -1.0)
    found = run(folder, tmp_path / "chunks.jsonl")
    assert len(found.results) == 2 * N
