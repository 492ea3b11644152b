"""`suite.toml`: what to run, read strictly. A misspelt key is an error: a policy that is not read cannot block."""

from __future__ import annotations

import math
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from aigate.core.digest import canonical_json
from aigate.core.json_text import JsonDefectError, json_type, strict_json
from aigate.core.registry import nearest, refuse_unknown
from aigate.core.version import VersionId
from aigate.errors import ConfigError, VersionIdError
from aigate.goldens.parameters import parameter_defect

__all__ = [
    "ABOVE_ZERO",
    "DEFAULTS",
    "EMBEDDINGS_RULES",
    "JUDGE_DEFAULTS",
    "JUDGE_RULES",
    "MAX_REPEATS",
    "RULES",
    "SECONDS",
    "TEXT",
    "Rule",
    "ScorerEntry",
    "SuiteConfig",
    "judge_table",
    "load_config",
    "read_toml",
    "whole_number",
]

MAX_CONCURRENCY = 1024
MAX_JUDGEMENTS = 100  # of one answer
REPLIES = ("json-schema", "json-object", "text")
STEERING = ("withhold", "flag")
MAX_REPEATS = 10_000  # a slip of the keyboard beyond that would fill the memory

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_TOML_PLACE = re.compile(r" \(at (?:line (\d+), column (\d+)|end of document)\)$")


@dataclass(frozen=True, slots=True)
class ScorerEntry:
    """One scorer of a suite.

    Attributes:
        name: The scorer's name.
        argument: What stands after the colon (`recorded:correct` has `correct`); empty without one.
        options: Options of the scorer, by kebab-case key.
    """

    name: str
    argument: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.name}:{self.argument}" if self.argument else self.name


@dataclass(frozen=True, slots=True)
class SuiteConfig:
    """What a `suite.toml` says. What it does not say is None (or empty): see `DEFAULTS` and `aigate.goldens.settings`.

    Attributes:
        source: The file.
        version: The version to run.
        provider: The provider's name.
        provider_options: Options of the provider, by kebab-case key.
        scorers: What to score, in the file's order.
        primary_metric: The metric that `--threshold` speaks of.
        repeats: Answers per sample.
        max_repeats: Answers per sample where nothing is decided with fewer.
        early_stop: Whether a run may end as soon as its verdict is certain.
        baseline: Name of the baseline.
        baselines: Where the baselines are kept: a path, or a URL such as `s3://bucket/prefix`.
        anchor: Name of an older baseline that is compared with too.
        parameters: Request parameters sent with every request; a prompt file's own win over them.
        served_models: Names the provider may report as served.
        concurrency: Requests in flight.
        timeout_s: Seconds an attempt may take.
        retries: Further attempts after a retryable failure.
        sample_deadline_s: Seconds one answer may take, all attempts and waits together.
        requests_per_minute: Calls that may be started in a minute.
        tokens_per_minute: Tokens that may be sent and received in a minute.
        price: US dollars per million tokens, "INPUT,OUTPUT", where the price table does not know the model.
        prices: A price table of one's own.
        judge: The model that judges, as `[judge]` says it, by kebab-case key; None without one.
        policy: The policy as written; `gating` reads it. None when there is no `[policy]`.
    """

    source: Path
    version: VersionId | None = None
    provider: str | None = None
    provider_options: Mapping[str, Any] = field(default_factory=dict)
    scorers: tuple[ScorerEntry, ...] | None = None
    primary_metric: str | None = None
    repeats: int | None = None
    max_repeats: int | None = None
    early_stop: bool | None = None
    baseline: str | None = None
    baselines: str | None = None
    anchor: str | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    served_models: tuple[str, ...] = ()
    concurrency: int | None = None
    timeout_s: float | None = None
    retries: int | None = None
    sample_deadline_s: float | None = None
    requests_per_minute: float | None = None
    tokens_per_minute: float | None = None
    price: str | None = None
    prices: str | None = None
    judge: Mapping[str, Any] | None = None
    policy: Mapping[str, Any] | None = None


DEFAULTS: Mapping[str, Any] = MappingProxyType(
    {
        "provider": "openai",
        "scorers": (ScorerEntry("exact_match"),),
        "repeats": 1,
        "early_stop": True,
        "baseline": "main",
        "anchor": "anchor",
        "concurrency": 8,
        "timeout_s": 60.0,
        "retries": 4,
        "sample_deadline_s": 600.0,
    }
)
"""What holds for a field of `SuiteConfig` that no file, variable or flag sets."""


JUDGE_DEFAULTS: Mapping[str, Any] = MappingProxyType(
    {
        "provider": "openai",
        "repeats": 1,
        "reasks": 2,
        "reply": "json-schema",
        "steering": "withhold",
        "concurrency": 8,
        "timeout-s": 60.0,
        "retries": 4,
    }
)
"""What holds for a key of `[judge]` that nobody sets."""


