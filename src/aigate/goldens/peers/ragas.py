"""ragas evaluation datasets: its fields of today (`user_input`) and before (`question`), from a file or `datasets`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from aigate.core.counts import count_of
from aigate.goldens.peers.base import PeerSuite, checked_sample, made_id, rows_of, texts_of, unique_ids
from aigate.goldens.peers.questions import question_suite

__all__ = ["read"]

INPUTS = ("user_input", "question")
REFERENCES = ("reference", "ground_truth", "ground_truths")
ANSWERS = ("response", "answer")
CONTEXTS = ("retrieved_contexts", "contexts")
KEPT = ("reference_contexts", "synthesizer_name", "persona_name", "query_style", "query_length")
ROLES = {"human": "user", "ai": "assistant", "tool": "tool"}


def read(source: Path) -> PeerSuite:
    """Read a dataset; rubrics and reference tool calls are named, not carried over.

    Raises:
        SuiteError: It cannot be read, or a row has no input.
    """
    rows = rows_of(source)
    inputs = [_messages(_first(row, INPUTS)) for row in rows]
    contexts = [list(texts_of(_first(row, CONTEXTS))) for row in rows]
    ids = unique_ids(str(row.get("id") or made_id(*both)) for row, *both in zip(rows, inputs, contexts, strict=True))
    samples = tuple(
        checked_sample(
            f"{source}: row {number}",
            id=id_,
            input=given,
            reference=_reference(row),
            contexts=found,
            metadata={name: row[name] for name in KEPT if row.get(name)},
        )
        for number, (row, given, found, id_) in enumerate(zip(rows, inputs, contexts, ids, strict=True))
    )
    answers = [(sample, _first(row, ANSWERS)) for sample, row in zip(samples, rows, strict=True)]
    known = {*INPUTS, *REFERENCES, *ANSWERS, *CONTEXTS, *KEPT, "id"}
    counted = Counter(name for row in rows for name, value in row.items() if value not in (None, "", [], {}))
    left_out = [f"'{name}' of {count_of(n, 'row')}" for name, n in sorted(counted.items()) if name not in known]
    return question_suite("ragas", samples, answers, left_out=left_out)


def _first(row: Mapping[str, Any], names: tuple[str, ...]) -> Any:
    return next((row[name] for name in names if row.get(name)), None)


def _reference(row: Mapping[str, Any]) -> Any:
    """One right answer, or a list of them."""
    found = _first(row, REFERENCES)
    return found[0] if isinstance(found, list) and len(found) == 1 else found


def _messages(given: Any) -> Any:
    """A text as it is; the messages of a multi-turn sample in the words of the chat API."""
    if not isinstance(given, list):
        return given
    return [
        {"role": ROLES.get(str(message.get("type")), "user"), "content": message.get("content")}
        if isinstance(message, Mapping)
        else message
        for message in given
    ]
