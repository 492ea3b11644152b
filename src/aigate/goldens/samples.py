"""`samples.jsonl`: read strictly, with every problem named by file and line, and written in one canonical form."""

from __future__ import annotations

import gzip
import os
from array import array
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, overload

from aigate.core.columns import SampleColumns
from aigate.core.digest import json_line
from aigate.core.json_text import json_type, strict_json
from aigate.core.registry import nearest
from aigate.core.sample import Sample
from aigate.errors import SuiteError
from aigate.files import FileLines, LineBlock
from aigate.goldens.jsonlines import Defect, is_large, lines_of, scan_blocks, scan_json_lines

__all__ = ["SAMPLE_FIELDS", "StoredSamples", "dump_samples", "load_samples", "row_defects", "scan_samples"]

SAMPLE_FIELDS = ("id", "input", "reference", "contexts", "tags", "group", "metadata")
ROLES = ("system", "developer", "user", "assistant", "tool")
MAX_REPORTED = 20
LEAVE_OUT = "leave the field out when there is nothing to say"


class StoredSamples(Sequence[Sample]):
    """The samples of a large file, each read when it is looked at.

    Attributes:
        columns: What is known of them without looking; in the order of the file.
    """

    __slots__ = ("_lengths", "_lines", "_offsets", "columns")
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, columns: SampleColumns, lines: FileLines, offsets: array[int], lengths: array[int]) -> None:
        self.columns = columns
        self._lines, self._offsets, self._lengths = lines, offsets, lengths

    def line(self, row: int) -> bytes:
        """The line of one sample, without its end."""
        return self._lines(self._offsets[row], self._lengths[row])

    def lines(self, start: int, stop: int) -> bytes | None:
        """Some lines as they stand in the file; None where they do not follow one another there."""
        return self._lines.span(self._offsets[start:stop], self._lengths[start:stop])

    def taken(self, rows: Sequence[int]) -> StoredSamples:
        """Some of the samples."""
        places = (array(own.typecode, map(own.__getitem__, rows)) for own in (self._offsets, self._lengths))
        return StoredSamples(self.columns.taken(rows), self._lines, *places)

    def __len__(self) -> int:
        return len(self._offsets)

    @overload
    def __getitem__(self, index: int) -> Sample: ...
    @overload
    def __getitem__(self, index: slice) -> StoredSamples: ...
    def __getitem__(self, index: int | slice) -> Sample | StoredSamples:
        rows = range(len(self))[index]
        return self.taken(rows) if isinstance(rows, range) else Sample.from_dict(strict_json(self.line(rows)))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, StoredSamples | tuple):
            return NotImplemented
        return len(self) == len(other) and all(ours == theirs for ours, theirs in zip(self, other, strict=True))

    def __repr__(self) -> str:
        return f"<{len(self)} stored samples>"


class HeldSamples(tuple[Sample, ...]):
    """Samples in memory, whose columns are worked out once."""

    @cached_property
    def columns(self) -> SampleColumns:
        """The samples as columns; nobody changes them."""
        return SampleColumns.of(self)


def load_samples(path: Path) -> Sequence[Sample]:
    """Read the samples of a suite.

    Args:
        path: A JSON Lines file, or the same compressed with a name ending in `.gz`.

    Returns:
        The samples in file order; at least one, ids unique. Those of a large file are read when they are looked at.

    Raises:
        SuiteError: The file cannot be read, or it has problems: the first one is the message, which starts with
            `path:line:`, and up to 19 more follow it.
    """
    if is_large(path):
        if (stored := _stored(path)) is not None:
            return stored
        _refuse_defects(path, scan_samples(path, keep=False)[1])  # nothing but blank lines at its end may be left
    samples, defects = scan_samples(path)
    _refuse_defects(path, defects)
    return HeldSamples(samples)


def scan_samples(path: Path, *, keep: bool = True) -> tuple[tuple[Sample, ...], tuple[Defect, ...]]:
    """Read what can be read: the sound samples, and every defect of the others in line order.

    Args:
        path: As in `load_samples`.
        keep: False to look for defects alone: then no sample is given.

    Raises:
        SuiteError: The file cannot be opened, read or decompressed.
    """
    samples: list[Sample] = []
    defects: list[Defect] = []
    first_line: dict[str, int] = {}
    seen = False
    for line, found in scan_json_lines(path):
        seen = True
        wrong = [found] if isinstance(found, Defect) else _row_and_id_defects(line, found, first_line)
        defects.extend(wrong)
        if keep and not wrong and isinstance(found, dict):
            samples.append(Sample.from_dict(found))
    if not seen:
        defects.append(Defect(1, "no samples: the file is empty", "write one JSON object a line"))
    return tuple(samples), tuple(defects)


