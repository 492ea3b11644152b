"""The writer: what was answered is on disk, an interrupted run goes on, and nothing else is ever written over."""

import json
from dataclasses import replace

import pytest

from aigate.core.ledger import Outcome
from aigate.core.looks import Look, LookPlan
from aigate.core.response import Fault, FaultKind, Response
from aigate.core.run import Result, RunHeader
from aigate.core.runfile import decode, decode_partial
from aigate.core.sample import Sample
from aigate.core.score import MetricSpec, Score, Unscored
from aigate.core.version import VersionId
from aigate.errors import RunFileError, UsageError
from aigate.files import read_lines
from aigate.running.writer import RunWriter

SAMPLES = {id_: Sample(id_, f"Wie heißt {id_}?") for id_ in "abcd"}
HEADER = RunHeader(
    version=VersionId("m", "1", "v1"),
    provider={"name": "fake"},
    suite_name="faq",
    suite_digest="sha256:0",
    suite_size=4,
    prompt_digest=None,
    parameters={},
    metrics=(MetricSpec("m", "fake"),),
    primary_metric="m",
    repeats=1,
    policy={},
    started_at="2026-01-01T00:00:00Z",
)


def scored(id_, output="grün"):
    return Result(id_, 0, Outcome.SCORED, Response(output=output), {"m": Score(1.0)})


def ended(id_, outcome):
    fault = Response(fault=Fault(FaultKind.QUOTA, "empty"))
    return Result(id_, 0, outcome, fault, {"m": Unscored("infrastructure_error")})


def interrupted(path, *results, header=HEADER):
    with RunWriter(path, header) as writer:
        for result in results:
            writer.add(result, SAMPLES[result.sample_id])
    return path


def finished(path, *results, header=HEADER, resume=False):
    with RunWriter(path, header, resume=resume) as writer:
        for result in results:
            writer.add(result, SAMPLES[result.sample_id])
        return writer.close_run(finished_at="2026-01-01T00:01:00Z")


def ids(path):
    return [result.sample_id for result in decode_partial(read_lines(path), source="s").results]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "deep" / "run.jsonl"


def test_a_finished_run_is_what_stands_in_the_file(path):
    run = finished(path, scored("a"), scored("b"))
    assert decode(read_lines(path), source=str(path)) == run
    assert run.source == str(path)
    assert path.read_bytes().endswith(b"}\n")
    assert [other.name for other in path.parent.iterdir()] == ["run.jsonl"]


def test_a_finished_run_is_forced_to_disk_before_it_is_returned(path, monkeypatch):
    forced = []
    monkeypatch.setattr("aigate.running.writer.os.fsync", lambda _: forced.append(path.read_bytes()))
    finished(path, scored("a"))
    assert forced == [path.read_bytes()]


def test_each_result_is_on_disk_before_the_next_one(path):
    with RunWriter(path, HEADER) as writer:
        assert ids(path) == []
        for count, id_ in enumerate("abc", start=1):
            writer.add(scored(id_), SAMPLES[id_])
            assert len(ids(path)) == count


def test_an_interrupted_run_is_refused_without_resume_and_left_as_it_is(path):
    interrupted(path, scored("a"), scored("b"))
    before = path.read_bytes()
    with pytest.raises(UsageError, match="holds an interrupted run with 2 results") as caught:
        RunWriter(path, HEADER)
    assert "--resume" in caught.value.hint
    assert path.read_bytes() == before


def test_an_interrupted_run_that_holds_no_result_is_begun_again(path):
    interrupted(path)
    assert len(finished(path, scored("a"))) == 1


def test_a_resumed_run_is_the_run_it_would_have_been(path, tmp_path):
    whole = finished(tmp_path / "whole.jsonl", *map(scored, "abcd"))
    interrupted(path, scored("a"), scored("b"))
    run = finished(path, scored("c"), scored("d"), resume=True)
    assert run.digest == whole.digest
    assert not path.with_name("run.jsonl.previous").exists()


def test_only_what_was_missing_through_no_fault_of_the_candidate_is_asked_again(path):
    again = {Outcome.INFRASTRUCTURE_ERROR, Outcome.JUDGE_ERROR, Outcome.EARLY_STOP, Outcome.BUDGET}
    for outcome in Outcome:
        path.unlink(missing_ok=True)
        interrupted(path, scored("a"), ended("b", outcome), scored("c"))
        with RunWriter(path, HEADER, resume=True) as writer:
            kept = [result.sample_id for result in writer.kept]
        assert kept == (["a", "c"] if outcome in again else ["a", "b", "c"]), outcome
        assert ids(path) == kept


