"""Baselines: only a passing run is promoted, and a history that was touched is seen."""

import json
import os
import subprocess
import sys
import textwrap
from dataclasses import replace
from pathlib import Path

import pytest

from aigate.core.digest import digest_of, sha256_text
from aigate.core.run import Result
from aigate.core.runfile import RunEncoder
from aigate.core.verdict import CheckOutcome, Reason, Status, Verdict
from aigate.errors import BaselineError, RunFileError, StoreError, UsageError
from aigate.stores import FolderStore
from aigate.storing.baselines import Baselines
from aigate.storing.runs import load_run

NOW = "2026-01-01T00:00:00Z"


def decided(status=Status.PASS, *, checks=True):
    outcome = CheckOutcome("min-score", status, "0.9", metric="correct", reasons=(Reason("why", "it is what it is"),))
    return Verdict(status, (outcome,) if checks else (), "m/1/v1", None, {}, {})


def passing(_current):
    return decided()


def write(run, path):
    """The run as a file of its own."""
    encoder = RunEncoder(run.header)
    lines = [encoder.header_line(), *(encoder.result_line(r, run.samples[r.sample_id]) for r in run.results)]
    lines.append(encoder.closing_line(finished_at=run.finished_at))
    path.write_text("".join(f"{line}\n" for line in lines), "utf-8")
    return load_run(path)


@pytest.fixture
def stored(make_run, tmp_path):
    """Writes a run of that version to a file and reads it back."""

    def make(version="m/1/v1", **fields):
        name = version.replace("/", "_")
        return write(make_run({"a": [1.0], "b": [0.0]}, version=version, **fields), tmp_path / f"{name}.jsonl")

    return make


@pytest.fixture
def baselines(tmp_path):
    return Baselines(tmp_path / "baselines")


def files(folder):
    return {path.name: path.read_bytes() for path in folder.glob("*")} if folder.is_dir() else {}


def test_the_first_promotion_has_nothing_before_it(stored, baselines):
    run, asked = stored(prompt_digest="sha256:p"), []
    promotion = baselines.promote(run, "main", decide=lambda current: asked.append(current) or decided(), now=NOW)
    assert asked == [None]
    assert (promotion.name, promotion.version, promotion.run_digest) == ("main", "m/1/v1", run.digest)
    assert (promotion.replaced, promotion.prompt_digest, promotion.promoted_at) == (None, "sha256:p", NOW)
    assert promotion.checks == ("min-score correct",)
    assert promotion.verdict_digest == decided().digest
    assert baselines.names() == ("main",)
    assert baselines.load("main").digest == run.digest
    assert baselines.history() == (promotion,)
    assert Path(baselines.load("main").source).read_bytes() == Path(run.source).read_bytes()


def test_the_second_is_decided_against_the_first_and_follows_from_it(stored, baselines):
    one, two, asked = stored(), stored("m/2/v1"), []
    first = baselines.promote(one, "main", decide=passing, now=NOW)
    decide = lambda current: asked.append(current.digest) or decided()  # noqa: E731
    second = baselines.promote(two, "main", decide=decide, now=NOW)
    assert asked == [one.digest]
    assert second.replaced == one.digest
    assert baselines.load("main").digest == two.digest
    assert baselines.history() == (first, second)
    lines = (baselines.folder / "history.jsonl").read_text().splitlines()
    assert json.loads(lines[1])["previous"] == sha256_text(lines[0])


def test_names_have_baselines_of_their_own_in_one_history(stored, baselines):
    one, two = stored(), stored("m/2/v1")
    baselines.promote(one, "main", decide=passing, now=NOW)
    anchor = baselines.promote(two, "anchor-2.0_x", decide=passing, now=NOW)
    assert anchor.replaced is None
    assert baselines.names() == ("anchor-2.0_x", "main")
    assert (baselines.load("main").digest, baselines.load("anchor-2.0_x").digest) == (one.digest, two.digest)
    assert [line.name for line in baselines.history()] == ["main", "anchor-2.0_x"]


