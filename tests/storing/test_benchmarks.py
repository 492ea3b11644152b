"""Benchmarks on disk: written whole, read back, and told apart from runs and from anything else."""

import json

import pytest

from aigate.core.runfile import RunEncoder
from aigate.core.version import VersionId
from aigate.errors import CannotJudgeError, UsageError
from aigate.running.measurement import Benchmark, Call
from aigate.storing.benchmarks import load_benchmark, load_timed, save_benchmark

FOUND = Benchmark(
    version=VersionId.parse("m/1/v1"),
    provider={"name": "openai"},
    suite_name="suite",
    suite_digest="sha256:suite",
    prompt_digest=None,
    parameters={"temperature": 0},
    load={"engine": "local", "loop": "closed", "concurrency": 2, "timeout_s": 60.0},
    warmup=0,
    calls=(Call("a", "sample:a", None, 0.0, 1.0, 1.0),),
    wall_s=1.0,
)


def test_a_benchmark_is_read_as_it_was_written(tmp_path):
    path = tmp_path / "deep" / "b.json"
    save_benchmark(FOUND, path)
    assert load_benchmark(path) == load_timed(path) == FOUND
    assert json.loads(path.read_text())["format"] == "aigate.bench/1"


def test_a_run_is_told_apart_from_a_benchmark(tmp_path, make_run):
    run = make_run({"a": [1.0]})
    encoder = RunEncoder(run.header)
    lines = [encoder.header_line(), *(encoder.result_line(r, run.samples[r.sample_id]) for r in run.results)]
    path = tmp_path / "run.jsonl"
    path.write_text("".join(f"{line}\n" for line in [*lines, encoder.closing_line(finished_at=run.finished_at)]))
    assert load_timed(path).digest == run.digest


@pytest.mark.parametrize("content", ["", "{}", "not json", '{"format": "aigate.bench/9"}'])
def test_what_is_neither_is_refused_by_its_name(tmp_path, content):
    path = tmp_path / "b.json"
    path.write_text(content)
    with pytest.raises(CannotJudgeError, match=r"b\.json: no benchmark"):
        load_timed(path)


def test_a_file_that_is_not_there_or_no_text_is_refused(tmp_path):
    with pytest.raises(CannotJudgeError, match="no such file"):
        load_timed(tmp_path / "b.json")
    (tmp_path / "b.json").write_bytes(b"\xff\xfe")
    with pytest.raises(CannotJudgeError, match="cannot be read"):
        load_timed(tmp_path / "b.json")


def test_a_place_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="cannot be written"):
        save_benchmark(FOUND, tmp_path / "file" / "b.json")
