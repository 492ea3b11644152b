"""Runs and baselines on a real S3 server over HTTP: of two promotions at once one wins, and nothing is half there."""

import json
import subprocess
import sys
import textwrap

import pytest

from aigate.core.digest import sha256_text
from aigate.core.runfile import RunEncoder
from aigate.core.verdict import CheckOutcome, Status, Verdict
from aigate.errors import BaselineError, RunFileError, StoreError
from aigate.stores import PROBE, store_at
from aigate.storing.baselines import Baselines
from aigate.storing.runs import load_run

pytestmark = pytest.mark.integration

NOW = "2026-01-01T00:00:00Z"
PROMOTERS, RACES = 6, 8


def passing(_current):
    return Verdict(Status.PASS, (CheckOutcome("min-score", Status.PASS, ""),), "m/1/v1", None, {}, {})


def text_of(run):
    encoder = RunEncoder(run.header)
    lines = [encoder.header_line(), *(encoder.result_line(r, run.samples[r.sample_id]) for r in run.results)]
    return "".join(f"{line}\n" for line in (*lines, encoder.closing_line(finished_at=run.finished_at)))


@pytest.fixture
def stored(make_run, tmp_path):
    """Writes a run of that version to a file and reads it back."""

    def make(version="m/1/v1", **fields):
        path = tmp_path / f"{version.replace('/', '_')}.jsonl"
        path.write_text(text_of(make_run({"a": [1.0], "b": [0.0]}, version=version, **fields)), "utf-8")
        return load_run(path)

    return make


@pytest.fixture
def baselines(bucket):
    return Baselines(f"{bucket.url}/faq/baselines")


def test_a_run_is_read_from_its_url(bucket, make_run):
    run = make_run({"a": [1.0]})
    bucket.ask("PUT", "runs/one.jsonl", text_of(run).encode())
    found = load_run(f"{bucket.url}/runs/one.jsonl")
    assert found.digest == run.digest
    assert found.source == f"{bucket.url}/runs/one.jsonl"


def test_a_run_that_is_not_there_is_missing_and_a_bucket_that_is_not_there_is_an_error(bucket):
    with pytest.raises(RunFileError, match=rf"{bucket.url}/runs/one.jsonl: no such run file"):
        load_run(f"{bucket.url}/runs/one.jsonl")
    with pytest.raises(StoreError, match="no such bucket"):
        load_run("s3://no-such-bucket/runs/one.jsonl")


def test_a_promotion_is_the_baseline_and_every_promoted_run_is_kept(bucket, baselines, stored):
    one, two, asked = stored(), stored("m/2/v1"), []
    baselines.promote(one, "main", decide=passing, now=NOW)
    decide = lambda current: asked.append(current.digest) or passing(current)  # noqa: E731
    baselines.promote(two, "main", decide=decide, now=NOW)
    assert asked == [one.digest]
    assert baselines.names() == ("main",)
    assert baselines.load("main").digest == two.digest
    assert [line.run_digest for line in baselines.history()] == [one.digest, two.digest]
    objects = bucket.objects()
    assert set(objects) == {
        "faq/baselines/main.jsonl",
        "faq/baselines/history.jsonl",
        f"faq/baselines/{PROBE}",
        f"faq/baselines/promoted/{one.digest[7:]}.jsonl",
        f"faq/baselines/promoted/{two.digest[7:]}.jsonl",
    }
    assert load_run(f"{bucket.url}/faq/baselines/main.jsonl").digest == two.digest
    lines = objects["faq/baselines/history.jsonl"].decode().splitlines()
    assert json.loads(lines[1])["previous"] == sha256_text(lines[0])


def test_a_run_on_s3_is_promoted_from_there(bucket, baselines, stored):
    bucket.ask("PUT", "runs/one.jsonl", text_of(stored()).encode())
    run = load_run(f"{bucket.url}/runs/one.jsonl")
    baselines.promote(run, "main", decide=passing, now=NOW)
    assert baselines.load("main").digest == run.digest
    bucket.ask("PUT", "runs/one.jsonl", text_of(stored("m/2/v1")).encode())
    with pytest.raises(RunFileError, match="changed since it was read"):
        baselines.promote(run, "other", decide=passing, now=NOW)


