"""What the command line, the ini file and a test's marker ask of the plugin."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from aigate.core.registry import refuse_unknown
from aigate.errors import ConfigError
from aigate.goldens.suite import CONFIG_FILE

__all__ = ["KEYWORDS", "Asked", "Marked", "asked_of", "marked_of"]

MARKER = "aigate"
KEYWORDS = ("suite", "version", "baseline", "threshold")
EXAMPLE = '@pytest.mark.aigate(suite="goldens/support-faq")'


@dataclass(frozen=True, slots=True)
class Asked:
    """The options of a session; None where nothing was asked.

    Attributes:
        root: pytest's root folder: relative suites are looked for there, and run files go to `.aigate/` in it.
        collect: Golden suites among the collected folders are tests.
        update_baseline: Passing runs become baselines.
        baseline: The baseline to hold against, in place of the suite's own: a name, or a run file.
        threshold: What the primary metric must reach, in place of the suite's own.
        json: Where to write every verdict.
    """

    root: Path
    collect: bool = False
    update_baseline: bool = False
    baseline: str | None = None
    threshold: str | None = None
    json: Path | None = None


@dataclass(frozen=True, slots=True)
class Marked:
    """What a test's marker says; None where it says nothing.

    Attributes:
        suite: The suite's folder.
        version: The version that answers.
        baseline: The baseline to hold against.
        threshold: What the primary metric must reach.
    """

    suite: Path
    version: str | None = None
    baseline: str | None = None
    threshold: str | None = None


def asked_of(config: pytest.Config) -> Asked:
    """The options of this session.

    Raises:
        pytest.UsageError: `--aigate-json` names no file that could be written.
    """
    baseline = config.getoption("aigate_baseline")
    return Asked(
        root=config.rootpath,
        collect=config.getoption("aigate_collect") or config.getini("aigate_collect"),
        update_baseline=config.getoption("aigate_update_baseline"),
        baseline=None if baseline is None else _from_invocation(config, baseline),
        threshold=config.getoption("aigate_threshold"),
        json=_json_file(config),
    )


def marked_of(item: pytest.Item) -> Marked:
    """What the nearest marker of a test says.

    Raises:
        ConfigError: No marker, an argument that it does not know, or a suite that is nowhere.
    """
    marker = item.get_closest_marker(MARKER)
    if marker is None:
        raise ConfigError(f"{item.nodeid}: the fixture 'aigate' needs to know the suite", hint=f"mark it: {EXAMPLE}")
    if marker.args:
        raise ConfigError(f"{item.nodeid}: the marker takes keywords only, got {marker.args[0]!r}", hint=EXAMPLE)
    refuse_unknown(marker.kwargs, KEYWORDS, where=f"{item.nodeid}: the marker", kind="keywords", error=ConfigError)
    if "suite" not in marker.kwargs:
        raise ConfigError(f"{item.nodeid}: the marker names no suite", hint=EXAMPLE)
    given = {key: None if value is None else str(value) for key, value in _rest(marker.kwargs).items()}
    return Marked(_suite_folder(item, Path(marker.kwargs["suite"])), **given)


def _rest(keywords: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in keywords.items() if key != "suite"}


def _suite_folder(item: pytest.Item, named: Path) -> Path:
    """The folder that a marker means: from pytest's root folder, else from the test's own."""
    places = [item.config.rootpath / named, item.path.parent / named]
    found = next((place for place in places if (place / CONFIG_FILE).is_file()), None)
    if found is None:
        looked = " and ".join(dict.fromkeys(map(str, places)))
        raise ConfigError(f"{item.nodeid}: no suite '{named}'", hint=f"looked for {CONFIG_FILE} in {looked}")
    return found


def _json_file(config: pytest.Config) -> Path | None:
    """Where the verdicts go, looked at before anything is paid for."""
    named = config.getoption("aigate_json")
    if named is None:
        return None
    path: Path = config.invocation_params.dir / named
    if path.is_dir():
        raise pytest.UsageError(f"--aigate-json {named}: is a folder; next: name a file in it")
    return path


def _from_invocation(config: pytest.Config, baseline: str) -> str:
    """A run file means the same wherever the suite lies; a name stays a name."""
    path = config.invocation_params.dir / baseline
    return str(path) if path.is_file() else baseline
