"""`Sample`: one golden case."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from aigate.core.digest import digest_of

__all__ = ["Message", "Sample"]

Message = Mapping[str, Any]
"""One chat message: `role` and `content`, as the OpenAI API spells them."""


@dataclass(frozen=True)
class Sample:
    """One golden case. Values are exactly those of the file: `1` stays an integer, `"2024-11-20"` a string.

    Attributes:
        id: Unique in its suite and stable over time.
        input: What the user says: a text, or a list of chat messages.
        reference: The right answer, where there is one; any JSON value. Never shown to the model.
        contexts: Passages the answer must rest on.
        tags: Slices the sample belongs to.
        group: Samples with the same group are not independent (same document); the group is the statistical unit.
        metadata: Anything else, for prompts and reports.
    """

    id: str
    input: str | tuple[Message, ...]
    reference: Any = None
    contexts: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    group: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def digest(self) -> str:
        """The digest of all that can change an answer, a score or a statistical unit. A new digest is a new case."""
        return digest_of(self.to_dict())

    @property
    def unit(self) -> str:
        """The name of the sample's statistical unit: its group, or itself."""
        return f"group:{self.group}" if self.group is not None else f"sample:{self.id}"

    @property
    def text(self) -> str:
        """The input as one text: itself, or the contents of its messages joined by blank lines."""
        if isinstance(self.input, str):
            return self.input
        return "\n\n".join(_content_text(message.get("content")) for message in self.input)

    def to_dict(self) -> dict[str, Any]:
        """The sample as JSON, in the field order of `samples.jsonl`; fields at their default are left out."""
        whole: dict[str, Any] = {"id": self.id, "input": _jsonable(self.input)}
        if self.reference is not None:
            whole["reference"] = self.reference
        if self.contexts:
            whole["contexts"] = list(self.contexts)
        if self.tags:
            whole["tags"] = list(self.tags)
        if self.group is not None:
            whole["group"] = self.group
        if self.metadata:
            whole["metadata"] = dict(self.metadata)
        return whole

    @classmethod
    def from_dict(cls, row: Mapping[str, Any]) -> Sample:
        """The inverse of `to_dict`, for rows that were checked before (see `aigate.goldens.samples`)."""
        given = row["input"]
        lists = (row.get("contexts") or [], row.get("tags") or [])
        if not all(isinstance(items, list) and all(isinstance(item, str) for item in items) for items in lists):
            raise TypeError(f"sample {row['id']!r}: contexts and tags are lists of texts")
        if not isinstance(row["id"], str) or not isinstance(given, str | list):
            raise TypeError(f"sample {row['id']!r}: the id is a text, the input a text or a list of messages")
        return cls(
            id=row["id"],
            input=given if isinstance(given, str) else tuple(given),
            reference=row.get("reference"),
            contexts=tuple(row.get("contexts") or ()),
            tags=tuple(row.get("tags") or ()),
            group=row.get("group"),
            metadata=row.get("metadata") or {},
        )


def _jsonable(given: str | tuple[Message, ...]) -> str | list[dict[str, Any]]:
    return given if isinstance(given, str) else [dict(message) for message in given]


def _content_text(content: Any) -> str:
    """The text of a message's content: a string, or the text parts of a list of parts."""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return "\n".join(
            part["text"] for part in content if isinstance(part, dict) and isinstance(part.get("text"), str)
        )
    return ""
