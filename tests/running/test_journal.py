"""The journal: nothing is paid for twice, and nothing that it holds is ever the wrong answer."""

import asyncio
import errno
import json
import os
import random
import shutil
import sqlite3
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta

import pytest

from aigate.core.response import Fault, FaultKind, Response
from aigate.errors import CannotJudgeError, JournalError
from aigate.running import journal_writer
from aigate.running.journal import Journal, JournalCounts, entries_of, prune, summary_of

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
WHAT = {"provider": "openai", "adapter": 1, "body": {"model": "m", "messages": [{"role": "user", "content": "é?"}]}}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "kept" / "journal.sqlite"


class Asked:
    """Asks, and counts; answers with what it is given, in order."""

    def __init__(self, *answers, gate=None):
        self.answers, self.count, self.gate = list(answers), 0, gate

    async def __call__(self):
        self.count += 1
        if self.gate is not None:
            await self.gate.wait()
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, BaseException):
            raise answer
        return answer


def text(output="yes", **fields):
    return Response(output=output, latency_s=0.5, ttft_s=0.1, input_tokens=3, output_tokens=1, **fields)


def answered(path, *calls, **opened):
    """What the journal gives for each (identity, repeat, ask), one after the other; and its counts."""

    async def main():
        found = Journal.open(path, **{"now": lambda: NOW, **opened})
        try:
            return [await found.answer(*call) for call in calls], found.counts
        finally:
            found.close()

    return asyncio.run(main())


def test_an_answer_is_asked_for_once_also_by_the_next_process(path):
    ask = Asked(text())
    [first], _ = answered(path, (WHAT, 0, ask))
    [second], counts = answered(path, (WHAT, 0, ask))
    assert (ask.count, counts) == (1, JournalCounts(hits=1))
    assert (first.output, first.latency_s, first.journaled_at) == ("yes", 0.5, None)
    assert second.output == "yes"
    assert second.journaled_at == "2026-11-24T12:00:00+00:00"


def test_latency_is_never_taken_from_the_journal(path):
    kept = text(attempts=3, retry_wait_s=7.0)
    [_, again], _ = answered(path, (WHAT, 0, Asked(kept)), (WHAT, 0, Asked(kept)))
    assert (again.latency_s, again.ttft_s, again.attempts, again.retry_wait_s) == (None, None, 1, 0.0)
    assert (again.input_tokens, again.output_tokens) == (3, 1)


@pytest.mark.parametrize(
    "other",
    [
        (WHAT | {"adapter": 2}, 0),
        (WHAT, 1),
        (WHAT | {"body": {"model": "n", "messages": WHAT["body"]["messages"]}}, 0),
        (WHAT | {"body": {"model": "m", "messages": [], "temperature": 0}}, 0),
        (WHAT | {"body": {"model": "m", "messages": [{"role": "user", "content": "e?"}]}}, 0),
        (WHAT | {"provider": "other"}, 0),
    ],
    ids=["adapter", "repeat", "model", "parameters", "text", "provider"],
)
def test_whatever_decides_an_answer_makes_another_entry(path, other):
    [_, found], _ = answered(path, (WHAT, 0, Asked(text("first"))), (*other, Asked(text("second"))))
    assert found.output == "second"


def test_a_judgement_is_no_answer_and_the_judge_is_part_of_its_key(path):
    async def main():
        found = Journal.open(path, now=lambda: NOW)
        said = [
            await found.judgement(WHAT | {"judge": judge}, Asked({"verdict": judge}))
            for judge in ("a/1/v1", "a/1/v2", "a/1/v1")
        ]
        answer = await found.answer(WHAT | {"judge": "a/1/v1"}, 0, Asked(text()))
        found.close()
        return said, answer

    said, answer = asyncio.run(main())
    kept = {"verdict": "a/1/v1", "journaled_at": NOW.isoformat(timespec="seconds")}
    assert said == [{"verdict": "a/1/v1"}, {"verdict": "a/1/v2"}, kept]
    assert (answer.output, answer.journaled_at) == ("yes", None)


def test_a_fault_is_not_kept(path):
    broken = Response(fault=Fault(FaultKind.SERVER, "oops"))
    [first, second], counts = answered(path, (WHAT, 0, Asked(broken)), (WHAT, 0, Asked(text())))
    assert (first.fault, second.output, counts) == (broken.fault, "yes", JournalCounts(misses=2))


