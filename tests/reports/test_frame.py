"""Runs, comparisons and verdicts as DataFrames: every row, and what is missing stays missing."""

import pytest

from aigate.core.response import Fault, FaultKind, Response
from aigate.core.score import MetricSpec
from aigate.core.verdict import Interval, Reason, Status
from aigate.errors import MissingExtraError
from aigate.gating.comparison import Comparison


def test_a_run_has_a_row_per_sample_and_repeat(make_answers):
    told = [Response(output="x", latency_s=1.5, output_tokens=3), Response(output="y")]
    frame = make_answers({"b": told, "a": [Response(fault=Fault(FaultKind.SERVER, "503"))] * 2}).to_frame()
    assert list(zip(frame["id"], frame["repeat"], strict=True)) == [("a", 0), ("a", 1), ("b", 0), ("b", 1)]
    assert frame["latency_s"].tolist()[2] == 1.5
    assert frame["latency_s"].isna().tolist() == [True, True, False, True]
    assert frame["fault"][0] == "server: 503"
    assert frame["output"].tolist()[2:] == ["x", "y"]
    assert frame["score_correct"].tolist() == [0.0, 0.0, 1.0, 1.0]


def test_a_missing_score_is_not_a_number_and_never_zero(make_run):
    frame = make_run({"a": [None], "b": [0.0]}).to_frame()
    assert frame["score_correct"].isna().tolist() == [True, False]
    assert str(frame["score_correct"].dtype) == str(frame["cost_usd"].dtype) == "float64"


def test_a_comparison_has_a_row_per_metric_and_sample_worst_first(make_run):
    before = make_run({"a": [1.0], "b": [0.5], "c": [1.0]}, version="m/1/v1", groups={"a": "g"})
    now = make_run({"a": [1.0], "b": [1.0], "c": [0.0]}, version="m/2/v1", groups={"a": "g"})
    frame = Comparison(now, before).to_frame()
    assert frame[["id", "baseline", "candidate", "difference"]].values.tolist() == [
        ["c", 1.0, 0.0, -1.0],
        ["a", 1.0, 1.0, 0.0],
        ["b", 0.5, 1.0, 0.5],
    ]
    assert frame["unit"].tolist() == ["sample:c", "group:g", "sample:b"]


def test_scores_of_a_metric_where_lower_is_better_are_turned(make_run):
    specs = [MetricSpec("harm", "recorded:harm", direction="lower", deterministic=False)]
    runs = (make_run({"a": [score]}, metric="harm", specs=specs) for score in (0.9, 0.1))
    frame = Comparison(*runs).to_frame()
    assert frame["difference"].round(6).tolist() == [-0.8]


def test_a_sample_that_one_run_did_not_score_has_no_row(make_run):
    assert Comparison(make_run({"a": [1.0], "b": [None]}), make_run({"a": [1.0], "b": [1.0]})).to_frame()[
        "id"
    ].tolist() == ["a"]


def test_a_verdict_has_a_row_per_check(verdict, check):
    drawn = check(interval=Interval(-0.5, -0.3, 0.9, "Tango"), observed=-0.4, reasons=(Reason("drop", "fell"),))
    frame = verdict(Status.FAIL, drawn, check(Status.PASS, reasons=())).to_frame()
    assert frame["status"].tolist() == ["fail", "pass"]
    assert (frame["low"][0], frame["high"][0], frame["reasons"][0]) == (-0.5, -0.3, ["drop"])
    assert frame["low"].isna().tolist() == [False, True]


def test_nothing_at_all_is_an_empty_frame_with_all_columns(make_run):
    frame = Comparison(make_run({"a": [None]}), make_run({"a": [1.0]})).to_frame()
    assert (len(frame), frame.columns[0]) == (0, "metric")


def test_without_pandas_the_error_names_the_extra(make_run, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pandas", None)
    with pytest.raises(MissingExtraError, match="pandas") as raised:
        make_run({"a": [1.0]}).to_frame()
    assert raised.value.hint == "pip install 'aigate[pandas]'"
