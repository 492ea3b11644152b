"""DeepEval goldens: what `EvaluationDataset.save_as` writes as JSON, JSON Lines or CSV."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from aigate.core.counts import count_of
from aigate.errors import SuiteError
from aigate.goldens.peers.base import (
    PeerSuite,
    checked_sample,
    made_id,
    rows_of,
    texts_of,
    unique_ids,
)
from aigate.goldens.peers.questions import question_suite

__all__ = ["read"]

DELIMITER = "|"  # what DeepEval joins contexts with in CSV and JSON Lines
MAPPED = ("input", "expected_output", "actual_output", "retrieval_context", "context", "name", "additional_metadata")
KEPT = ("comments", "source_file", "custom_column_key_values")  # they go into the metadata
CONVERSATION = ("scenario", "turns", "expected_outcome")


def read(source: Path) -> PeerSuite:
    """Read goldens; conversations, tool calls and expectations are named, not carried over.

    Raises:
        SuiteError: It cannot be read, or a golden has no input.
    """
    rows = rows_of(source)
    single = [(number, row) for number, row in enumerate(rows, start=1) if not _is_conversation(row)]
    contexts = [_contexts(row, joined=source.suffix != ".json") for _, row in single]
    names = [
        row.get("name") or made_id(row.get("input"), found) for (_, row), found in zip(single, contexts, strict=True)
    ]
    samples = tuple(
        checked_sample(
            f"{source}: golden {number}",
            id=id_,
            input=_input(row, f"{source}: golden {number}"),
            reference=row.get("expected_output"),
            contexts=found,
            metadata=_metadata(row),
        )
        for (number, row), found, id_ in zip(single, contexts, unique_ids(names), strict=True)
    )
    answers = [(sample, row.get("actual_output")) for sample, (_, row) in zip(samples, single, strict=True)]
    return question_suite("deepeval", samples, answers, left_out=_left_out(rows))


def _is_conversation(row: Mapping[str, Any]) -> bool:
    return not row.get("input") and any(row.get(name) for name in CONVERSATION)


def _input(row: Mapping[str, Any], place: str) -> str:
    given = row.get("input")
    if not isinstance(given, str) or not given.strip():
        raise SuiteError(f"{place}: no input", hint="a golden needs an input")
    return given


def _contexts(row: Mapping[str, Any], *, joined: bool) -> list[str]:
    """What was retrieved, else the ideal contexts."""
    for name in ("retrieval_context", "context"):
        value = row.get(name)
        parts = value.split(DELIMITER) if joined and isinstance(value, str) else value
        if found := list(texts_of(parts)):
            return found
    return []


def _metadata(row: Mapping[str, Any]) -> dict[str, Any]:
    given = row.get("additional_metadata") or {}
    if isinstance(given, str):
        try:
            given = json.loads(given)
        except ValueError:
            given = {"additional_metadata": given}
    more = {name: row[name] for name in KEPT if row.get(name)}
    return {**(given if isinstance(given, dict) else {"additional_metadata": given}), **more}


def _left_out(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Conversations, and fields that nothing here reads, with how many goldens have them."""
    talks = sum(map(_is_conversation, rows))
    counted = Counter(name for row in rows for name, value in row.items() if value not in (None, "", [], {}))
    unread = {name: n for name, n in counted.items() if name not in (*MAPPED, *KEPT, *CONVERSATION)}
    found = (
        [f"{count_of(talks, 'conversational golden')} (scenario, turns): only single answers are gated"]
        if talks
        else []
    )
    return found + [f"'{name}' of {count_of(n, 'golden')}" for name, n in sorted(unread.items())]