@dataclass(frozen=True, slots=True)
class Rule:
    """What one key may hold.

    Attributes:
        expected: In words, with its article.
        accepts: True for a value that is that.
        parse: Reads it from text; raises ValueError.
    """

    expected: str
    accepts: Callable[[Any], bool]
    parse: Callable[[str], Any] = str

    def defect(self, value: Any) -> str:
        """What is wrong with a value: got and expected; empty when nothing is."""
        if self.accepts(value):
            return ""
        shown = isinstance(value, str | int | float) and not isinstance(value, bool)
        return f"got {repr(value) if shown else json_type(value)}, expected {self.expected}"


def load_config(path: Path, *, root: Path | None = None) -> SuiteConfig:
    """Read a `suite.toml`.

    Args:
        path: The file.
        root: Where the file of `version = {file = ..., key = ...}` is looked for after the suite's own folder; the
            current directory when None.

    Returns:
        What the file says; defaults are not filled in.

    Raises:
        ConfigError: The file cannot be read, is no TOML, or holds an unknown key or a wrong value; the message starts
            with the path (and the line, where it is known).
    """
    whole = read_toml(path)
    if unknown := next((key for key in whole if key not in _KEYS), None):
        where = f"{path}{_line_of_key(path, unknown)}"
        raise ConfigError(f"{where}: unknown key '{unknown}'", hint=nearest(unknown, _KEYS, kind="keys"))
    values: dict[str, Any] = {}
    for key, value in whole.items():
        if key in RULES and (defect := RULES[key].defect(value)):
            raise ConfigError(f"{path}{_line_of_key(path, key)}: {key}: {defect}")
        values[key.replace("-", "_")] = _READERS.get(key, _as_it_is)(f"{path}: {key}", value)
    if "version" in whole:
        values["version"] = _version(path, whole["version"], root=root or Path.cwd())
    return SuiteConfig(source=path, **values)


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file whose values could all be JSON.

    Raises:
        ConfigError: It cannot be read, is not UTF-8, is no TOML (with file:line), or holds a date, NaN or infinity.
    """
    try:
        whole = tomllib.loads(path.read_bytes().decode("utf-8"))
    except OSError as found:
        raise ConfigError(f"{path}: cannot be read: {found.strerror or found}") from None
    except UnicodeDecodeError as found:
        raise ConfigError(f"{path}: not UTF-8: byte {found.start + 1}", hint="save the file as UTF-8") from None
    except tomllib.TOMLDecodeError as found:
        raise ConfigError(_toml_message(path, str(found))) from None
    except RecursionError:
        raise ConfigError(f"{path}: invalid TOML: nested too deep") from None
    try:
        canonical_json(whole)
    except ValueError as found:
        raise ConfigError(f"{path}: {found}", hint="quote dates; write finite numbers") from None
    return whole


def _toml_message(path: Path, text: str) -> str:
    """Python's message, with the place in front: `suite.toml:3: invalid TOML at column 9: Invalid value`."""
    if (found := _TOML_PLACE.search(text)) is None:
        return f"{path}: invalid TOML: {text}"
    said = text[: found.start()]
    if found.group(1) is None:
        last = path.read_bytes().count(b"\n") + 1
        return f"{path}:{last}: invalid TOML: {said} at the end of the file"
    return f"{path}:{found.group(1)}: invalid TOML at column {found.group(2)}: {said}"


def _line_of_key(path: Path, key: str) -> str:
    """`:LINE` of a key at the top of the file or of a table of that name, when exactly one line can be it."""
    pattern = re.compile(rf"\s*(?:\[+\s*{re.escape(key)}\s*[.\]]|{re.escape(key)}\s*[=.])")
    text = path.read_text("utf-8")
    found = [number for number, line in enumerate(text.split("\n"), start=1) if pattern.match(line)]
    return f":{found[0]}" if len(found) == 1 else ""


def _version(path: Path, given: Any, *, root: Path) -> VersionId:
    if isinstance(given, str):
        return _parsed_version(f"{path}: version", given)
    if not isinstance(given, dict):
        message = f"{path}: version: got {json_type(given)}, expected a string or {{file = ..., key = ...}}"
        raise ConfigError(message, hint='e.g. version = "gpt-4o/2024-11-20/v3"')
    refuse_unknown(given, ("file", "key"), where=f"{path}: version", kind="keys", error=ConfigError)
    for name in ("file", "key"):
        if not (isinstance(given.get(name), str) and given[name]):
            got = json_type(given[name]) if name in given else "nothing"
            raise ConfigError(f"{path}: version.{name}: got {got}, expected a string")
    return _version_in(path, given["file"], given["key"], root=root)


