"""Writing to a journal: threads of their own write rows in batches and wait for the disk, so that nobody else does.

Two things are told of a row, one after the other. It is *kept* once its batch is in the write-ahead log: from then on
the end of this process, by `kill -9` too, does not lose it. It is *on disk* once the log was synchronised: from then on
a power cut does not lose it either. One thread commits (`synchronous=NORMAL`, which waits for no disk), another one
synchronises the log, as `synchronous=FULL` would in between: rows that come meanwhile need not wait to be kept.
Where SQLite keeps no write-ahead log, the commit itself waits for the disk.
"""

from __future__ import annotations

import asyncio
import os
import queue
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

__all__ = ["JournalWriter", "connected", "transaction"]

BUSY_S = 30.0
BATCH = 512
_PUT = "INSERT OR REPLACE INTO entries VALUES (?, ?, ?, ?, ?, ?, ?)"
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Put:
    """A row on its way to the disk, and who waits for it."""

    row: tuple[Any, ...]
    loop: asyncio.AbstractEventLoop
    kept: Callable[[], None] | None
    on_disk: asyncio.Future[None]


@dataclass(frozen=True, slots=True)
class _Batch:
    """Rows that were committed together, or why they were not; and whether they still have to reach the disk."""

    puts: list[_Put]
    error: Exception | None
    unsynchronised: bool


class JournalWriter:
    """Writes the rows of one journal for one process. After a write that failed nothing more is written.

    Args:
        path: The journal, which is there already.

    Attributes:
        broken: Why nothing more is written; None while rows are.
    """

    def __init__(self, path: Path) -> None:
        self.broken: Exception | None = None
        self._path = path
        self._puts: queue.SimpleQueue[_Put | None] = queue.SimpleQueue()
        self._written: queue.SimpleQueue[_Batch | None] = queue.SimpleQueue()
        self._threads: tuple[threading.Thread, ...] = ()

    async def put(self, row: tuple[Any, ...], kept: Callable[[], None] | None = None) -> None:
        """Have a row on the disk.

        Args:
            row: In the order of the table's columns.
            kept: Called on the event loop once the end of this process does not lose it any more.

        Raises:
            sqlite3.Error, OSError: It, or one before it, could not be written.
        """
        if self.broken is not None:
            raise self.broken
        if not self._threads:
            named = (("aigate-journal", self._write), ("aigate-journal-disk", self._synchronise))
            self._threads = tuple(threading.Thread(target=work, name=name, daemon=True) for name, work in named)
            for thread in self._threads:
                thread.start()
        loop = asyncio.get_running_loop()
        put = _Put(row, loop, kept, loop.create_future())
        self._puts.put(put)
        await put.on_disk

    def close(self) -> None:
        """Wait for what is being written. May be called twice."""
        if threads := self._threads:
            self._threads = ()
            self._puts.put(None)
            for thread in threads:
                thread.join()

    def _write(self) -> None:
        """The thread that commits: what has gathered is one transaction."""
        connection: sqlite3.Connection | None = None
        logged = False
        for puts in _gathered(self._puts):
            if self.broken is None:
                try:
                    if connection is None:
                        connection = connected(self._path)
                        logged = _leaves_the_disk_to_us(connection)
                    commit(connection, [put.row for put in puts])
                except sqlite3.Error as failed:
                    self.broken = failed
            self._written.put(_Batch(puts, self.broken, unsynchronised=logged and self.broken is None))
            if self.broken is None:
                _tell([put for put in puts if put.kept is not None], _note_kept)
        self._written.put(None)
        if connection is not None:
            connection.close()

    def _synchronise(self) -> None:
        """The thread that waits for the disk: once for all that was committed before."""
        log: int | None = None
        for batches in _gathered(self._written):
            failed: OSError | None = None
            if any(batch.unsynchronised for batch in batches):
                try:
                    if log is None:  # it is there as long as somebody has the journal open, as its reader has
                        log = os.open(self._path.with_name(f"{self._path.name}-wal"), os.O_RDONLY)
                    synchronise(log)
                except OSError as error:
                    self.broken = failed = error
            for batch in batches:
                _tell(batch.puts, _note_on_disk(batch.error or failed))
        if log is not None:
            os.close(log)


def connected(path: Path) -> sqlite3.Connection:
    """A connection to a journal, whose commits wait for the disk."""
    connection = sqlite3.connect(path, timeout=BUSY_S, isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA synchronous = FULL")
    return connection


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Everything or nothing of it."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


def commit(connection: sqlite3.Connection, rows: list[tuple[Any, ...]]) -> None:
    """Write rows, all or none.

    Raises:
        sqlite3.Error: None of them is written.
    """
    try:
        with transaction(connection):
            connection.executemany(_PUT, rows)
    except sqlite3.OperationalError:
        with suppress(sqlite3.Error):
            connection.execute("ROLLBACK")
        raise


def synchronise(log: int) -> None:
    """Wait until what was written to a file is on the disk."""
    getattr(os, "fdatasync", os.fsync)(log)


def _leaves_the_disk_to_us(connection: sqlite3.Connection) -> bool:
    """Have commits wait for no disk, where there is a write-ahead log to synchronise; False where there is none."""
    if connection.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
        return False
    connection.execute("PRAGMA synchronous = NORMAL")
    return True


def _gathered(waiting: queue.SimpleQueue[T | None]) -> Iterator[list[T]]:
    """What has gathered since the last time, until None comes."""
    while (first := waiting.get()) is not None:
        batch = [first]
        while len(batch) < BATCH:
            try:
                following = waiting.get_nowait()
            except queue.Empty:
                break
            if following is None:
                yield batch
                return
            batch.append(following)
        yield batch


def _tell(puts: list[_Put], note: Callable[[list[_Put]], None]) -> None:
    """Tell those who wait, on their event loops."""
    for loop in {put.loop for put in puts}:
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(note, [put for put in puts if put.loop is loop])


def _note_kept(puts: list[_Put]) -> None:
    for put in puts:
        if put.kept is not None and not put.on_disk.done():  # whoever waited was not cancelled
            put.kept()


def _note_on_disk(error: Exception | None) -> Callable[[list[_Put]], None]:
    def note(puts: list[_Put]) -> None:
        for put in puts:
            if put.on_disk.done():  # whoever waited was cancelled
                continue
            if error is None:
                put.on_disk.set_result(None)
            else:
                put.on_disk.set_exception(error)

    return note
