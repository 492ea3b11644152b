"""`judge-anchors.jsonl`: answers with the score they deserve, which every run has its judges judge again.

A judge that changes behind an unchanged name is seen by what it says of these. A row is a sample with an output and a
label, the score in [0, 1] that people gave it; `metric` names the metric it is for, where it is not for all.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from aigate.core.digest import digest_of
from aigate.core.json_text import json_type
from aigate.core.registry import nearest
from aigate.core.sample import Sample
from aigate.errors import SuiteError
from aigate.goldens.jsonlines import read_json_lines
from aigate.goldens.samples import row_defects

__all__ = ["ANCHORS_FILE", "JudgeAnchor", "load_judge_anchors"]

ANCHORS_FILE = "judge-anchors.jsonl"
MOST_ANCHORS = 1_000
OWN_FIELDS = ("output", "label", "metric")
SAMPLE_FIELDS = ("id", "input", "reference", "contexts", "tags", "metadata")


@dataclass(frozen=True)
class JudgeAnchor:
    """One labelled answer.

    Attributes:
        sample: What was asked.
        output: The answer.
        label: The score that it deserves, in [0, 1].
        metric: The metric it is for; None: every judged metric that applies to the sample.
    """

    sample: Sample
    output: str
    label: float
    metric: str | None = None

    @cached_property
    def digest(self) -> str:
        """The digest of the row: an edited one is another anchor."""
        return digest_of([self.sample.digest, self.output, self.label, self.metric])


def load_judge_anchors(path: Path) -> tuple[JudgeAnchor, ...]:
    """The anchors of a suite, in file order; none where there is no such file.

    Raises:
        SuiteError: A row is wrong, or an id stands there twice; the message starts with file:line.
    """
    if not path.is_file():
        return ()
    found: list[JudgeAnchor] = []
    lines: dict[str, int] = {}
    for line, row in read_json_lines(path):
        for message, hint in _defects(row):
            raise SuiteError(f"{path}:{line}: {message}", hint=hint)
        if lines.setdefault(row["id"], line) != line:
            raise SuiteError(
                f"{path}:{line}: duplicate id '{row['id']}' (first on line {lines[row['id']]})",
                hint="give every anchor an id of its own",
            )
        if len(found) == MOST_ANCHORS:
            raise SuiteError(f"{path}:{line}: more than {MOST_ANCHORS} anchors", hint="every run judges all of them")
        own = {name: row[name] for name in row if name in SAMPLE_FIELDS}
        found.append(JudgeAnchor(Sample.from_dict(own), row["output"], float(row["label"]), row.get("metric")))
    if not found:
        raise SuiteError(f"{path}: no anchors in it", hint="write one labelled answer a line, or remove the file")
    return tuple(found)


def _defects(row: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    """What keeps a row from being an anchor, as (message, hint) pairs."""
    known = (*SAMPLE_FIELDS, *OWN_FIELDS)
    for name in row:
        if name not in known:
            yield f"unknown field '{name}'", nearest(name, known, kind="fields")
    yield from row_defects({name: value for name, value in row.items() if name in SAMPLE_FIELDS})
    for name in ("output", "label"):
        if name not in row:
            yield f"missing field '{name}'", "an anchor is an answer (output) and the score it deserves (label)"
    if not isinstance(row.get("output", ""), str):
        yield f"output: got {json_type(row['output'])}, expected a string", ""
    label = row.get("label", 0)
    sound = isinstance(label, int | float) and not isinstance(label, bool) and math.isfinite(label)
    if not sound or not 0 <= label <= 1:
        yield f"label: got {label!r}, expected a number in [0, 1]", "1 for an answer without fault"
    if not isinstance(row.get("metric", ""), str):
        yield f"metric: got {json_type(row['metric'])}, expected a metric's name", ""