def _version_in(path: Path, file: str, key: str, *, root: Path) -> VersionId:
    """The version that another file names under a dotted key."""
    candidates = [path.parent / file, root / file]
    found = next((candidate for candidate in candidates if candidate.is_file()), None)
    if found is None:
        message = f"{path}: version.file: no such file '{file}'"
        raise ConfigError(message, hint="looked for " + " and ".join(str(candidate) for candidate in candidates))
    value: Any = _document(found)
    for part in key.split("."):
        if not isinstance(value, dict) or part not in value:
            known = value if isinstance(value, dict) else ()
            raise ConfigError(f"{found}: no key '{key}' ('{part}' is missing)", hint=nearest(part, known, kind="keys"))
        value = value[part]
    if not isinstance(value, str):
        raise ConfigError(f"{found}: {key}: got {json_type(value)}, expected a version as a string")
    return _parsed_version(f"{found}: {key}", value)


def _document(path: Path) -> Any:
    """The content of a .toml, .json, .yaml or .yml file."""
    if path.suffix == ".toml":
        return read_toml(path)
    if path.suffix not in {".json", ".yaml", ".yml"}:
        raise ConfigError(f"{path}: got a '{path.suffix}' file, expected .toml, .json or .yaml")
    from aigate.goldens.strict_yaml import strict_yaml

    try:
        text = path.read_text("utf-8")
        return strict_json(text) if path.suffix == ".json" else strict_yaml(text)[0]
    except JsonDefectError as found:
        raise ConfigError(f"{path}:{found.line or 1}: {found.message}", hint=found.hint) from None
    except (OSError, UnicodeDecodeError) as found:
        raise ConfigError(f"{path}: cannot be read: {found}") from None


def _parsed_version(where: str, text: str) -> VersionId:
    try:
        return VersionId.parse(text)
    except VersionIdError as found:
        raise ConfigError(f"{where}: {found.message}", hint=found.hint) from None


def _scorers(where: str, given: list[Any]) -> tuple[ScorerEntry, ...]:
    entries = tuple(_scorer(f"{where}[{index}]", item) for index, item in enumerate(given))
    names = [str(entry) for entry in entries]
    twice = next((name for index, name in enumerate(names) if name in names[:index]), None)
    if twice is not None:
        raise ConfigError(f"{where}: '{twice}' stands there twice", hint="name every scorer once")
    return entries


def _scorer(where: str, given: Any) -> ScorerEntry:
    if isinstance(given, str):
        return _named_scorer(where, given, {})
    if not isinstance(given, dict):
        raise ConfigError(f"{where}: got {json_type(given)}, expected a string or a table {{scorer = ...}}")
    if not isinstance(given.get("scorer"), str):
        got = json_type(given["scorer"]) if "scorer" in given else "nothing"
        raise ConfigError(f"{where}.scorer: got {got}, expected a string", hint='e.g. {scorer = "exact_match"}')
    options = {key: value for key, value in given.items() if key != "scorer"}
    return _named_scorer(f"{where}.scorer", given["scorer"], options)


def _named_scorer(where: str, text: str, options: Mapping[str, Any]) -> ScorerEntry:
    name, colon, argument = text.partition(":")
    if not name.strip() or (colon and not argument.strip()):
        raise ConfigError(f"{where}: got {text!r}, expected 'name' or 'name:argument'")
    return ScorerEntry(name, argument, options)


def judge_table(where: str, given: Any) -> dict[str, Any]:
    """Which model judges: the table `[judge]`, or the option `judge` of a scorer, which may name a version only.

    Raises:
        ConfigError: An unknown key or a wrong value.
    """
    table = {"version": given} if isinstance(given, str) else given
    if not isinstance(table, dict):
        raise ConfigError(f"{where}: got {json_type(given)}, expected a version or a table", hint=_JUDGE_HINT)
    read = _model_table(where, table, JUDGE_RULES)
    return {**read, _EMBEDS: _embeddings(f"{where}.{_EMBEDS}", read[_EMBEDS])} if _EMBEDS in read else read


def _embeddings(where: str, given: Any) -> dict[str, Any]:
    """Which model embeds: the key `embeddings` of a judge's table, which may name a version only."""
    table = _model_table(where, {"version": given} if isinstance(given, str) else given, EMBEDDINGS_RULES)
    if "version" not in table:
        raise ConfigError(f"{where}: names no version", hint='e.g. embeddings = "text-embedding/3-small/v1"')
    return table


def _model_table(where: str, table: dict[str, Any], rules: Mapping[str, Rule]) -> dict[str, Any]:
    refuse_unknown(table, rules, where=where, kind="keys", error=ConfigError)
    for key, value in table.items():
        if defect := rules[key].defect(value):
            raise ConfigError(f"{where}.{key}: {defect}")
    if "version" in table:
        _parsed_version(f"{where}.version", table["version"])
    _request_parameters(f"{where}.parameters", table.get("parameters", {}))
    return dict(table)


