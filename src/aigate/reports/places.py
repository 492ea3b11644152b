"""Where in the repository a finding stands: a check in `suite.toml`, a sample in its samples file."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from aigate.core.late import LateMapping
from aigate.core.run import Run
from aigate.core.verdict import CheckOutcome
from aigate.errors import SuiteError
from aigate.goldens.jsonlines import read_json_lines
from aigate.goldens.suite import CONFIG_FILE, find_samples

__all__ = ["Place", "Places", "places_of_run", "places_of_suite"]

_ROW = re.compile(r"""^[^#]*?\bcheck\s*=\s*["']([a-z0-9-]+)["'](.*)""")


@dataclass(frozen=True, slots=True)
class Place:
    """A line of a file.

    Attributes:
        path: With slashes, from the top of the repository where the file lies in it.
        line: From 1.
    """

    path: str
    line: int = 1


@dataclass(frozen=True, slots=True)
class Places:
    """Where checks and samples stand.

    Attributes:
        file: The file for whatever has no line of its own.
        checks: `(check, rest of its row)` by line of that file.
        samples_file: The samples file; empty where there is none.
        samples: Lines of the samples file by sample id.
    """

    file: str
    checks: Mapping[int, tuple[str, str]] = field(default_factory=dict)
    samples_file: str = ""
    samples: Mapping[str, int] = field(default_factory=dict)

    def of_check(self, check: CheckOutcome) -> Place:
        """The row of a check; the file's first line for a rule that no policy has to ask for."""
        rows = [(line, rest) for line, (name, rest) in self.checks.items() if name == check.check]
        about = check.details.get("tag") or check.metric
        named = [line for line, rest in rows if about and (f'"{about}"' in rest or f"'{about}'" in rest)]
        return Place(self.file, next(iter((*named, *(line for line, _ in rows))), 1))

    def of_sample(self, sample_id: str) -> Place | None:
        """The line of a sample; None where it is not known."""
        line = self.samples.get(sample_id)
        return None if line is None else Place(self.samples_file, line)


def _sample_lines(path: Path) -> Mapping[str, int]:
    """The lines of a samples file by sample id."""
    try:
        return {row["id"]: line for line, row in read_json_lines(path) if isinstance(row.get("id"), str)}
    except SuiteError:
        return {}


def places_of_suite(folder: Path, *, root: Path) -> Places:
    """The places of a suite's checks and samples.

    Args:
        folder: The suite's folder.
        root: The top of the repository.
    """
    config = folder / CONFIG_FILE
    lines = config.read_text("utf-8", errors="replace").splitlines() if config.is_file() else []
    found = ((number, _ROW.match(line)) for number, line in enumerate(lines, start=1))
    checks = {number: (row[1], row[2]) for number, row in found if row}
    try:
        samples = find_samples(folder)
    except SuiteError:  # the verdict is about what ran; a suite that was broken since only has no lines to show
        return Places(_from_root(config, root), checks)
    return Places(
        _from_root(config, root), checks, _from_root(samples, root), LateMapping(lambda: _sample_lines(samples))
    )


def places_of_run(run: Run, *, root: Path) -> Places:
    """All there is to point to where the suite is not known: the run file."""
    return Places(_from_root(Path(run.source or f"{run.header.suite_name}.jsonl"), root))


def _from_root(path: Path, root: Path) -> str:
    """The path from the top of the repository; as it is where it lies elsewhere."""
    absolute, top = Path(os.path.abspath(path)), Path(os.path.abspath(root))  # noqa: PTH100 - no link is followed
    return (absolute.relative_to(top) if absolute.is_relative_to(top) else path).as_posix()
