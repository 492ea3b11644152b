"""Baselines that no test uses any more: what they once protected is not looked at."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from aigate.goldens.suite import CONFIG_FILE
from aigate.storing.baselines import Baselines

__all__ = ["Orphan", "find_orphans"]

FOLDER = "baselines"


@dataclass(frozen=True, slots=True)
class Orphan:
    """A baseline that nothing uses.

    Attributes:
        path: The run file.
        why: How it came to be alone.
        hint: What to do next.
    """

    path: Path
    why: str
    hint: str


def find_orphans(used: Iterable[tuple[Path, Sequence[str]]]) -> tuple[Orphan, ...]:
    """The orphans among the baselines of some suites and of the folders beside them.

    Args:
        used: A suite's folder, and the names of the baselines that a test of it looked at.

    Returns:
        Baselines of those suites that no test looked at, and those in folders beside them that are no suite any more;
        sorted by path.
    """
    names: dict[Path, set[str]] = defaultdict(set)
    for folder, looked_at in used:
        names[folder.resolve()].update(looked_at)
    orphans = [*_unused(names), *_vanished({folder.parent for folder in names})]
    return tuple(sorted(orphans, key=lambda orphan: orphan.path))


def _unused(names: dict[Path, set[str]]) -> Iterator[Orphan]:
    for folder, looked_at in names.items():
        for name in Baselines(folder / FOLDER).names():
            path = folder / FOLDER / f"{name}.jsonl"
            if name not in looked_at and str(path) not in looked_at:
                marker = f'@pytest.mark.aigate(suite=..., baseline="{name}")'
                yield Orphan(path, "no test uses it", f"delete it, or hold a test against it: {marker}")


def _vanished(parents: Iterable[Path]) -> Iterator[Orphan]:
    for folder in (child for parent in parents for child in parent.iterdir() if child.is_dir()):
        if not (folder / CONFIG_FILE).is_file():
            for name in Baselines(folder / FOLDER).names():
                path = folder / FOLDER / f"{name}.jsonl"
                why = f"its suite has no {CONFIG_FILE} any more"
                yield Orphan(path, why, "restore the suite, or delete its folder")