@pytest.mark.parametrize(
    "verdict", [decided(Status.FAIL), decided(Status.INCONCLUSIVE), decided(Status.ERROR), decided(checks=False)]
)
@pytest.mark.parametrize("again", [False, True])
def test_a_run_that_does_not_pass_is_not_promoted_and_nothing_changes(stored, baselines, verdict, again):
    if again:
        baselines.promote(stored(), "main", decide=passing, now=NOW)
    before = files(baselines.folder)
    with pytest.raises(BaselineError, match=f"not promoted: the verdict is {verdict.status}"):
        baselines.promote(stored("m/2/v1"), "main", decide=lambda _: verdict, now=NOW)
    assert files(baselines.folder) == before


def test_the_reason_is_in_the_refusal(stored, baselines):
    with pytest.raises(BaselineError, match="it is what it is"):
        baselines.promote(stored(), "main", decide=lambda _: decided(Status.FAIL), now=NOW)


def test_a_subset_is_never_a_baseline(stored, baselines):
    with pytest.raises(BaselineError, match=r"a subset \(first 2\) cannot be a baseline"):
        baselines.promote(stored(subset="first 2"), "main", decide=passing, now=NOW)
    assert files(baselines.folder) == {}


def test_a_decision_that_raises_changes_nothing(stored, baselines):
    with pytest.raises(ZeroDivisionError):
        baselines.promote(stored(), "main", decide=lambda _: 1 / 0, now=NOW)
    assert baselines.names() == ()
    assert baselines.history() == ()
    baselines.promote(stored(), "main", decide=passing, now=NOW)


def test_a_run_that_is_in_no_file_is_not_promoted(make_run, baselines):
    run = replace(make_run({"a": [1.0]}), source="")
    with pytest.raises(RunFileError, match="in no file") as caught:
        baselines.promote(run, "main", decide=passing, now=NOW)
    assert "out=" in caught.value.hint
    assert baselines.history() == ()


def test_a_file_that_is_gone_or_holds_another_run_by_now_is_not_promoted(stored, make_run, baselines):
    run = stored()
    write(make_run({"a": [0.0], "b": [0.0]}), Path(run.source))
    with pytest.raises(RunFileError, match="changed since it was read"):
        baselines.promote(run, "main", decide=passing, now=NOW)
    Path(run.source).unlink()
    with pytest.raises(RunFileError, match="cannot be read"):
        baselines.promote(run, "main", decide=passing, now=NOW)
    assert baselines.history() == ()
    assert baselines.names() == ()


@pytest.mark.parametrize("name", ["history", "", ".", "..", "a/b", "../main", "/x", ".hidden", "a b", "é", "a\n"])
def test_a_name_that_is_no_file_name_or_is_that_of_the_history_is_refused(stored, baselines, name):
    with pytest.raises(UsageError, match="is no name of a baseline"):
        baselines.promote(stored(), name, decide=passing, now=NOW)
    with pytest.raises(UsageError, match="is no name of a baseline"):
        baselines.load(name)
    assert files(baselines.folder) == {}


def test_a_baseline_that_is_not_there_names_those_that_are(stored, baselines):
    with pytest.raises(BaselineError, match=r"no baseline 'main'.*none yet") as caught:
        baselines.load("main")
    assert "aigate baseline promote" in caught.value.hint
    baselines.promote(stored(), "main", decide=passing, now=NOW)
    with pytest.raises(BaselineError, match=r"no baseline 'mian' \(there are: main\)"):
        baselines.load("mian")


# A history of three, and what somebody may do to it.


@pytest.fixture
def three(stored, baselines):
    for version in ("m/1/v1", "m/2/v1", "m/3/v1"):
        baselines.promote(stored(version), "main", decide=passing, now=NOW)
    assert len(baselines.history()) == 3
    return baselines


def rewrite(baselines, change):
    path = baselines.folder / "history.jsonl"
    path.write_text("".join(f"{line}\n" for line in change(path.read_text().splitlines())))


