"""What the script of the HTML report reads."""

import base64
import json
import zlib

from aigate.core.ledger import Outcome
from aigate.core.response import Response
from aigate.core.sample import Sample
from aigate.core.score import MetricSpec, Score, Unscored
from aigate.core.verdict import Moved, Status
from aigate.reports import page_data
from aigate.reports.page_data import blocks_of, index_of, inline_json, packed


def inflated(text):
    return zlib.decompress(base64.b64decode(text), wbits=-zlib.MAX_WBITS).decode("utf-8")


def lines_of(block):
    return [json.loads(line) for line in inflated(block.packed).split("\n")]


def unpacked(text):
    return json.loads(inflated(text))


def rows_of(candidate, baseline=None):
    return [row for block in blocks_of(candidate, baseline) for row in lines_of(block)]


def test_what_is_packed_is_base_64_and_comes_back_even_when_unicode_is_broken():
    value = {"</script>": ["\ud800", "\x00", "é", "\U0001f600", "<!--"]}
    text = packed(value)
    assert set(text) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=")
    assert unpacked(text) == value


def test_json_in_the_page_can_end_no_script_element():
    text = inline_json({"a": "</script><!-- \u2028 \ud800"})
    assert not set("<>") & set(text)
    assert text.isascii()
    assert json.loads(text) == {"a": "</script><!-- \u2028 \ud800"}


def test_the_index_has_a_column_entry_per_sample_in_the_runs_order(make_run, verdict, check):
    before = make_run({"b": [1.0], "a": [0.5]}, tags={"a": ["x", "y"]})
    now = make_run({"b": [0.0], "a": [None]}, tags={"a": ["x", "y"]}, outputs={"a": "an  answer\n", "b": "w" * 999})
    named = verdict(Status.FAIL, check(moved=(Moved("b", 1.0, 0.0, "broke"), Moved("gone", 1.0, 0.0))))
    index = index_of(named, now, before)
    assert index["ids"] == ["a", "b"]
    assert index["tagNames"] == ["x", "y"]
    assert index["tags"] == [[0, 1], []]
    assert index["scores"] == {"correct": [[None, 0.0], [0.5, 1.0]]}
    assert [index["outcomes"][code] for code in index["outcome"]] == ["judge_error", "scored"]
    assert index["answered"] == ["an answer", "w" * page_data.EXCERPT_CHARACTERS]
    assert index["named"] == [{"label": "no-regression correct", "samples": [1], "notes": {1: "broke"}}]


def test_a_metric_is_the_mean_over_repeats_and_an_outcome_the_one_that_says_most(make_run, verdict):
    run = make_run({"a": [1.0, 0.0, None]})
    index = index_of(verdict(Status.PASS), run, None)
    assert index["scores"]["correct"] == [[0.5], [None]]
    assert index["outcomes"][index["outcome"][0]] == "judge_error"
    assert index["baselineOutcome"] == [None]


def test_answers_held_against_this_baselines_are_compared_with_even_and_others_with_nothing(make_run, verdict):
    before = make_run({"correct": {"a": [1.0], "b": [1.0]}, "pairwise": {"a": [1.0], "b": [1.0]}})
    for digest, theirs in ((before.digest, [0.5, 0.5]), ("sha256:another", [None, None])):
        specs = [MetricSpec("pairwise", "pairwise", deterministic=False, against=digest)]
        now = make_run({"pairwise": {"a": [0.0], "b": [1.0]}}, specs=specs)
        assert index_of(verdict(Status.FAIL), now, before)["scores"] == {"pairwise": [[0.0, 1.0], theirs]}
        assert index_of(verdict(Status.FAIL), now, None)["scores"] == {"pairwise": [[0.0, 1.0], [None, None]]}


def test_latency_is_that_of_the_slowest_answer(make_answers, verdict):
    run = make_answers({"a": [Response(output="x", latency_s=1.0), Response(output="y", latency_s=3.0)]})
    assert index_of(verdict(Status.PASS), run, None)["latency"] == [3.0]


def test_a_row_holds_the_sample_and_every_answer_of_both_runs(make_answers):
    score = Score(0.5, "why", "read", {"claims": [{"text": "t"}]})
    now = make_answers({"a": [Response(output="x"), Response(output="y")]}, scores={"a": score})
    before = make_answers({"a": [Response(output="z")]}, scores={"a": Unscored("judge_error", "broke")})
    [row] = rows_of(now, before)
    assert row["sample"]["id"] == "a"
    assert [result["response"]["output"] for result in row["candidate"]] == ["x", "y"]
    assert row["candidate"][0]["scores"]["correct"]["details"] == {"claims": [{"text": "t"}]}
    assert row["baseline"][0]["scores"]["correct"]["unscored"] == "judge_error"


def test_the_baseline_of_a_sample_that_was_edited_is_left_out(make_run):
    before = make_run({"a": [1.0], "b": [1.0]}, inputs={"a": "another question"})
    rows = rows_of(make_run({"a": [0.0], "b": [0.0]}), before)
    assert [len(row["baseline"]) for row in rows] == [0, 1]


def test_blocks_hold_all_samples_in_order_and_none_is_large(make_run):
    run = make_run({f"s{number:03}": [1.0] for number in range(40)}, outputs={"s007": "x" * 500_000})
    blocks = list(blocks_of(run, None))
    assert [block.first for block in blocks] == [sum(b.count for b in blocks[:at]) for at in range(len(blocks))]
    assert [row["sample"]["id"] for row in rows_of(run)] == sorted(run.samples)
    assert sum(block.count for block in blocks) == 40


def test_many_samples_come_in_several_blocks(make_run, monkeypatch):
    monkeypatch.setattr(page_data, "BLOCK_CHARACTERS", 2_000)
    run = make_run({f"s{number:03}": [1.0] for number in range(40)})
    blocks = list(blocks_of(run, None))
    assert len(blocks) > 2
    assert [row["sample"]["id"] for row in rows_of(run)] == sorted(run.samples)


def test_a_text_longer_than_anybody_reads_is_cut_and_says_so(make_answers):
    long = "y" * (page_data.LONGEST_TEXT + 1_234)
    [row] = rows_of(make_answers({"a": [Response(output=long)]}, contexts={"a": (long, "short")}))
    [result] = row["candidate"]
    assert result["response"]["output"].endswith("y … (1,234 more characters in the run file)")
    assert len(result["response"]["output"]) < page_data.LONGEST_TEXT + 100
    assert row["sample"]["contexts"][1] == "short"
    assert row["sample"]["contexts"][0].endswith("(1,234 more characters in the run file)")


def test_a_fault_and_an_answer_never_asked_for_have_their_place(make_run, verdict):
    from aigate.core.response import FaultKind

    run = make_run({"a": [0.0], "b": [1.0]}, faults={"a": FaultKind.SERVER}, skipped=[("b", 0)])
    index = index_of(verdict(Status.PASS), run, None)
    assert index["answered"] == ["[server] broken", ""]
    assert [index["outcomes"][code] for code in index["outcome"]] == [Outcome.PROVIDER_ERROR, Outcome.EARLY_STOP]
    assert Sample.from_dict(rows_of(run)[1]["sample"]).id == "b"
