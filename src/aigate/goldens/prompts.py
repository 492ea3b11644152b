"""Prompt files: front matter, role lines, and templates (`templates`) that see the input and never the reference.

The format is Prompty's: YAML front matter between `---` lines, `system:` / `user:` lines that start messages, Jinja2.
Role lines are looked for in the template, before anything is filled in, so no sample can open a message of its own.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aigate.core.digest import sha256_text
from aigate.core.json_text import JsonDefectError, json_type
from aigate.core.registry import nearest
from aigate.core.sample import Message, Sample
from aigate.core.version import VersionId
from aigate.errors import SuiteError, VersionIdError
from aigate.goldens.parameters import WELL_KNOWN, parameter_defect

if TYPE_CHECKING:
    from aigate.goldens.templates import Part

__all__ = ["VISIBLE", "Prompt", "load_prompt", "load_prompts", "messages_of"]

VISIBLE = ("contexts", "input", "metadata")
"""What a template sees, and nothing else."""

PROVIDER_SECTIONS = ("callable", "extractive", "openai", "replay")
KNOWN_KEYS = ("description", "name", "parameters", *PROVIDER_SECTIONS, *WELL_KNOWN)

_ROLE_LINE = re.compile(r"(system|user|assistant|developer):[ \t]*")
_FENCE = re.compile(r"---[ \t]*")


@dataclass(frozen=True)
class Prompt:
    r"""One prompt version.

    Attributes:
        version: The prompt version: the file's name without `.md`.
        parameters: Request parameters of the front matter.
        provider_parameters: Parameters for one provider only, by provider name.
        body: The template, without the front matter; lines end in "\n".
        digest: Digest of the file's exact text, line ends normalised: any edit is a new digest.
        source: The file.
        body_line: Line of the file that the body starts on, from 1.
    """

    version: str
    parameters: Mapping[str, Any]
    provider_parameters: Mapping[str, Mapping[str, Any]]
    body: str
    digest: str
    source: Path
    body_line: int = field(default=1, compare=False)

    def parameters_for(self, provider: str) -> dict[str, Any]:
        """The request parameters for one provider: the general ones, overridden by that provider's own."""
        return {**self.parameters, **self.provider_parameters.get(provider, {})}

    def render(self, sample: Sample) -> tuple[Message, ...]:
        """The messages that ask `sample`.

        The template sees `input` (text; of a chat input, its messages' text), `contexts` and `metadata`.

        Raises:
            SuiteError: An undefined variable, an expression that fails or that the sandbox refuses, or a message that
                renders to nothing; names file, line and sample.
        """
        visible = {"input": sample.text, "contexts": sample.contexts, "metadata": sample.metadata}
        return tuple({"role": part.role, "content": part.filled(visible, sample.id)} for part in self._parts)

    @property
    def uses(self) -> frozenset[str]:
        """Which of `input`, `contexts` and `metadata` the template mentions."""
        from aigate.goldens.templates import variables_in

        return variables_in([part.text for part in _split(self)]) & set(VISIBLE)

    @cached_property
    def _parts(self) -> tuple[Part, ...]:
        from aigate.goldens.templates import compiled

        return tuple(compiled(self.source, block.role, block.text, block.line) for block in _split(self))


def load_prompts(folder: Path) -> dict[str, Prompt]:
    """Read every `*.md` file of a folder, by prompt version in name order.

    Returns:
        The prompts; empty when the folder is missing or holds no `.md` file.

    Raises:
        SuiteError: The first prompt file that cannot be used, with file:line.
    """
    return {path.stem: load_prompt(path) for path in prompt_files(folder)}


def prompt_files(folder: Path) -> list[Path]:
    """The prompt files of a folder, sorted by name; hidden files are none."""
    return sorted(path for path in folder.glob("*.md") if not path.name.startswith("."))


def load_prompt(path: Path) -> Prompt:
    """Read one prompt file and compile its templates.

    Raises:
        SuiteError: Not UTF-8, front matter that is open, unknown or wrong, an empty body, a syntax error, or a variable
            that no sample can ever fill in (`reference` among them). The message starts with `path:line:`.
    """
    _refuse_bad_name(path)
    text = _text_of(path)
    front, body, body_line = _front_and_body(path, text)
    parameters, provider_parameters = _parameters(path, front)
    prompt = Prompt(path.stem, parameters, provider_parameters, body, sha256_text(text), path, body_line)
    if not prompt._parts:  # noqa: SLF001 - compiles the templates, so that a defect is found here
        raise SuiteError(f"{path}:{body_line}: the prompt is empty", hint="write at least {{ input }}")
    return prompt


def messages_of(sample: Sample) -> tuple[Message, ...]:
    """The messages of a sample when a suite has no prompts: the input as it is.

    >>> messages_of(Sample("a", "Hello"))
    ({'role': 'user', 'content': 'Hello'},)
    """
    if isinstance(sample.input, str):
        return ({"role": "user", "content": sample.input},)
    return tuple(dict(message) for message in sample.input)


@dataclass(frozen=True, slots=True)
class _Block:
    """One message of the template: its role, its text, and the line of the file that its text starts on."""

    role: str
    text: str
    line: int


def _refuse_bad_name(path: Path) -> None:
    try:
        VersionId("model", "version", path.stem)
    except VersionIdError:
        hint = "name the file <prompt version>.md without spaces, e.g. v3.md"
        raise SuiteError(f"{path}:1: '{path.stem}' is no prompt version", hint=hint) from None


