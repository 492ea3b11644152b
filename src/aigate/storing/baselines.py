"""Named baselines of a suite: `baselines/NAME.jsonl` is the promoted run, `history.jsonl` says how it came there.

Promotion needs a passing verdict. History is only appended to; each line holds its own digest and that of the line
before it, so that a line taken out or edited is seen. A baseline without its line in the history is never used.

In a folder, promotions wait for one another, and version control keeps what was replaced. On a store that many machines
share (`s3://...`) they cannot wait: there each promoted run is kept for good as `promoted/DIGEST.jsonl`, and the one
conditional write of `history.jsonl` decides. Of two promotions at once the second is refused, and a promotion that
breaks off before that write has changed nothing, after it everything.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aigate.core.digest import canonical_json, digest_of, sha256_text
from aigate.core.run import Run
from aigate.core.runfile import decode
from aigate.core.verdict import Verdict
from aigate.errors import BaselineError, ChangedError, RunFileError, UsageError
from aigate.files import lines_of
from aigate.stores import Store, Stored, local_path, store_at
from aigate.storing.runs import read_run_file

__all__ = ["Baselines", "Promotion"]

HISTORY_FORMAT = "aigate.history/1"
FIRST = "sha256:" + "0" * 64
HISTORY = "history"
HISTORY_FILE = f"{HISTORY}.jsonl"

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
        folder: `baselines/` in the suite, or the URL of another place for them: `s3://bucket/prefix`.
    """

    folder: Path | str

    def names(self) -> tuple[str, ...]:
        """The names that hold a run, sorted."""
        if (local := local_path(self.folder)) is not None:
            return tuple(sorted(path.stem for path in local.glob("*.jsonl") if path.stem != HISTORY))
        return tuple(sorted({line.name for line in self.history()}))

    def load(self, name: str) -> Run:
        """The run behind a name, its digest checked against the file and against the history.

        Raises:
            BaselineError: No such baseline, or the run in its place is not the one that was promoted.
            RunFileError: The file was altered, or is no finished run.
            StoreError: The place cannot be reached.
        """
        return self._load(store_at(self.folder), _file_of(name), self.history())

    def history(self) -> tuple[Promotion, ...]:
        """Every promotion, oldest first; the chain of digests is checked.

        Raises:
            BaselineError: A line is broken, edited, or missing.
            StoreError: The place cannot be reached.
        """
        store = store_at(self.folder)
        return _decoded(_lines(store.read(HISTORY_FILE), store), store)

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
            decide: Called with the baseline in force (None for the first); gives the verdict of `run` against it. No
                other promotion can happen meanwhile, or, on a shared store, this one is then refused.
            now: UTC, ISO 8601.
            new_line: Why a baseline is begun that cannot be compared with the one before; kept in the history.

        Returns:
            The new line of the history; the last one where the run is that baseline already.

        Raises:
            BaselineError: The verdict is no pass, the run is a subset, a baseline that history knows is lost, or
                somebody else promoted at the same time.
            RunFileError: The run's file is not there any more, or holds another run by now.
            StoreError: The place cannot be reached or written, or cannot refuse the second of two promotions at once.
            UsageError: A name that is no file name, or that of the history.

        Whatever is raised, nothing was changed.
        """
        file = _file_of(name)
        if run.header.subset is not None:
            raise BaselineError(
                f"{run.source}: a subset ({run.header.subset}) cannot be a baseline", hint="run the whole suite"
            )
        store = store_at(self.folder)
        with store.exclusive():
            standing = store.read(file)  # before the history: a promotion that comes later must not be written over
            before = store.read(HISTORY_FILE)
            lines = _lines(before, store)
            history = _decoded(lines, store)
            last = _last(history, name)
            if last is not None and last.run_digest == run.digest:
                _replace(store, file, standing, _content(run))  # done already, or a promotion broke off before this
                return last
            known = last is not None or standing is not None
            current = self._load(store, file, history) if known else None  # one that is gone is lost, not new
            verdict = decide(current)
            if not verdict:
                raise BaselineError(
                    f"{run.source}: not promoted: the verdict is {verdict.status}: {_why(verdict)}",
                    hint="only a passing run becomes the baseline",
                )
            content = _content(run)
            promotion = _promotion(run, name, current, verdict, now=now, new_line=new_line, lines=lines)
            if store.shared:
                _keep(store, content, run.digest)
            self._record(store, before, lines, promotion)
            _replace(store, file, standing, content)
        return promotion

    def _load(self, store: Store, file: str, history: tuple[Promotion, ...]) -> Run:
        """The run that was promoted last under a name."""
        name, where = file.removesuffix(".jsonl"), store.where(file)
        last = _last(history, name)
        if last is not None and store.shared and (kept := store.read(_kept_as(last.run_digest))) is not None:
            return _same(_run_in(kept, store.where(_kept_as(last.run_digest))), last)
        found = store.read(file)
        if found is None and last is not None:
            raise BaselineError(
                f"{where}: baseline '{name}' is lost: the history knows it and its file is gone",
                hint="restore it from version control, or promote the very run that was promoted last again",
            )
        if found is None:
            known = ", ".join(self.names()) or "none yet"
            raise BaselineError(
                f"{where}: no baseline '{name}' (there are: {known})",
                hint="promote a run: aigate baseline promote RUN",
            )
        run = _run_in(found, where)
        if last is None:
            raise BaselineError(
                f"{where}: was never promoted: {HISTORY_FILE} has no line for '{name}'",
                hint="restore the folder from version control; or take the file out of it and promote it",
            )
        return _same(run, last)

    def _record(self, store: Store, before: Stored | None, lines: list[str], promotion: Promotion) -> None:
        """Append the promotion to the history; written first, so that no baseline stands without its line."""
        whole = "".join(f"{line}\n" for line in (*lines, canonical_json(promotion.to_dict())))
        try:
            store.write(HISTORY_FILE, whole.encode(), replaces=before)
        except ChangedError as error:
            now = _last(self.history(), promotion.name)
            held = "" if now is None else f"; '{promotion.name}' is {now.version} ({now.run_digest[7:19]}) by now"
            raise BaselineError(
                f"{error.message}: {promotion.version} was not promoted{held}",
                hint="promote it again: it is then held against the baseline that is in force by now",
            ) from None


def _promotion(
    run: Run,
    name: str,
    current: Run | None,
    verdict: Verdict,
    *,
    now: str,
    new_line: str | None,
    lines: list[str],
) -> Promotion:
    return Promotion(
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


def _decoded(lines: list[str], store: Store) -> tuple[Promotion, ...]:
    """The promotions of a history, its chain checked."""
    found: list[Promotion] = []
    previous, where = FIRST, store.where(HISTORY_FILE)
    for number, line in enumerate(lines, start=1):
        try:
            promotion = Promotion.from_dict(json.loads(line))
        except (KeyError, TypeError, ValueError) as error:
            raise BaselineError(f"{where}:{number}: broken line: {error}", hint=_RESTORE) from None
        if promotion.previous != previous:
            raise BaselineError(f"{where}:{number}: does not follow from the line before it", hint=_RESTORE)
        previous = sha256_text(line)
        found.append(promotion)
    return tuple(found)


def _last(history: tuple[Promotion, ...], name: str) -> Promotion | None:
    return next((line for line in reversed(history) if line.name == name), None)


def _lines(found: Stored | None, store: Store) -> list[str]:
    """The lines of a history; none where there is no file."""
    if found is None:
        return []
    try:
        text = found.content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise BaselineError(f"{store.where(HISTORY_FILE)}: cannot be read: {error}", hint=_RESTORE) from None
    return text.removesuffix("\n").split("\n") if text else []


def _file_of(name: str) -> str:
    if not _NAME.fullmatch(name) or name == HISTORY:
        raise UsageError(
            f"{name!r} is no name of a baseline", hint=f"use letters, digits, '.', '_' and '-'; not '{HISTORY}'"
        )
    return f"{name}.jsonl"


def _kept_as(digest: str) -> str:
    return f"promoted/{digest.removeprefix('sha256:')}.jsonl"


def _keep(store: Store, content: bytes, digest: str) -> None:
    """Have a promoted run under its digest, where nothing ever replaces it."""
    name = _kept_as(digest)
    try:
        store.write(name, content, replaces=None)
    except ChangedError:  # it was promoted before, or a promotion of it broke off
        if (found := store.read(name)) is None or _run_in(found, store.where(name)).digest != digest:
            raise


def _replace(store: Store, file: str, standing: Stored | None, content: bytes) -> None:
    """Put the promoted run under its name."""
    if standing is not None and standing.content == content:
        return
    try:
        store.write(file, content, replaces=standing)
    except ChangedError:
        if not store.shared:
            raise
        # A promotion that came after this one was faster, and its run must stay; the history decides in any case.


def _run_in(found: Stored, where: str) -> Run:
    return decode(lines_of(found.content, source=where), source=where)


def _same(run: Run, last: Promotion) -> Run:
    """The run, which must be the one that was promoted last."""
    if last.run_digest != run.digest:
        raise BaselineError(
            f"{run.source}: holds run {run.digest[7:19]}, but {last.run_digest[7:19]} ({last.version}) "
            "was promoted last",
            hint=_RESTORE_FOLDER,
        )
    return run


def _content(run: Run) -> bytes:
    """The bytes of a run's file, which must still hold that run."""
    if not run.source:
        raise RunFileError(
            f"the run of {run.version} is in no file", hint="evaluate it with out=RUN, then load_run(RUN)"
        )
    content, source = read_run_file(run.source)
    if decode(lines_of(content, source=source), source=source).digest != run.digest:
        raise RunFileError(f"{source}: changed since it was read", hint="load it and promote it again")
    return content


_RESTORE_FOLDER = "restore the suite's baselines folder from version control, then promote again"
_RESTORE = "restore the file from version control: history is only ever appended to"


def _why(verdict: Verdict) -> str:
    return "; ".join(reason.text for reason in verdict.reasons) or "no reason given"
