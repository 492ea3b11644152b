"""An interrupted benchmark goes on where it stopped, and gives what an uninterrupted one gives."""

import json

import pytest

from rates import running
from rates.plan import Configuration, Target
from rates.running import code_digest, results_of


def alarms(rate, runs=50):
    options = {"rate": rate, "limit": 0.01, "requests": 200}
    return Configuration("canary", f"{rate}", "rate_alarms", options, runs, (Target("alarm", 0.5),))


CHOSEN = [alarms(0.01), alarms(0.05), alarms(0.2)]


def counts(results):
    return {key: result["counts"] for key, result in results.items()}


@pytest.fixture
def checkpoint(tmp_path):
    return tmp_path / "partial.jsonl"


def test_one_process_and_two_give_the_same(checkpoint):
    alone = results_of(CHOSEN, processes=1, checkpoint=None, code="x")
    together = results_of(CHOSEN, processes=2, checkpoint=None, code="x")
    assert counts(alone) == counts(together)
    assert list(alone) == [c.key for c in CHOSEN]


def test_what_is_done_is_not_run_again(checkpoint, monkeypatch):
    first = results_of(CHOSEN[:2], processes=1, checkpoint=checkpoint, code="x")
    ran = []
    run_one = running.run_one
    monkeypatch.setattr(running, "run_one", lambda c: ran.append(c.name) or run_one(c))
    again = results_of(CHOSEN, processes=1, checkpoint=checkpoint, code="x")
    assert ran == ["0.2"]
    assert counts(first).items() <= counts(again).items()


@pytest.mark.parametrize("change", ["code", "runs"])
def test_results_of_other_code_or_other_counts_are_not_used(checkpoint, change):
    results_of(CHOSEN[:1], processes=1, checkpoint=checkpoint, code="x")
    lines = len(checkpoint.read_text().splitlines())
    code, runs = ("y", 50) if change == "code" else ("x", 60)
    results_of([alarms(0.01, runs)], processes=1, checkpoint=checkpoint, code=code)
    assert len(checkpoint.read_text().splitlines()) == lines + 1


def test_a_torn_last_line_is_run_again(checkpoint):
    whole = results_of(CHOSEN[:2], processes=1, checkpoint=checkpoint, code="x")
    text = checkpoint.read_text()
    checkpoint.write_text(text[: len(text) - 20])
    again = results_of(CHOSEN[:2], processes=1, checkpoint=checkpoint, code="x")
    assert counts(again) == counts(whole)


def test_the_digest_moves_with_the_code(tmp_path):
    (tmp_path / "a.py").write_text("1")
    before = code_digest(tmp_path)
    (tmp_path / "a.py").write_text("2")
    assert code_digest(tmp_path) != before


def test_a_checkpoint_line_is_json(checkpoint):
    results_of(CHOSEN[:1], processes=1, checkpoint=checkpoint, code="x")
    row = json.loads(checkpoint.read_text())
    assert row["code"] == "x"
    assert set(row["result"]) == {"counts", "seconds"}
