"""Scorers in worker processes: results, faults and ends of a run that asks are those of a run without them."""

import asyncio
import json
import os
import re
import signal
import time

import pytest

from aigate.core.ledger import Outcome
from aigate.core.looks import Look, LookPlan
from aigate.core.response import Fault, FaultKind, Response
from aigate.core.sample import Sample
from aigate.core.score import Score
from aigate.errors import CannotJudgeError
from aigate.gating.decision import gate
from aigate.gating.policy import Policy
from aigate.running import engine, scoring
from aigate.running.evaluation import evaluate
from aigate.running.scoring import Gauge, Scoring
from aigate.running.settle import judged
from aigate.scorers.base import ScorerSettings, make_scorer
from aigate.testing import FakeJudge, FakeProvider, LoopbackServer, save_cross_encoder

N = 66
HOME_ANSWERS = 8  # are judged here in any case: before it is known how long one takes, nobody is sent away
ODD = '''
import asyncio, os, signal, sys
from pathlib import Path

from aigate.core.score import MetricSpec, Score, Unscored


class Odd:
    """Judges, and tells which process did; in a worker it does what its option `does` says."""

    def __init__(self, settings):
        self.options = dict(settings.options)
        self.away = os.getpid() != int(os.environ["ODD_HOME"])
        if self.away and self.does == "cannot be made":
            raise OSError("not on this machine")
        version = 2 if self.away and self.does == "differs" else 1
        self.spec = MetricSpec(settings.argument or "odd", "odd", version, {"does": self.does})

    @property
    def does(self):
        return self.options.get("does", "")

    def applies_to(self, sample):
        return Unscored("not_applicable", "outside") if int(sample.id[1:]) % 11 == 2 else None

    def score(self, sample, response):
        number = int(sample.id[1:])
        with Path(os.environ["ODD_SEEN"], f"{self.spec.metric} {os.getpid()}").open("a") as file:
            file.write(f"{number}\\n")
        if self.away and self.does == "dies" and number % 20 == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        if self.away and self.does == "always dies":
            os.kill(os.getpid(), signal.SIGKILL)
        if self.away and self.does == "exits" and number % 20 == 0:
            sys.exit(7)
        if self.does == "cancels" and number == 50:
            asyncio.current_task().cancel()
        if self.does == "is cancelled" and number == 50:
            raise asyncio.CancelledError
        if self.does == "waits" or self.away and self.does == "waits there":
            return self.waited(number)
        return self.found(number)

    async def waited(self, number):
        await asyncio.sleep(0)
        return self.found(number)

    def found(self, number):
        if number % 11 == 3:
            raise ValueError(f"no {number}")
        if number % 11 == 5:
            return Unscored("unparseable", "no number in it")
        if number % 11 == 7:
            return 1.0
        if number % 11 == 8:
            return Score(0.5, details={"a": {1, 2}})
        details = {"parts": [1, 2.5, None, "é"], "none": {}} if number % 11 == 9 else {}
        return Score(number % 7 / 7, f"odd {number}", f"{number}", details)
'''


