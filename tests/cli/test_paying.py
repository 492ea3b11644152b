"""Paying once and no more than agreed: the real command against a real socket, stopped and killed."""

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time

import pytest

from aigate.storing.runs import load_run
from aigate.testing import LoopbackServer, Reply

N, CONCURRENCY = 60, 8
TOML = """\
version = "m/1/v1"
provider = "openai"
scorers = ["exact_match"]

[policy]
checks = [{ check = "min-score", metric = "exact_match", at-least = 0.5 }]
"""


@pytest.fixture
def suite(place):
    rows = [{"id": f"s{i:02}", "input": f"say {i}", "reference": f"say {i}"} for i in range(N)]
    place.write_suite(toml=TOML, samples=rows)
    return place.suite


def right(request, latency_s=0.0):
    wrong = request.last_user_text.endswith("7")
    return Reply.text("no" if wrong else request.last_user_text, served_model="m-1", latency_s=latency_s)


def flags(suite, server, out="run.jsonl", *more):
    common = ("--base-url", server.base_url, "--api-key-env", "", "--concurrency", str(CONCURRENCY), "--quiet")
    return ["eval", "--suite", str(suite), *common, "--out", str(out), *more]


def verdict_of(printed):
    whole = json.loads(printed)
    return {key: whole[key] for key in ("status", "metrics")}, [
        (check["check"], check["status"], check["observed"]) for check in whole["checks"]
    ]


def test_an_unchanged_run_again_asks_nothing_and_says_so(place, suite):
    with LoopbackServer(right) as server:
        first, _, _ = place.run(*flags(suite, server))
        code, _, err = place.run(*flags(suite, server, "again.jsonl"))
        assert len(server.requests) == N
    assert (first, code) == (0, 0)
    assert f"{N} of {N} answers are from the journal" in err
    again = load_run(place.folder / "again.jsonl")
    assert all(r.response.journaled_at and r.response.latency_s is None for r in again.results)
    assert [r.scores for r in again.results] == [r.scores for r in load_run(place.folder / "run.jsonl").results]


@pytest.mark.parametrize("change", [("--no-journal",), ("--option", "model=other"), ("--journal", "elsewhere.sqlite")])
def test_what_is_not_the_same_request_is_asked_for(place, suite, change):
    with LoopbackServer(right) as server:
        place.run(*flags(suite, server))
        place.run(*flags(suite, server, "again.jsonl", *change))
        assert len(server.requests) == 2 * N


def test_a_cap_on_calls_is_kept_ends_without_a_pass_and_goes_on(place, suite):
    with LoopbackServer(right) as server:
        code, _, err = place.run(*flags(suite, server, "run.jsonl", "--max-calls", "40"))
        assert len(server.requests) == 40
        assert code == 3
        assert "max-calls 40 was reached" in err
        assert "20 of 60 answers were not asked" in err
        code, _, _ = place.run(*flags(suite, server, "run.jsonl", "--resume"))
        assert (code, len(server.requests)) == (0, N)


def test_a_cap_on_cost_needs_a_price_and_says_so_before_any_call(place, suite):
    with LoopbackServer(right) as server:
        code, _, err = place.run(*flags(suite, server, "run.jsonl", "--max-cost", "1"))
        assert (code, server.requests) == (2, ())
        assert "--price" in err
        code, _, err = place.run(*flags(suite, server, "run.jsonl", "--max-cost", "0.01", "--price", "2,10"))
    assert code == 3
    assert "max-cost 0.01 USD was reached" in err
    costs = [r.response.cost_usd for r in load_run(place.folder / "run.jsonl").results if r.response]
    assert 0 < len(costs) < N
    assert sum(costs) <= 0.01


def test_the_deadline_of_the_run_ends_it_without_a_pass(place, suite):
    with LoopbackServer(lambda request: right(request, 0.4)) as server:
        code, _, err = place.run(*flags(suite, server, "run.jsonl", "--deadline", "1"))
        assert 0 < len(server.requests) < N
    assert code == 3
    assert "a cap or the deadline was reached" in err


def test_a_hopeless_run_is_given_up_and_kept(place, suite):
    with LoopbackServer(lambda request: Reply.status(401, "bad key")) as server:
        code, _, err = place.run(*flags(suite, server))
        assert 10 <= len(server.requests) < 10 + 2 * CONCURRENCY
    assert code == 4
    assert "the run was given up: 10 samples in a row got no answer; the last one: auth: HTTP 401: bad key" in err
    assert "--resume" in err
    unanswered = (place.folder / "run.jsonl").read_text().count('"outcome":"infrastructure_error"')
    assert 10 <= unanswered <= 10 + 2 * CONCURRENCY