def test_a_sample_whose_first_repeat_is_asked_again_still_stands_in_the_file(path):
    header = replace(HEADER, repeats=2)
    interrupted(path, ended("a", Outcome.INFRASTRUCTURE_ERROR), replace(scored("a"), repeat=1), header=header)
    run = finished(path, scored("a", "again"), header=header, resume=True)
    assert [(result.repeat, result.response.output) for result in run.results] == [(0, "again"), (1, "grün")]
    assert run.samples == {"a": SAMPLES["a"]}


def test_a_last_line_cut_at_any_byte_is_left_out_and_asked_again(path):
    interrupted(path, scored("a"), scored("b"))
    whole = path.read_bytes()
    start = whole.rindex(b"\n", 0, -1) + 1
    for cut in range(start, len(whole) - 1):
        path.write_bytes(whole[:cut])
        with RunWriter(path, HEADER, resume=True) as writer:
            assert [result.sample_id for result in writer.kept] == ["a"]
        assert ids(path) == ["a"]
    path.write_bytes(whole[:-1])
    with RunWriter(path, HEADER, resume=True) as writer:
        assert [result.sample_id for result in writer.kept] == ["a", "b"]


def test_a_torn_closing_line_makes_the_run_an_interrupted_one(path):
    digest = finished(path, scored("a"), scored("b")).digest
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(UsageError, match="interrupted run with 2 results"):
        RunWriter(path, HEADER)
    assert finished(path, resume=True).digest == digest


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"version": VersionId("m", "2", "v1")}, "version"),
        ({"provider": {"name": "other"}}, "provider"),
        ({"suite_digest": "sha256:1"}, "suite"),
        ({"prompt_digest": "sha256:1"}, "prompt_digest"),
        ({"parameters": {"temperature": 1}}, "parameters"),
        ({"metrics": (MetricSpec("m", "fake", 2),)}, "metrics"),
        ({"repeats": 2}, "repeats"),
        ({"parameters": {"top_p": 1}, "seed": 5}, "parameters and seed"),
    ],
)
def test_a_run_made_under_other_conditions_is_not_gone_on_with(path, change, named):
    interrupted(path, scored("a"))
    before = path.read_bytes()
    with pytest.raises(RunFileError, match=f"cannot be resumed: it was made with another {named}"):
        RunWriter(path, replace(HEADER, **change), resume=True)
    assert path.read_bytes() == before


def test_a_run_may_go_on_at_another_time_commit_and_with_other_libraries(path):
    interrupted(path, scored("a"))
    later = replace(HEADER, started_at="2026-02-02T00:00:00Z", commit="abc", libraries={"python": "9"})
    assert len(finished(path, scored("b"), header=later, resume=True)) == 2


def test_a_run_that_goes_on_under_another_load_has_none_that_latencies_could_be_compared_by(path):
    load = {"engine": "local", "concurrency": 8, "timeout_s": 60.0}
    loaded = replace(HEADER, load=load)
    interrupted(path, scored("a"), header=loaded)
    assert finished(path, scored("b"), header=loaded, resume=True).header.load == load
    interrupted(path.with_name("other"), scored("a"), header=loaded)
    slower = replace(HEADER, load={**load, "concurrency": 2})
    assert finished(path.with_name("other"), scored("b"), header=slower, resume=True).header.load is None


def test_a_finished_run_is_set_aside_whole(path):
    first = finished(path, scored("a"))
    bytes_of_first = path.read_bytes()
    second = finished(path, scored("a", "rot"))
    assert second.digest != first.digest
    assert path.with_name("run.jsonl.previous").read_bytes() == bytes_of_first
    assert decode(read_lines(path), source="s").digest == second.digest


def test_a_finished_run_is_in_place_until_the_new_one_has_begun(path):
    finished(path, scored("a"))
    before = path.read_bytes()
    broken = replace(HEADER, parameters={"temperature": float("nan")})
    with pytest.raises(ValueError, match="nan is not a JSON number"):
        RunWriter(path, broken)
    assert path.read_bytes() == before
    assert [other.name for other in path.parent.iterdir()] == ["run.jsonl"]