def test_a_run_promoted_twice_stands_once_in_the_history(baselines, stored):
    first = baselines.promote(stored(), "main", decide=passing, now=NOW)
    assert baselines.promote(stored(), "main", decide=passing, now=NOW) == first
    assert baselines.history() == (first,)


def test_a_folder_that_was_copied_to_the_bucket_goes_on_there(bucket, baselines, stored, tmp_path):
    local = Baselines(tmp_path / "baselines")
    local.promote(stored(), "main", decide=passing, now=NOW)
    for path in local.folder.iterdir():
        bucket.ask("PUT", f"faq/baselines/{path.name}", path.read_bytes())
    assert baselines.load("main").digest == stored().digest
    baselines.promote(stored("m/2/v1"), "main", decide=passing, now=NOW)
    assert [line.version for line in baselines.history()] == ["m/1/v1", "m/2/v1"]


def test_a_baseline_that_is_lost_or_was_never_promoted_is_said_so(bucket, baselines, stored):
    with pytest.raises(BaselineError, match=r"no baseline 'main' \(there are: none yet\)"):
        baselines.load("main")
    bucket.ask("PUT", "faq/baselines/main.jsonl", text_of(stored()).encode())
    with pytest.raises(BaselineError, match="was never promoted"):
        baselines.load("main")
    bucket.ask("DELETE", "faq/baselines/main.jsonl")
    baselines.promote(stored(), "main", decide=passing, now=NOW)
    bucket.ask("DELETE", f"faq/baselines/promoted/{stored().digest[7:]}.jsonl")
    assert baselines.load("main").digest == stored().digest  # its copy under its name is there
    bucket.ask("DELETE", "faq/baselines/main.jsonl")
    with pytest.raises(BaselineError, match="is lost"):
        baselines.load("main")


def test_a_history_that_was_touched_is_seen(bucket, baselines, stored):
    for version in ("m/1/v1", "m/2/v1"):
        baselines.promote(stored(version), "main", decide=passing, now=NOW)
    lines = bucket.ask("GET", "faq/baselines/history.jsonl").splitlines(keepends=True)
    bucket.ask("PUT", "faq/baselines/history.jsonl", lines[1])
    with pytest.raises(BaselineError, match=r"history.jsonl:1: does not follow"):
        baselines.load("main")
    with pytest.raises(BaselineError, match="does not follow"):
        baselines.promote(stored("m/3/v1"), "main", decide=passing, now=NOW)


def test_a_kept_run_that_was_altered_is_not_used_and_not_promoted_again(bucket, baselines, stored):
    baselines.promote(stored(), "main", decide=passing, now=NOW)
    key = f"faq/baselines/promoted/{stored().digest[7:]}.jsonl"
    bucket.ask("PUT", key, bucket.ask("GET", key).replace(b'"value":0.0', b'"value":1.0'))
    with pytest.raises(RunFileError, match="altered after it was closed"):
        baselines.load("main")
    with pytest.raises(RunFileError, match="altered after it was closed"):
        baselines.promote(stored("m/2/v1"), "main", decide=passing, now=NOW)


# --- writes that are spoiled ------------------------------------------------------------------------------------------


def test_every_write_is_conditional(front, baselines, stored):
    for version in ("m/1/v1", "m/2/v1"):
        baselines.promote(stored(version), "main", decide=passing, now=NOW)
    writes = [
        (key.removeprefix("faq/baselines/"), conditions) for method, key, conditions in front.seen if method == "PUT"
    ]
    assert all(len(conditions) == 1 for _, conditions in writes)
    assert {name for name, conditions in writes if "if-match" in conditions} == {"history.jsonl", "main.jsonl", PROBE}
    assert all(conditions["if-none-match"] == "*" for _, conditions in writes if "if-none-match" in conditions)


