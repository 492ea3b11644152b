"""The benchmark of a slow scorer: its scorer is one that an installed package brings, and what is wrong is told."""

import sys

import slow_scorer
from aigate.scorers.base import ScorerSettings, make_scorer


def document(**changes):
    row = {"wall_s": 10.0, "cpu_s": 9.0, "peak_mb": 80.0, "latency_s": 0.3, "slowest_s": 0.5, "busy": 0.0}
    fast = {**row, "wall_s": 5.0, "latency_s": 0.1}
    rows = [{"name": slow_scorer.HERE, **row}, {"name": slow_scorer.ELSEWHERE, **fast}]
    whole = {"mode": "full", "size": 1_000, "ms": 10, "date": "2026-01-01", "problems": [], "rows": rows}
    return whole | {"machine": {"python": "3", "system": "Linux", "cores": 2, "load": 0.0}} | changes


def test_the_scorer_is_found_as_that_of_an_installed_package(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(slow_scorer.write_package(tmp_path))
    scorer = make_scorer(ScorerSettings("slow", options={"ms": 1}))
    assert scorer.spec.metric == "exact_match"
    sys.modules.pop("slow")


def test_the_page_says_how_much_longer_it_takes_without_workers_and_what_is_wrong():
    page = slow_scorer.page(document())
    assert "Without workers it takes 2.00 times as long. Wrong: nothing" in page
    assert "| with workers | 5.00 | 100 | 500 | 9.0 | 80 |" in page
    assert "Wrong: one is lost." in slow_scorer.page(document(problems=["one is lost"]))