def test_what_asking_raises_goes_through_and_leaves_nothing(path):
    with pytest.raises(RuntimeError, match="no money"):
        answered(path, (WHAT, 0, Asked(RuntimeError("no money"))))
    assert list(entries_of(path)) == []


@pytest.mark.parametrize("fails", [False, True], ids=["answered", "the first one fails"])
def test_equal_requests_in_flight_are_one(path, fails):
    async def main():
        found = Journal.open(path, now=lambda: NOW)
        gate = asyncio.Event()
        broken = Response(fault=Fault(FaultKind.SERVER, "oops"))
        ask = Asked(*([broken] if fails else []), text(), gate=gate)
        waiting = [asyncio.create_task(found.answer(WHAT, 0, ask)) for _ in range(5)]
        for _ in range(10):
            await asyncio.sleep(0)
        assert ask.count == 1
        gate.set()
        answers = await asyncio.gather(*waiting)
        found.close()
        return ask.count, answers, found.counts

    count, answers, counts = asyncio.run(main())
    assert count == 1 + fails
    assert [answer.output for answer in answers].count("yes") == 5 - fails
    assert counts == JournalCounts(merged=4 - fails, misses=1 + fails)
    assert sum(answer.journaled_at is not None for answer in answers) == 4 - fails


def test_one_that_is_cancelled_lets_the_next_ask(path):
    async def main():
        found = Journal.open(path, now=lambda: NOW)
        never = asyncio.create_task(found.answer(WHAT, 0, Asked(text("lost"), gate=asyncio.Event())))
        await asyncio.sleep(0)
        other = asyncio.create_task(found.answer(WHAT, 0, Asked(text("mine"))))
        await asyncio.sleep(0)
        never.cancel()
        answer = await asyncio.wait_for(other, 30)
        found.close()
        return answer

    assert asyncio.run(main()).output == "mine"


def test_an_answer_is_on_disk_before_it_is_used(path):
    """Another process sees it as soon as `answer` returns, whatever becomes of this one."""

    async def main():
        found = Journal.open(path, now=lambda: NOW)
        await found.answer(WHAT, 0, Asked(text("kept")))
        with sqlite3.connect(path) as other:
            rows = other.execute("SELECT value FROM entries").fetchall()
        other.close()
        found.close()
        return rows

    [(value,)] = asyncio.run(main())
    assert json.loads(value)["output"] == "kept"


def test_an_answer_is_kept_before_the_disk_has_it_and_used_only_after(path, monkeypatch):
    """What the next call may be made on: another process finds the answer, though this one has not been given it."""
    may_synchronise, synchronise = threading.Event(), journal_writer.synchronise

    def slow_disk(log):
        assert may_synchronise.wait(30)
        synchronise(log)

    monkeypatch.setattr(journal_writer, "synchronise", slow_disk)

    async def main():
        found, kept = Journal.open(path, now=lambda: NOW), asyncio.Event()
        asking = asyncio.create_task(found.answer(WHAT, 0, Asked(text("kept")), kept=kept.set))
        await asyncio.wait_for(kept.wait(), 30)
        there = [entry.value["output"] for entry in entries_of(path)]
        used = (await asyncio.wait([asking], timeout=0.2))[0]
        may_synchronise.set()
        answer = await asyncio.wait_for(asking, 30)
        found.close()
        return there, used, answer.output

    assert asyncio.run(main()) == (["kept"], set(), "kept")


def test_a_disk_that_cannot_be_waited_for_gives_no_answer(path, monkeypatch):
    def broken_disk(log):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(journal_writer, "synchronise", broken_disk)
    with pytest.raises(CannotJudgeError, match="Input/output error") as caught:
        answered(path, (WHAT, 0, Asked(text("first"))))
    assert "run again" in caught.value.hint


@pytest.mark.parametrize(("mode", "waits"), [("wal", 1), ("delete", 2)])
def test_every_commit_waits_for_the_disk_one_way_or_the_other(path, monkeypatch, mode, waits):
    """Where SQLite keeps no write-ahead log, nobody but SQLite itself can wait."""
    levels, commit, synchronised = [], journal_writer.commit, []

    def watched(connection, rows):
        levels.append(connection.execute("PRAGMA synchronous").fetchone()[0])
        commit(connection, rows)

    monkeypatch.setattr(journal_writer, "commit", watched)
    monkeypatch.setattr(journal_writer, "synchronise", synchronised.append)

    async def main():
        found = Journal.open(path)
        found._reader.execute(f"PRAGMA journal_mode = {mode}")
        answer = await found.answer(WHAT, 0, Asked(text()))
        found.close()
        return answer.output

    assert asyncio.run(main()) == "yes"
    assert levels == [waits]  # 1 is NORMAL, 2 is FULL
    assert len(synchronised) == (mode == "wal")


