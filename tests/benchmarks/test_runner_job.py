"""What a contender gives back is held against the truth: lost, mixed up or badly scored is seen."""

import json
from dataclasses import replace

import pytest

from contest.job import Checked, Result, checked, write_recording, write_samples

SIZE = 20


@pytest.fixture
def results(tmp_path):
    samples = [json.loads(line) for line in write_samples(tmp_path / "s.jsonl", SIZE).read_text().splitlines()]
    outputs = [
        json.loads(line)["output"] for line in write_recording(tmp_path / "r.jsonl", SIZE).read_text().splitlines()
    ]
    assert len({row["input"] for row in samples}) == SIZE
    return [Result(row["id"], out, out == row["reference"]) for row, out in zip(samples, outputs, strict=True)]


def test_a_perfect_run_has_failed_samples_too(results):
    assert checked(results, SIZE) == Checked(SIZE, 0, 0)
    assert sum(not result.passed for result in results) == 2


def test_the_order_of_results_does_not_matter(results):
    assert checked(reversed(results), SIZE) == Checked(SIZE, 0, 0)


def test_a_sample_without_an_output_is_lost_and_so_is_one_that_is_not_there(results):
    assert checked([replace(results[0], output=None), *results[2:]], SIZE) == Checked(SIZE - 2, 2, 0)


@pytest.mark.parametrize("change", [{"output": "answer0000001"}, {"passed": False}, {"passed": None}])
def test_another_samples_output_or_a_score_that_is_not_its_own_is_wrong(results, change):
    assert checked([replace(results[0], **change), *results[1:]], SIZE) == Checked(SIZE, 0, 1)


def test_a_pass_where_the_reference_differs_is_wrong(results):
    assert checked([*results[:9], replace(results[9], passed=True), *results[10:]], SIZE).wrong == 1


def test_a_sample_told_twice_or_of_another_job_is_wrong(results):
    assert checked([*results, results[0], replace(results[0], id="x")], SIZE) == Checked(SIZE, 0, 2)