@pytest.mark.parametrize("index", [0, 1, 2])
@pytest.mark.parametrize("key", ["version", "verdict_digest", "promoted_at", "checks", "previous", "run_digest"])
def test_an_edited_line_is_seen(three, index, key):
    def change(lines):
        row = json.loads(lines[index])
        row[key] = ["always"] if key == "checks" else row[key][:-1] + ("2" if row[key][-1] != "2" else "3")
        return [*lines[:index], json.dumps(row), *lines[index + 1 :]]

    rewrite(three, change)
    with pytest.raises(BaselineError, match=f"history.jsonl:{index + 1}: broken line: edited") as caught:
        three.history()
    assert "version control" in caught.value.hint
    with pytest.raises(BaselineError):
        three.load("main")


@pytest.mark.parametrize("index", [0, 1])
def test_a_line_edited_together_with_its_digest_does_not_fit_the_next_one(three, index):
    def change(lines):
        row = {**json.loads(lines[index]), "version": "m/9/v1"}
        del row["digest"]
        return [*lines[:index], json.dumps({**row, "digest": digest_of(row)}), *lines[index + 1 :]]

    rewrite(three, change)
    with pytest.raises(BaselineError, match=f"history.jsonl:{index + 2}: does not follow"):
        three.history()


@pytest.mark.parametrize(("index", "seen"), [(0, 1), (1, 2)])
def test_a_line_taken_out_is_seen(three, index, seen):
    rewrite(three, lambda lines: [*lines[:index], *lines[index + 1 :]])
    with pytest.raises(BaselineError, match=f"history.jsonl:{seen}: does not follow"):
        three.load("main")


def test_a_last_line_taken_out_is_seen_by_the_run_it_promoted(three):
    rewrite(three, lambda lines: lines[:-1])
    assert len(three.history()) == 2
    with pytest.raises(BaselineError, match=r"was promoted last"):
        three.load("main")


@pytest.mark.parametrize("order", [(1, 0, 2), (0, 2, 1), (2, 1, 0)])
def test_lines_in_another_order_are_seen(three, order):
    rewrite(three, lambda lines: [lines[index] for index in order])
    with pytest.raises(BaselineError, match="does not follow"):
        three.history()


def test_a_line_put_in_twice_is_seen(three):
    rewrite(three, lambda lines: [*lines, lines[-1]])
    with pytest.raises(BaselineError, match=r"history.jsonl:4: does not follow"):
        three.history()


@pytest.mark.parametrize(
    "line", ["", "garbage", "[]", "{}", '{"format":"aigate.history/2"}', '{"format":"aigate.history/1"}', "5"]
)
def test_a_line_that_is_none_is_broken(three, line):
    rewrite(three, lambda lines: [*lines, line])
    with pytest.raises(BaselineError, match=r"history.jsonl:4: broken line"):
        three.history()


def test_a_history_that_is_no_text_is_said_so(three):
    (three.folder / "history.jsonl").write_bytes(b"\xff\xfe")
    with pytest.raises(BaselineError, match="cannot be read"):
        three.load("main")


def test_a_baseline_without_a_line_in_the_history_is_not_used(three, stored):
    (three.folder / "history.jsonl").unlink()
    with pytest.raises(BaselineError, match="was never promoted") as caught:
        three.load("main")
    assert "promote" in caught.value.hint
    with pytest.raises(BaselineError, match="was never promoted"):
        three.promote(stored("m/4/v1"), "main", decide=passing, now=NOW)


def test_a_run_put_in_the_place_of_the_baseline_is_seen(three, stored):
    (three.folder / "main.jsonl").write_bytes(Path(stored("m/1/v1").source).read_bytes())
    with pytest.raises(BaselineError, match=r"holds run [0-9a-f]{12}, but [0-9a-f]{12} \(m/3/v1\) was promoted last"):
        three.load("main")
    with pytest.raises(BaselineError, match="was promoted last"):
        three.promote(stored("m/4/v1"), "main", decide=passing, now=NOW)


def test_an_edited_baseline_is_refused(three):
    path = three.folder / "main.jsonl"
    path.write_text(path.read_text().replace('"value":0.0', '"value":1.0'))
    with pytest.raises(RunFileError, match="altered after it was closed"):
        three.load("main")