@pytest.fixture
def suite(tmp_path, monkeypatch):
    """A suite of odd scorers that an installed package brings; made by what their options are to be."""
    package = tmp_path / "package"
    (package / "odd-1.dist-info").mkdir(parents=True)
    (package / "odd.py").write_text(ODD)
    (package / "odd-1.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: odd\nVersion: 1\n")
    (package / "odd-1.dist-info" / "entry_points.txt").write_text("[aigate.scorers]\nodd = odd:Odd\n")
    monkeypatch.syspath_prepend(package)
    monkeypatch.setenv("ODD_HOME", str(os.getpid()))

    def written(*scorers, toml=""):
        rows = [{"id": f"s{n:02}", "input": f"Frage {n}?", "reference": f"réponse {n}"} for n in range(N)]
        folder = tmp_path / "suite"
        folder.mkdir(exist_ok=True)
        (folder / "samples.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        listed = ", ".join(scorers or ('{ scorer = "odd" }',))
        head = f'version = "m/1/v1"\nscorers = [{listed}]\n{toml}'
        checks = '{ check = "min-score", metric = "odd", at-least = 0.2 }, { check = "max-error-rate", at-most = 0.5 }'
        (folder / "suite.toml").write_text(f"{head}\n[policy]\nchecks = [{checks}]\n")
        return folder

    return written


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Evaluate with or without workers; gives the run, and who judged what: numbers of samples by metric and process.

    With workers, answers come no sooner than it is known what is sent to them, but for the first few.
    """
    made = []

    class Seen(Scoring):
        def __init__(self, *arguments, **options):
            super().__init__(*arguments, **options)
            made.append(self)

    monkeypatch.setattr(engine, "Scoring", Seen)
    monkeypatch.setattr(scoring, "FIRST", 3)
    monkeypatch.setattr(scoring, "LEAST_S", 0.0)
    monkeypatch.setattr(scoring, "cores", lambda: 2)
    asked = []

    async def sleep(_seconds):
        asked.append(1)
        while len(asked) > HOME_ANSWERS and not (made[-1]._away or made[-1]._closed or scoring.WORTH_S > 1.0):
            await asyncio.sleep(0.01)

    def evaluated(folder, *, workers, name="run", **options):
        asked.clear()
        seen = tmp_path / f"seen {name} {workers}"
        seen.mkdir()
        monkeypatch.setenv("ODD_SEEN", str(seen))
        monkeypatch.setattr(scoring, "WORTH_S", -1.0 if workers else 1e9)
        faults = {"s04": Fault(FaultKind.SERVER, "broken"), "s45": Fault(FaultKind.AUTH, "no key")}
        given = {
            "provider": FakeProvider(lambda sample: f"réponse {sample.id}", faults=faults, sleep=sleep),
            "out": tmp_path / f"{name} {workers}.jsonl",
            "concurrency": 4,
            "retries": 0,
            "journal": None,
        }
        try:
            found = evaluate(folder, **{**given, **options})
        finally:
            for each in made:
                assert each._closed
                assert each._workers is None or not any(worker._process for worker in each._workers._workers)
        return found, {path.name: set(map(int, path.read_text().split())) for path in seen.iterdir()}

    return evaluated


def lines(path):
    """The lines of a run's results, which come in no order; without how long attempts took that failed."""
    told = sorted(path.read_bytes().split(b"\n")[1:-2])
    return [re.sub(rb',"longest_failed_s":[^}]+', b"", line) for line in told]


def away(seen, metric="odd"):
    """The samples that other processes judged."""
    others = [numbers for who, numbers in seen.items() if who.startswith(f"{metric} ") and who != home(metric)]
    return set().union(*others)


def home(metric="odd"):
    """Under what name this process is seen."""
    return f"{metric} {os.getpid()}"


def verdict_of(found):
    told = gate(found, Policy.from_config(dict(found.header.policy))).to_dict()
    return {key: value for key, value in told.items() if key not in ("bound", "valid_until")}


def assert_same(one, other, tmp_path):
    """Two runs, by workers and without, are one: lines, digests, seeds and verdicts."""
    assert lines(tmp_path / "run True.jsonl") == lines(tmp_path / "run False.jsonl")
    assert one.ledger == other.ledger
    assert verdict_of(one) == verdict_of(other)


@pytest.fixture
def seen_with_workers(run, tmp_path):
    """Who judged what of a suite with workers; the run is that without them."""

    def seen(folder):
        here, _ = run(folder, workers=False)
        there, judged_by = run(folder, workers=True)
        assert_same(there, here, tmp_path)
        return judged_by

    return seen


def test_lines_and_verdict_are_those_of_a_run_without_workers(suite, run, tmp_path):
    folder = suite('{ scorer = "odd" }', '"exact_match"', '"odd:second"')
    here, seen = run(folder, workers=False)
    assert set(seen) == {home("odd"), home("second")}
    there, seen = run(folder, workers=True)
    assert len(away(seen)) > N / 2
    assert not away(seen) & seen[home()]  # nothing is judged twice
    counts = {outcome for outcome, count in there.ledger.counts.items() if count}
    wanted = {Outcome.PROVIDER_ERROR, Outcome.INFRASTRUCTURE_ERROR, Outcome.UNPARSEABLE, Outcome.JUDGE_ERROR}
    assert counts == {Outcome.SCORED, *wanted}
    assert [*there.results[0].scores] == ["odd", "exact_match", "second"]
    assert_same(there, here, tmp_path)


@pytest.mark.parametrize("does", ["dies", "exits"])
def test_what_a_worker_ends_over_is_judged_here(suite, seen_with_workers, does):
    seen = seen_with_workers(suite(f'{{ scorer = "odd", does = "{does}" }}'))
    assert {20, 40, 60} <= seen[home()]
    assert away(seen) - {20, 40, 60}


def test_workers_that_always_die_are_given_up(suite, seen_with_workers):
    seen = seen_with_workers(suite('{ scorer = "odd", does = "always dies" }'))
    assert 1 <= len(away(seen)) < N / 2


@pytest.mark.parametrize("does", ["cannot be made", "differs", "waits"])
def test_a_scorer_that_no_worker_can_stand_in_for_stays_and_others_go(suite, seen_with_workers, does):
    seen = seen_with_workers(suite(f'{{ scorer = "odd", does = "{does}" }}', '"odd:plain"'))
    assert [who for who in seen if who.startswith("odd")] == [home()]
    assert away(seen, "plain")


@pytest.mark.parametrize("does", ["cannot be made", "differs", "waits"])
def test_where_all_stay_no_worker_judges(suite, seen_with_workers, does):
    seen = seen_with_workers(suite(f'{{ scorer = "odd", does = "{does}" }}'))
    assert list(seen) == [home()]


def test_a_scorer_that_turns_out_to_wait_comes_back(suite, seen_with_workers):
    seen = seen_with_workers(suite('{ scorer = "odd", does = "waits there" }'))
    assert 1 <= len(away(seen)) < N / 2


@pytest.mark.parametrize("does", ["cancels", "is cancelled"])
@pytest.mark.parametrize("workers", [False, True])
def test_a_scorer_that_cancels_its_task_ends_the_run_as_without_workers(suite, run, tmp_path, does, workers):
    with pytest.raises(CannotJudgeError, match="a scorer cancelled the task that called it"):
        run(suite(f'{{ scorer = "odd", does = "{does}" }}'), workers=workers)
    kept = [json.loads(line)["id"] for line in (tmp_path / f"run {workers}.jsonl").read_bytes().splitlines()[1:]]
    assert len(kept) < N


def test_a_judge_is_asked_here_about_what_workers_judged(suite, run, tmp_path):
    judge = FakeJudge({"correctness_grade": {"reasoning": "it is so", "grade": "correct"}})
    with LoopbackServer(judge) as server:
        table = f'[judge]\nversion = "j/1/v1"\nbase-url = "{server.base_url}"\napi-key-env = ""\nprice = "1,1"\n'
        folder = suite('{ scorer = "odd" }', '"correctness"', toml=table)
        here, _ = run(folder, workers=False)
        there, seen = run(folder, workers=True)
    assert away(seen)
    assert there.ledger == here.ledger
    scores = [{r.sample_id: {**r.scores} for r in found.results} for found in (here, there)]
    assert scores[0] == scores[1]


def test_a_look_that_settles_ends_the_run_and_looks_see_what_workers_said(suite, run, tmp_path):
    looks, seen_at = LookPlan((Look(20, 1), Look(40, 1), Look(N, 1))), {}
    for workers in (False, True):
        at = seen_at[workers] = []

        def settled(found, at=at):
            asked = [result for result in found.results if not result.outcome.not_run]
            at.append({result.sample_id: dict(result.scores) for result in asked})
            return len(at) == 2

        found, seen = run(suite(), workers=workers, looks=looks, settled=settled)
        assert found.ledger.counts[Outcome.EARLY_STOP] > 0
    assert away(seen)
    assert [len(scores) for scores in seen_at[True]] == [20, 40]
    assert seen_at[True] == seen_at[False]


def test_a_deadline_ends_the_run_with_workers_at_it(suite, run, tmp_path):
    found, _ = run(suite(), workers=True, deadline_s=1e-9)
    assert found.ledger.counts[Outcome.BUDGET] > N / 2


def test_one_call_at_a_time_goes_to_workers_too(suite, run, tmp_path):
    here, _ = run(suite(), workers=False, concurrency=1)
    there, seen = run(suite(), workers=True, concurrency=1)
    assert away(seen)
    assert_same(there, here, tmp_path)


@pytest.mark.usefixtures("ctrl_c")
def test_what_is_recorded_when_a_run_is_stopped_is_gone_on_with(suite, run, tmp_path):
    told = []

    def stop(result, done, total):
        told.append(result.key)
        if done == N // 2:
            signal.raise_signal(signal.SIGINT)

    run(suite(), workers=False)
    with pytest.raises(KeyboardInterrupt):
        run(suite(), workers=True, name="stopped", progress=stop)
    run(suite(), workers=True, name="again", out=tmp_path / "stopped True.jsonl", resume=True)
    assert lines(tmp_path / "stopped True.jsonl") == lines(tmp_path / "run False.jsonl")


@pytest.mark.integration
def test_a_model_on_this_machine_stays_in_its_thread(suite, run, tmp_path, monkeypatch):
    folder = suite('{ scorer = "odd" }', '{ scorer = "entailment", model = "nli" }')
    save_cross_encoder(folder / "nli", proof="réponse", doubt="zzz")
    sent = []
    started = Scoring._start
    monkeypatch.setattr(Scoring, "_start", lambda self, scorers: started(self, scorers) or sent.append(self))
    run(folder, workers=True)
    (found,) = sent
    assert found._recipe(make_scorer(found._made_from["entailment"])) == ""


# --- when workers are worth it ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("each_s", "left", "least_s", "cores", "worth"),
    [
        (0.02, 1_000, 0.002, 2, True),
        (0.02, 1_000, 0.002, 1, False),  # there is nobody else
        (0.02, 60, 0.002, 2, False),  # workers would start later than it ends
        (0.001, 100_000, 0.002, 2, False),  # to hand it over would cost as much
        (0.001, 100_000, 0.0, 2, True),  # in chunks it costs nothing
        (5.0, 30, 0.002, 2, True),
    ],
)
def test_workers_are_worth_it_where_the_rest_takes_long(monkeypatch, each_s, left, least_s, cores, worth):
    monkeypatch.setattr(scoring, "cores", lambda: cores)
    gauge = Gauge(left, least_s=least_s)
    seen = []
    for _ in range(min(left, 3 * scoring.FIRST)):
        gauge.note(each_s)
        seen.append(gauge.worth_workers)
    assert any(seen) is worth
    if worth:
        assert gauge.each_s == pytest.approx(each_s)


