"""Run, header and result: what they hold survives the way to JSON and back."""

import json
from dataclasses import fields, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aigate.core.digest import json_line
from aigate.core.ledger import Outcome
from aigate.core.looks import Look, LookPlan
from aigate.core.response import Fault, FaultKind, Response
from aigate.core.run import Result, RunHeader
from aigate.core.score import MetricSpec, Score, Unscored
from aigate.core.version import VersionId

HEADER = RunHeader(
    version=VersionId("org/m", "1", "v1"),
    provider={"name": "fake", "adapter": 1},
    suite_name="faq",
    suite_digest="sha256:0",
    suite_size=2,
    prompt_digest="sha256:1",
    parameters={"temperature": 0.0},
    metrics=(MetricSpec("correct", "exact_match"), MetricSpec("length", "shape", direction="lower")),
    primary_metric="correct",
    repeats=2,
    policy={"alpha": 0.05},
    subset="first 1",
    expected_models=("m-1",),
    libraries={"python": "3.11"},
    seed=7,
    commit="abc-dirty",
    started_at="2026-01-01T00:00:00Z",
    looks=LookPlan((Look(1, 1), Look(2, 2))),
)
RESPONSES = st.none() | st.builds(Response, output=st.text()) | st.just(Response(fault=Fault(FaultKind.QUOTA, "empty")))
JUDGEMENTS = st.builds(Score, st.floats(0, 1)) | st.just(Unscored("judge_error", "broke"))
RESULTS = st.builds(
    Result,
    sample_id=st.text(min_size=1),
    repeat=st.integers(0, 5),
    outcome=st.sampled_from(Outcome),
    response=RESPONSES,
    scores=st.dictionaries(st.text(), JUDGEMENTS, max_size=3),
)
CHANGES = {
    "version": VersionId("m", "2", "v1"),
    "provider": {"name": "other"},
    "suite_name": "x",
    "suite_digest": "sha256:x",
    "suite_size": 3,
    "prompt_digest": None,
    "parameters": {},
    "metrics": (),
    "primary_metric": "length",
    "repeats": 3,
    "policy": {},
    "subset": None,
    "expected_models": (),
    "libraries": {},
    "seed": 8,
    "commit": None,
    "started_at": "",
    "looks": None,
    "load": {"engine": "local", "concurrency": 8, "timeout_s": 60.0},
    "rejudged_from": "sha256:x",
    "calibrations": {"length": {"j": 0.6}},
}


@given(RESULTS)
def test_a_result_round_trips(result):
    assert Result.from_dict(json.loads(json_line(result.to_dict()))) == result


def test_a_header_round_trips():
    assert RunHeader.from_dict(json.loads(json_line(HEADER.to_dict()))) == HEADER


@pytest.mark.parametrize("name", [field.name for field in fields(RunHeader)])
def test_every_field_of_a_header_is_stored(name):
    changed = replace(HEADER, **{name: CHANGES[name]})
    assert changed.to_dict() != HEADER.to_dict()
    assert RunHeader.from_dict(changed.to_dict()) == changed


@pytest.mark.parametrize("name", [field.name for field in fields(RunHeader)])
def test_two_parts_of_one_run_share_all_that_can_move_an_answer_or_a_score(name):
    changed = replace(HEADER, **{name: CHANGES[name]})
    same = changed.same_conditions() == HEADER.same_conditions()
    apart = {"libraries", "commit", "started_at", "policy", "expected_models", "primary_metric", "looks", "load"}
    apart.add("calibrations")
    assert same is (name in apart)  # how a run is decided moves no answer and no score


def test_a_header_written_before_looks_were_known_has_none():
    row = {key: value for key, value in HEADER.to_dict().items() if key != "looks"}
    assert RunHeader.from_dict(row) == replace(HEADER, looks=None)


def test_a_header_written_before_loads_were_known_has_none_and_keeps_its_bytes():
    assert HEADER.load is None
    assert "load" not in HEADER.to_dict()
    with pytest.raises(TypeError, match="'load' is list"):
        RunHeader.from_dict({**HEADER.to_dict(), "load": []})


def test_a_metric_is_found_by_its_name():
    assert HEADER.metric("length").direction == "lower"
    assert HEADER.metric("exact_match") is None


def test_a_run_knows_its_results_by_sample_and_counts_them(make_run):
    run = make_run({"b": [1.0, 0.0], "a": [None, 1.0]})
    assert list(run.samples) == ["a", "b"]
    assert len(run) == 2
    assert [result.key for result in run.results] == [("a", 0), ("a", 1), ("b", 0), ("b", 1)]
    assert [result.repeat for result in run.by_sample["b"]] == [0, 1]
    assert run.ledger.to_dict() | {"scored": 3, "judge_error": 1} == run.ledger.to_dict()
    assert run.ledger.total == 4
