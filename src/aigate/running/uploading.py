"""A run that belongs behind a URL: its file is written here while the run lasts, and put in its place whole at its end.

What breaks off stays here and can be gone on with. What stands behind the URL is a finished run at any time.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

from aigate.core.digest import sha256_text
from aigate.core.run import Run
from aigate.core.runfile import decode_partial
from aigate.errors import AigateError, ChangedError, RunFileError, UsageError
from aigate.files import lines_of, write_atomically
from aigate.stores import Store, Stored, local_path, split_url, store_at

__all__ = ["WORKING_COPIES", "Upload", "file_of"]

WORKING_COPIES = Path(".aigate/working-copies")


@dataclass(frozen=True)
class Upload:
    """One run on its way to a URL.

    Attributes:
        local: The file that it is written to.
        store: Where it belongs.
        name: Its name there.
        tag: What stands there since before the run began; None for nothing.
        resumed: True when the run goes on with what stands there.
    """

    local: Path
    store: Store
    name: str
    tag: str | None
    resumed: bool

    @classmethod
    def begin(cls, out: str, *, resume: bool) -> Self:
        """Make sure, before anything is asked, that the run can be put in its place.

        Args:
            out: The URL.
            resume: Go on with what was begun: the working copy, else the run that stands there.

        Raises:
            StoreError: The place cannot be reached, or cannot be written safely.
            UsageError: Something stands there that is no run.
        """
        folder, name = split_url(out)
        store, local = store_at(folder), file_of(out)
        store.require_writable()
        standing = store.read(name)
        if standing is not None:
            _require_run(standing, store.where(name))
        fetched = resume and standing is not None and not local.exists()
        if fetched and standing is not None:
            write_atomically(local, standing.content)
        return cls(local, store, name, None if standing is None else standing.tag, fetched)

    def finish(self, run: Run) -> Run:
        """Put the finished run in its place, and take the working copy away.

        Returns:
            The run, read from where it stands now.

        Raises:
            ChangedError: Something else was put there meanwhile; the run stays in its working copy.
            StoreError: It cannot be written; likewise.
        """
        content = self.local.read_bytes()
        with self._kept_here():
            standing = self.store.read(self.name)
            if (standing and standing.tag) != self.tag:
                raise ChangedError(f"{self.store.where(self.name)}: another run was put there while this one was made")
            if standing is not None and not self.resumed:
                previous = f"{self.name}.previous"
                self.store.write(previous, standing.content, replaces=self.store.read(previous))
            self.store.write(self.name, content, replaces=standing)
        self.local.unlink()
        with suppress(OSError):  # another run is being written there
            self.local.parent.rmdir()
        return replace(run, source=self.store.where(self.name))

    @contextmanager
    def _kept_here(self) -> Iterator[None]:
        """Whatever goes wrong: the finished run is on this machine, and the message says where."""
        try:
            yield
        except AigateError as error:
            hint = "the same command with --resume puts it in its place; 'aigate gate' decides from it as it is"
            told = f"{error.message}\n  the run is finished and kept in {self.local}"
            raise type(error)(told, hint=f"{error.hint}; then {hint}" if error.hint else hint) from None


def file_of(out: Path | str) -> Path:
    """The file that a run is written to: the one that is named, or the working copy of what a URL names."""
    if (path := local_path(out)) is not None:
        return path
    _, name = split_url(str(out))
    return WORKING_COPIES / f"{sha256_text(str(out))[7:15]}-{name}"


def _require_run(found: Stored, where: str) -> None:
    """Something else than a run is never written over."""
    try:
        decode_partial(lines_of(found.content.split(b"\n", 1)[0], source=where), source=where)
    except RunFileError as error:
        raise UsageError(f"will not write over {error.message}", hint="choose another --out") from None
