"""Recorded responses: what is read, what is refused, and what is answered."""

import asyncio
import gzip
import json
from dataclasses import replace
from pathlib import Path

import pytest

from aigate.core.response import FaultKind
from aigate.core.sample import Sample
from aigate.core.version import VersionId
from aigate.errors import CallError, ProviderConfigError, SuiteError
from aigate.providers.base import ProviderSettings, Request, make_provider, most_repeats_of
from aigate.providers.replay import ReplayProvider, load_recorded

VERSION = VersionId("m", "1", "v1")
FULL = {
    "id": "refund-014",
    "repeat": 0,
    "output": "Yes, within 30 days.",
    "latency_s": 0.81,
    "ttft_s": 0.22,
    "input_tokens": 310,
    "output_tokens": 12,
    "cost_usd": 0.0009,
    "finish_reason": "stop",
    "served_model": "gpt-4o-2024-11-20",
    "scores": {"human_faithful": 1.0},
    "error": None,
}


def written(folder: Path, *rows: object, name: str = "recorded.jsonl") -> Path:
    path = folder / name
    text = "".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows)
    path.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    return path


def asked(provider: ReplayProvider, sample_id: str, repeat: int = 0):
    return asyncio.run(provider.respond(Request(Sample(sample_id, "?"), (), repeat=repeat)))


def test_every_field_of_the_documented_line_is_kept(tmp_path):
    answer = load_recorded(written(tmp_path, FULL)).answers["refund-014", 0]
    assert {**answer.to_dict(), "id": "refund-014", "repeat": 0, "error": None} == FULL


def test_refusal_and_fingerprint_are_kept(tmp_path):
    path = written(tmp_path, {"id": "a", "output": "I cannot.", "refusal": True, "fingerprint": "fp_1"})
    answer = load_recorded(path).answers["a", 0]
    assert (answer.refusal, answer.fingerprint) == (True, "fp_1")


def test_id_and_output_are_enough_and_nothing_is_made_up(tmp_path):
    answer = load_recorded(written(tmp_path, {"id": "a", "output": ""})).answers["a", 0]
    assert answer.to_dict() == {"output": ""}


def test_lines_without_repeat_are_numbered_in_order_of_appearance(tmp_path):
    rows = [{"id": i, "output": o} for i, o in (("a", "a0"), ("b", "b0"), ("a", "a1"), ("a", "a2"))]
    answers = load_recorded(written(tmp_path, *rows)).answers
    assert {key: answer.output for key, answer in answers.items()} == {
        ("a", 0): "a0",
        ("b", 0): "b0",
        ("a", 1): "a1",
        ("a", 2): "a2",
    }


def test_duplicate_answer_names_both_lines(tmp_path):
    path = written(tmp_path, {"id": "a", "repeat": 1, "output": "x"}, FULL, {"id": "a", "repeat": 1, "output": "y"})
    with pytest.raises(SuiteError, match=r"recorded\.jsonl:3: duplicate .*'a', repeat 1 \(first on line 1\)"):
        load_recorded(path)


def test_an_unnumbered_line_that_meets_a_numbered_one_is_a_duplicate(tmp_path):
    with pytest.raises(SuiteError, match=r":2: duplicate .* \(first on line 1\)"):
        load_recorded(written(tmp_path, {"id": "a", "repeat": 0, "output": "x"}, {"id": "a", "output": "y"}))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"outptu": "x"}, "unknown field 'outptu'"),
        ({"id": None}, "field 'id': expected a non-empty string"),
        ({"id": ""}, "got an empty string"),
        ({"id": 7}, "got a number"),
        ({"output": 7}, "field 'output': expected a string, got 7"),
        ({"output": None}, "neither output nor error"),
        ({"error": "boom"}, "both output and error"),
        ({"output": None, "error": ""}, "field 'error' is empty"),
        ({"output": None, "error": ["x"]}, "field 'error': expected null, a string or an object"),
        ({"output": None, "error": {"kind": "time-out", "message": "x"}}, "unknown kind 'time-out'"),
        ({"output": None, "error": {"kind": "timeout"}}, "field 'error.message': expected a string, got null"),
        ({"output": None, "error": {"kind": "timeout", "message": "x", "code": 1}}, "unknown field 'code'"),
        ({"repeat": -1}, "field 'repeat': expected a whole number, 0 or more, got -1"),
        ({"repeat": True}, "field 'repeat'"),
        ({"repeat": 1.0}, "field 'repeat'"),
        ({"latency_s": -0.1}, "field 'latency_s': expected a finite number, 0 or more, got -0.1"),
        ({"latency_s": "0.1"}, "field 'latency_s': expected a finite number, 0 or more, got a string"),
        ({"ttft_s": False}, "field 'ttft_s'"),
        ({"cost_usd": -1}, "field 'cost_usd'"),
        ({"cost_usd": 10**400}, "field 'cost_usd'"),
        ({"input_tokens": 3.5}, "field 'input_tokens': expected a whole number"),
        ({"output_tokens": -3}, "field 'output_tokens'"),
        ({"finish_reason": 1}, "field 'finish_reason'"),
        ({"served_model": []}, "field 'served_model': expected a string, got an array"),
        ({"refusal": 1}, "field 'refusal': expected true or false, got 1"),
        ({"scores": [1]}, "field 'scores': expected an object, got an array"),
        ({"scores": {"ok": 10**400}}, "score 'ok' is 1000"),
        ({"scores": {"ok": True}}, "score 'ok': expected a number, got true"),
        ({"scores": {"ok": "1"}}, "score 'ok': expected a number, got a string"),
        ({"scores": {"ok": None}}, "score 'ok': expected a number, got null"),
    ],
)
def test_a_wrong_line_is_refused_with_its_place(tmp_path, change, says):
    path = written(tmp_path, FULL, {"id": "other", "output": "fine"}, {**FULL, "id": "third", **change})
    with pytest.raises(SuiteError) as caught:
        load_recorded(path)
    assert caught.value.message.startswith(f"{path}:3: ")
    assert says in caught.value.message


