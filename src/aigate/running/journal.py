"""Answers already paid for, in one SQLite file that several processes of a machine may share.

An answer is in the file before it is used, so that whatever ends the process, nothing is paid for twice. The key is the
digest of all that decides the answer: the request as it is sent, where to, the adapter's version, and which repeat it
is. Rows are JSON, each with a checksum of its own: what does not verify is an error, never an answer.

Threads of its own write in batches and wait for the disk (`journal_writer`): what `answer` has returned survives a kill
and a power cut. Readers never wait for it (WAL). SQLite's locks need a local disk: a journal on a network file system
may be corrupted by two machines that write at once.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal, Self

from aigate.core.digest import canonical_json, sha256_text
from aigate.core.json_text import JsonDefectError, strict_json
from aigate.core.response import Response
from aigate.errors import CannotJudgeError, JournalError
from aigate.running.journal_writer import JournalWriter, connected, transaction

__all__ = ["Entry", "Journal", "JournalCounts", "Summary", "entries_of", "prune", "summary_of"]

FORMAT = 1
APPLICATION_ID = 0x41494741  # "AIGA": tells our file from any other SQLite database
CHECKED_WHOLE_BYTES = 32 << 20
Kind = Literal["answer", "judgement"]

_TABLE = """
CREATE TABLE IF NOT EXISTS entries (
    key TEXT PRIMARY KEY, kind TEXT NOT NULL, identity TEXT NOT NULL, repeat INTEGER NOT NULL, value TEXT NOT NULL,
    at TEXT NOT NULL, checksum TEXT NOT NULL
) WITHOUT ROWID, STRICT
"""
_GET = "SELECT value, at, checksum FROM entries WHERE key = ?"
_AWAY = "move it away and run again, or leave it out with --no-journal"


@dataclass(frozen=True, slots=True)
class JournalCounts:
    """What a journal was good for.

    Attributes:
        hits: Answers taken from it.
        merged: Answers shared with an equal request in flight.
        misses: Answers asked for.
    """

    hits: int = 0
    merged: int = 0
    misses: int = 0


@dataclass(frozen=True, slots=True)
class Entry:
    """One row of a journal.

    Attributes:
        key: The digest it is found by.
        kind: An answer, or a judgement.
        identity: All that decides it.
        repeat: Which repeat, from 0.
        value: The response, or the judgement.
        at: When it was given: UTC, ISO 8601.
    """

    key: str
    kind: str
    identity: Mapping[str, Any]
    repeat: int
    value: Mapping[str, Any]
    at: str


@dataclass(frozen=True, slots=True)
class Summary:
    """What a journal holds.

    Attributes:
        path: The file.
        size_bytes: Of the file and its write-ahead log.
        entries: Rows by kind.
        models: Rows by the model or judge that was asked; "unknown" where the identity names none.
        oldest: When the oldest was given; None of an empty one.
        newest: When the newest was given; likewise.
    """

    path: Path
    size_bytes: int
    entries: Mapping[str, int]
    models: Mapping[str, int]
    oldest: str | None
    newest: str | None


class Journal:
    """Answers already paid for. Used from one event loop; the file may be shared by many processes.

    Made by `Journal.open`; `close` waits for what is being written.
    """

    def __init__(
        self, path: Path, reader: sqlite3.Connection, *, max_age: timedelta, now: Callable[[], datetime]
    ) -> None:
        self.path = path
        self._reader = reader
        self._max_age, self._now = max_age, now
        self._in_flight: dict[str, asyncio.Future[None]] = {}
        self._hits = self._merged = self._misses = 0
        self._writer = JournalWriter(path)

    @classmethod
    def open(cls, path: Path, *, max_age_days: float = 1.0, now: Callable[[], datetime] | None = None) -> Self:
        """Open a journal, and make it where there is none.

        Args:
            path: The file. Folders above it are made.
            max_age_days: Older entries are asked for again, and replaced.
            now: The time, with a time zone.

        Raises:
            JournalError: It cannot be written, is damaged, is something else, or was made by a newer aigate.
        """
        with _clear_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            connection = connected(path)
            try:
                _prepare(connection, path)
            except BaseException:
                connection.close()
                raise
        return cls(path, connection, max_age=timedelta(days=max_age_days), now=now or _utc_now)

    @property
    def counts(self) -> JournalCounts:
        """What it was good for so far."""
        return JournalCounts(self._hits, self._merged, self._misses)

    async def answer(
        self,
        identity: Mapping[str, Any],
        repeat: int,
        ask: Callable[[], Awaitable[Response]],
        *,
        kept: Callable[[], None] | None = None,
    ) -> Response:
        """The answer to a request: kept, in flight already, or asked for now and then kept.

        Args:
            identity: All that decides the answer; see `aigate.providers.base.journal_identity_of`.
            repeat: Which answer to it, from 0.
            ask: Asks for it. A response with a fault is not kept.
            kept: Called as soon as the end of this process does not lose an answer that was asked for here any more;
                it is on the disk, and returned, a little later.

        Returns:
            The response. One that was not asked for here says when it was given, and has no latency.

        Raises:
            CannotJudgeError: The journal cannot be read or written any more; the answer is then not used.
            Exception: Whatever `ask` raises.
        """

        async def asked() -> tuple[Response, Mapping[str, Any] | None]:
            response = await ask()
            return response, None if response.output is None else response.to_dict()

        response: Response = await self._found("answer", identity, repeat, asked, _journaled, kept)
        return response

    async def judgement(
        self, identity: Mapping[str, Any], ask: Callable[[], Awaitable[Mapping[str, Any]]]
    ) -> Mapping[str, Any]:
        """What a judge said: kept, in flight already, or asked for now and then kept.

        Args:
            identity: All that decides it, the judge's own identity included.
            ask: Asks the judge; gives JSON.

        Returns:
            What `ask` gave; where it was not asked for here, with `journaled_at`: when it was given (UTC, ISO 8601).

        Raises:
            CannotJudgeError: As `answer`.
        """

        async def asked() -> tuple[Mapping[str, Any], Mapping[str, Any]]:
            said = await ask()
            return said, said

        def read(value: Mapping[str, Any], at: str) -> Mapping[str, Any]:
            return {**value, "journaled_at": at}

        said: Mapping[str, Any] = await self._found("judgement", identity, 0, asked, read)
        return said

    def close(self) -> None:
        """Wait for what is being written, and close the file. May be called twice."""
        self._writer.close()
        self._reader.close()

    async def _found(
        self,
        kind: Kind,
        identity: Mapping[str, Any],
        repeat: int,
        ask: Callable[[], Awaitable[tuple[Any, Mapping[str, Any] | None]]],
        read: Callable[[Mapping[str, Any], str], Any],
        kept: Callable[[], None] | None = None,
    ) -> Any:
        told = canonical_json(identity)
        key = _key(kind, told, repeat)
        merged = False
        while True:
            if (found := self._kept(key)) is not None:
                self._hits, self._merged = self._hits + (not merged), self._merged + merged
                return read(*found)
            if (first := self._in_flight.get(key)) is None:
                break
            merged = True
            await asyncio.wait([first])  # whatever came of it: it is in the journal now, or must be asked for here
        self._in_flight[key] = mine = asyncio.get_running_loop().create_future()
        try:
            self._misses += 1
            answer, value = await ask()
            if value is not None:
                await self._keep(kind, key, told, repeat, canonical_json(value), kept)
            return answer
        finally:
            del self._in_flight[key]
            mine.set_result(None)

    def _kept(self, key: str) -> tuple[Mapping[str, Any], str] | None:
        """The value and when it was given, where there is one that is young enough."""
        try:
            row = self._reader.execute(_GET, (key,)).fetchone()
        except sqlite3.Error as error:
            raise self._unusable(error) from error
        if row is None:
            return None
        value, at, checksum = row
        if checksum != _checksum(key, value, at):
            raise self._unusable(f"entry {key[:12]} does not hold what was written")
        if self._now() - datetime.fromisoformat(at) > self._max_age:
            return None
        return strict_json(value), at

    async def _keep(
        self, kind: Kind, key: str, identity: str, repeat: int, value: str, kept: Callable[[], None] | None
    ) -> None:
        """Have it on the disk."""
        at = self._now().isoformat(timespec="seconds")
        try:
            await self._writer.put((key, kind, identity, repeat, value, at, _checksum(key, value, at)), kept)
        except (sqlite3.Error, OSError) as error:
            raise self._unusable(error) from error

    def _unusable(self, why: object) -> CannotJudgeError:
        return CannotJudgeError(
            f"the journal {self.path} cannot be used any more: {why}",
            hint="what it holds is kept; make room on the disk (or move the journal away), then run again",
        )


def summary_of(path: Path) -> Summary:
    """What a journal holds.

    Raises:
        JournalError: No such journal, or it cannot be read.
    """
    kinds: dict[str, int] = {}
    models: dict[str, int] = {}
    ages: list[str] = []
    for entry in entries_of(path):
        kinds[entry.kind] = kinds.get(entry.kind, 0) + 1
        model = _model_of(entry.identity)
        models[model] = models.get(model, 0) + 1
        ages = [min([*ages[:1], entry.at]), max([*ages[1:], entry.at])]
    sizes = (file.stat().st_size for file in (path, Path(f"{path}-wal")) if file.exists())
    return Summary(path, sum(sizes), kinds, models, *(ages or (None, None)))


def entries_of(path: Path) -> Iterator[Entry]:
    """Every entry of a journal, oldest first; each is verified.

    Raises:
        JournalError: No such journal, it cannot be read, or an entry does not hold what was written.
    """
    with _clear_errors(path), closing(_existing(path)) as connection:
        for key, kind, identity, repeat, value, at, checksum in connection.execute(
            "SELECT * FROM entries ORDER BY at, key"
        ):
            if checksum != _checksum(key, value, at) or key != _key(kind, identity, repeat):
                raise JournalError(f"{path}: entry {key[:12]} does not hold what was written", hint=_AWAY)
            yield Entry(key, kind, strict_json(identity), repeat, strict_json(value), at)


def prune(path: Path, *, before: datetime | None = None, model: str | None = None) -> int:
    """Take entries out for good, and give the space back.

    Args:
        path: The journal.
        before: Those given before then; None: whenever.
        model: Those of this model or judge; None: of any.

    Returns:
        How many were taken out.

    Raises:
        JournalError: No such journal, or it cannot be written.
    """
    wanted = [
        entry.key
        for entry in entries_of(path)
        if (before is None or datetime.fromisoformat(entry.at) < before)
        and (model is None or _model_of(entry.identity) == model)
    ]
    with _clear_errors(path), closing(_existing(path)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany("DELETE FROM entries WHERE key = ?", ((key,) for key in wanted))
        connection.execute("COMMIT")
        connection.execute("VACUUM")
    return len(wanted)


def _journaled(value: Mapping[str, Any], at: str) -> Response:
    """A kept answer: nobody waited for it now."""
    kept = Response.from_dict(value)
    return replace(kept, latency_s=None, ttft_s=None, attempts=1, retry_wait_s=0.0, journaled_at=at)


def _key(kind: str, identity: str, repeat: int) -> str:
    return sha256_text(f"aigate.journal/{FORMAT}\x1f{kind}\x1f{repeat}\x1f{identity}")[7:]


def _checksum(key: str, value: str, at: str) -> str:
    return sha256_text(f"{key}\x1f{at}\x1f{value}")[7:23]


def _model_of(identity: Mapping[str, Any]) -> str:
    body = identity.get("body")
    found = identity.get("model") or (body.get("model") if isinstance(body, Mapping) else None)
    return found if isinstance(found, str) else "unknown"


def _existing(path: Path) -> sqlite3.Connection:
    if not path.exists():
        raise JournalError(f"{path}: no such journal", hint="name it with --journal FILE; 'aigate eval' makes it")
    connection = connected(path)
    _require_ours(connection, path)
    return connection


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    """Make the table in a new file; refuse one that is not ours or is damaged."""
    connection.execute("PRAGMA journal_mode = WAL")
    with transaction(connection):  # of two processes that make it at once, one finds it made
        if not connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {FORMAT}")
            connection.execute(_TABLE)
    _require_ours(connection, path)
    if path.stat().st_size > CHECKED_WHOLE_BYTES:
        return  # each row is verified when it is read; the whole is looked through only where that takes no time
    found = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    if found != "ok":
        raise JournalError(f"{path}: the journal is damaged: {found}", hint=_AWAY)


def _require_ours(connection: sqlite3.Connection, path: Path) -> None:
    if connection.execute("PRAGMA application_id").fetchone()[0] != APPLICATION_ID:
        raise JournalError(f"{path}: a database that is no journal of aigate", hint="name another file with --journal")
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version != FORMAT:
        told = f"{path}: the journal has format {version}, this version of aigate reads {FORMAT}"
        raise JournalError(told, hint="use the version of aigate that wrote it, or name another file with --journal")


@contextmanager
def _clear_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.DatabaseError as error:
        raise JournalError(f"{path}: the journal cannot be used: {error}", hint=_AWAY) from None
    except JsonDefectError as error:
        raise JournalError(f"{path}: the journal is damaged: {error}", hint=_AWAY) from None
    except OSError as error:
        raise JournalError(f"{path}: the journal cannot be used: {error.strerror}", hint=_AWAY) from None


def _utc_now() -> datetime:
    return datetime.now(UTC)
