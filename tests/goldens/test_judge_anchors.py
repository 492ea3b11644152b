"""Labelled answers are read strictly, and are no part of the suite's digest."""

import json

import pytest

from aigate.errors import SuiteError
from aigate.goldens.judge_anchors import load_judge_anchors
from aigate.goldens.suite import load_suite

ROW = {"id": "a", "input": "Q?", "contexts": ["It is so."], "output": "It is so.", "label": 1}


def written(folder, *rows):
    path = folder / "judge-anchors.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_anchors_are_read_in_order(tmp_path):
    first, second = load_judge_anchors(written(tmp_path, ROW, {**ROW, "id": "b", "label": 0.5, "metric": "faith"}))
    assert (first.sample.id, first.output, first.label, first.metric) == ("a", "It is so.", 1.0, None)
    assert (second.label, second.metric) == (0.5, "faith")
    assert first.digest != second.digest


def test_without_a_file_there_are_none(tmp_path):
    assert load_judge_anchors(tmp_path / "judge-anchors.jsonl") == ()


@pytest.mark.parametrize("change", [{"label": 0}, {"output": "No."}, {"input": "Q!"}, {"metric": "x"}])
def test_an_edited_row_is_another_anchor(tmp_path, change):
    [before] = load_judge_anchors(written(tmp_path, ROW))
    [after] = load_judge_anchors(written(tmp_path, {**ROW, **change}))
    assert before.digest != after.digest


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        ([ROW, ROW], ":2: duplicate id 'a' (first on line 1)"),
        ([{**ROW, "label": True}], ":1: label: got True, expected a number in [0, 1]"),
        ([{**ROW, "label": "1"}], ":1: label: got '1'"),
        ([{**ROW, "label": -0.1}], ":1: label: got -0.1"),
        ([{**ROW, "score": 1}], ":1: unknown field 'score'"),
        ([{**ROW, "contexts": "x"}], ":1: contexts: got a string"),
        ([{**ROW, "metric": 1}], ":1: metric: got a number"),
        ([], ": no anchors in it"),
    ],
)
def test_a_wrong_row_is_named_by_file_and_line(tmp_path, rows, told):
    path = written(tmp_path, *rows)
    with pytest.raises(SuiteError) as caught:
        load_judge_anchors(path)
    assert caught.value.message.startswith(f"{path}{told}")


def test_anchors_belong_to_the_suite_and_not_to_its_digest(tmp_path):
    (tmp_path / "suite.toml").write_text('version = "m/1/v1"\n')
    (tmp_path / "samples.jsonl").write_text('{"id": "s", "input": "?"}\n')
    without = load_suite(tmp_path)
    written(tmp_path, ROW)
    suite = load_suite(tmp_path)
    assert (len(suite.judge_anchors), suite.digest) == (1, without.digest)
