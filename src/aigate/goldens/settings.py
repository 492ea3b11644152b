"""The configuration in force, and where each value came from.

Order: flag, `AIGATE_*` environment, suite.toml, `[tool.aigate]` of pyproject.toml, default. Secrets are never settings:
`api-key-env` names the variable that holds the key.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from aigate.core.registry import nearest
from aigate.core.version import VersionId
from aigate.errors import ConfigError, VersionIdError
from aigate.goldens.config import (
    ABOVE_ZERO,
    DEFAULTS,
    JUDGE_DEFAULTS,
    JUDGE_RULES,
    RULES,
    SECONDS,
    TEXT,
    Rule,
    SuiteConfig,
    read_toml,
    whole_number,
)
from aigate.stores import is_url

__all__ = ["JUDGE_KEYS", "SETTING_KEYS", "Setting", "find_pyproject", "resolve_settings"]

PREFIX = "AIGATE_"
PATH_KEYS = ("suite", "recorded", "baselines", "out-dir", "journal", "prices")  # in a file, relative to its folder
OPTION_KEYS = ("recorded", "base-url", "api-key-env")  # suite.toml holds these under [provider-options]
JUDGE_KEYS: Mapping[str, str] = MappingProxyType(
    {
        "judge": "version",
        **{
            f"judge-{key}": key
            for key in ("provider", "base-url", "api-key-env", "model", "repeats", "concurrency", "price")
        },
    }
)
"""Settings about the judge, and the keys of `[judge]` in suite.toml that they are."""


@dataclass(frozen=True, slots=True)
class Setting:
    """One value in force.

    Attributes:
        value: The value, of its key's type; None when nothing sets it and there is no default.
        origin: What set it: `flag --threshold`, `AIGATE_THRESHOLD`, a file's path, or `default`; under pytest also
            `flag --aigate-threshold` or `marker threshold`.
    """

    value: Any
    origin: str


def resolve_settings(
    *,
    flags: Mapping[str, Any],
    environ: Mapping[str, str],
    suite: SuiteConfig | None,
    pyproject: Path | None,
    origins: Mapping[str, str] = MappingProxyType({}),
) -> Mapping[str, Setting]:
    """The value of every key, from the first place that sets it.

    Args:
        flags: Command line values by key (`timeout-s` or `timeout_s`); None means not given. Text is parsed.
        environ: The environment; only `AIGATE_*` is read.
        suite: The suite's configuration, once it is known.
        pyproject: The `pyproject.toml` to read `[tool.aigate]` from.
        origins: What to call flags in messages, by key, where that is not `flag --KEY`.

    Returns:
        A setting for each of `SETTING_KEYS`, in that order. `version` is a `VersionId`, `timeout-s` and `threshold` are
        floats, counts are integers, `early-stop` is a bool, the rest text.

    Raises:
        ConfigError: An unknown key or a wrong value in any of the places, even where another place wins. Names the
            place.
    """
    places = (
        _from_flags(flags, origins),
        _from_environ(environ),
        _from_suite(suite),
        _from_pyproject(pyproject),
        _DEFAULTS,
    )
    return {key: next(place[key] for place in places if key in place) for key in SETTING_KEYS}


def find_pyproject(start: Path) -> Path | None:
    """The nearest `pyproject.toml` in `start` or a folder above it; None when there is none."""
    folders = (start, *start.resolve().parents)
    return next((folder / "pyproject.toml" for folder in folders if (folder / "pyproject.toml").is_file()), None)


def _from_flags(flags: Mapping[str, Any], origins: Mapping[str, str]) -> dict[str, Setting]:
    found: dict[str, Setting] = {}
    for name, value in flags.items():
        key = name.replace("_", "-")
        if key not in _RULES:
            raise ConfigError(f"unknown flag '--{key}'", hint=nearest(key, SETTING_KEYS, kind="settings"))
        if value is not None:
            origin = origins.get(key, f"flag --{key}")
            found[key] = Setting(_read(key, _parsed(key, value), origin), origin)
    return found


def _from_environ(environ: Mapping[str, str]) -> dict[str, Setting]:
    names = {PREFIX + key.replace("-", "_").upper(): key for key in SETTING_KEYS}
    found: dict[str, Setting] = {}
    for name, text in sorted(environ.items()):
        if not name.startswith(PREFIX):
            continue
        if name not in names:
            raise ConfigError(f"unknown environment variable {name}", hint=nearest(name, names, kind="variables"))
        found[names[name]] = Setting(_read(names[name], _parsed(names[name], text), name), name)
    return found


def _from_suite(suite: SuiteConfig | None) -> dict[str, Setting]:
    if suite is None:
        return {}
    origin = str(suite.source)
    values = {key: getattr(suite, key.replace("-", "_")) for key in SUITE_KEYS}
    values |= {key: suite.provider_options.get(key) for key in OPTION_KEYS}
    values |= {key: (suite.judge or {}).get(name) for key, name in JUDGE_KEYS.items()}
    return {
        key: Setting(_read(key, _placed(key, value, suite.source.parent), origin), origin)
        for key, value in values.items()
        if value is not None
    }


def _from_pyproject(path: Path | None) -> dict[str, Setting]:
    if path is None:
        return {}
    tools = read_toml(path).get("tool", {})
    table = tools.get("aigate", {}) if isinstance(tools, dict) else {}
    origin = f"{path} [tool.aigate]"
    if not isinstance(table, dict):
        raise ConfigError(f"{path}: tool.aigate is not a table", hint="write [tool.aigate] and keys below it")
    if unknown := next((key for key in table if key not in _RULES), None):
        raise ConfigError(f"{origin}: unknown key '{unknown}'", hint=nearest(unknown, SETTING_KEYS, kind="keys"))
    return {key: Setting(_read(key, _placed(key, value, path.parent), origin), origin) for key, value in table.items()}


def _placed(key: str, value: Any, folder: Path) -> Any:
    """A path that a file names, relative to that file, so that it means the same from every directory."""
    placed = key in PATH_KEYS and isinstance(value, str) and value and not is_url(value)
    return str(folder / value) if placed else value


def _read(key: str, value: Any, origin: str) -> Any:
    """A value of the key's type.

    Raises:
        ConfigError: It is not of that type or out of range; the message starts with the origin.
    """
    if key == "version":
        return _version(value, origin)
    rule = _RULES[key]
    if defect := rule.defect(value):
        raise ConfigError(f"{origin}: {key}: {defect}", hint="0.85 means 85 %" if key == "threshold" else "")
    return float(value) if rule.parse is float else value


def _parsed(key: str, value: Any) -> Any:
    """Text of a flag or variable as the key's type; the text itself where it is none, for the message."""
    try:
        return _RULES[key].parse(value) if isinstance(value, str) else value
    except ValueError:
        return value