def dump_samples(samples: Iterable[Sample], path: Path) -> None:
    """Write samples, one a line, fields in their documented order; `load_samples` gives equal samples back.

    The file is written beside its place and then moved there, so a reader sees the old file or the new one.

    Args:
        samples: What to write; at least one.
        path: Where to; a name ending in `.gz` is compressed. Same samples, same bytes.

    Raises:
        SuiteError: There are no samples, or one could not be read back: a duplicate id, an empty input, NaN; or the
            file cannot be written.
    """
    rows = [sample.to_dict() for sample in samples]
    _refuse_unreadable(rows, path)
    whole = "".join(f"{_line_of(row, path)}\n" for row in rows).encode("utf-8")
    target = path.resolve()
    draft = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        draft.write_bytes(gzip.compress(whole, mtime=0) if path.suffix == ".gz" else whole)
        draft.replace(target)
    except OSError as found:
        raise SuiteError(f"{path}: cannot be written: {found.strerror or found}") from None
    finally:
        draft.unlink(missing_ok=True)


def _refuse_defects(path: Path, defects: Sequence[Defect]) -> None:
    if defects:
        raise SuiteError(_joined(path, defects), hint=defects[0].hint)


@dataclass(frozen=True, slots=True)
class _Scanned:
    """The samples of consecutive lines, and where the lines stand."""

    columns: SampleColumns = field(default_factory=SampleColumns)
    offsets: array[int] = field(default_factory=lambda: array("q"))
    lengths: array[int] = field(default_factory=lambda: array("i"))

    def extend(self, other: _Scanned) -> None:
        self.columns.extend(other.columns)
        self.offsets.extend(other.offsets)
        self.lengths.extend(other.lengths)


def _stored(path: Path) -> StoredSamples | None:
    """The samples of a large file; None where anything is odd: then line by line will tell what."""
    found = _Scanned()
    lines = scan_blocks(path, _scan_block, found.extend)
    if lines is None or found.columns.repeats_an_id() or not len(found.columns):
        return None
    return StoredSamples(found.columns, lines, found.offsets, found.lengths)


def _scan_block(block: LineBlock) -> _Scanned | None:
    found, offset = _Scanned(), block.offset
    for raw in lines_of(block):
        try:
            row = strict_json(raw)
        except ValueError:
            return None
        if not isinstance(row, dict) or row_defects(row):
            return None
        found.columns.add_row(row)
        found.offsets.append(offset)
        found.lengths.append(len(raw))
        offset += len(raw) + 1
    return found