def test_an_unknown_field_names_the_nearest(tmp_path):
    with pytest.raises(SuiteError) as caught:
        load_recorded(written(tmp_path, {"id": "a", "output": "x", "latency": 1}))
    assert caught.value.hint == "did you mean 'latency_s'?"


def test_a_boolean_score_says_what_to_write(tmp_path):
    with pytest.raises(SuiteError) as caught:
        load_recorded(written(tmp_path, {"id": "a", "output": "x", "scores": {"ok": False}}))
    assert caught.value.hint == "write 0.0 for false"


@pytest.mark.parametrize("number", ["NaN", "Infinity", "1e999"])
def test_a_number_that_is_none_is_refused_with_its_place(tmp_path, number):
    path = written(tmp_path, '{"id": "a", "output": "x", "latency_s": ' + number + "}")
    with pytest.raises(SuiteError) as caught:
        load_recorded(path)
    assert caught.value.message.startswith(f"{path}:1: ")


def test_scores_at_both_ends_of_the_range_and_integers_are_accepted(tmp_path):
    path = written(tmp_path, {"id": "a", "output": "x", "scores": {"low": 0, "high": 1}})
    assert load_recorded(path).answers["a", 0].scores == {"low": 0.0, "high": 1.0}


def test_an_empty_file_is_refused(tmp_path):
    with pytest.raises(SuiteError, match="holds no answers"):
        load_recorded(written(tmp_path))


@pytest.mark.parametrize(
    ("error", "kind"),
    [("boom", FaultKind.CANDIDATE), ({"kind": "rate_limit", "message": "boom"}, FaultKind.RATE_LIMIT)],
)
def test_a_recorded_error_is_answered_as_a_fault(tmp_path, error, kind):
    recording = load_recorded(written(tmp_path, {"id": "a", "error": error, "latency_s": 2}))
    answer = asked(ReplayProvider(recording), "a")
    assert answer.fault is not None
    assert (answer.fault.kind, answer.fault.message, answer.latency_s) == (kind, "boom", 2.0)


def test_the_answer_is_the_recorded_one_with_its_own_latency(tmp_path):
    answer = asked(ReplayProvider(load_recorded(written(tmp_path, FULL))), "refund-014")
    assert (answer.output, answer.latency_s) == ("Yes, within 30 days.", 0.81)


@pytest.mark.parametrize(("sample_id", "repeat"), [("other", 0), ("refund-014", 1)])
def test_an_answer_that_was_not_recorded_is_missing(tmp_path, sample_id, repeat):
    provider = ReplayProvider(load_recorded(written(tmp_path, FULL)))
    with pytest.raises(CallError) as caught:
        asked(provider, sample_id, repeat)
    assert caught.value.kind is FaultKind.MISSING
    assert f"recorded.jsonl: no recorded answer for id '{sample_id}', repeat {repeat}" in caught.value.message


def test_an_offset_answers_with_a_later_repeat(tmp_path):
    path = written(tmp_path, *({"id": "a", "repeat": r, "output": f"r{r}"} for r in range(3)))
    provider = make_provider("replay", ProviderSettings(VERSION, {"recorded": path.name, "repeat-offset": 1}, tmp_path))
    assert [asked(provider, "a", repeat).output for repeat in (0, 1)] == ["r1", "r2"]
    with pytest.raises(CallError, match="repeat 3"):
        asked(provider, "a", 2)


