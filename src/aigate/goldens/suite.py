"""`Suite`: a folder under `goldens/`, read whole: samples, prompts, contract and configuration, versioned together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from aigate.core.columns import columns_of
from aigate.core.counts import count_of
from aigate.core.digest import combined_raw_digest, sorted_raw_digests
from aigate.core.json_text import JsonDefectError, json_type, strict_json
from aigate.core.registry import nearest, refuse_unknown
from aigate.core.sample import Sample
from aigate.core.version import VersionId
from aigate.errors import SuiteError, UsageError
from aigate.goldens.config import SuiteConfig, load_config
from aigate.goldens.judge_anchors import ANCHORS_FILE, JudgeAnchor, load_judge_anchors
from aigate.goldens.prompts import Prompt, load_prompts
from aigate.goldens.samples import StoredSamples, load_samples

__all__ = ["Suite", "find_samples", "load_contract", "load_suite"]

CONFIG_FILE = "suite.toml"
WRITES_ONE = "`aigate init` writes a suite that runs as it is"
SAMPLES_FILES = ("samples.jsonl", "samples.jsonl.gz")
PROMPTS_FOLDER = "prompts"
CONTRACT_FILE = "contract.json"


@dataclass(frozen=True)
class Suite:
    """A golden suite.

    Attributes:
        path: The suite's folder.
        name: The folder's name.
        samples: The samples in file order; at least one, ids unique.
        digest: Digest of the samples, in whatever order they stand.
        prompts: The prompts by prompt version; empty when the suite has no prompts folder.
        contract: The JSON Schema of a valid output; None without one.
        config: What `suite.toml` says.
        judge_anchors: Answers with the score they deserve, by which every run sees whether its judges have changed.
    """

    path: Path
    name: str
    samples: Sequence[Sample]
    digest: str
    prompts: Mapping[str, Prompt]
    contract: Any
    config: SuiteConfig
    judge_anchors: tuple[JudgeAnchor, ...] = ()

    def __len__(self) -> int:
        return len(self.samples)

    @cached_property
    def tags(self) -> Mapping[str, int]:
        """Samples per tag, in tag order."""
        tags = columns_of(self.samples).tags
        counts: Counter[str] = Counter()
        for code, count in Counter(tags.codes).items():
            counts.update(dict.fromkeys(tags.known[code], count))
        return dict(sorted(counts.items()))

    def prompt_for(self, version: VersionId) -> Prompt | None:
        """The prompt of a version; None when the suite has no prompts and inputs are sent as they are.

        Raises:
            SuiteError: The suite has prompts, but none of that prompt version; names those there are.
        """
        if not self.prompts:
            return None
        if version.prompt_version not in self.prompts:
            known = ", ".join(self.prompts)
            message = (
                f"{self.path / PROMPTS_FOLDER}: no prompt '{version.prompt_version}' for {version}; it has {known}"
            )
            raise SuiteError(message, hint=f"write {PROMPTS_FOLDER}/{version.prompt_version}.md, or name one it has")
        return self.prompts[version.prompt_version]

    def select(self, limit: int | None = None, tags: Sequence[str] = ()) -> tuple[Sequence[Sample], str | None]:
        """A part of the suite.

        Args:
            limit: Keep the first so many, after `tags`; None for all.
            tags: Keep samples with at least one of these; empty for all.

        Returns:
            The samples in suite order, and how they were narrowed: None when they are the whole suite.

        Raises:
            UsageError: A tag that no sample has, or a limit below 1.
        """
        if limit is not None and limit < 1:
            raise UsageError(f"--limit: got {limit}, expected at least 1")
        refuse_unknown(tags, self.tags, where=f"suite '{self.name}'", kind="tags", error=UsageError)
        wanted, tagged = set(tags), self.samples
        if wanted:
            rows = columns_of(tagged).tagged(wanted)
            tagged = tagged.taken(rows) if isinstance(tagged, StoredSamples) else tuple(tagged[row] for row in rows)
        kept = tagged if limit is None else tagged[:limit]
        if len(kept) == len(self.samples):
            return kept, None
        told = [f"tags {', '.join(sorted(wanted))}"] if wanted else []
        told += [f"first {len(kept)}"] if len(kept) < len(tagged) else []
        return kept, f"{'; '.join(told)}: {len(kept)} of {count_of(len(self.samples), 'sample')}"


def load_suite(path: Path | str, *, root: Path | None = None) -> Suite:
    """Read a suite.

    Args:
        path: The suite's folder. Files that are not a suite's are left alone.
        root: Where the file of `version = {file = ..., key = ...}` is looked for after the suite's own folder; the
            current directory when None.

    Raises:
        SuiteError: The folder, its `suite.toml` or its samples are missing, or samples, prompts or contract are wrong.
        ConfigError: `suite.toml` is wrong.
    """
    path = Path(path)
    refuse_no_suite(path)
    samples = load_samples(find_samples(path))
    return Suite(
        path=path,
        name=path.resolve().name,
        samples=samples,
        digest=combined_raw_digest(sorted_raw_digests(columns_of(samples).digests)),
        prompts=_prompts(path / PROMPTS_FOLDER),
        contract=load_contract(path / CONTRACT_FILE),
        config=load_config(path / CONFIG_FILE, root=root),
        judge_anchors=load_judge_anchors(path / ANCHORS_FILE),
    )


def refuse_no_suite(path: Path) -> None:
    """Refuse a path that is no suite folder.

    Raises:
        SuiteError: No such folder, a file, or a folder without `suite.toml`; the hint names what may be meant.
    """
    if path.is_file():
        raise SuiteError(f"{path}: is a file, expected a suite's folder", hint=f"did you mean {path.parent}?")
    if not path.is_dir():
        siblings = [folder.name for folder in path.parent.glob("*") if (folder / CONFIG_FILE).is_file()]
        hint = nearest(path.name, siblings, kind="suites there") if siblings else WRITES_ONE
        raise SuiteError(f"{path}: no such folder", hint=hint)
    if not (path / CONFIG_FILE).is_file():
        inside = sorted(folder.name for folder in path.glob("*") if (folder / CONFIG_FILE).is_file())
        hint = f"did you mean {path / inside[0]}?" if inside else WRITES_ONE
        raise SuiteError(f"{path}: no {CONFIG_FILE} in it: it is no suite", hint=hint)


def find_samples(path: Path) -> Path:
    """The samples file of a suite's folder: plain or compressed.

    Raises:
        SuiteError: There is none, or there are both.
    """
    found = [path / name for name in SAMPLES_FILES if (path / name).is_file()]
    if len(found) == 1:
        return found[0]
    if found:
        raise SuiteError(f"{path}: both {' and '.join(SAMPLES_FILES)} are there", hint="remove one of them")
    raise SuiteError(
        f"{path}: no {SAMPLES_FILES[0]} in it", hint="`aigate goldens import` writes one from other formats"
    )


def load_contract(path: Path) -> Any:
    """The JSON Schema of a file; None when there is no such file.

    Raises:
        SuiteError: It is no strict JSON, or no valid schema; names where in the schema.
    """
    if not path.is_file():
        return None
    try:
        schema = strict_json(path.read_bytes().decode("utf-8"))
    except UnicodeDecodeError as found:
        raise SuiteError(f"{path}:1: not UTF-8: byte {found.start + 1}", hint="save the file as UTF-8") from None
    except JsonDefectError as found:
        raise SuiteError(f"{path}:{found.line or 1}: {found.message}", hint=found.hint) from None
    if not isinstance(schema, dict | bool):
        raise SuiteError(f"{path}:1: got {json_type(schema)}, expected a JSON Schema: an object")
    _refuse_bad_schema(path, schema)
    return schema


def _refuse_bad_schema(path: Path, schema: Any) -> None:
    from jsonschema.exceptions import SchemaError
    from jsonschema.validators import Draft202012Validator, validator_for

    try:
        validator_for(schema, default=Draft202012Validator).check_schema(schema)
    except SchemaError as found:
        raise SuiteError(f"{path}:1: invalid JSON Schema at {found.json_path}: {found.message}") from None


def _prompts(folder: Path) -> dict[str, Prompt]:
    found = load_prompts(folder)
    if folder.is_dir() and not found:
        hint = "add <prompt version>.md, or remove the folder to send inputs as they are"
        raise SuiteError(f"{folder}: no .md file in it", hint=hint)
    return found
