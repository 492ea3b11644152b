"""Rules that a sample brings itself: what they may be, and whether an output keeps them (scorer `assertions`)."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from aigate.core.digest import canonical_json
from aigate.core.json_text import strict_json

__all__ = ["TYPES", "assertion_defect", "assertion_holds", "assertion_shown", "assertion_weight"]

MOST_CHARS = 20_000
MOST_JSON_STARTS = 1_000  # brackets from which JSON is tried to be read
NEAR = 5  # edits that `levenshtein` allows where nothing is said
SHOWN_CHARS = 80


def assertion_defect(rule: Any) -> str:
    """Why a rule cannot be tried; empty where it can.

    >>> assertion_defect({"type": "contains", "value": "45 days"})
    ''
    >>> assertion_defect({"type": "llm-rubric", "value": "polite"})
    "unknown type 'llm-rubric'"
    """
    if not isinstance(rule, Mapping) or not isinstance(rule.get("type"), str):
        return "a rule is an object with a type"
    kind = _base(rule["type"])
    if kind not in TYPES:
        return f"unknown type {rule['type']!r}"
    weight = rule.get("weight", 1)
    if isinstance(weight, bool) or not isinstance(weight, int | float) or not weight >= 0:
        return f"{rule['type']}: weight is {weight!r}, expected a number of at least 0"
    return TYPES[kind].defect(rule)


def assertion_weight(rule: Mapping[str, Any]) -> float:
    """The share of the whole that a rule counts for."""
    return float(rule.get("weight", 1))


def _base(kind: str) -> str:
    return kind.removeprefix("not-")


def assertion_holds(rule: Mapping[str, Any], output: str) -> bool:
    """Whether an output keeps a rule that has no defect."""
    return TYPES[_base(rule["type"])].holds(rule, output) is not rule["type"].startswith("not-")


def assertion_shown(rule: Mapping[str, Any]) -> str:
    """A rule in few words."""
    value = rule.get("value")
    return rule["type"] if value is None else f"{rule['type']} {_brief(_text(value))!r}"


def _brief(text: str) -> str:
    return text if len(text) <= SHOWN_CHARS else f"{text[:SHOWN_CHARS]} ..."


def _text(value: Any) -> str:
    return value if isinstance(value, str) else canonical_json(value)


@dataclass(frozen=True, slots=True)
class _Type:
    """How rules of one type are checked and tried."""

    holds: Callable[[Mapping[str, Any], str], bool]
    defect: Callable[[Mapping[str, Any]], str]


def _equals(rule: Mapping[str, Any], output: str) -> bool:
    value = rule["value"]
    if not isinstance(value, dict | list):
        return output == _text(value)
    try:
        return canonical_json(_folded(strict_json(output))) == canonical_json(_folded(value))
    except ValueError:
        return False


def _folded(value: Any) -> Any:
    """The value with 1.0 as 1: JSON knows one kind of number."""
    if isinstance(value, dict):
        return {key: _folded(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_folded(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _contains(found: Callable[[Iterator[bool]], bool], *, fold: bool) -> Callable[[Mapping[str, Any], str], bool]:
    def holds(rule: Mapping[str, Any], output: str) -> bool:
        value = rule["value"]
        values = [_text(one) for one in (value if isinstance(value, list) else [value])]
        text = output.lower() if fold else output
        return found((one.lower() if fold else one) in text for one in values)

    return holds


def _regex(rule: Mapping[str, Any], output: str) -> bool:
    return len(output) <= MOST_CHARS and re.search(rule["value"], output) is not None


def _is_json(rule: Mapping[str, Any], output: str) -> bool:
    try:
        return _accepted(rule, strict_json(output))
    except ValueError:
        return False


def _contains_json(rule: Mapping[str, Any], output: str) -> bool:
    return any(_accepted(rule, found) for found in _json_in(output))


def _json_in(output: str) -> Iterator[Any]:
    """Objects and arrays that stand in a text, each from its first bracket."""
    decoder, end = json.JSONDecoder(), 0
    for number, start in enumerate(re.finditer(r"[{\[]", output)):
        if number >= MOST_JSON_STARTS:
            return
        if start.start() >= end:
            try:
                value, end = decoder.raw_decode(output, start.start())
            except (ValueError, RecursionError):
                continue
            yield value


def _accepted(rule: Mapping[str, Any], value: Any) -> bool:
    schema = rule.get("value")
    if schema is None:
        return True
    from jsonschema.validators import Draft202012Validator, validator_for

    return bool(validator_for(schema, default=Draft202012Validator)(schema).is_valid(value))


def _word_count(rule: Mapping[str, Any], output: str) -> bool:
    words, value = len(output.split()), rule["value"]
    if isinstance(value, Mapping):
        return bool(value.get("min", 0) <= words <= value.get("max", words))
    return bool(words == value)


def _levenshtein(rule: Mapping[str, Any], output: str) -> bool:
    value, most = _text(rule["value"]), rule.get("threshold", NEAR)
    if abs(len(value) - len(output)) > most or max(len(value), len(output)) > MOST_CHARS:
        return False
    return bool(_edits(value, output) <= most)


def _edits(first: str, second: str) -> int:
    """Single-character insertions, deletions and replacements between two texts (Wagner and Fischer 1974)."""
    row = list(range(len(second) + 1))
    for above, character in enumerate(first, start=1):
        before, row[0] = row[0], above
        for place, other in enumerate(second, start=1):
            before, row[place] = row[place], min(row[place] + 1, row[place - 1] + 1, before + (character != other))
    return row[-1]


def _needs_value(rule: Mapping[str, Any]) -> str:
    return "" if rule.get("value") is not None else f"{rule['type']} needs a value"


def _needs_text(rule: Mapping[str, Any]) -> str:
    value = rule.get("value")
    sound = isinstance(value, str | int | float) and not isinstance(value, bool) and value != ""
    return "" if sound else f"{rule['type']} needs a text that is not empty, got {value!r}"


def _needs_texts(rule: Mapping[str, Any]) -> str:
    value = rule.get("value")
    sound = isinstance(value, list) and value and all(isinstance(one, str | int | float) and one != "" for one in value)
    return "" if sound else f"{rule['type']} needs a list of texts, got {value!r}"


def _needs_pattern(rule: Mapping[str, Any]) -> str:
    value = rule.get("value")
    if not isinstance(value, str) or not value:
        return f"regex needs a pattern, got {value!r}"
    try:
        re.compile(value)
    except (re.error, OverflowError, RecursionError) as error:
        return f"regex {value!r}: {error}"
    return ""


def _needs_schema(rule: Mapping[str, Any]) -> str:
    schema = rule.get("value")
    if schema is None:
        return ""
    if not isinstance(schema, dict | bool):
        return f"{rule['type']} needs a JSON Schema, got {schema!r}"
    from jsonschema.exceptions import SchemaError
    from jsonschema.validators import Draft202012Validator, validator_for

    try:
        validator_for(schema, default=Draft202012Validator).check_schema(schema)  # type: ignore[arg-type]
    except SchemaError as error:
        return f"{rule['type']}: {error.message}"
    return "" if "$ref" not in canonical_json(schema) else f"{rule['type']}: a schema with $ref is not followed"


def _needs_count(rule: Mapping[str, Any]) -> str:
    value = rule.get("value")
    numbers = list(value.values()) if isinstance(value, Mapping) else [value]
    known = not isinstance(value, Mapping) or (value and set(value) <= {"min", "max"})
    sound = known and all(isinstance(n, int | float) and not isinstance(n, bool) for n in numbers)
    return "" if sound else f"word-count needs a number, or min and max, got {value!r}"


TYPES: Mapping[str, _Type] = {
    "equals": _Type(_equals, _needs_value),
    "contains": _Type(_contains(any, fold=False), _needs_text),
    "icontains": _Type(_contains(any, fold=True), _needs_text),
    "contains-any": _Type(_contains(any, fold=False), _needs_texts),
    "icontains-any": _Type(_contains(any, fold=True), _needs_texts),
    "contains-all": _Type(_contains(all, fold=False), _needs_texts),
    "icontains-all": _Type(_contains(all, fold=True), _needs_texts),
    "starts-with": _Type(lambda rule, output: output.startswith(_text(rule["value"])), _needs_text),
    "ends-with": _Type(lambda rule, output: output.endswith(_text(rule["value"])), _needs_text),
    "regex": _Type(_regex, _needs_pattern),
    "is-json": _Type(_is_json, _needs_schema),
    "contains-json": _Type(_contains_json, _needs_schema),
    "word-count": _Type(_word_count, _needs_count),
    "levenshtein": _Type(_levenshtein, _needs_text),
}
"""Every type of rule that can be tried without asking anybody."""