def test_extra_ids_are_those_of_no_sample_each_once(tmp_path):
    recording = load_recorded(written(tmp_path, *({"id": i, "output": "x"} for i in "zbaz")))
    assert recording.extra_ids(["a", "c"]) == ("z", "b")
    assert recording.extra_ids(["a", "b", "z"]) == ()


def test_the_digest_is_that_of_the_answers(tmp_path):
    rows = [{"id": "a", "output": "x"}, {"id": "b", "output": "y"}]
    plain = load_recorded(written(tmp_path, *rows)).digest
    assert load_recorded(written(tmp_path, *reversed(rows), name="other.jsonl.gz")).digest == plain
    assert load_recorded(written(tmp_path, rows[0], {"id": "b", "output": "Y"}, name="changed.jsonl")).digest != plain
    assert load_recorded(written(tmp_path, rows[0], name="fewer.jsonl")).digest != plain


def test_description_names_file_and_digest_but_not_the_folder(tmp_path):
    recording = load_recorded(written(tmp_path, FULL))
    described = ReplayProvider(recording).describe()
    assert described["recorded"] == "recorded.jsonl"
    assert described["digest"] == recording.digest
    assert str(tmp_path) not in json.dumps(described)


def test_without_a_recording_the_hint_names_the_flag():
    with pytest.raises(ProviderConfigError) as caught:
        make_provider("replay", ProviderSettings(VERSION))
    assert caught.value.hint == "--recorded FILE"


def test_a_path_is_found_in_the_suite_first_and_then_in_the_current_directory(tmp_path, monkeypatch):
    suite, here = tmp_path / "suite", tmp_path / "here"
    suite.mkdir()
    here.mkdir()
    monkeypatch.chdir(here)
    written(here, {"id": "a", "output": "here"})
    settings = ProviderSettings(VERSION, {"recorded": "recorded.jsonl"}, suite)
    assert asked(make_provider("replay", settings), "a").output == "here"
    written(suite, {"id": "a", "output": "suite"})
    assert asked(make_provider("replay", settings), "a").output == "suite"


@pytest.mark.parametrize(
    "options",
    [
        {"recorded": "missing.jsonl"},
        {"recorded": 3},
        {"recorded": "recorded.jsonl", "repeat-offset": -1},
        {"recorded": "recorded.jsonl", "repeat-offset": True},
        {"recorded": "recorded.jsonl", "offset": 1},
    ],
)
def test_wrong_options_are_refused(tmp_path, options):
    written(tmp_path, FULL)
    with pytest.raises(ProviderConfigError):
        make_provider("replay", ProviderSettings(VERSION, options, tmp_path))


def test_a_negative_offset_is_refused_from_python_too(tmp_path):
    with pytest.raises(ProviderConfigError, match="-1, expected 0 or more"):
        ReplayProvider(load_recorded(written(tmp_path, FULL)), repeat_offset=-1)


def test_a_recording_of_later_repeats_alone_answers_from_its_first(tmp_path):
    path = written(tmp_path, {"id": "a", "repeat": 1, "output": "one"}, {"id": "a", "repeat": 2, "output": "two"})
    provider = ReplayProvider(load_recorded(path))
    request = Request(Sample("a", "?"), ())
    answers = [asyncio.run(provider.respond(replace(request, repeat=repeat))).output for repeat in (0, 1)]
    assert answers == ["one", "two"]
    assert provider.describe()["repeat_offset"] == 1


def test_scores_on_another_scale_do_not_keep_a_recording_from_being_read(tmp_path):
    path = written(tmp_path, {"id": "a", "output": "one", "scores": {"stars": 4, "ok": 1}})
    assert load_recorded(path).answers["a", 0].scores == {"stars": 4.0, "ok": 1.0}


def recorded(folder, **repeats):
    rows = [{"id": id_, "repeat": r, "output": f"{id_} {r}"} for id_, numbers in repeats.items() for r in numbers]
    return load_recorded(written(folder, *rows))


@pytest.mark.parametrize(
    ("repeats", "offset", "most"),
    [
        ({"a": [0, 1, 2], "b": [0, 1, 2]}, None, 3),
        ({"a": [0, 1, 2], "b": [0, 1]}, None, 2),  # no more than every sample has
        ({"a": [0, 2], "b": [0, 1, 2]}, None, 1),  # not beyond a gap
        ({"a": [1, 2], "b": [1, 2]}, None, 2),
        ({"a": [0, 1, 2], "b": [0, 1, 2]}, 1, 2),
        ({"a": [0], "b": [0]}, 5, 1),
        ({"a": [0], "b": [1]}, None, 1),
    ],
)
def test_it_can_give_as_many_repeats_as_are_recorded_of_every_sample(tmp_path, repeats, offset, most):
    assert most_repeats_of(ReplayProvider(recorded(tmp_path, **repeats), repeat_offset=offset)) == most
