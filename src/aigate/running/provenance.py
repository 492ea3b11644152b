"""Where a run comes from: the code, the commit, the library versions, the time."""

from __future__ import annotations

import platform
import re
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from functools import cache
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, distribution
from importlib.resources import files
from pathlib import Path

from aigate.core.digest import digest_of

__all__ = ["code_digest", "git_commit", "library_versions", "utc_now"]

LIBRARIES = (
    *("aigate", "numpy", "scipy", "scikit-learn", "openai", "jsonschema", "sacrebleu", "rouge-score"),
    *("torch", "transformers", "tokenizers", "sentence-transformers"),
)
_VERSION = re.compile(r"^Version:(.+)$", re.MULTILINE)


def utc_now() -> str:
    """The time now: UTC, ISO 8601, to the second."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def library_versions() -> Mapping[str, str]:
    """Versions of Python and of the installed libraries that can move a score; imports none of them."""
    found = {"python": platform.python_version()}
    for name in LIBRARIES:
        with suppress(PackageNotFoundError):
            found[name] = _version(name)
    return found


def _version(name: str) -> str:
    """As `importlib.metadata.version`, which parses all that a package says of itself as if it were a mail: 1 ms each.

    Raises:
        PackageNotFoundError: It is not installed.
    """
    package = distribution(name)
    told = _VERSION.search(package.read_text("METADATA") or "")
    return told[1].strip() if told else package.version


@cache
def code_digest() -> str:
    """The digest of aigate's own source: the same code has the same, wherever it is installed."""
    package = Path(str(files("aigate")))
    sources = {path.relative_to(package).as_posix(): path.read_bytes() for path in sorted(package.rglob("*.py"))}
    return digest_of({name: sha256(content).hexdigest() for name, content in sources.items()})


def git_commit(folder: Path) -> str | None:
    """The commit of the checkout around `folder`, with `-dirty` where it has changes; None outside one."""
    head = _git(folder, "rev-parse", "HEAD")
    if head is None:
        return None
    return f"{head}-dirty" if _git(folder, "status", "--porcelain", "--untracked-files=no") else head


def _git(folder: Path, *arguments: str) -> str | None:
    command = ["git", "-C", str(folder), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)  # noqa: S603
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
