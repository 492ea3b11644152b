"""The run file: what is written is read back, and whatever was altered or cut is refused, never read as a run."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aigate.core.digest import canonical_json, combined_digest, digest_of, json_line, sha256_text
from aigate.core.ledger import Ledger, Outcome
from aigate.core.response import Fault, FaultKind, Response
from aigate.core.run import AnchorScore, AnchorsJudged, JudgeUse, Result, Run, RunHeader
from aigate.core.runfile import RunEncoder, decode, decode_partial
from aigate.core.sample import Sample
from aigate.core.score import MetricSpec, Score, Unscored
from aigate.core.version import VersionId
from aigate.errors import RunFileError

SAMPLES = {id_: Sample(id_, f"question \u2028 {id_}", "é", tags=("t",)) for id_ in ("a", "b", "c")}
RESULTS = [
    Result("a", 0, Outcome.SCORED, Response(output="x\ny", latency_s=0.25), {"correct": Score(1.0, "same")}),
    Result("b", 0, Outcome.PROVIDER_ERROR, Response(fault=Fault(FaultKind.SERVER, "500")), {"correct": Score(0.0)}),
    Result("a", 1, Outcome.JUDGE_ERROR, Response(output="\ud800"), {"correct": Unscored("judge_error", "broke")}),
    Result("c", 0, Outcome.EARLY_STOP, None, {"correct": Unscored("not_run")}),
]


def header(**fields):
    whole = {
        "version": VersionId("m", "1", "v1"),
        "provider": {"name": "fake"},
        "suite_name": "faq",
        "suite_digest": "sha256:0",
        "suite_size": 3,
        "prompt_digest": None,
        "parameters": {"temperature": 0.5},
        "metrics": (MetricSpec("correct", "exact_match"),),
        "primary_metric": "correct",
        "repeats": 2,
        "policy": {},
    }
    return RunHeader(**{**whole, **fields})


def encoded(results=RESULTS, **fields):
    encoder = RunEncoder(header(**fields))
    lines = [encoder.header_line(), *(encoder.result_line(result, SAMPLES[result.sample_id]) for result in results)]
    return [*lines, encoder.closing_line(finished_at="2026-01-01T00:00:00Z")]


def sealed(lines, **closing):
    """A file whose digest fits whatever its lines hold: what only a check of the content can refuse."""
    rows = [json.loads(line) for line in lines[1:]]
    samples = {row["id"] for row in rows if "id" in row}
    counts = {
        "samples": len(samples),
        "results": len(rows),
        "ledger": Ledger.of(Outcome(row["outcome"]) for row in rows).to_dict(),
        "finished_at": "2026-01-01T00:00:00Z",
        **closing,
    }
    parts = ["header:" + sha256_text(lines[0]), *map(sha256_text, lines[1:]), "closing:" + digest_of(counts)]
    return [*lines, json_line({"closing": {**counts, "digest": combined_digest(parts)}})]


def read(text):
    """As `load_run` reads a file: lines end in a line feed, and only there."""
    *lines, last = text.split("\n")
    return decode([*lines, last] if last else lines, source="run.jsonl")


def text_of(lines):
    return "".join(f"{line}\n" for line in lines)


def test_what_is_written_is_read_back():
    run = decode(encoded(), source="run.jsonl")
    assert run.header == header()
    assert run.samples == SAMPLES
    assert run.results == tuple(sorted(RESULTS, key=lambda result: result.key))
    assert (run.finished_at, run.source) == ("2026-01-01T00:00:00Z", "run.jsonl")


def test_only_the_first_line_of_a_sample_carries_it():
    rows = [json.loads(line) for line in encoded()[1:-1]]
    assert [row.get("sample", {}).get("id") for row in rows] == ["a", "b", None, "c"]
    assert [list(row)[:2] for row in rows] == [["id", "repeat"]] * 4


def test_a_sealed_file_is_read_so_that_the_tests_of_content_mean_something():
    lines = encoded()
    assert sealed(lines[:-1]) == lines


@given(st.permutations(RESULTS))
def test_the_digest_does_not_depend_on_the_order_answers_arrived_in(results):
    lines = encoded()
    by_key = {(row["id"], row["repeat"]): line for line in lines[1:-1] for row in [json.loads(line)]}
    order = [result.key for result in results]
    shuffled = [lines[0], *(by_key[key] for key in order), lines[-1]]
    assert decode(shuffled, source="s").digest == decode(lines, source="s").digest


@given(st.permutations(RESULTS))
def test_writing_answers_in_another_order_gives_the_same_digest_and_run(results):
    first, second = decode(encoded(), source="s"), decode(encoded(results), source="s")
    assert (first.digest, first.results, first.samples) == (second.digest, second.results, second.samples)


def test_results_without_the_repeat_that_carries_the_sample_are_refused():
    lines = encoded()[:-1]
    kept = [line for line in lines if not line.startswith('{"id":"a","repeat":0')]
    assert len(kept) < len(lines)
    with pytest.raises(RunFileError, match="'a' has results and no repeat 0"):
        decode(sealed(kept, samples=len({json.loads(line)["id"] for line in kept[1:]}) - 1), source="s")


def test_every_part_of_the_content_is_in_the_digest():
    changed = [
        encoded(suite_size=4),
        encoded(RESULTS[:3]),
        encoded([RESULTS[0], *RESULTS[2:], RESULTS[1]][:3]),
        encoded([Result("a", 0, Outcome.SCORED, Response(output="x\nz", latency_s=0.25), {}), *RESULTS[1:]]),
    ]
    digests = {decode(lines, source="s").digest for lines in [encoded(), *changed]}
    assert len(digests) == 5


def test_every_change_of_a_character_is_refused():
    text = text_of(encoded())
    for position, character in enumerate(text):
        for other in (chr(ord(character) ^ 1), " ", "0", '"'):
            if other != character:
                with pytest.raises(RunFileError):
                    read(text[:position] + other + text[position + 1 :])


def test_every_character_taken_out_is_refused_but_the_last_line_end():
    text = text_of(encoded())
    for position in range(len(text) - 1):
        with pytest.raises(RunFileError):
            read(text[:position] + text[position + 1 :])
    assert isinstance(read(text[:-1]), Run)


def test_every_character_put_in_is_refused():
    text = text_of(encoded())
    for position in range(len(text)):
        for other in (" ", "\n", "0", "\t"):
            with pytest.raises(RunFileError):
                read(text[:position] + other + text[position:])


def test_an_edited_explanation_is_said_to_be_an_alteration():
    lines = encoded()
    edited = [lines[0], lines[1].replace("same", "sane"), *lines[2:]]
    with pytest.raises(RunFileError, match="altered after it was closed") as caught:
        decode(edited, source="s")
    assert "aigate eval" in caught.value.hint


@settings(max_examples=200)
@given(st.data())
def test_no_random_edit_is_read_as_a_run(data):
    text = text_of(encoded())
    start = data.draw(st.integers(0, len(text) - 1))
    end = data.draw(st.integers(start, min(len(text), start + 40)))
    edited = text[:start] + data.draw(st.text(max_size=10)) + text[end:]
    if edited.removesuffix("\n") != text.removesuffix("\n"):
        with pytest.raises(RunFileError):
            read(edited)


def test_a_cut_at_every_character_is_refused_and_said_to_be_interrupted():
    text = text_of(encoded())
    after_header = text.index("\n") + 1
    for cut in range(len(text) - 1):
        with pytest.raises(RunFileError) as caught:
            read(text[:cut])
        if cut >= after_header:
            assert "interrupted" in caught.value.message
            assert "--resume --out run.jsonl" in caught.value.hint


def test_a_cut_file_keeps_the_whole_lines_before_the_cut():
    lines = encoded()[:-1]
    for cut in range(1, len(lines[-1])):
        partial = decode_partial([*lines[:-1], lines[-1][:cut]], source="s")
        assert partial.torn
        assert [result.key for result in partial.results] == [("a", 0), ("b", 0), ("a", 1)]
        assert partial.closing is None
    whole = decode_partial(lines, source="s")
    assert not whole.torn
    assert len(whole.results) == 4


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([], "empty"),
        (["hello"], "not a run file"),
        (["[1]"], "not a run file"),
        (['{"id": "a"}'], "not a run file"),
        (['{"format":"aigate.verdict/1"}'], "not a run file"),
        (["[" * 100_000], "not a run file"),
    ],
)
def test_what_is_no_run_file_is_said_to_be_none(lines, message):
    with pytest.raises(RunFileError, match=f"s(:1)?: {message}.*aigate.run/1") as caught:
        decode(lines, source="s")
    assert "aigate eval" in caught.value.hint


def test_a_newer_format_is_named():
    lines = encoded()
    newer = [lines[0].replace("aigate.run/1", "aigate.run/2"), *lines[1:]]
    with pytest.raises(RunFileError, match=r"s:1: format 'aigate.run/2' is not read") as caught:
        decode(newer, source="s")
    assert "version of aigate" in caught.value.hint


@pytest.mark.parametrize("field", sorted(header().to_dict().keys() - {"format", "looks"}))
def test_a_header_without_a_field_is_broken(field):
    row = {key: value for key, value in header().to_dict().items() if key != field}
    with pytest.raises(RunFileError, match="s:1: broken header: missing '"):
        decode(sealed([json_line(row)]), source="s")


def test_a_file_written_before_looks_were_known_is_read():
    row = {key: value for key, value in header().to_dict().items() if key != "looks"}
    assert decode(sealed([json_line(row)]), source="s").header == header()


@pytest.mark.parametrize(
    "looks",
    [
        5,
        "five",
        [],
        {},
        {"units": [1, 2]},
        {"units": [1, 2], "repeats": [1]},
        {"units": [], "repeats": []},
        {"units": [2, 1], "repeats": [1, 1]},
        {"units": [1, 1], "repeats": [1, 1]},
        {"units": [0], "repeats": [1]},
        {"units": [True], "repeats": [1]},
        {"units": ["2"], "repeats": [1]},
        {"units": 2, "repeats": 1},
    ],
)
def test_a_header_with_looks_that_are_no_plan_is_broken(looks):
    with pytest.raises(RunFileError, match="s:1: broken header"):
        decode(sealed([json_line({**header().to_dict(), "looks": looks})]), source="s")


@pytest.mark.parametrize(
    "change", [{"suite": 5}, {"metrics": [5]}, {"version": "m"}, {"version": 5}, {"metrics": [{"nonsense": 1}]}]
)
def test_a_header_with_something_else_in_a_field_is_broken(change):
    with pytest.raises(RunFileError, match="s:1: broken header"):
        decode(sealed([json_line({**header().to_dict(), **change})]), source="s")


def test_a_line_after_the_closing_line_is_refused():
    lines = encoded()
    for extra in (lines[1], lines[-1], "", "garbage"):
        with pytest.raises(RunFileError, match="s:7: a line after the closing line"):
            decode([*lines, extra], source="s")


def test_a_sample_and_repeat_that_stands_twice_is_refused():
    lines = encoded()[:-1]
    with pytest.raises(RunFileError, match="s:6: 'a' repeat 0 stands twice"):
        decode(sealed([*lines, lines[1]]), source="s")


def test_a_key_that_stands_twice_in_one_object_is_refused():
    lines = encoded()[:-1]
    twice = lines[1].replace('"value":1.0', '"value":0.0,"value":1.0')
    assert twice != lines[1]
    with pytest.raises(RunFileError, match="s:2: broken line: duplicate key 'value'"):
        decode(sealed([lines[0], twice, *lines[2:]]), source="s")


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_a_number_that_is_none_is_refused(number):
    lines = encoded()[:-1]
    broken = lines[1].replace("0.25", number)
    assert broken != lines[1]
    with pytest.raises(RunFileError, match=r"s:2: broken line: .*(not a JSON number|too large)"):
        decode(sealed([lines[0], broken, *lines[2:]]), source="s")


def test_a_score_out_of_range_is_refused():
    lines = encoded()[:-1]
    broken = lines[1].replace('"value":1.0', '"value":1.5')
    with pytest.raises(RunFileError, match=r"s:2: broken line: a score lies in \[0, 1\]"):
        decode(sealed([lines[0], broken, *lines[2:]]), source="s")


def test_a_sample_that_is_missing_from_its_line_is_refused():
    lines = encoded()[:-1]
    row = json.loads(lines[2])
    del row["sample"]
    with pytest.raises(
        RunFileError, match="s:3: broken line: repeat 0 of 'b': repeat 0, and no other, carries the sample"
    ):
        decode(sealed([lines[0], lines[1], json_line(row), *lines[3:]]), source="s")


def test_a_line_that_carries_another_sample_is_refused():
    lines = encoded()[:-1]
    row = json.loads(lines[2])
    row["sample"]["id"] = "z"
    with pytest.raises(RunFileError, match="s:3: broken line: 'b' carries the sample 'z'"):
        decode(sealed([lines[0], lines[1], json_line(row), *lines[3:]]), source="s")


@pytest.mark.parametrize("repeat", [-1, 2, 0.0, "0", None, True])
def test_a_repeat_that_the_run_does_not_have_is_refused(repeat):
    lines = encoded()[:-1]
    row = json.loads(lines[2])
    row["repeat"] = repeat
    with pytest.raises(RunFileError, match="s:3: broken line: 'repeat' is"):
        decode(sealed([lines[0], lines[1], json_line(row), *lines[3:]]), source="s")


@pytest.mark.parametrize(
    "row",
    [
        [],
        5,
        "closing",
        None,
        {"id": "b"},
        {"id": 5, "repeat": 0, "outcome": "scored", "response": None, "scores": {}, "sample": {"id": 5, "input": ""}},
        {"id": "b", "repeat": 0, "outcome": "splendid", "response": None, "scores": {}},
        {"id": "b", "repeat": 0, "outcome": "scored", "response": {}, "scores": {}},
        {"id": "b", "repeat": 0, "outcome": "scored", "response": "x", "scores": {}},
        {"id": "b", "repeat": 0, "outcome": "scored", "response": None, "scores": {"m": {}}},
        {"id": "b", "repeat": 0, "outcome": "scored", "response": None, "scores": []},
    ],
)
def test_a_line_that_is_no_result_is_refused_with_its_number(row):
    lines = encoded()
    with pytest.raises(RunFileError, match="s:3: broken line: "):
        decode([*lines[:2], canonical_json(row), *lines[3:]], source="s")


def test_a_line_nested_beyond_reason_is_broken():
    lines = encoded()
    with pytest.raises(RunFileError, match="s:3: broken line"):
        decode([*lines[:2], "[" * 100_000, *lines[3:]], source="s")


@pytest.mark.parametrize("closing", [None, 5, "x", [], [1]])
def test_a_closing_line_that_is_no_record_is_refused(closing):
    lines = encoded()
    with pytest.raises(RunFileError, match="interrupted"):
        decode([*lines[:-1], json_line({"closing": closing})], source="s")


def test_a_closing_record_without_its_digest_is_refused():
    lines = encoded()
    closing = json.loads(lines[-1])["closing"]
    for key in closing:
        row = {"closing": {name: value for name, value in closing.items() if name != key}}
        with pytest.raises(RunFileError, match="altered after it was closed"):
            decode([*lines[:-1], json_line(row)], source="s")


@pytest.mark.parametrize(
    ("closing", "message"),
    [
        ({"samples": 4}, "counts are not those"),
        ({"results": 3}, "counts are not those"),
        ({"ledger": {"scored": 4}}, "counts are not those"),
        ({"finished_at": None}, "no finished_at"),
    ],
)
def test_counts_that_do_not_fit_the_lines_are_refused_even_with_a_true_digest(closing, message):
    with pytest.raises(RunFileError, match=message):
        decode(sealed(encoded()[:-1], **closing), source="s")


def test_lines_in_a_generator_are_read_too():
    assert decode((line for line in encoded()), source="s").digest == decode(encoded(), source="s").digest


def test_many_results_in_any_order_have_one_digest():
    results = [Result(id_, repeat, Outcome.SCORED, Response(output=""), {}) for id_ in "abc" for repeat in range(300)]
    shuffled = sorted(results, key=lambda result: sha256_text(f"{result.key}"))
    first = {id_: next(result for result in shuffled if result.sample_id == id_) for id_ in "abc"}
    in_order = [*first.values(), *(result for result in results if result not in first.values())]
    one, other = (decode(encoded(order, repeats=300), source="s") for order in (shuffled, in_order))
    assert one.digest == other.digest
    assert one.results == other.results


# --- what judges said of labelled answers -----------------------------------------------------------------------------

JUDGED = {
    "faith": AnchorsJudged(
        (AnchorScore("a", "sha256:a", 1.0, 0.5), AnchorScore("b", "sha256:b", 0.0, None, "broke")),
        JudgeUse(4, 0, 100, 10, 0.5, ("j-1",)),
    )
}


def with_anchors(judged):
    encoder = RunEncoder(header())
    lines = [encoder.header_line(), *(encoder.result_line(result, SAMPLES[result.sample_id]) for result in RESULTS)]
    return [*lines, encoder.closing_line(finished_at="2026-01-01T00:00:00Z", judge_anchors=judged)]


def test_judged_anchors_come_back_and_are_part_of_the_digest():
    run = decode(with_anchors(JUDGED), source="run.jsonl")
    assert run.judge_anchors == JUDGED
    assert run.digest != decode(encoded(), source="run.jsonl").digest


def test_a_run_without_anchors_is_written_as_it_always_was():
    assert with_anchors({}) == encoded()


def test_an_edited_anchor_is_seen():
    lines = with_anchors(JUDGED)
    with pytest.raises(RunFileError, match="altered after it was closed"):
        decode([*lines[:-1], lines[-1].replace('"score":0.5', '"score":1.0')], source="run.jsonl")


def test_what_a_judge_was_asked_comes_back_with_its_result():
    use = JudgeUse(2, 1, 30, 4, None, ("j-1",), ("forges a reply",))
    result = Result("a", 0, Outcome.SCORED, Response(output="x"), {"faith": Score(1.0)}, {"faith": use})
    assert Result.from_dict(json.loads(json_line(result.to_dict()))) == result


@pytest.mark.parametrize("wrong", [{"calls": -1}, {"calls": True}, {"input_tokens": 1.5}, {"calls": None}])
def test_a_use_that_is_none_is_refused(wrong):
    with pytest.raises((TypeError, ValueError)):
        JudgeUse.from_dict({**JudgeUse().to_dict(), **wrong})