def test_a_server_that_ignores_conditions_is_named_and_nothing_is_promoted(front, bucket, baselines, stored):
    front.ignore_conditions = True
    with pytest.raises(StoreError, match=rf"{baselines.folder}: has no conditional writes") as caught:
        baselines.promote(stored(), "main", decide=passing, now=NOW)
    assert "suite's folder" in caught.value.hint
    assert set(bucket.objects()) == {f"faq/baselines/{PROBE}"}


def test_a_server_that_ignores_only_one_condition_is_found_too(front, bucket, baselines, stored):
    baselines.promote(stored(), "main", decide=passing, now=NOW)
    before = bucket.objects()
    front.ignore_conditions = True
    with pytest.raises(StoreError, match="has no conditional writes"):
        baselines.promote(stored("m/2/v1"), "main", decide=passing, now=NOW)
    assert bucket.objects() == before


@pytest.mark.parametrize("name", ["history.jsonl", "main.jsonl", f"promoted/{'x'}"])
@pytest.mark.parametrize("again", [False, True])
def test_a_write_whose_answer_is_lost_counts_once(front, baselines, stored, name, again):
    if again:
        baselines.promote(stored(), "main", decide=passing, now=NOW)
    run = stored("m/2/v1")
    front.lose_answer_to = {name if "promoted" not in name else f"{run.digest[7:]}.jsonl"}
    baselines.promote(run, "main", decide=passing, now=NOW)
    assert front.lose_answer_to == set()
    assert [line.version for line in baselines.history()] == (["m/1/v1"] if again else []) + ["m/2/v1"]
    assert baselines.load("main").digest == run.digest


def test_a_promotion_that_breaks_off_before_the_history_changed_nothing(front, baselines, stored):
    baselines.promote(stored(), "main", decide=passing, now=NOW)
    front.break_off_at = {"history.jsonl"}
    with pytest.raises(StoreError, match="history.jsonl: cannot be reached"):
        baselines.promote(stored("m/2/v1"), "main", decide=passing, now=NOW)
    assert baselines.load("main").version.provider_version == "1"
    front.break_off_at = set()
    baselines.promote(stored("m/2/v1"), "main", decide=passing, now=NOW)
    assert baselines.load("main").version.provider_version == "2"


def test_a_promotion_that_breaks_off_after_the_history_is_in_force_and_can_be_finished(
    front, bucket, baselines, stored
):
    baselines.promote(stored(), "main", decide=passing, now=NOW)
    front.break_off_at = {"main.jsonl"}
    with pytest.raises(StoreError, match="main.jsonl: cannot be reached"):
        baselines.promote(stored("m/2/v1"), "main", decide=passing, now=NOW)
    assert baselines.load("main").version.provider_version == "2"
    front.break_off_at = set()
    baselines.promote(stored("m/2/v1"), "main", decide=passing, now=NOW)
    assert len(baselines.history()) == 2
    assert load_run(f"{baselines.folder}/main.jsonl").version.provider_version == "2"


def test_what_changes_between_reading_and_writing_is_seen(front, bucket, baselines, stored):
    baselines.promote(stored(), "main", decide=passing, now=NOW)
    other = Baselines(baselines.folder)

    def promote_another(current):
        other.promote(stored("m/3/v1"), "main", decide=passing, now=NOW)
        return passing(current)

    with pytest.raises(BaselineError, match=r"history.jsonl: changed since it was read") as caught:
        baselines.promote(stored("m/2/v1"), "main", decide=promote_another, now=NOW)
    assert "m/2/v1 was not promoted; 'main' is m/3/v1" in caught.value.message
    assert "promote it again" in caught.value.hint
    assert [line.version for line in baselines.history()] == ["m/1/v1", "m/3/v1"]
    assert baselines.load("main").version.provider_version == "3"