def _version(value: Any, origin: str) -> VersionId:
    if isinstance(value, VersionId):
        return value
    if not isinstance(value, str):
        raise ConfigError(f"{origin}: version: got {value!r}, expected model/provider-version/prompt-version")
    try:
        return VersionId.parse(value)
    except VersionIdError as found:
        raise ConfigError(f"{origin}: version: {found.message}", hint=found.hint) from None


THRESHOLD = Rule(
    "a number in [0, 1]",
    lambda value: isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1,
    float,
)
SUITE_KEYS = (
    *("version", "provider", "baseline", "baselines", "anchor", "repeats", "max-repeats", "early-stop"),
    *("concurrency", "timeout-s", "retries", "sample-deadline-s", "requests-per-minute", "tokens-per-minute"),
    *("price", "prices"),
)

_RULES: Mapping[str, Rule] = MappingProxyType(
    {
        "suite": TEXT,
        "version": TEXT,
        "provider": RULES["provider"],
        "baseline": TEXT,  # in suite.toml a name; a flag or variable may also name a run file
        "baselines": RULES["baselines"],
        "anchor": TEXT,
        "repeats": RULES["repeats"],
        "max-repeats": RULES["max-repeats"],
        "early-stop": RULES["early-stop"],
        "concurrency": RULES["concurrency"],
        "timeout-s": RULES["timeout-s"],
        "retries": RULES["retries"],
        "sample-deadline-s": RULES["sample-deadline-s"],
        "deadline-s": SECONDS,
        "requests-per-minute": RULES["requests-per-minute"],
        "tokens-per-minute": RULES["tokens-per-minute"],
        "max-cost": ABOVE_ZERO,
        "max-calls": whole_number(1),
        "max-tokens": whole_number(1),
        "price": RULES["price"],
        "prices": RULES["prices"],
        "journal": Rule("a path, or an empty string for no journal", lambda value: isinstance(value, str)),
        "journal-days": ABOVE_ZERO,
        "threshold": THRESHOLD,
        "recorded": TEXT,
        "base-url": TEXT,
        "api-key-env": Rule("a string", lambda value: isinstance(value, str)),  # empty: a server without keys
        "out-dir": TEXT,
        **{key: JUDGE_RULES[name] for key, name in JUDGE_KEYS.items()},
        "engine": Rule('"local" or "dask"', lambda value: value in {"local", "dask"}),
        "dask-scheduler": TEXT,
        "dask-workers": whole_number(1, 1024),
    }
)

SETTING_KEYS = tuple(_RULES)
"""Every key, in the order that `aigate config` prints them."""

_OWN_DEFAULTS: Mapping[str, Any] = {
    "api-key-env": "OPENAI_API_KEY",
    "out-dir": ".aigate/runs",
    "journal": ".aigate/journal.sqlite",
    "journal-days": 1.0,
    **{key: JUDGE_DEFAULTS[name] for key, name in JUDGE_KEYS.items() if name in JUDGE_DEFAULTS},
    "engine": "local",
}
_DEFAULTS = {
    key: Setting(_OWN_DEFAULTS.get(key, DEFAULTS.get(key.replace("-", "_"))), "default") for key in SETTING_KEYS
}