def test_resuming_a_finished_run_keeps_everything(path):
    run = finished(path, scored("a"), scored("b"))
    assert finished(path, resume=True).digest == run.digest


@pytest.mark.parametrize("resume", [False, True])
@pytest.mark.parametrize(
    "content", [b"precious notes\n", b'{"id": "a", "input": "?"}\n', b"\xff\xfe", b"\n", b'{"format":"aigate.run/2"}\n']
)
def test_a_file_that_is_no_run_is_never_written_over(path, content, resume):
    path.parent.mkdir()
    path.write_bytes(content)
    with pytest.raises(UsageError, match="will not write over"):
        RunWriter(path, HEADER, resume=resume)
    assert path.read_bytes() == content
    assert [other.name for other in path.parent.iterdir()] == ["run.jsonl"]


def test_a_run_with_a_broken_line_in_the_middle_is_never_written_over(path):
    interrupted(path, scored("a"), scored("b"))
    lines = path.read_bytes().split(b"\n")
    path.write_bytes(b"\n".join([lines[0], lines[1][:-5], *lines[2:]]))
    with pytest.raises(UsageError, match=r"will not write over .*:2: broken line"):
        RunWriter(path, HEADER, resume=True)


def test_a_folder_is_never_written_over(path):
    path.mkdir(parents=True)
    with pytest.raises(UsageError, match="will not write over"):
        RunWriter(path, HEADER)
    assert path.is_dir()


def test_an_empty_file_is_begun_in(path):
    path.parent.mkdir()
    path.touch()
    assert len(finished(path, scored("a"))) == 1


def test_lines_end_only_in_line_feeds(path):
    output = "one\u2028two\u0085three\r\x0b\x1c"
    run = finished(path, scored("a", output))
    assert run.results[0].response.output == output
    assert len(read_lines(path)) == 3
    assert decode(read_lines(path), source="s").results[0].response.output == output


def test_reading_says_what_is_wrong_with_a_file(tmp_path):
    with pytest.raises(RunFileError, match="no such run file") as caught:
        read_lines(tmp_path / "none.jsonl")
    assert "aigate eval" in caught.value.hint
    (tmp_path / "latin.jsonl").write_bytes(b"\xe9\n{}\n")
    with pytest.raises(RunFileError, match="cannot be read"):
        read_lines(tmp_path / "latin.jsonl")


def test_a_header_holds_what_identifies_the_run(path):
    finished(path, scored("a"))
    row = json.loads(read_lines(path)[0])
    assert row["format"] == "aigate.run/1"
    assert row["version"] == "m/1/v1"


PARTS = LookPlan((Look(2, 1), Look(4, 1)))
TWICE = LookPlan((Look(4, 1), Look(4, 3)))


def planned(looks):
    return replace(HEADER, looks=looks, repeats=1 if looks is None else looks.looks[-1].repeats)


@pytest.mark.parametrize("begun", [None, PARTS, TWICE])
@pytest.mark.parametrize("asked", [None, PARTS, TWICE])
def test_a_run_that_is_gone_on_with_keeps_the_looks_and_repeats_it_was_begun_with(path, begun, asked):
    interrupted(path, scored("a"), header=planned(begun))
    with RunWriter(path, planned(asked), resume=True) as writer:
        assert (writer.header.looks, writer.header.repeats) == (begun, planned(begun).repeats)
    header = decode_partial(read_lines(path), source="s").header
    assert (header.looks, header.repeats) == (begun, planned(begun).repeats)


@pytest.mark.parametrize(
    ("begun", "asked"), [(planned(TWICE), replace(HEADER, repeats=3)), (HEADER, replace(HEADER, repeats=2))]
)
def test_a_run_begun_with_other_repeats_is_refused(path, begun, asked):
    interrupted(path, scored("a"), header=begun)
    with pytest.raises(RunFileError, match="made with another repeats"):
        RunWriter(path, asked, resume=True)
    other = interrupted(path.with_name("other.jsonl"), scored("a"), header=asked)
    with pytest.raises(RunFileError, match="made with another repeats"):
        RunWriter(other, begun, resume=True)


def test_a_new_run_has_the_looks_that_are_asked_for(path):
    assert finished(path, scored("a"), header=planned(PARTS)).header.looks == PARTS
    assert finished(path, scored("a"), header=planned(None)).header.looks is None
