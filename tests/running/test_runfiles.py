"""A large run file is read by line from where it stands: what is held of it are its columns."""

import tracemalloc

import pytest

from aigate.core.ledger import Outcome
from aigate.core.response import Response
from aigate.core.run import Result
from aigate.core.sample import Sample
from aigate.core.score import Score
from aigate.errors import RunFileError
from aigate.files import HELD_BYTES
from aigate.running.runfiles import read_partial, read_run
from aigate.running.writer import RunWriter

N, CHARACTERS = 1_500, 8_000


@pytest.fixture
def written(tmp_path, make_run):
    """A run of some 12 MB, as it was written, and its file."""
    path = tmp_path / "run.jsonl"
    with RunWriter(path, make_run({"a": [1.0]}).header) as writer:
        for number in range(N):
            sample = Sample(f"s{number:04}", f"question {number}", tags=("even",) if number % 2 == 0 else ())
            response = Response(f"{number} {'x' * CHARACTERS}", latency_s=0.5)
            writer.add(Result(sample.id, 0, Outcome.SCORED, response, {"correct": Score(number % 2)}), sample)
        run = writer.close_run(finished_at="2026-01-01T00:00:00Z")
    assert path.stat().st_size > HELD_BYTES
    return path, run


def test_what_is_held_does_not_grow_with_the_texts(written):
    path, run = written
    tracemalloc.start()
    try:
        found = read_run(path)
        held = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert held < 1_000 * N < path.stat().st_size / 5
    assert (found.digest, found.ledger, len(found.results)) == (run.digest, run.ledger, N)
    assert found.results[7] == run.results[7]
    assert found.samples["s0007"] == run.samples["s0007"]


def test_results_are_those_that_were_read_even_after_another_file_took_the_place(written, tmp_path):
    path, run = written
    found = read_run(path)
    other = tmp_path / "other"
    other.write_bytes(b"something else\n" * 1_000_000)
    other.replace(path)
    assert found.results[N - 1].response.output.startswith(f"{N - 1} x")
    assert found.by_sample["s0003"][0].scores == run.by_sample["s0003"][0].scores


@pytest.mark.parametrize("line", [2, 700, N + 1])
def test_a_changed_character_anywhere_is_found(written, line):
    path, _ = written
    lines = path.read_bytes().split(b"\n")
    lines[line - 1] = lines[line - 1].replace(b"xxx", b"xyx", 1)
    path.write_bytes(b"\n".join(lines))
    with pytest.raises(RunFileError, match="altered after it was closed"):
        read_run(path)


def test_a_broken_line_is_named_in_a_large_file_too(written):
    path, _ = written
    lines = path.read_bytes().split(b"\n")
    lines[1_234] = lines[1_234][:-1]
    path.write_bytes(b"\n".join(lines))
    with pytest.raises(RunFileError, match="run.jsonl:1235: broken line"):
        read_run(path)


def test_a_torn_large_file_gives_what_is_whole(written):
    path, _ = written
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) * 2 // 3])
    found = read_partial(path)
    assert found.torn
    assert N // 2 < len(found.results) < N
    with pytest.raises(RunFileError, match="was interrupted after"):
        read_run(path)
