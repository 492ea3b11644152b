"""Named baselines of a suite: `baselines/NAME.jsonl` is the promoted run, `history.jsonl` says how it came there.

Promotion needs a passing verdict. History is only appended to; each line holds its own digest and that of the line
before it, so that a line taken out or edited is seen. A baseline without its line in the history is never used.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aigate.core.digest import canonical_json, digest_of, sha256_text
from aigate.core.run import Run
from aigate.core.runfile import decode
from aigate.core.verdict import Verdict
from aigate.errors import BaselineError, RunFileError, UsageError
from aigate.files import write_atomically
from aigate.storing.runs import load_run

__all__ = ["Baselines", "Promotion"]

HISTORY_FORMAT = "aigate.history/1"
FIRST = "sha256:" + "0" * 64
HISTORY = "history"

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


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
        policy_digest: The policy it passed.
        new_line: Why it could not be compared with the one before; None where it was.
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
    policy_digest: str | None
    new_line: str | None
    checks: tuple[str, ...]
    promoted_at: str
    previous: str

    def to_dict(self) -> dict[str, Any]:
        """The line as JSON, with its own digest."""
        whole = {
            "format": HISTORY_FORMAT,
            "name": self.name,
            "version": self.version,
            "run_digest": self.run_digest,
            "prompt_digest": self.prompt_digest,
            "replaced": self.replaced,
            "verdict_digest": self.verdict_digest,
            "policy_digest": self.policy_digest,
            "new_line": self.new_line,
            "checks": list(self.checks),
            "promoted_at": self.promoted_at,
            "previous": self.previous,
        }
        return {**whole, "digest": digest_of(whole)}

    @classmethod
    def from_dict(cls, row: Mapping[str, Any]) -> Promotion:
        """The inverse of `to_dict`.

        Raises:
            KeyError, TypeError, ValueError: The row is no line of a history.
        """
        if row["format"] != HISTORY_FORMAT:
            raise ValueError(f"format {row['format']!r}, expected {HISTORY_FORMAT!r}")
        whole = {key: value for key, value in row.items() if key not in {"format", "digest"}}
        promotion = cls(**{**whole, "checks": tuple(row["checks"])})
        if promotion.to_dict() != dict(row):
            raise ValueError("edited: its digest is not that of its content")
        return promotion


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
        return tuple(sorted(path.stem for path in self.folder.glob("*.jsonl") if path.stem != HISTORY))

    def load(self, name: str) -> Run:
        """The run behind a name, its digest checked against the file and against the history.

        Raises:
            BaselineError: No such baseline, or the run in its place is not the one that was promoted.
            RunFileError: The file was altered, or is no finished run.
        """
        path = self._path(name)
        if not path.exists():
            if any(line.name == name for line in self.history()):
                raise BaselineError(
                    f"{path}: baseline '{name}' is lost: the history knows it and its file is gone",
                    hint="restore it from version control, or promote the very run that was promoted last again",
                )
            known = ", ".join(self.names()) or "none yet"
            raise BaselineError(
                f"{path}: no baseline '{name}' (there are: {known})",
                hint="promote a run: aigate baseline promote RUN",
            )
        run = load_run(path)
        last = next((line for line in reversed(self.history()) if line.name == name), None)
        if last is None:
            raise BaselineError(
                f"{path}: was never promoted: {self._history_path.name} has no line for '{name}'",
                hint="restore the folder from version control; or take the file out of it and promote it",
            )
        if last.run_digest != run.digest:
            raise BaselineError(
                f"{path}: holds run {run.digest[7:19]}, but {last.run_digest[7:19]} ({last.version}) was promoted last",
                hint=_RESTORE_FOLDER,
            )
        return run

    def history(self) -> tuple[Promotion, ...]:
        """Every promotion, oldest first; the chain of digests is checked.

        Raises:
            BaselineError: A line is broken, edited, or missing.
        """
        found: list[Promotion] = []
        previous, path = FIRST, self._history_path
        for number, line in enumerate(_lines(path), start=1):
            try:
                promotion = Promotion.from_dict(json.loads(line))
            except (KeyError, TypeError, ValueError) as error:
                raise BaselineError(f"{path}:{number}: broken line: {error}", hint=_RESTORE) from None
            if promotion.previous != previous:
                raise BaselineError(f"{path}:{number}: does not follow from the line before it", hint=_RESTORE)
            previous = sha256_text(line)
            found.append(promotion)
        return tuple(found)

    def promote(
        self,
        run: Run,
        name: str,
        *,
        decide: Callable[[Run | None], Verdict],
        now: str,
        new_line: str | None = None,
    ) -> Promotion:
        """Make a run the baseline of that name.

        Args:
            run: The run; it must cover the whole suite.
            name: The baseline's name.
            decide: Called with the baseline in force (None for the first) while no other promotion can happen; gives
                the verdict of `run` against it.
            now: UTC, ISO 8601.
            new_line: Why a baseline is begun that cannot be compared with the one before; kept in the history.

        Returns:
            The new line of the history; the last one where the run is that baseline already.

        Raises:
            BaselineError: The verdict is no pass, the run is a subset, or a baseline that history knows is lost.
            RunFileError: The run's file is not there any more, or holds another run by now.
            UsageError: A name that is no file name, or that of the history.

        Whatever is raised, nothing was changed.
        """
        path = self._path(name)
        if run.header.subset is not None:
            raise BaselineError(
                f"{run.source}: a subset ({run.header.subset}) cannot be a baseline", hint="run the whole suite"
            )
        with self._locked():
            last = next((line for line in reversed(self.history()) if line.name == name), None)
            if last is not None and last.run_digest == run.digest:
                write_atomically(path, _content(run))  # done already, or a promotion that broke off before this
                return last
            known = path.exists() or last is not None
            current = self.load(name) if known else None  # one that history knows and that is gone is lost, not new
            verdict = decide(current)
            if not verdict:
                raise BaselineError(
                    f"{run.source}: not promoted: the verdict is {verdict.status}: {_why(verdict)}",
                    hint="only a passing run becomes the baseline",
                )
            content = _content(run)
            promotion = self._record(run, name, current, verdict, now, new_line)
            write_atomically(path, content)
        return promotion

    def _record(
        self, run: Run, name: str, current: Run | None, verdict: Verdict, now: str, new_line: str | None
    ) -> Promotion:
        """Append the promotion to the history; written first, so that no baseline stands without its line."""
        self.history()
        lines = _lines(self._history_path)
        promotion = Promotion(
            name=name,
            version=str(run.version),
            run_digest=run.digest,
            prompt_digest=run.header.prompt_digest,
            replaced=None if current is None else current.digest,
            verdict_digest=verdict.digest,
            policy_digest=verdict.bound.get("policy"),
            new_line=new_line,
            checks=tuple(check.label for check in verdict.checks),
            promoted_at=now,
            previous=sha256_text(lines[-1]) if lines else FIRST,
        )
        whole = "".join(f"{line}\n" for line in (*lines, canonical_json(promotion.to_dict())))
        write_atomically(self._history_path, whole.encode())
        return promotion

    @property
    def _history_path(self) -> Path:
        return self.folder / f"{HISTORY}.jsonl"

    def _path(self, name: str) -> Path:
        if not _NAME.fullmatch(name) or name == HISTORY:
            raise UsageError(
                f"{name!r} is no name of a baseline", hint=f"use letters, digits, '.', '_' and '-'; not '{HISTORY}'"
            )
        return self.folder / f"{name}.jsonl"

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """One promotion at a time on this machine; the lock goes with the process."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self.folder, os.O_RDONLY)
        except OSError as error:
            raise BaselineError(
                f"{self.folder}: cannot be written: {error.strerror}", hint="check its permissions"
            ) from None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)  # the folder itself is locked: no file is left in the suite
            yield
        finally:
            os.close(descriptor)


def _content(run: Run) -> bytes:
    """The bytes of a run's file, which must still hold that run."""
    if not run.source:
        raise RunFileError(
            f"the run of {run.version} is in no file", hint="evaluate it with out=RUN, then load_run(RUN)"
        )
    try:
        content = Path(run.source).read_bytes()
        lines = content.decode("utf-8").removesuffix("\n").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise RunFileError(f"{run.source}: cannot be read: {error}") from None
    if decode(lines, source=run.source).digest != run.digest:
        raise RunFileError(f"{run.source}: changed since it was read", hint="load it and promote it again")
    return content


def _lines(path: Path) -> list[str]:
    """The lines of a history; none where there is no file."""
    try:
        text = path.read_bytes().decode("utf-8")
    except FileNotFoundError:
        return []
    except (OSError, UnicodeDecodeError) as error:
        raise BaselineError(f"{path}: cannot be read: {error}", hint=_RESTORE) from None
    return text.removesuffix("\n").split("\n") if text else []


_RESTORE_FOLDER = "restore the suite's baselines folder from version control, then promote again"
_RESTORE = "restore the file from version control: history is only ever appended to"


def _why(verdict: Verdict) -> str:
    return "; ".join(reason.text for reason in verdict.reasons) or "no reason given"