def test_an_old_answer_is_asked_for_again_and_replaced(path):
    answered(path, (WHAT, 0, Asked(text("old"))))
    later = {"max_age_days": 1.0, "now": lambda: NOW + timedelta(days=1, seconds=1)}
    [new], _ = answered(path, (WHAT, 0, Asked(text("new"))), **later)
    [kept], counts = answered(path, (WHAT, 0, Asked(text("newest"))), **later)
    assert (new.output, kept.output, counts.hits) == ("new", "new", 1)


def test_broken_unicode_and_large_answers_are_kept_as_they_are(path):
    strange = "\ud800 \x00 \u2028 " + "x" * 300_000
    [_, again], _ = answered(path, (WHAT, 0, Asked(text(strange))), (WHAT, 0, Asked(text("other"))))
    assert again.output == strange


class TestWrongFiles:
    @pytest.mark.parametrize(
        ("content", "told"),
        [
            (b"not a database, but long enough to be read as one" * 30, "not a database"),
            (b"\x00" * 4096, "cannot be used|no journal of aigate|not a database"),
        ],
    )
    def test_something_else_is_refused_and_left_alone(self, path, content, told):
        path.parent.mkdir()
        path.write_bytes(content)
        with pytest.raises(JournalError, match=told) as caught:
            Journal.open(path)
        assert "--no-journal" in caught.value.hint or "--journal" in caught.value.hint
        assert path.read_bytes() == content

    def test_somebody_elses_database_is_refused(self, path):
        path.parent.mkdir()
        with sqlite3.connect(path) as other:
            other.execute("CREATE TABLE mine (x)")
        other.close()
        with pytest.raises(JournalError, match="no journal of aigate"):
            Journal.open(path)

    def test_a_newer_format_is_refused(self, path):
        answered(path, (WHAT, 0, Asked(text())))
        with sqlite3.connect(path) as other:
            other.execute("PRAGMA user_version = 9")
        other.close()
        with pytest.raises(JournalError, match="format 9, this version of aigate reads 1"):
            Journal.open(path)

    def test_a_folder_in_its_place_is_refused(self, path):
        path.mkdir(parents=True)
        with pytest.raises(JournalError, match="cannot be used"):
            Journal.open(path)

    def test_a_file_where_its_folder_should_be_is_refused(self, path):
        path.parent.write_text("")
        with pytest.raises(JournalError, match="cannot be used"):
            Journal.open(path)

    def test_an_edited_answer_is_never_used(self, path):
        answered(path, (WHAT, 0, Asked(text("right"))))
        with sqlite3.connect(path) as other:
            other.execute("UPDATE entries SET value = replace(value, 'right', 'wrong')")
        other.close()
        with pytest.raises(CannotJudgeError, match="does not hold what was written"):
            answered(path, (WHAT, 0, Asked(text("other"))))
        with pytest.raises(JournalError, match="does not hold what was written"):
            list(entries_of(path))

    @pytest.mark.parametrize("seed", range(6))
    def test_a_damaged_file_gives_a_clear_error_or_right_answers_wherever_it_is_damaged(self, path, tmp_path, seed):
        calls = [(WHAT | {"n": n}, 0) for n in range(40)]
        answered(path, *((*call, Asked(text(f"answer {n}" + "." * 200))) for n, call in enumerate(calls)))
        whole, draw = path.read_bytes(), random.Random(seed)  # noqa: S311
        for number in range(12):
            broken = bytearray(whole)
            if number % 2:
                broken = broken[: draw.randrange(len(whole))]
            else:
                for _ in range(8):
                    broken[draw.randrange(len(broken))] ^= 1 << draw.randrange(8)
            copy = tmp_path / f"copy-{number}" / "journal.sqlite"
            copy.parent.mkdir()
            copy.write_bytes(broken)
            try:
                found, _ = answered(copy, *((*call, Asked(text(f"asked {n}"))) for n, call in enumerate(calls)))
            except (JournalError, CannotJudgeError):
                continue
            kept = [f"answer {n}" + "." * 200 for n in range(40)]
            asked = [f"asked {n}" for n in range(40)]
            assert all(answer.output in {kept[n], asked[n]} for n, answer in enumerate(found))


