"""Inspect datasets: `input`, `target`, `choices`, `id` and `metadata` in JSON Lines, JSON or CSV."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from aigate.core.counts import count_of
from aigate.errors import SuiteError
from aigate.goldens.peers.base import LeftOut, PeerSuite, checked_sample, compared, made_id, rows_of, unique_ids
from aigate.goldens.peers.questions import OWN_VERSION

__all__ = ["read"]

MAPPED = ("input", "target", "choices", "id", "metadata", "description")
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
CHOICE_PROMPT = """\
---
description: A question with lettered choices; the whole answer is its letter.
---
{{ input }}

{% for choice in metadata.choices %}
{{ "ABCDEFGHIJKLMNOPQRSTUVWXYZ"[loop.index0] }}) {{ choice }}
{% endfor %}

Answer with one line and nothing else: ANSWER: and the letter of the right choice.
"""
CHOICE_SCORER = """{ scorer = "classification", pattern = '(?i)answer\\s*:\\s*\\(?([a-z])\\b', metric = "choice" }"""


def read(source: Path) -> PeerSuite:
    """Read a dataset. Solvers and scorers stand in a task's code: the usual ones are taken in their place, and named.

    Raises:
        SuiteError: It cannot be read, a row has no input, or a target that is none of its choices.
    """
    rows = rows_of(source)
    choices = [_choices(row.get("choices")) for row in rows]
    lettered = any(choices)
    ids = unique_ids(_id(row) for row in rows)
    left = LeftOut()
    samples = []
    for number, (row, options, id_) in enumerate(zip(rows, choices, ids, strict=True), start=1):
        place = f"{source}: row {number}"
        target = _target(row, options, place)
        if lettered and (not options or isinstance(target, list)):
            why = "no choices" if not options else "several right choices"
            left.out(f"{why}, among questions with one right choice", f"row {number} ('{id_}')")
            continue
        metadata = {**_metadata(row), **({"choices": options} if options else {})}
        samples.append(
            checked_sample(place, id=id_, input=_input(row.get("input")), reference=target, metadata=metadata)
        )
    metric, scorer = ("choice", CHOICE_SCORER) if lettered else ("includes", '{ scorer = "includes", case = "fold" }')
    return PeerSuite(
        samples=tuple(samples),
        scorers=(scorer, '"shape"'),
        checks=compared(metric),
        primary_metric=metric,
        version=OWN_VERSION,
        prompts={"v1": CHOICE_PROMPT} if lettered else {},
        left_out=(*_left_out(rows), *left.lines()),
        notes=(
            f"scored as Inspect's {'choice' if lettered else 'includes'} would; a task may have used another scorer",
        ),
    )


def _id(row: Mapping[str, Any]) -> str:
    given = row.get("id")
    return str(given) if given not in (None, "") else made_id(row.get("input"), row.get("choices"))


def _input(given: Any) -> Any:
    """A text, or chat messages; in CSV a JSON array of messages is what it says."""
    if isinstance(given, str) and given.lstrip().startswith("[{"):
        try:
            given = json.loads(given)
        except ValueError:
            return given
    if isinstance(given, list):
        return [{k: v for k, v in message.items() if k != "source"} for message in given if isinstance(message, dict)]
    return given


def _choices(given: Any) -> list[str]:
    """As Inspect reads them: a list, or texts separated by commas, else by space."""
    if isinstance(given, str):
        given = given.split(",") if "," in given else given.split()
    return [str(choice).strip() for choice in given if str(choice).strip()] if isinstance(given, list) else []


def _target(row: Mapping[str, Any], options: Sequence[str], place: str) -> Any:
    """The right answer; of a question with choices a letter among them, or a list where several are right."""
    given = row.get("target")
    if given in (None, "", []):
        return None
    listed = [str(one) for one in given] if isinstance(given, list) else [str(given)]
    if not options:
        return listed[0] if len(listed) == 1 else listed
    listed = [letter.strip() for one in listed for letter in one.split(",")]
    known = LETTERS[: len(options)]
    if wrong := [letter for letter in listed if letter not in known or len(letter) != 1]:
        raise SuiteError(f"{place}: target {wrong[0]!r} is none of the letters {known}", hint="targets are letters")
    return listed[0] if len(listed) == 1 else listed


def _metadata(row: Mapping[str, Any]) -> dict[str, Any]:
    given = row.get("metadata") or {}
    if isinstance(given, str):
        given = json.loads(given)
    more = {"description": row["description"]} if row.get("description") else {}
    return {**given, **more}


def _left_out(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    counted = Counter(name for row in rows for name, value in row.items() if value not in (None, "", [], {}))
    return [f"'{name}' of {count_of(n, 'row')}" for name, n in sorted(counted.items()) if name not in MAPPED]