def test_nothing_is_added_to_a_history_that_was_touched(three, stored):
    rewrite(three, lambda lines: lines[1:])
    before = files(three.folder)
    with pytest.raises(BaselineError):
        three.promote(stored("m/4/v1"), "other", decide=passing, now=NOW)
    assert files(three.folder) == before


def test_characters_that_some_take_for_line_ends_do_not_break_the_history(stored, baselines):
    odd = CheckOutcome("min-score", Status.PASS, "", metric="one\u2028two\u0085three")
    verdict = Verdict(Status.PASS, (odd,), "m/1/v1", None, {}, {})
    baselines.promote(stored(), "main", decide=lambda _: verdict, now=NOW)
    baselines.promote(stored("m/2/v1"), "main", decide=passing, now=NOW)
    assert baselines.history()[0].checks == ("min-score one\u2028two\u0085three",)
    assert baselines.load("main").version.provider_version == "2"


PROMOTER = """
    import sys
    from pathlib import Path
    from aigate.core.verdict import CheckOutcome, Status, Verdict
    from aigate.storing.baselines import Baselines
    from aigate.storing.runs import load_run

    verdict = Verdict(Status.PASS, (CheckOutcome("min-score", Status.PASS, ""),), "m/1/v1", None, {}, {})
    run = load_run(sys.argv[2])
    print("ready", flush=True)
    sys.stdin.readline()
    Baselines(Path(sys.argv[1])).promote(run, "main", decide=lambda _: verdict, now="2026-01-01T00:00:00Z")
"""


def test_promotions_at_the_same_time_follow_one_another(stored, baselines):
    runs = [stored(f"m/{number}/v1") for number in range(8)]
    command = [sys.executable, "-c", textwrap.dedent(PROMOTER), str(baselines.folder)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    processes = [subprocess.Popen([*command, run.source], **pipes) for run in runs]
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    for process in processes:
        process.communicate(timeout=60)
    assert [process.returncode for process in processes] == [0] * 8
    history = baselines.history()
    assert sorted(line.run_digest for line in history) == sorted(run.digest for run in runs)
    assert [line.replaced for line in history] == [None, *(line.run_digest for line in history[:-1])]
    assert baselines.load("main").digest == history[-1].run_digest
    assert {path.name for path in baselines.folder.iterdir()} == {"history.jsonl", "main.jsonl"}


def test_a_folder_that_cannot_be_written_is_said_so(stored, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StoreError, match="cannot be written") as caught:
        Baselines(tmp_path / "file" / "baselines").promote(stored(), "main", decide=passing, now=NOW)
    assert "permissions" in caught.value.hint


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes anywhere")
def test_a_folder_without_permission_is_said_so(stored, tmp_path):
    (tmp_path / "baselines").mkdir(mode=0o500)
    with pytest.raises(StoreError, match="cannot be written"):
        Baselines(tmp_path / "baselines").promote(stored(), "main", decide=passing, now=NOW)


def test_a_promotion_that_dies_between_history_and_baseline_is_seen(three, stored, monkeypatch):
    """The history is written first: what is left is a baseline that is not used, never one without its verdict."""
    write_one = FolderStore.write

    def die_before_the_run(store, name, content, **replaced):
        if name == "main.jsonl":
            raise KeyboardInterrupt
        write_one(store, name, content, **replaced)

    monkeypatch.setattr(FolderStore, "write", die_before_the_run)
    with pytest.raises(KeyboardInterrupt):
        three.promote(stored("m/4/v1"), "main", decide=passing, now=NOW)
    with pytest.raises(BaselineError, match=r"\(m/4/v1\) was promoted last") as caught:
        three.load("main")
    assert "restore the suite's baselines folder" in caught.value.hint


def test_a_stored_run_keeps_its_repeats_in_the_baseline(make_run, tmp_path, baselines):
    run = write(make_run({"a": [1.0, 0.0, 0.5]}), tmp_path / "run.jsonl")
    baselines.promote(run, "main", decide=passing, now=NOW)
    loaded = baselines.load("main")
    assert loaded.results == run.results
    assert all(isinstance(result, Result) for result in loaded.results)