def test_a_disk_that_fills_up_ends_the_run_and_keeps_what_was_written(path, monkeypatch):
    written = journal_writer.commit

    def commit(connection, rows):
        if any("second" in row[4] for row in rows):
            raise sqlite3.OperationalError("database or disk is full")
        written(connection, rows)

    monkeypatch.setattr(journal_writer, "commit", commit)
    with pytest.raises(CannotJudgeError, match="database or disk is full") as caught:
        answered(path, (WHAT, 0, Asked(text("first"))), (WHAT, 1, Asked(text("second"))))
    assert "make room" in caught.value.hint
    assert [entry.value["output"] for entry in entries_of(path)] == ["first"]


def test_after_a_failed_write_nothing_more_is_asked_for(path, monkeypatch):
    def commit(connection, rows):
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(journal_writer, "commit", commit)

    async def main():
        found = Journal.open(path)
        for repeat in range(3):
            with pytest.raises(CannotJudgeError):
                await found.answer(WHAT, repeat, Asked(text()))
        found.close()

    asyncio.run(main())


@pytest.mark.integration
@pytest.mark.parametrize("options", ["size=1M", "size=4M,ro"], ids=["full", "read-only"])
def test_a_real_disk_that_is_full_or_read_only_gives_a_clear_error(tmp_path, options):
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", disk], check=True)
    try:
        path = disk / "journal.sqlite"
        with pytest.raises((JournalError, CannotJudgeError), match=r"full|read-?only|unable to open"):
            answered(path, *((WHAT, n, Asked(text("x" * 50_000))) for n in range(60)))
        if "ro" not in options:
            shutil.copytree(disk, tmp_path / "copy")
            assert all(entry.value["output"] == "x" * 50_000 for entry in entries_of(tmp_path / "copy" / path.name))
    finally:
        subprocess.run(["umount", disk], check=True)


WRITER = """
import asyncio, sys
from pathlib import Path
from aigate.core.response import Response
from aigate.running.journal import Journal

async def main():
    journal = Journal.open(Path(sys.argv[1]))
    for number in range(int(sys.argv[2]), int(sys.argv[3])):
        async def ask():
            return Response(output=f"answer {number}")
        await journal.answer({"n": number}, 0, ask)
        print(number, flush=True)
    journal.close()

asyncio.run(main())
"""


def writing(path, first, last):
    command = [sys.executable, "-c", WRITER, path, str(first), str(last)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_processes_that_write_at_once_lose_and_break_nothing(path):
    writers = [writing(path, 60 * n, 60 * n + 80) for n in range(3)]  # some of the same keys
    told = [writer.communicate(timeout=120)[1] for writer in writers]
    assert [writer.returncode for writer in writers] == [0, 0, 0], told
    outputs = {entry.identity["n"]: entry.value["output"] for entry in entries_of(path)}
    assert outputs == {n: f"answer {n}" for n in range(200)}


@pytest.mark.parametrize("after", [1, 7, 40])
def test_what_was_used_is_there_after_kill_9(path, after):
    process = writing(path, 0, 100_000)
    used = [int(process.stdout.readline()) for _ in range(after)]
    process.kill()
    used += [int(line) for line in process.communicate()[0].splitlines() if line.strip().isdigit()][:-1]
    kept = {entry.identity["n"]: entry.value["output"] for entry in entries_of(path)}
    assert {n: f"answer {n}" for n in used}.items() <= kept.items()


def test_summary_prune_and_export_tell_what_is_there(path):
    answered(path, (WHAT, 0, Asked(text())), (WHAT | {"body": {"model": "n"}}, 0, Asked(text())))
    answered(path, (WHAT, 1, Asked(text())), now=lambda: NOW + timedelta(days=3))
    found = summary_of(path)
    assert (found.entries, found.models) == ({"answer": 3}, {"m": 2, "n": 1})
    assert (found.oldest, found.newest) == ("2026-11-24T12:00:00+00:00", "2026-11-27T12:00:00+00:00")
    assert prune(path, before=NOW + timedelta(days=1), model="m") == 1
    assert [(entry.repeat, entry.identity["body"]["model"]) for entry in entries_of(path)] == [(0, "n"), (1, "m")]
    assert prune(path) == 2
    assert summary_of(path).oldest is None


def test_reading_a_journal_that_is_not_there_makes_none(path):
    with pytest.raises(JournalError, match="no such journal"):
        summary_of(path)
    assert not path.exists()