def test_scorers_that_take_no_time_are_sent_nowhere(monkeypatch):
    monkeypatch.setattr(scoring, "cores", lambda: 2)
    settings = ScorerSettings("exact_match")
    scorer, found = make_scorer(settings), Scoring({"exact_match": settings}, left=10**9)

    async def judge_many():
        for _ in range(5 * scoring.FIRST):
            scores = await found.judged([scorer], Sample("a", "b", reference="c"), Response("c"))
            assert scores == {"exact_match": scorer.score(Sample("a", "b", reference="c"), Response("c"))}

    asyncio.run(judge_many())
    assert found._workers is None
    assert found._gauge.each_s > 0.0  # it was looked at


def test_what_the_first_answers_import_does_not_count(monkeypatch):
    monkeypatch.setattr(scoring, "cores", lambda: 2)
    gauge = Gauge(10_000, least_s=0.002)
    gauge.note(30.0)
    for _ in range(2 * scoring.FIRST):
        gauge.note(1e-6)
        assert not gauge.worth_workers


def test_seconds_in_which_others_could_run_are_not_held():
    class Waits:
        spec = make_scorer(ScorerSettings("exact_match")).spec

        def applies_to(self, sample):
            return None

        async def score(self, sample, response):
            await asyncio.sleep(0.2)
            return Score(1.0)

    async def watched():
        work = scoring._Watched(judged(Waits(), Sample("a", "b"), Response("c")))
        started_s = time.perf_counter()
        return await work, work, time.perf_counter() - started_s

    score, work, took_s = asyncio.run(watched())
    assert score == Score(1.0)
    assert work.waited
    assert work.held_s < took_s - 0.1


def test_a_cancellation_reaches_what_is_watched():
    ended = []

    async def waits():
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            ended.append("heard")
            raise

    async def cancelled():
        async def watch():
            await scoring._Watched(waits())

        task = asyncio.create_task(watch())
        await asyncio.sleep(0)
        task.cancel()
        await task

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(cancelled())
    assert ended == ["heard"]
