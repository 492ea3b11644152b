"""Named baselines of a suite: `baselines/NAME.jsonl` is the promoted run, `history.jsonl` says how it came there.

Promotion needs a passing verdict. History is only appended to; each line holds the digest of the one before it, so that
a line taken out or edited is seen.
"""

from __future__ import annotations

import fcntl
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aigate.core.digest import canonical_json, sha256_text
from aigate.core.run import Run
from aigate.core.verdict import Verdict
from aigate.errors import BaselineError, RunFileError
from aigate.storing.runs import load_run, write_atomically

__all__ = ["Baselines", "Promotion"]

HISTORY_FORMAT = "aigate.history/1"
FIRST = "sha256:" + "0" * 64


@dataclass(frozen=True, slots=True)
class Promotion:
    """One line of the history.

    Attributes:
        name: The baseline's name.
        version: The promoted version.
        run_digest: The promoted run.
        prompt_digest: Its prompt file; None without one.
        replaced: Digest of the run it took the place of; None for the first.
        verdict_digest: The passing verdict.
        checks: The checks that verdict rests on.
        promoted_at: UTC, ISO 8601.
        previous: Digest of the line before.
    """

    name: str
    version: str
    run_digest: str
    prompt_digest: str | None
    replaced: str | None
    verdict_digest: str
    checks: tuple[str, ...]
    promoted_at: str
    previous: str

    def to_dict(self) -> dict[str, Any]:
        """The line as JSON."""
        return {
            "format": HISTORY_FORMAT,
            "name": self.name,
            "version": self.version,
            "run_digest": self.run_digest,
            "prompt_digest": self.prompt_digest,
            "replaced": self.replaced,
            "verdict_digest": self.verdict_digest,
            "checks": list(self.checks),
            "promoted_at": self.promoted_at,
            "previous": self.previous,
        }

    @classmethod
    def from_dict(cls, row: Mapping[str, Any]) -> Promotion:
        """The inverse of `to_dict`.

        Raises:
            KeyError, TypeError, ValueError: The row is no line of a history.
        """
        if row["format"] != HISTORY_FORMAT:
            raise ValueError(f"format {row['format']!r}, expected {HISTORY_FORMAT!r}")
        whole = {key: value for key, value in row.items() if key != "format"}
        return cls(**{**whole, "checks": tuple(row["checks"])})


@dataclass(frozen=True, slots=True)
class Baselines:
    """The baselines of one suite.

    Attributes:
        folder: `baselines/` in the suite.
    """

    folder: Path

    def names(self) -> tuple[str, ...]:
        """The names that hold a run, sorted."""
        if not self.folder.is_dir():
            return ()
        return tuple(sorted(path.stem for path in self.folder.glob("*.jsonl") if path.name != "history.jsonl"))

    def load(self, name: str) -> Run:
        """The run behind a name, its digest checked against the file and against the history.

        Raises:
            BaselineError: No such baseline, or the run in its place is not the one that was promoted.
            RunFileError: The file was altered, or is no finished run.
        """
        path = self._path(name)
        if not path.exists():
            known = ", ".join(self.names()) or "none yet"
            raise BaselineError(
                f"{path}: no baseline '{name}' (there are: {known})",
                hint="promote a run: aigate baseline promote RUN",
            )
        run = load_run(path)
        last = next((line for line in reversed(self.history()) if line.name == name), None)
        if last is not None and last.run_digest != run.digest:
            raise BaselineError(
                f"{path}: holds run {run.digest[7:19]}, but {last.run_digest[7:19]} ({last.version}) was promoted last",
                hint="restore the file from version control, or promote a run again",
            )
        return run

    def history(self) -> tuple[Promotion, ...]:
        """Every promotion, oldest first; the chain of digests is checked.

        Raises:
            BaselineError: A line is broken, edited, or missing.
        """
        path = self.folder / "history.jsonl"
        if not path.exists():
            return ()
        found, previous = [], FIRST
        for number, line in enumerate(path.read_text("utf-8").splitlines(), start=1):
            try:
                promotion = Promotion.from_dict(json.loads(line))
            except (KeyError, TypeError, ValueError) as error:
                raise BaselineError(f"{path}:{number}: broken line: {error}", hint=_RESTORE) from None
            if promotion.previous != previous:
                raise BaselineError(f"{path}:{number}: does not follow from the line before it", hint=_RESTORE)
            previous = sha256_text(line)
            found.append(promotion)
        return tuple(found)

    def promote(self, run: Run, name: str, *, decide: Callable[[Run | None], Verdict], now: str) -> Promotion:
        """Make a run the baseline of that name.

        Args:
            run: The run; it must cover the whole suite.
            name: The baseline's name.
            decide: Called with the baseline in force (None for the first) while no other promotion can happen; gives
                the verdict of `run` against it.
            now: UTC, ISO 8601.

        Raises:
            BaselineError: The verdict is no pass, or the run is a subset. Nothing was changed.
        """
        if run.header.subset is not None:
            raise BaselineError(
                f"{run.source}: a subset ({run.header.subset}) cannot be a baseline", hint="run the whole suite"
            )
        with self._locked():
            current = self.load(name) if self._path(name).exists() else None
            verdict = decide(current)
            if not verdict:
                raise BaselineError(
                    f"{run.source}: not promoted: the verdict is {verdict.status}: {_why(verdict)}",
                    hint="only a passing run becomes the baseline",
                )
            promotion = self._record(run, name, current, verdict, now)
            write_atomically(self._path(name), Path(run.source).read_bytes())
            if load_run(self._path(name)).digest != run.digest:
                raise RunFileError(f"{run.source}: changed while it was promoted", hint="promote it again")
        return promotion

    def _record(self, run: Run, name: str, current: Run | None, verdict: Verdict, now: str) -> Promotion:
        """Append the promotion to the history; written first, so that no baseline stands without its line."""
        path = self.folder / "history.jsonl"
        self.history()
        before = path.read_bytes() if path.exists() else b""
        lines = before.decode("utf-8").splitlines()
        promotion = Promotion(
            name=name,
            version=str(run.version),
            run_digest=run.digest,
            prompt_digest=run.header.prompt_digest,
            replaced=None if current is None else current.digest,
            verdict_digest=verdict.digest,
            checks=tuple(check.label for check in verdict.checks),
            promoted_at=now,
            previous=sha256_text(lines[-1]) if lines else FIRST,
        )
        write_atomically(path, before + (canonical_json(promotion.to_dict()) + "\n").encode())
        return promotion

    def _path(self, name: str) -> Path:
        return self.folder / f"{name}.jsonl"

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """One promotion at a time on this machine; the lock goes with the process."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            file = (self.folder / ".lock").open("w")
        except OSError as error:
            raise BaselineError(
                f"{self.folder}: cannot be written: {error.strerror}", hint="check its permissions"
            ) from None
        with file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


_RESTORE = "restore the file from version control: history is only ever appended to"


def _why(verdict: Verdict) -> str:
    return "; ".join(reason.text for reason in verdict.reasons) or "no reason given"