def test_a_slow_promotion_does_not_put_its_run_over_that_of_a_later_one(front, baselines, stored):
    baselines.promote(stored(), "main", decide=passing, now=NOW)

    def promote_another(key):
        if key.endswith("/main.jsonl"):
            front.before_write = lambda _key: None
            Baselines(baselines.folder).promote(stored("m/3/v1"), "main", decide=passing, now=NOW)

    front.before_write = promote_another
    baselines.promote(stored("m/2/v1"), "main", decide=passing, now=NOW)
    assert [line.version for line in baselines.history()] == ["m/1/v1", "m/2/v1", "m/3/v1"]
    assert load_run(f"{baselines.folder}/main.jsonl").version.provider_version == "3"
    assert baselines.load("main").version.provider_version == "3"


# --- promotions at once -----------------------------------------------------------------------------------------------

PROMOTER = """
    import sys
    from aigate.core.verdict import CheckOutcome, Status, Verdict
    from aigate.errors import BaselineError
    from aigate.storing.baselines import Baselines
    from aigate.storing.runs import load_run

    def decide(current):
        print("read", flush=True)  # the history was read: from here on every promoter is at the same place
        sys.stdin.readline()
        return Verdict(Status.PASS, (CheckOutcome("min-score", Status.PASS, ""),), "m/1/v1", None, {}, {})

    for line in sys.stdin:
        run = load_run(line.strip())
        try:
            Baselines(sys.argv[1]).promote(run, "main", decide=decide, now="2026-01-01T00:00:00Z")
            print("won", flush=True)
        except BaselineError as error:
            print("lost", str(error).replace(chr(10), " "), flush=True)
"""


@pytest.fixture
def promoters(baselines):
    """Processes that promote the runs they are told to, step by step."""
    command = [sys.executable, "-c", textwrap.dedent(PROMOTER), baselines.folder]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    processes = [subprocess.Popen(command, **pipes) for _ in range(PROMOTERS)]
    yield processes
    for process in processes:
        process.communicate(timeout=60)


def tell(processes, lines):
    for process, line in zip(processes, lines, strict=True):
        process.stdin.write(f"{line}\n")
        process.stdin.flush()


def test_of_promotions_at_once_exactly_one_wins_every_time(promoters, baselines, stored):
    for race in range(RACES):
        before = baselines.history()
        runs = [stored(f"m/{race}-{number}/v1") for number in range(PROMOTERS)]
        tell(promoters, [run.source for run in runs])
        assert [process.stdout.readline() for process in promoters] == ["read\n"] * PROMOTERS
        tell(promoters, ["go"] * PROMOTERS)
        said = [process.stdout.readline() for process in promoters]
        (winner,) = (run for run, line in zip(runs, said, strict=True) if line == "won\n")
        losers = [line for line in said if line.startswith("lost")]
        assert len(losers) == PROMOTERS - 1
        assert all("changed since it was read" in line and "next: promote it again" in line for line in losers)
        history = baselines.history()
        assert history[:-1] == before
        assert history[-1].run_digest == winner.digest
        assert baselines.load("main").digest == winner.digest
    assert len(baselines.history()) == RACES


def test_promotions_that_try_again_follow_one_another(promoters, baselines, stored):
    left = {process: stored(f"m/{number}/v1") for number, process in enumerate(promoters)}
    digests = {run.digest for run in left.values()}
    while left:
        tell(left, [f"{run.source}\ngo" for run in left.values()])  # whenever it comes to read: nobody waits for others
        won = [process for process in left if [process.stdout.readline(), process.stdout.readline()][1] == "won\n"]
        assert won
        for process in won:
            del left[process]
    history = baselines.history()
    assert len(history) == PROMOTERS
    assert {line.run_digest for line in history} == digests
    assert [line.replaced for line in history] == [None, *(line.run_digest for line in history[:-1])]


def test_a_store_of_another_process_sees_the_same_tags(bucket):
    store_at(bucket.url).write("a", b"one", replaces=None)
    program = f"from aigate.stores import store_at\nprint(store_at({bucket.url!r}).read('a').tag)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == store_at(bucket.url).read("a").tag
