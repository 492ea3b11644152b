"""What a project tells about itself: where it is hosted, what runs its CI, how it is installed and tested."""

from __future__ import annotations

import json
import re
import subprocess
import tomllib
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

from aigate import __version__

__all__ = ["Project", "requirement_of_aigate", "seen_in"]

OLDEST_PYTHON = (3, 11)
NEWEST_PYTHON = "3.13"
EXTRAS = ("test", "tests", "dev")
REQUIREMENTS = ("requirements-dev.txt", "requirements-test.txt", "requirements.txt")
LOCKS = {"uv.lock": "uv", "poetry.lock": "poetry", "pdm.lock": "pdm", "Pipfile.lock": "pipenv", "Pipfile": "pipenv"}
INSTALLS = {
    "uv": "python -m pip install uv && uv export --quiet --all-extras --all-groups --no-hashes -o requirements.ci.txt"
    " && python -m pip install -r requirements.ci.txt",
    "poetry": "python -m pip install poetry && poetry config virtualenvs.create false && poetry install",
    "pdm": "python -m pip install pdm && pdm export --no-hashes -o requirements.ci.txt"
    " && python -m pip install -r requirements.ci.txt",
    "pipenv": "python -m pip install pipenv && pipenv install --dev --system",
}


@dataclass(frozen=True, slots=True)
class Project:
    """What was found out.

    Attributes:
        root: The project's folder.
        remote: The URL that git knows as origin; empty without one.
        branch: The branch that is merged into.
        ci: `github`, `gitlab` or `jenkins`; empty where nothing tells.
        install: The shell command that installs the project and what its tests need; empty where there is nothing.
        tests: The folder of its tests, from the root; empty without tests.
        python: The Python to use in CI.
        pyproject: What pyproject.toml says; empty without one.
    """

    root: Path
    remote: str
    branch: str
    ci: str
    install: str
    tests: str
    python: str
    pyproject: dict[str, Any]


def seen_in(root: Path) -> Project:
    """Look at a folder; nothing is run but git, and nothing is asked."""
    pyproject = _toml(root / "pyproject.toml")
    remote = _git(root, "remote", "get-url", "origin")
    return Project(
        root=root,
        remote=remote,
        branch=_branch(root),
        ci=_ci(root, remote),
        install=_install(root, pyproject),
        tests=_tests(root, pyproject),
        python=_python(root, pyproject),
        pyproject=pyproject,
    )


def requirement_of_aigate() -> str:
    """What pip installs to get this very aigate: the commit it was installed from, or its version."""
    try:
        told = distribution("aigate").read_text("direct_url.json")
    except PackageNotFoundError:
        told = None
    where = json.loads(told) if told else {}
    commit = where.get("vcs_info", {}).get("commit_id")
    return f"aigate @ git+{where['url']}@{commit}" if commit else f"aigate=={__version__}"


def _ci(root: Path, remote: str) -> str:
    """The CI system: the one that is set up, else the one of the host."""
    set_up = {".github/workflows": "github", ".gitlab-ci.yml": "gitlab", "Jenkinsfile": "jenkins"}
    found = [name for path, name in set_up.items() if (root / path).exists()]
    host = re.sub(r"^\w+://|^[^@]*@", "", remote).split("/")[0].split(":")[0]
    hosted = [name for name in ("github", "gitlab") if name in host]
    return next(iter((*(name for name in hosted if name in found), *found, *hosted)), "")


def _branch(root: Path) -> str:
    """The remote's main branch, else the one that is checked out."""
    remote_head = _git(root, "symbolic-ref", "--short", "refs/remotes/origin/HEAD").removeprefix("origin/")
    return remote_head or _git(root, "symbolic-ref", "--short", "HEAD") or "main"


def _install(root: Path, pyproject: dict[str, Any]) -> str:
    """By the lock file that is there, else by pip from what is there."""
    tool = next((name for lock, name in LOCKS.items() if (root / lock).is_file()), None)
    if tool is not None:
        return INSTALLS[tool]
    if "project" in pyproject:
        extras = pyproject["project"].get("optional-dependencies", {})
        extra = next((name for name in EXTRAS if name in extras), "")
        return f"python -m pip install '.[{extra}]'" if extra else "python -m pip install ."
    listed = next((name for name in REQUIREMENTS if (root / name).is_file()), None)
    return f"python -m pip install -r {listed}" if listed else ""


def _tests(root: Path, pyproject: dict[str, Any]) -> str:
    options = pyproject.get("tool", {}).get("pytest", {}).get("ini_options", {})
    named = options.get("testpaths", []) if isinstance(options, dict) else []
    named = named.split() if isinstance(named, str) else named
    return next((name for name in (*named, "tests", "test") if (root / name).is_dir()), "")


def _python(root: Path, pyproject: dict[str, Any]) -> str:
    """The Python that the project names, at least the oldest that aigate runs on."""
    pinned = root / ".python-version"
    texts = [pinned.read_text("utf-8", errors="replace")] if pinned.is_file() else []
    texts.append(str(pyproject.get("project", {}).get("requires-python", "")))
    found = next((match for text in texts if (match := re.search(r"3\.(\d+)", text))), None)
    if found is None:
        return NEWEST_PYTHON
    return f"3.{max(int(found[1]), OLDEST_PYTHON[1])}"


def _toml(path: Path) -> dict[str, Any]:
    """A TOML file; empty where it is missing or broken: whoever reads it in earnest says so."""
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError):
        return {}


def _git(root: Path, *arguments: str) -> str:
    """What git says, empty where it says nothing."""
    command = ["git", "-C", str(root), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)  # noqa: S603
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