def test_a_damaged_journal_is_an_error_before_any_call(place, suite):
    (place.folder / "broken.sqlite").write_bytes(b"no database at all, but long enough" * 50)
    with LoopbackServer(right) as server:
        code, _, err = place.run(*flags(suite, server, "run.jsonl", "--journal", "broken.sqlite"))
        assert (code, server.requests) == (2, ())
    assert "--no-journal" in err


def test_runs_at_once_on_one_journal_all_decide_the_same_and_leave_it_whole(place, suite):
    """Three real processes; each answer is there for whoever comes later, and none of them is disturbed."""
    with LoopbackServer(lambda request: right(request, 0.02)) as server:
        code, whole, _ = place.run(*flags(suite, server, "whole.jsonl", "--no-journal", "--format", "json"))
        alone = len(server.requests)
        together = [
            subprocess.Popen(
                [sys.executable, "-m", "aigate", *flags(suite, server, f"{n}.jsonl", "--format", "json")],
                cwd=place.folder,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            for n in range(3)
        ]
        told = [process.communicate(timeout=60) for process in together]
        assert [process.returncode for process in together] == [code] * 3, told
        assert [verdict_of(printed) for printed, _ in told] == [verdict_of(whole)] * 3
        assert len(server.requests) - alone <= 3 * N
        asked = len(server.requests)
        assert verdict_of(place.run(*flags(suite, server, "later.jsonl", "--format", "json"))[1]) == verdict_of(whole)
        assert len(server.requests) == asked
    assert json.loads(place.run("journal", "show", "--format", "json")[1])["entries"] == {"answer": N}


@pytest.mark.parametrize("seed", range(6))
def test_a_journal_cut_at_a_random_byte_ends_in_the_same_verdict_or_a_clear_error(place, suite, seed):
    draw = random.Random(seed)  # noqa: S311
    with LoopbackServer(right) as server:
        _, whole, _ = place.run(*flags(suite, server, "run.jsonl", "--format", "json"))
        journal = place.folder / ".aigate" / "journal.sqlite"
        os.truncate(journal, draw.randrange(1, journal.stat().st_size))
        code, printed, err = place.run(*flags(suite, server, "again.jsonl", "--format", "json"))
    assert (code == 0 and verdict_of(printed) == verdict_of(whole)) or (code in {2, 4} and str(journal.name) in err)
    assert code == 0 or "--no-journal" in err or "run again" in err


def test_show_prune_and_export_the_journal(place, suite):
    with LoopbackServer(right) as server:
        place.run(*flags(suite, server))
    code, out, _ = place.run("journal", "show", "--format", "json")
    told = json.loads(out)
    assert (code, told["entries"], told["models"]) == (0, {"answer": N}, {"m-1": N})
    assert place.run("journal", "export", "--out", place.folder / "kept.jsonl")[0] == 0
    rows = [json.loads(line) for line in (place.folder / "kept.jsonl").read_text().splitlines()]
    assert {row["value"]["output"] for row in rows} > {"say 1", "no"}
    assert place.run("journal", "prune", "--older-than", "1")[2].endswith("0 entries taken out")
    assert place.run("journal", "prune", "--all")[2].endswith(f"{N} entries taken out")
    assert place.run("journal", "prune")[0] == 2
    assert place.run("journal", "prune", "--older-than", "soon")[0] == 2
    assert place.run("journal", "show", "--journal", "nowhere.sqlite")[0] == 2


def test_killed_at_random_moments_nothing_but_what_was_in_flight_is_asked_again(place, suite):
    """20 real processes killed with SIGKILL, each with a journal and a run file of its own, then the same again."""
    draw = random.Random(4)  # noqa: S311
    with LoopbackServer(lambda request: right(request, 0.05)) as server:
        code, whole, _ = place.run(*flags(suite, server, "whole.jsonl", "--no-journal", "--format", "json"))
        assert code == 0
        wanted = verdict_of(whole)
        for number in range(20):
            kept = ("--journal", place.folder / f"{number}.sqlite")
            command = flags(suite, server, place.folder / f"{number}.jsonl", *map(str, kept), "--format", "json")
            before = len(server.requests)
            process = subprocess.Popen(
                [sys.executable, "-m", "aigate", *command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
            at = draw.randrange(1, N)
            while len(server.requests) - before < at and process.poll() is None:
                time.sleep(0.002)
            threading.Event().wait(draw.random() * 0.06)
            os.kill(process.pid, signal.SIGKILL)
            process.wait(30)
            settled = len(server.requests)
            while True:  # what was sent before the kill may still be on its way
                time.sleep(0.05)
                if len(server.requests) == settled:
                    break
                settled = len(server.requests)
            code, printed, err = place.run(*command)
            assert code == 0, err
            assert len(server.requests) - before <= N + CONCURRENCY
            assert verdict_of(printed) == wanted
