"""`VersionId`: which model, at which provider version, under which prompt version.

Three parts, written `model/provider-version/prompt-version`, e.g. `gpt-4o/2024-11-20/v3`. Model names may hold slashes
(`meta-llama/Llama-3-8B`), so the text is parsed from the right.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import Literal
from urllib.parse import quote, unquote

from aigate.errors import VersionIdError

__all__ = ["Change", "VersionId"]

Part = Literal["model", "provider_version", "prompt_version"]

LABEL_LIMIT = 63  # Kubernetes label values: at most 63 characters, [A-Za-z0-9] at both ends, [-_.A-Za-z0-9] between
TAG_LIMIT = 128  # OCI tags: [a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}
HASH_DIGITS = 12

_PART = re.compile(r"[^\s/\x00-\x1f\x7f\ud800-\udfff]+")  # surrogates have no bytes to write or hash
_PLAIN_LABEL_PART = re.compile(r"[A-Za-z0-9.-]+")
_HASHED = re.compile(rf"\.h[0-9a-f]{{{HASH_DIGITS}}}$")


@dataclass(frozen=True, slots=True)
class Change:
    """What differs between two versions.

    Attributes:
        parts: The parts that differ, in the order model, provider_version, prompt_version; empty when none does.
    """

    parts: tuple[Part, ...]

    @property
    def breaking(self) -> bool:
        """True when the model or its provider version changed: the whole suite and a contract check are needed."""
        return "model" in self.parts or "provider_version" in self.parts

    def __bool__(self) -> bool:
        return bool(self.parts)

    def __str__(self) -> str:
        if not self.parts:
            return "nothing changed"
        names = " and ".join(part.replace("_", " ") for part in self.parts)
        return f"{names} changed ({'breaking' if self.breaking else 'not breaking'})"


@dataclass(frozen=True, slots=True, order=True)
class VersionId:
    """One version of an AI feature. Sorts by model, then provider version, then prompt version (as text).

    Attributes:
        model: The model's name; may hold slashes.
        provider_version: The provider's version of it, e.g. a date or a checkpoint.
        prompt_version: The version of the prompt, the stem of a file under `prompts/`.

    >>> VersionId.parse("meta-llama/Llama-3-8B/2024-07/v3").model
    'meta-llama/Llama-3-8B'
    """

    model: str
    provider_version: str
    prompt_version: str

    def __post_init__(self) -> None:
        for name, value in (("provider version", self.provider_version), ("prompt version", self.prompt_version)):
            if not _PART.fullmatch(value) or value in {".", ".."}:
                raise VersionIdError(_not_a_version(str(self), f"the {name} is {value!r}"), hint=_HINT)
        if not all(_PART.fullmatch(piece) and piece not in {".", ".."} for piece in self.model.split("/")):
            raise VersionIdError(_not_a_version(str(self), f"the model is {self.model!r}"), hint=_HINT)

    @classmethod
    def parse(cls, text: str) -> VersionId:
        """Read `model/provider-version/prompt-version`, from the right.

        Raises:
            VersionIdError: Fewer than three parts, an empty part, or white space inside one.
        """
        pieces = text.rsplit("/", 2)
        if len(pieces) != 3:
            raise VersionIdError(_not_a_version(text, f"it has {len(pieces)} of 3 parts"), hint=_HINT)
        return cls(*pieces)

    def __str__(self) -> str:
        return f"{self.model}/{self.provider_version}/{self.prompt_version}"

    def change_from(self, earlier: VersionId) -> Change:
        """Which of the three parts differ from `earlier`.

        >>> str(VersionId("m", "2", "v1").change_from(VersionId("m", "1", "v1")))
        'provider version changed (breaking)'
        """
        parts: tuple[Part, ...] = ("model", "provider_version", "prompt_version")
        return Change(tuple(part for part in parts if getattr(self, part) != getattr(earlier, part)))

    @property
    def label(self) -> str:
        """A Kubernetes label value, at most 63 characters.

        `gpt-4o_2024-11-20_v3` where that can be read back without doubt; otherwise a readable beginning with a hash
        of the whole (`.h` and 12 hexadecimal digits), which `matches` recognises.
        """
        return self._encoded(LABEL_LIMIT)

    @property
    def tag(self) -> str:
        """An OCI image tag, at most 128 characters, in the same form as `label`."""
        return self._encoded(TAG_LIMIT)

    @property
    def env(self) -> str:
        """A value for an environment variable or a shell word, always reversible by `from_env`.

        The text itself where it needs no quoting (`gpt-4o/2024-11-20/v3`); any other character percent-encoded.
        """
        # quote() never touches "~", which a shell expands at the start of a word.
        return quote(str(self), safe="/:@+").replace("~", "%7E")

    @classmethod
    def from_env(cls, text: str) -> VersionId:
        """Read back `env`.

        Raises:
            VersionIdError: The text was not made by `env`.
        """
        version = cls.parse(unquote(text))
        if version.env != text:
            raise VersionIdError(f"{text!r} is no encoded version: it would be written {version.env!r}", hint=_HINT)
        return version

    @classmethod
    def from_label(cls, text: str) -> VersionId:
        """Read back `label` or `tag`, where it is the reversible form.

        Raises:
            VersionIdError: The text carries a hash instead (compare with `matches`), or is no label at all.
        """
        if _HASHED.search(text):
            raise VersionIdError(
                f"{text!r} carries a hash and cannot be read back", hint="compare with VersionId.matches(text)"
            )
        pieces = text.split("_")
        if len(pieces) != 3:
            raise VersionIdError(f"{text!r} is no encoded version: expected three parts joined by '_'", hint=_HINT)
        version = cls(*pieces)
        if version.tag != text:
            raise VersionIdError(f"{text!r} is no encoded version: it would be written {version.tag!r}", hint=_HINT)
        return version

    def matches(self, encoded: str) -> bool:
        """True when `encoded` is this version's text, label, tag or environment form."""
        return encoded in {str(self), self.label, self.tag, self.env}

    def _encoded(self, limit: int) -> str:
        plain = f"{self.model}_{self.provider_version}_{self.prompt_version}"
        parts = (self.model, self.provider_version, self.prompt_version)
        readable = all(_PLAIN_LABEL_PART.fullmatch(part) for part in parts) and not _HASHED.search(plain)
        if readable and len(plain) <= limit and plain[0].isalnum() and plain[-1].isalnum():
            return plain
        digest = hashlib.sha256(str(self).encode()).hexdigest()[:HASH_DIGITS]
        start = re.sub(r"[^A-Za-z0-9._-]", "-", plain).lstrip("._-")[: limit - HASH_DIGITS - 2].rstrip("._-") or "v"
        return f"{start}.h{digest}"


_HINT = "write model/provider-version/prompt-version, e.g. gpt-4o/2024-11-20/v3"


def _not_a_version(text: str, why: str) -> str:
    return f"{text!r} is no version: {why}"
