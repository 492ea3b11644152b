"""`aigate goldens check`: every problem of a suite at once, what a careful reader would ask, and a description."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from aigate.core.counts import count_of
from aigate.core.digest import combined_digest
from aigate.core.json_text import JsonDefectError, strict_json
from aigate.core.sample import Sample
from aigate.core.version import VersionId
from aigate.errors import AigateError, SuiteError, VersionIdError
from aigate.goldens.config import SuiteConfig, load_config
from aigate.goldens.jsonlines import read_json_lines
from aigate.goldens.judge_anchors import ANCHORS_FILE, load_judge_anchors
from aigate.goldens.prompts import Prompt, load_prompt, prompt_files
from aigate.goldens.samples import scan_samples
from aigate.goldens.suite import (
    CONFIG_FILE,
    CONTRACT_FILE,
    PROMPTS_FOLDER,
    find_samples,
    load_contract,
    refuse_no_suite,
)

__all__ = ["SuiteReport", "check_suite", "in_one_line"]

HISTORY_FILE = Path("baselines", "history.jsonl")
NEEDS_CONTEXTS = ("faithfulness", "grounding")  # scorers that judge an answer by its contexts
NAMED = 5  # samples or groups that a warning names
QUANTILES = (0.0, 0.5, 0.9, 1.0)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class SuiteReport:
    """What was found.

    Attributes:
        path: The suite's folder.
        problems: What keeps the suite from being used; each starts with its place.
        warnings: What weakens the suite, or looks like a mistake.
        description: Counts, lengths and digests, as JSON; of the sound samples where some are broken.
    """

    path: Path
    problems: tuple[str, ...]
    warnings: tuple[str, ...]
    description: Mapping[str, Any]

    @property
    def passed(self) -> bool:
        """True when the suite can be used."""
        return not self.problems

    def to_dict(self) -> dict[str, Any]:
        """The report as JSON."""
        return {
            "suite": str(self.path),
            "passed": self.passed,
            "problems": list(self.problems),
            "warnings": list(self.warnings),
            "description": dict(self.description),
        }


def check_suite(path: Path, *, root: Path | None = None) -> SuiteReport:
    """Check a suite as `load_suite` would, but go on after a problem.

    Every prompt is rendered for every sample, and prompts are compared with those that `baselines/history.jsonl` says
    were promoted: a prompt that was edited under its version is a problem.

    Args:
        path: The suite's folder.
        root: As for `aigate.goldens.suite.load_suite`.

    Raises:
        SuiteError: `path` is no suite's folder.
    """
    refuse_no_suite(path)
    problems: list[str] = []
    samples = _found(lambda: _samples(path, problems), problems) or ()
    prompts = _prompts(path / PROMPTS_FOLDER, problems)
    config = _found(lambda: load_config(path / CONFIG_FILE, root=root), problems)
    contract = _found(lambda: load_contract(path / CONTRACT_FILE), problems)
    _found(lambda: load_judge_anchors(path / ANCHORS_FILE), problems)
    problems += _rendering_problems(prompts, samples)
    problems += _version_problems(path, prompts, config)
    problems += _found(lambda: _edited_prompts(path, prompts), problems) or ()
    warnings = [*_sample_warnings(samples, config), *_prompt_warnings(prompts)]
    warnings += _found(lambda: _contract_warnings(path, samples, contract), problems) or ()
    return SuiteReport(path, tuple(problems), tuple(warnings), _description(samples, prompts))


def _found(read: Callable[[], T], problems: list[str]) -> T | None:
    try:
        return read()
    except AigateError as found:
        problems.append(in_one_line(found))
        return None


def in_one_line(found: AigateError) -> str:
    """An error with what to do next, as a problem is told."""
    return f"{found.message} ({found.hint})" if found.hint else found.message


def _samples(path: Path, problems: list[str]) -> tuple[Sample, ...]:
    file = find_samples(path)
    samples, defects = scan_samples(file)
    for defect in defects:
        hint = f" ({defect.hint})" if defect.hint else ""
        problems.append(f"{file}:{defect.line}: {defect.message}{hint}")
    return samples


def _prompts(folder: Path, problems: list[str]) -> tuple[Prompt, ...]:
    files = prompt_files(folder)
    if folder.is_dir() and not files:
        problems.append(f"{folder}: no .md file in it (add one, or remove the folder to send inputs as they are)")
    found = [_found(lambda file=file: load_prompt(file), problems) for file in files]  # type: ignore[misc]
    return tuple(prompt for prompt in found if prompt is not None)


def _rendering_problems(prompts: Iterable[Prompt], samples: Sequence[Sample]) -> list[str]:
    """One problem per prompt that cannot be filled in: its first, and how many samples it fails for."""
    problems: list[str] = []
    for prompt in prompts:
        failed: list[str] = []
        for sample in samples:
            _found(lambda prompt=prompt, sample=sample: prompt.render(sample), failed)  # type: ignore[misc]
        if failed:
            problems.append(f"{failed[0]}; fails for {len(failed)} of {count_of(len(samples), 'sample')}")
    return problems


def _version_problems(path: Path, prompts: Sequence[Prompt], config: SuiteConfig | None) -> Iterator[str]:
    """The version that suite.toml names must have its prompt."""
    version = None if config is None else config.version
    if not prompts or version is None or (path / PROMPTS_FOLDER / f"{version.prompt_version}.md").is_file():
        return
    known = ", ".join(prompt.version for prompt in prompts)
    yield f"{path / CONFIG_FILE}: version '{version}' names a prompt that is not there; there are {known}"


def _edited_prompts(path: Path, prompts: Iterable[Prompt]) -> list[str]:
    """Prompts whose text is not the one last promoted under the same prompt version."""
    history = path / HISTORY_FILE
    if not history.is_file():
        return []
    promoted = _promoted_digests(history)
    return [
        f"{prompt.source}: prompt edited under the same version: '{prompt.version}' was promoted as "
        f"{_short(promoted[prompt.version])}, the file is {_short(prompt.digest)} (save it as a new version)"
        for prompt in prompts
        if promoted.get(prompt.version, prompt.digest) != prompt.digest
    ]


def _promoted_digests(history: Path) -> dict[str, str]:
    """The digest last promoted for each prompt version."""
    promoted: dict[str, str] = {}
    for line, row in read_json_lines(history):
        version, digest = row.get("version"), row.get("prompt_digest")
        if not (isinstance(version, str) and isinstance(digest, str)):
            continue
        try:
            promoted[VersionId.parse(version).prompt_version] = digest
        except VersionIdError as found:
            raise SuiteError(f"{history}:{line}: {found.message}", hint=found.hint) from None
    return promoted


def _short(digest: str) -> str:
    return digest[: len("sha256:") + 12]


def _sample_warnings(samples: Sequence[Sample], config: SuiteConfig | None) -> Iterator[str]:
    yield from _counted("no reference", [s.id for s in samples if s.reference is None], len(samples))
    yield from _counted("no tags", [s.id for s in samples if not s.tags], len(samples))
    scorers = [str(entry) for entry in (config.scorers or ()) if entry.name in NEEDS_CONTEXTS] if config else []
    if scorers:
        without = [s.id for s in samples if not s.contexts]
        yield from _counted(f"no contexts, which {' and '.join(scorers)} needs", without, len(samples))
    yield from _lonely_groups(samples)
    yield from _duplicates(samples)


def _counted(what: str, ids: Sequence[str], total: int) -> Iterator[str]:
    if ids:
        yield f"{len(ids)} of {count_of(total, 'sample')}: {what}: {_some(ids)}"


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more


def _lonely_groups(samples: Iterable[Sample]) -> Iterator[str]:
    sizes = Counter(sample.group for sample in samples if sample.group is not None)
    lonely = [group for group, size in sizes.items() if size == 1]
    if lonely:
        yield (
            f"{len(lonely)} of {count_of(len(sizes), 'group')} {'has' if len(lonely) == 1 else 'have'}"
            f" one member: {_some(lonely)}"
        )


def _duplicates(samples: Iterable[Sample]) -> Iterator[str]:
    """Samples that ask the same about the same passages, but for case and space: they count one case twice."""
    alike: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for sample in samples:
        alike[(_folded(sample.text), *map(_folded, sample.contexts))].append(sample.id)
    for ids in alike.values():
        if len(ids) > 1:
            yield f"{len(ids)} samples have the same input but for case and space: {_some(ids)}"


def _folded(text: str) -> str:
    return " ".join(text.casefold().split())


def _prompt_warnings(prompts: Iterable[Prompt]) -> Iterator[str]:
    for prompt in prompts:
        if "input" not in prompt.uses:
            yield f"{prompt.source}: the prompt never uses 'input': every sample asks the same"


def _contract_warnings(path: Path, samples: Iterable[Sample], contract: Any) -> list[str]:
    """Structured references that the contract itself would refuse as an answer."""
    if contract is None:
        return []
    from jsonschema.validators import Draft202012Validator, validator_for
    from referencing import Registry
    from referencing.exceptions import Unresolvable

    # An own registry: the default one fetches unknown references from the network.
    validator = validator_for(contract, default=Draft202012Validator)(contract, registry=Registry())
    warnings = []
    try:
        for sample in samples:
            structured = _structured(sample.reference)
            error = None if structured is None else next(iter(validator.iter_errors(structured)), None)
            if error is not None:
                place = f"{error.json_path}: {error.message[:200]}"
                warnings.append(f"sample '{sample.id}': the reference does not satisfy the contract: {place}")
    except Unresolvable as found:
        message = f"{path / CONTRACT_FILE}: the reference {found.ref!r} cannot be resolved"
        raise SuiteError(message, hint="put what it refers to into the file, under $defs") from None
    return warnings


def _structured(reference: Any) -> Any:
    """A reference that is an object or array, or a JSON text of one; None for any other."""
    if isinstance(reference, str):
        try:
            reference = strict_json(reference)
        except JsonDefectError:
            return None
    return reference if isinstance(reference, dict | list) else None


def _description(samples: Sequence[Sample], prompts: Iterable[Prompt]) -> dict[str, Any]:
    return {
        "samples": len(samples),
        "groups": len({sample.group for sample in samples} - {None}),
        "units": len({sample.unit for sample in samples}),
        "tags": dict(sorted(Counter(tag for sample in samples for tag in sample.tags).items())),
        "with_reference": sum(sample.reference is not None for sample in samples),
        "with_contexts": sum(bool(sample.contexts) for sample in samples),
        "input_characters": _quantiles(sorted(len(sample.text) for sample in samples)),
        "prompts": {prompt.version: prompt.digest for prompt in prompts},
        "digest": combined_digest(sample.digest for sample in samples) if samples else None,
    }


def _quantiles(lengths: Sequence[int]) -> dict[str, int]:
    """Lower empirical quantiles: each is a length that a sample has; empty without samples."""
    return {f"p{q * 100:g}": lengths[int(q * (len(lengths) - 1))] for q in QUANTILES} if lengths else {}