def _request_parameters(where: str, given: dict[str, Any]) -> dict[str, Any]:
    for name, value in given.items():
        if defect := parameter_defect(name, value):
            raise ConfigError(f"{where}.{defect}")
    return given


def _texts(_where: str, given: list[str]) -> tuple[str, ...]:
    return tuple(given)


def _float(_where: str, given: float) -> float:
    return float(given)


def _as_it_is(_where: str, given: Any) -> Any:
    return given


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _truth(text: str) -> bool:
    if text not in {"true", "false"}:
        raise ValueError(text)
    return text == "true"


def whole_number(low: int, high: int | None = None) -> Rule:
    """A whole number from `low` to `high`; None: without an upper bound."""
    bounds = f"of at least {low}" if high is None else f"in [{low}, {high}]"
    return Rule(
        f"a whole number {bounds}",
        lambda value: _is_whole(value) and low <= value and (high is None or value <= high),
        int,
    )


def _one_of(*words: str) -> Rule:
    return Rule(f"one of {', '.join(words)}", lambda value: isinstance(value, str) and value in words)


TEXT = Rule("a string that is not empty", _is_text)
TABLE = Rule("a table", lambda value: isinstance(value, dict))
SECONDS = Rule("a number of seconds above 0", lambda value: _is_number(value) and value > 0, float)
ABOVE_ZERO = Rule("a number above 0", lambda value: _is_number(value) and value > 0, float)
BASELINE_NAME = Rule(
    "a name of letters, digits, '-', '_' and '.'",
    lambda value: isinstance(value, str) and _NAME.fullmatch(value) is not None,
)

RULES: Mapping[str, Rule] = MappingProxyType(
    {
        "provider": TEXT,
        "provider-options": TABLE,
        "scorers": Rule("an array with at least one scorer", lambda value: isinstance(value, list) and bool(value)),
        "primary-metric": TEXT,
        "repeats": whole_number(1, MAX_REPEATS),
        "max-repeats": whole_number(1, MAX_REPEATS),
        "early-stop": Rule("true or false", lambda value: isinstance(value, bool), _truth),
        "baseline": BASELINE_NAME,
        "baselines": TEXT,
        "anchor": BASELINE_NAME,
        "parameters": TABLE,
        "served-models": Rule(
            "an array of strings", lambda value: isinstance(value, list) and all(_is_text(item) for item in value)
        ),
        "concurrency": whole_number(1, MAX_CONCURRENCY),
        "timeout-s": SECONDS,
        "retries": whole_number(0),
        "sample-deadline-s": SECONDS,
        "requests-per-minute": ABOVE_ZERO,
        "tokens-per-minute": ABOVE_ZERO,
        "price": TEXT,
        "prices": TEXT,
        "judge": TABLE,
        "policy": TABLE,
    }
)
"""What each key of `suite.toml` but `version` may hold."""

_EMBEDS = "embeddings"
JUDGE_RULES: Mapping[str, Rule] = MappingProxyType(
    {
        "version": TEXT,
        "provider": TEXT,
        "provider-options": TABLE,
        "base-url": TEXT,
        "api-key-env": Rule("a string", lambda value: isinstance(value, str)),  # empty: a server without keys
        "model": TEXT,
        "parameters": TABLE,
        "served-models": RULES["served-models"],
        "repeats": whole_number(1, MAX_JUDGEMENTS),
        "reasks": whole_number(0, MAX_JUDGEMENTS),
        "reply": _one_of(*REPLIES),
        "steering": _one_of(*STEERING),
        "concurrency": RULES["concurrency"],
        "timeout-s": SECONDS,
        "retries": RULES["retries"],
        "requests-per-minute": ABOVE_ZERO,
        "tokens-per-minute": ABOVE_ZERO,
        "price": TEXT,
        _EMBEDS: Rule("a version or a table", lambda value: isinstance(value, dict) or _is_text(value)),
    }
)
"""What each key of `[judge]` may hold."""

EMBEDDINGS_RULES: Mapping[str, Rule] = MappingProxyType(
    {key: rule for key, rule in JUDGE_RULES.items() if key not in {_EMBEDS, "repeats", "reasks", "reply", "steering"}}
)
"""What each key of `embeddings` in `[judge]` may hold."""

_JUDGE_HINT = 'e.g. judge = "gpt-4o-mini/2024-07-18/v1"'
_KEYS = ("version", *RULES)
_READERS: Mapping[str, Callable[[str, Any], Any]] = {
    "scorers": _scorers,
    "served-models": _texts,
    "parameters": _request_parameters,
    "judge": judge_table,
    **dict.fromkeys(("timeout-s", "sample-deadline-s", "requests-per-minute", "tokens-per-minute"), _float),
}