def row_defects(row: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What keeps one object from being a sample, as (message, hint) pairs; empty when it is one.

    >>> row_defects({"id": "a", "input": "Hello", "refrence": "Hi"})
    [("unknown field 'refrence'", "did you mean 'reference'?")]
    """
    found: list[tuple[str, str]] = [
        (f"unknown field '{name}'", nearest(name, SAMPLE_FIELDS, kind="fields"))
        for name in row
        if name not in SAMPLE_FIELDS
    ]
    found += _id_defects(row)
    found += _input_defects(row)
    found += _texts_defects(row, "contexts")
    found += _texts_defects(row, "tags")
    found += _group_defects(row)
    return found + _metadata_defects(row)


def _row_and_id_defects(line: int, row: dict[str, Any], first_line: dict[str, int]) -> list[Defect]:
    found = [Defect(line, message, hint) for message, hint in row_defects(row)]
    name = row.get("id")
    if isinstance(name, str) and first_line.setdefault(name, line) != line:
        message = f"duplicate id '{name}' (first on line {first_line[name]})"
        found.append(Defect(line, message, "give every sample its own id, and keep it"))
    return found


def _id_defects(row: Mapping[str, Any]) -> list[tuple[str, str]]:
    if "id" not in row:
        return [("missing field 'id'", "give every sample a stable id")]
    if not isinstance(row["id"], str):
        return [(f"id: got {json_type(row['id'])}, expected a string", "quote it")]
    return [] if row["id"].strip() else [("id: empty", "give every sample a stable id")]


def _input_defects(row: Mapping[str, Any]) -> list[tuple[str, str]]:
    if "input" not in row:
        return [("missing field 'input'", "input is a text or a list of chat messages")]
    given = row["input"]
    if isinstance(given, str):
        return [] if given.strip() else [("input: empty", "remove the sample, or say what the user says")]
    if not isinstance(given, list | tuple):
        return [(f"input: got {json_type(given)}, expected a string or an array of chat messages", "")]
    found = [defect for index, message in enumerate(given) for defect in _message_defects(f"input[{index}]", message)]
    if not found and not any(message.get("content") for message in given):
        return [("input: empty", "remove the sample, or say what the user says")]
    return found


def _message_defects(where: str, message: Any) -> list[tuple[str, str]]:
    if not isinstance(message, dict):
        return [(f"{where}: got {json_type(message)}, expected an object with role and content", "")]
    found: list[tuple[str, str]] = []
    role = message.get("role")
    if role not in ROLES:
        got = repr(role) if isinstance(role, str) else json_type(role) if "role" in message else "nothing"
        known = ", ".join(ROLES)
        found.append((f"{where}.role: got {got}, expected one of {known}", nearest(str(role), ROLES, kind="roles")))
    return found + _content_defects(f"{where}.content", message)


def _content_defects(where: str, message: dict[str, Any]) -> list[tuple[str, str]]:
    content = message.get("content")
    if isinstance(content, str) or (content is None and message.get("tool_calls")):
        return []
    if not isinstance(content, list):
        got = json_type(content) if "content" in message else "nothing"
        return [(f"{where}: got {got}, expected a string or an array of parts", "")]
    return [
        (f"{where}[{index}]: expected a part: an object with a 'type'", 'e.g. {"type": "text", "text": "..."}')
        for index, part in enumerate(content)
        if not (isinstance(part, dict) and isinstance(part.get("type"), str))
    ]


def _texts_defects(row: Mapping[str, Any], name: str) -> list[tuple[str, str]]:
    given = row.get(name, [])
    if not isinstance(given, list | tuple):
        return [(f"{name}: got {json_type(given)}, expected an array of strings", LEAVE_OUT)]
    for index, text in enumerate(given):
        if not isinstance(text, str):
            return [(f"{name}[{index}]: got {json_type(text)}, expected a string", "")]
        if not text.strip():
            return [(f"{name}[{index}]: empty", "remove it")]
    if name == "tags" and len(set(given)) != len(given):
        return [(f"tags: '{_first_repeated(given)}' stands there twice", "name every tag once")]
    return []


def _first_repeated(texts: Sequence[str]) -> str:
    return next(text for index, text in enumerate(texts) if text in texts[:index])


def _group_defects(row: Mapping[str, Any]) -> list[tuple[str, str]]:
    given = row.get("group")
    if given is None or (isinstance(given, str) and given.strip()):
        return []
    if isinstance(given, str):
        return [("group: empty", LEAVE_OUT)]
    return [(f"group: got {json_type(given)}, expected a string", LEAVE_OUT)]


def _metadata_defects(row: Mapping[str, Any]) -> list[tuple[str, str]]:
    given = row.get("metadata", {})
    return [] if isinstance(given, dict) else [(f"metadata: got {json_type(given)}, expected an object", LEAVE_OUT)]


def _joined(path: Path, defects: Sequence[Defect]) -> str:
    """All problems in one text: the first one first, then up to `MAX_REPORTED` in all."""
    lines = [f"{path}:{defect.line}: {defect.message}" for defect in defects[:MAX_REPORTED]]
    if len(defects) > 1:
        more = len(defects) - 1
        lines.insert(1, f"and {more} more problem{'s' if more > 1 else ''}:")
    if len(defects) > MAX_REPORTED:
        lines.append(f"({len(defects) - MAX_REPORTED} not shown)")
    return "\n".join(lines)


def _refuse_unreadable(rows: Sequence[dict[str, Any]], path: Path) -> None:
    first_line: dict[str, int] = {}
    defects = [d for line, row in enumerate(rows, start=1) for d in _row_and_id_defects(line, row, first_line)]
    if not rows:
        defects.append(Defect(1, "no samples to write"))
    if defects:
        raise SuiteError(_joined(path, defects), hint=defects[0].hint)


def _line_of(row: dict[str, Any], path: Path) -> str:
    try:
        return json_line(row)
    except ValueError as found:
        raise SuiteError(f"{path}: sample '{row['id']}' is not JSON: {found}") from None
