"""Is the model that was served the one that was declared? Names are compared as people read them."""

from __future__ import annotations

import re
from collections.abc import Iterable

from aigate.core.version import VersionId

__all__ = ["folded_name", "is_declared", "unversioned_names"]


def is_declared(served: str, version: VersionId, *, requested: object, expected: Iterable[str]) -> bool:
    """True when a served name is one that the version may be served under.

    Args:
        served: What the provider says it served.
        version: What was declared.
        requested: The model name that was asked for.
        expected: Further names that the suite allows.
    """
    accepted = {*expected, *_names(version)}
    if requested in unversioned_names(version):
        accepted |= unversioned_names(version)  # what was asked for by its bare name can only be served under it
    return folded_name(served) in {folded_name(name) for name in accepted}


def unversioned_names(version: VersionId) -> set[str]:
    """The model's name without its provider version, with and without what stands before the last slash."""
    return {version.model, version.model.rpartition("/")[2]}


def folded_name(name: str) -> str:
    """The name as it is compared.

    `gpt-4o-2024-11-20` and `GPT-4o@20241120` are one name; `gpt-1.10` and `gpt-11.0` are two.

    >>> folded_name("GPT-4o@20241120") == folded_name("gpt-4o-2024-11-20")
    True
    """
    parts = re.sub(r"[\W_]+", "-", name.casefold()).strip("-")
    return re.sub(r"(?<!\d)(\d{4})-(\d{2})-(\d{2})(?!\d)", r"\1\2\3", parts)


def _names(version: VersionId) -> Iterable[str]:
    """What a provider may call a version: `gpt-4o` at `2024-11-20` is served as `gpt-4o-2024-11-20`."""
    for model in unversioned_names(version):
        yield f"{model}-{version.provider_version}"