def _text_of(path: Path) -> str:
    try:
        raw = path.read_bytes()
    except OSError as found:
        raise SuiteError(f"{path}: cannot be read: {found.strerror or found}") from None
    if raw.startswith(b"\xef\xbb\xbf"):
        raise SuiteError(f"{path}:1: starts with a byte order mark", hint="save the file as UTF-8 without BOM")
    try:
        return raw.decode("utf-8").replace("\r\n", "\n")
    except UnicodeDecodeError as found:
        line = raw.count(b"\n", 0, found.start) + 1
        byte = found.start - (raw.rfind(b"\n", 0, found.start) + 1) + 1
        message = f"{path}:{line}: not UTF-8: byte {byte} of the line is 0x{raw[found.start]:02x}"
        raise SuiteError(message, hint="save the file as UTF-8") from None


def _front_and_body(path: Path, text: str) -> tuple[tuple[str, ...], str, int]:
    """The front matter's lines, the body, and the line the body starts on."""
    lines = text.split("\n")
    if not _FENCE.fullmatch(lines[0]):
        return (), text, 1
    end = next((number for number, line in enumerate(lines[1:], start=1) if _FENCE.fullmatch(line)), None)
    if end is None:
        raise SuiteError(f"{path}:1: the front matter is never closed", hint="end it with a line of three dashes")
    return tuple(lines[1:end]), "\n".join(lines[end + 1 :]), end + 2


def _parameters(path: Path, front: tuple[str, ...]) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """General and per-provider parameters of the front matter, checked."""
    values, line_of = _front_mapping(path, front)
    general: dict[str, Any] = {}
    per_provider: dict[str, dict[str, Any]] = {}
    for key, value in values.items():
        where = f"{path}:{line_of[key]}"
        if key not in KNOWN_KEYS:
            raise SuiteError(f"{where}: unknown key '{key}'", hint=nearest(key, KNOWN_KEYS, kind="keys"))
        if key == "parameters":
            _merge(general, _checked(where, key, value), where)
        elif key in PROVIDER_SECTIONS:
            per_provider[key] = _checked(where, key, value)
        elif key in WELL_KNOWN:
            _merge(general, _sound(where, {key: value}), where)
        elif not isinstance(value, str):
            raise SuiteError(f"{where}: {key}: got {json_type(value)}, expected a string")
    return general, per_provider


def _front_mapping(path: Path, front: tuple[str, ...]) -> tuple[dict[str, Any], dict[str, int]]:
    from aigate.goldens.strict_yaml import strict_yaml

    try:
        values, line_of = strict_yaml("\n".join(front))
    except JsonDefectError as found:
        raise SuiteError(f"{path}:{(found.line or 1) + 1}: {found.message}", hint=found.hint) from None
    if values is None:
        return {}, {}
    if not isinstance(values, dict):
        message = f"{path}:2: front matter: got {json_type(values)}, expected a mapping"
        raise SuiteError(message, hint="write `key: value` lines")
    return values, {key: line + 1 for key, line in line_of.items()}


def _checked(where: str, key: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise SuiteError(f"{where}: {key}: got {json_type(value)}, expected a mapping of request parameters")
    return _sound(where, value)


def _sound(where: str, values: dict[str, Any]) -> dict[str, Any]:
    for name, value in values.items():
        if defect := parameter_defect(name, value):
            raise SuiteError(f"{where}: {defect}")
    return values


def _merge(general: dict[str, Any], more: Mapping[str, Any], where: str) -> None:
    for name in more:
        if name in general:
            raise SuiteError(f"{where}: '{name}' is set twice", hint="keep it at the top or under parameters")
    general.update(more)


def _split(prompt: Prompt) -> tuple[_Block, ...]:
    """The body cut at its role lines; without any it is one user message. Blank lines around a text are dropped."""
    blocks: list[tuple[str | None, int, list[str]]] = [(None, prompt.body_line, [])]
    for number, line in enumerate(prompt.body.split("\n"), start=prompt.body_line):
        if found := _ROLE_LINE.fullmatch(line):
            blocks.append((found.group(1), number + 1, []))
        else:
            blocks[-1][2].append(line)
    (_, first, before), *rest = blocks
    if rest and (defect := _trimmed("user", before, first)):
        message = f"{prompt.source}:{defect.line}: text before the first role line"
        raise SuiteError(message, hint="start the body with system: or user: on a line of its own")
    return tuple(_message_blocks(prompt, rest or [("user", first, before)], has_roles=bool(rest)))


def _message_blocks(
    prompt: Prompt, blocks: list[tuple[str | None, int, list[str]]], *, has_roles: bool
) -> Iterator[_Block]:
    for role, start, lines in blocks:
        block = _trimmed(role or "user", lines, start)
        if block is not None:
            yield block
        elif has_roles:
            message = f"{prompt.source}:{start - 1}: the {role} message is empty"
            raise SuiteError(message, hint="remove its role line, or write the message below it")


def _trimmed(role: str, lines: list[str], start: int) -> _Block | None:
    kept = [index for index, line in enumerate(lines) if line.strip()]
    if not kept:
        return None
    return _Block(role, "\n".join(lines[kept[0] : kept[-1] + 1]), start + kept[0])
