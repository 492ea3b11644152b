"""What an import of another tool's suite gives, how it is written to disk, and how a file's tool is recognised."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

from aigate.core.digest import digest_of, json_line
from aigate.core.json_text import JsonDefectError, strict_json
from aigate.core.registry import nearest
from aigate.core.sample import Sample
from aigate.errors import SuiteError, UsageError
from aigate.goldens.jsonlines import read_json_lines
from aigate.goldens.samples import dump_samples, row_defects

__all__ = [
    "ANSWERS_FILE",
    "PEERS",
    "LeftOut",
    "PeerSuite",
    "checked_sample",
    "compared",
    "import_peer",
    "made_id",
    "recognised",
    "rows_of",
    "texts_of",
    "unique_ids",
    "write_suite",
]

ID_DIGITS = 12
PEERS: Mapping[str, str] = {
    "promptfoo": "aigate.goldens.peers.promptfoo:read",
    "deepeval": "aigate.goldens.peers.deepeval:read",
    "inspect": "aigate.goldens.peers.inspect_ai:read",
    "ragas": "aigate.goldens.peers.ragas:read",
}
"""`module:function` that reads a source, by the name that `--from` takes."""

ANSWERS_FILE = "answers.jsonl"
PLACES_NAMED = 3
# Fields that only one tool writes; what several write (input, question, answer) proves nothing.
MARKS: Mapping[str, frozenset[str]] = {
    "deepeval": frozenset({"expected_output", "actual_output", "retrieval_context"}),
    "ragas": frozenset({"user_input", "ground_truth", "ground_truths", "retrieved_contexts"}),
    "inspect": frozenset({"target", "choices", "sandbox"}),
}
NEEDED: Mapping[str, frozenset[str]] = {
    "deepeval": frozenset({"input"}),
    "ragas": frozenset(),
    "inspect": frozenset({"input", "target"}),
}


class LeftOut:
    """What could not be carried over: a line each, with the places where it stands.

    >>> left = LeftOut()
    >>> for number in range(1, 6):
    ...     left.out("assert cost", f"test {number}")
    >>> left.lines()
    ('test 1, test 2, test 3 and 2 more: assert cost',)
    """

    def __init__(self) -> None:
        self._places: dict[str, dict[str, None]] = {}

    def out(self, what: str, place: str = "") -> None:
        """Note one thing; without a place it is the whole source's."""
        self._places.setdefault(what, {}).update({place: None} if place else {})

    def lines(self) -> tuple[str, ...]:
        """One sentence each, in the order in which they were found."""
        return tuple(f"{_some_of(list(places))}: {what}" if places else what for what, places in self._places.items())


def _some_of(places: Sequence[str]) -> str:
    """The first few, and how many more: a suite of a thousand tests has what its defaults say a thousand times."""
    more = len(places) - PLACES_NAMED
    return ", ".join(places[:PLACES_NAMED]) + (f" and {more} more" if more > 0 else "")


@dataclass(frozen=True)
class PeerSuite:
    """A suite of another tool, in our words.

    Attributes:
        samples: The samples, in the source's order.
        scorers: Rows of `scorers` in suite.toml, as TOML.
        checks: Rows of the policy, as TOML.
        primary_metric: The metric that a threshold speaks of.
        version: The version to run.
        provider: The provider.
        provider_options: Its options.
        prompts: Text of each prompt file, by prompt version.
        answers: Answers that the source holds, as rows of a recording.
        left_out: What could not be carried over, one sentence each.
        notes: What a reader should know besides.
        judge: The keys of `[judge]` that the scorers cannot do without, with an example of each.
    """

    samples: tuple[Sample, ...]
    scorers: tuple[str, ...]
    checks: tuple[str, ...]
    primary_metric: str
    version: str
    provider: str = "openai"
    provider_options: Mapping[str, Any] = field(default_factory=dict)
    prompts: Mapping[str, str] = field(default_factory=dict)
    answers: tuple[Mapping[str, Any], ...] = ()
    left_out: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    judge: Mapping[str, str] = field(default_factory=dict)


def import_peer(source: Path, peer: str) -> PeerSuite:
    """Read another tool's suite.

    Raises:
        SuiteError: The source cannot be read, or holds no case.
        UsageError: No such tool.
    """
    if peer not in PEERS:
        raise UsageError(f"--from {peer!r}: unknown tool", hint=nearest(peer, PEERS, kind="tools"))
    module, _, function = PEERS[peer].partition(":")
    read: Callable[[Path], PeerSuite] = getattr(import_module(module), function)
    found = read(source)
    if not found.samples:
        lost = f"; not carried over: {'; '.join(found.left_out)}" if found.left_out else ""
        raise SuiteError(f"{source}: no case in it{lost}", hint="name the file that holds the cases")
    return found


def recognised(source: Path) -> str | None:
    """The tool that wrote a file, where what stands in it is certain to be of that tool; else None."""
    if not source.is_file():
        return None
    if source.suffix in {".yaml", ".yml"}:
        return "promptfoo" if "promptfoo" in source.name or _is_promptfoo(source) else None
    try:
        fields = {name for row in rows_of(source)[:50] for name in row}
    except (SuiteError, UsageError):
        return None
    certain = [peer for peer, marks in MARKS.items() if marks & fields and fields >= NEEDED[peer]]
    return certain[0] if len(certain) == 1 else None


def _is_promptfoo(source: Path) -> bool:
    from aigate.goldens.strict_yaml import strict_yaml

    try:
        found, _ = strict_yaml(source.read_text("utf-8"))
    except (JsonDefectError, OSError, UnicodeDecodeError):
        return False
    return isinstance(found, dict) and "prompts" in found and bool({"tests", "providers"} & found.keys())


def rows_of(source: Path) -> list[dict[str, Any]]:
    """The objects of a JSON, JSON Lines or CSV file, or of a folder or Parquet file that `datasets` reads.

    Raises:
        SuiteError, UsageError: It cannot be read.
    """
    if source.suffix == ".json":
        return _objects(source, _json(source))
    if source.name.endswith((".jsonl", ".jsonl.gz")):
        return [dict(row) for _, row in read_json_lines(source)]
    from aigate.goldens.interchange import source_rows

    return [dict(row) for row in source_rows(str(source))]


def _json(source: Path) -> Any:
    try:
        return strict_json(source.read_bytes().decode("utf-8"))
    except OSError as found:
        raise SuiteError(f"{source}: cannot be read: {found.strerror or found}") from None
    except UnicodeDecodeError as found:
        raise SuiteError(f"{source}: not UTF-8: byte {found.start + 1}", hint="save the file as UTF-8") from None
    except JsonDefectError as found:
        raise SuiteError(f"{source}:{found.line or 1}: {found.message}", hint=found.hint) from None


def _objects(source: Path, whole: Any) -> list[dict[str, Any]]:
    """The list of objects that a JSON file is, or holds under a name of its own."""
    if isinstance(whole, dict):
        lists = [value for value in whole.values() if isinstance(value, list)]
        whole = lists[0] if len(lists) == 1 else whole
    if not isinstance(whole, list) or not all(isinstance(row, dict) for row in whole):
        raise SuiteError(f"{source}: expected a list of objects")
    return whole


def made_id(*parts: Any) -> str:
    """An id from what is asked: it survives other cases and another order."""
    return digest_of(list(parts)).removeprefix("sha256:")[:ID_DIGITS]


def checked_sample(place: str, **fields: Any) -> Sample:
    """A sample, without what is empty.

    Raises:
        SuiteError: It is none; names the place.
    """
    whole = {name: value for name, value in fields.items() if value not in (None, [], {}, "")}
    if defects := row_defects(whole):
        message, hint = defects[0]
        raise SuiteError(f"{place}: {message}", hint=hint)
    return Sample.from_dict(whole)


def write_suite(found: PeerSuite, folder: Path, *, source: Path, peer: str) -> tuple[Path, ...]:
    """Write a suite to a folder that is not there yet.

    Raises:
        UsageError: The folder is there already.
        SuiteError: A file cannot be written.
    """
    if folder.exists():
        raise UsageError(f"--out {folder}: exists already", hint="choose another folder; nothing is written over")
    (folder / "prompts" if found.prompts else folder).mkdir(parents=True)
    dump_samples(found.samples, folder / "samples.jsonl")
    files = {"suite.toml": _toml(found, source, peer)}
    files |= {f"prompts/{version}.md": text for version, text in found.prompts.items()}
    if found.answers:
        files[ANSWERS_FILE] = "".join(f"{json_line(row)}\n" for row in found.answers)
    for name, text in files.items():
        (folder / name).write_text(text, "utf-8")
    return (folder / "samples.jsonl", *(folder / name for name in files))


def _toml(found: PeerSuite, source: Path, peer: str) -> str:
    told = [*found.notes, *(f"not carried over: {line}" for line in found.left_out)]
    comments = [f"# {' '.join(line.split())}" for line in (f"Imported from {peer}: {source.name}", *told)]
    options = ", ".join(
        f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in found.provider_options.items()
    )
    return "\n".join(
        [
            *comments,
            f"version = {json.dumps(found.version, ensure_ascii=False)}",
            f"provider = {json.dumps(found.provider)}",
            *([f"provider-options = {{ {options} }}"] if options else []),
            "scorers = [",
            *(f"  {row}," for row in found.scorers),
            "]",
            f"primary-metric = {json.dumps(found.primary_metric)}",
            "",
            "[policy]",
            "checks = [",
            *(f"  {row}," for row in found.checks),
            "]",
            *(["", "# [judge]"] if found.judge else []),
            *(f"# {key} = {json.dumps(example)}" for key, example in found.judge.items()),
            "",
        ]
    )


def unique_ids(ids: Iterable[str]) -> list[str]:
    """The ids, with a number behind those that were there before.

    >>> unique_ids(["a", "b", "a"])
    ['a', 'b', 'a-2']
    """
    seen: dict[str, int] = {}
    found: list[str] = []
    for id_ in ids:
        seen[id_] = seen.get(id_, 0) + 1
        found.append(id_ if seen[id_] == 1 else f"{id_}-{seen[id_]}")
    return found


def compared(*metrics: str) -> tuple[str, ...]:
    """The checks of a policy that asks for no threshold: nothing may become worse."""
    return (
        *(f'{{ check = "no-regression", metric = "{metric}" }}' for metric in metrics),
        '{ check = "same-shape" }',
        '{ check = "max-error-rate", at-most = 0.01 }',
    )


def texts_of(value: Any) -> Sequence[str]:
    """A text or a list of texts as a list; what is empty is left out."""
    given = [value] if isinstance(value, str) else value if isinstance(value, list) else []
    return [text for text in given if isinstance(text, str) and text.strip()]
