"""The scorer `contract`: whether an output has the form that the code behind it reads.

A model change that keeps the words and breaks the form (JSON becomes JSON in a code fence) breaks the product, so this
is the scorer to run on every provider-version bump.

===============  ======================================================================================================
option           rule
===============  ======================================================================================================
`schema`         the output is JSON that the JSON Schema accepts; default: the suite's contract.json. With
                 `parses-as = "jsonl"` every line is
`regex`          the whole output matches; with `search = true`, some part of it does
`choices`        the output is one of these strings; `case = "fold"`: capital and small letters are the same
`parses-as`      json, jsonl, number, integer, date (YYYY-MM-DD), python, toml, yaml, csv or xml
`max-chars`      at most so many characters
`allow-fence`    true: an output that stands in one code fence is judged by the fence's content. Default false: such an
                 output breaks the contract, whatever stands in the fence
`metric`         the metric's name (contract)
===============  ======================================================================================================

Space around the output breaks no rule but `max-chars`. JSON is strict: no duplicate keys, no NaN. `yaml` asks for a
mapping or a sequence and `csv` for two columns and rows of equal length, since any prose would pass otherwise. `python`
is parsed, never run. `xml` may hold no DOCTYPE, hence no entities.

A regular expression can take exponential time on an output made for it, and Python cannot stop it: write patterns
without nested repetition (`(a+)+`). Outputs of more than 20,000 characters are not matched and break the contract.
"""

from __future__ import annotations

import ast
import csv
import re
import tomllib
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from itertools import islice
from typing import Any
from xml.parsers import expat

from aigate.core.digest import canonical_json
from aigate.core.json_text import strict_json
from aigate.core.response import Response
from aigate.core.sample import Sample
from aigate.core.score import MetricSpec, Score, ScoreOrNot, Unscored
from aigate.errors import ConfigError
from aigate.scorers.base import Scorer, ScorerSettings
from aigate.scorers.options import (
    count_option,
    flag_option,
    metric_option,
    pattern_option,
    texts_option,
    word_option,
)
from aigate.scorers.reading import output_of, shown, shown_words, whole_fence

__all__ = ["Contract", "Rules", "from_settings"]

REGEX_CHARS = 20_000
PARSE_CHARS = 1_000_000
SLOW_PARSE_CHARS = 100_000  # these parsers are written in Python: a megabyte would take half a minute
SLOW_FORMATS = frozenset({"toml", "yaml"})
VIOLATIONS_SHOWN = 3
VIOLATIONS_KEPT = 20
FORMATS = ("date", "email", "ipv4", "ipv6", "regex", "uuid")

_INTEGER = re.compile(r"[+-]?\d+", re.ASCII)
_NUMBER = re.compile(r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?", re.ASCII)
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
_TIME_OF_DAY = r"\d{2}:\d{2}:\d{2}(?:\.\d+)?(?:[zZ]|[+-]\d{2}:\d{2})"
_DATE_TIME = re.compile(rf"\d{{4}}-\d{{2}}-\d{{2}}[Tt ]{_TIME_OF_DAY}", re.ASCII)
_TIME = re.compile(_TIME_OF_DAY, re.ASCII)


def from_settings(settings: ScorerSettings) -> Scorer:
    """Make the scorer.

    Formats checked in a schema: date, date-time, time, email, ipv4, ipv6, regex, uuid; any other is a note without
    effect, as JSON Schema allows, on every machine alike. A `$ref` must point into the schema itself: nothing is
    ever fetched.

    Raises:
        ConfigError: No rule at all, an unknown option or a wrong value, a schema that is none, or a `$ref` that leads
            nowhere.
    """
    settings.only("metric", "schema", "regex", "search", "choices", "case", "parses-as", "allow-fence", "max-chars")
    rules = _rules(settings)
    metric = metric_option(settings, "contract")
    spec = MetricSpec(metric, "contract", options={"metric": metric, **rules.options()})
    validator = None if rules.schema is None else _validator(settings.name, rules.schema)
    return Contract(spec, rules, validator)


@dataclass(frozen=True, slots=True)
class Rules:
    """What a contract asks for; None where it asks for nothing. See the table at the top of the module."""

    schema: Any
    regex: re.Pattern[str] | None
    search: bool
    choices: tuple[str, ...] | None
    case: str
    parses_as: str | None
    allow_fence: bool
    max_chars: int | None

    def options(self) -> dict[str, Any]:
        """The options they were read from, defaults filled in; `schema` only where there is one."""
        whole: dict[str, Any] = {
            "regex": None if self.regex is None else self.regex.pattern,
            "search": self.search,
            "choices": None if self.choices is None else list(self.choices),
            "case": self.case,
            "parses-as": self.parses_as,
            "allow-fence": self.allow_fence,
            "max-chars": self.max_chars,
        }
        return whole if self.schema is None else {**whole, "schema": self.schema}


@dataclass(frozen=True, slots=True)
class Finding:
    """What one rule found: `problems` is empty where it holds."""

    rule: str
    problems: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        return {"rule": self.rule, "held": not self.problems, "problems": list(self.problems)}


@dataclass(frozen=True)
class Contract:
    """1.0 when every rule holds, else 0.0. An output that does not parse at all is unparseable.

    The explanation names the first violations (with their JSON path), `details["rules"]` every rule and what it found.
    """

    spec: MetricSpec
    rules: Rules
    validator: Any = field(compare=False, repr=False)

    def applies_to(self, sample: Sample) -> Unscored | None:  # noqa: ARG002
        """Every sample: a contract needs no reference."""
        return None

    def score(self, sample: Sample, response: Response) -> ScoreOrNot:  # noqa: ARG002
        """Hold the output against every rule."""
        output = output_of(response)
        fence = whole_fence(output)
        text = (output if fence is None else fence.content).strip()
        try:
            values = self._parsed(text)
        except ValueError as error:
            return Unscored("unparseable", f"expected {self._format}, got {shown(output)}: {shown(str(error), 120)}")
        try:
            findings = list(self._findings(output, text, values, fenced=fence is not None))
        except (ArithmeticError, RecursionError) as error:
            return Unscored("judge_error", f"the schema could not be applied to {shown(output)}: {error!r}")
        return _scored(findings, output)

    @property
    def _format(self) -> str:
        return self.rules.parses_as or "json"

    def _parsed(self, text: str) -> list[Any]:
        """The values that the schema judges; the output is not parsed where no rule asks for it."""
        if self.rules.parses_as is None and self.rules.schema is None:
            return []
        limit = SLOW_PARSE_CHARS if self._format in SLOW_FORMATS else PARSE_CHARS
        if len(text) > limit:
            raise ValueError(f"{len(text)} characters, at most {limit} are read")
        return PARSERS[self._format](text)

    def _findings(self, output: str, text: str, values: list[Any], *, fenced: bool) -> Iterator[Finding]:
        rules = self.rules
        if not rules.allow_fence:
            yield Finding("no fence", ("the output stands in a code fence",) if fenced else ())
        if rules.max_chars is not None:
            problem = f"the output has {len(output)} characters, expected at most {rules.max_chars}"
            yield Finding("max-chars", () if len(output) <= rules.max_chars else (problem,))
        if rules.parses_as is not None:
            yield Finding("parses-as", ())
        if self.validator is not None:
            yield Finding("schema", tuple(_schema_problems(self.validator, values, lines=self._format == "jsonl")))
        if rules.regex is not None:
            yield Finding("regex", _regex_problems(rules.regex, text, search=rules.search))
        if rules.choices is not None:
            yield Finding("choices", _choice_problems(rules.choices, text, fold=rules.case == "fold"))


def _rules(settings: ScorerSettings) -> Rules:
    rules = Rules(
        schema=settings.options.get("schema", settings.contract),
        regex=pattern_option(settings, "regex"),
        search=flag_option(settings, "search"),
        choices=texts_option(settings, "choices"),
        case=word_option(settings, "case", ("keep", "fold"), default="keep") or "keep",
        parses_as=word_option(settings, "parses-as", tuple(PARSERS), default=None),
        allow_fence=flag_option(settings, "allow-fence"),
        max_chars=count_option(settings, "max-chars"),
    )
    asked = (rules.schema, rules.regex, rules.choices, rules.parses_as, rules.max_chars)
    if all(rule is None for rule in asked):
        raise ConfigError(
            f"scorer '{settings.name}' asks for nothing, expected a contract.json in the suite, or an option",
            hint="give one of: schema, regex, choices, parses-as, max-chars",
        )
    if rules.schema is not None and rules.parses_as not in {None, "json", "jsonl"}:
        raise ConfigError(
            f"scorer '{settings.name}': a schema judges JSON, but 'parses-as' is {rules.parses_as!r}",
            hint='leave out the schema (contract.json), or write parses-as = "json"',
        )
    return rules


def _validator(scorer: str, schema: Any) -> Any:
    """A validator that knows this schema alone and has no way to fetch anything else."""
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import SchemaError
    from jsonschema.validators import validator_for
    from referencing.jsonschema import EMPTY_REGISTRY

    if not isinstance(schema, Mapping | bool):
        raise ConfigError(
            f"scorer '{scorer}': the schema is no JSON Schema: got {shown(repr(schema))}, expected an object",
            hint="correct contract.json or the option 'schema'",
        )
    kind: Any = validator_for(schema, default=Draft202012Validator)
    try:
        canonical_json(schema)
        kind.check_schema(schema)
    except (SchemaError, ValueError, RecursionError) as error:
        problem = f"{error.json_path}: {error.message}" if isinstance(error, SchemaError) else str(error)
        raise ConfigError(
            f"scorer '{scorer}': the schema is no JSON Schema: {shown(problem)}",
            hint="correct contract.json or the option 'schema'",
        ) from None
    _refuse_dangling(scorer, schema, kind)
    return kind(schema, registry=EMPTY_REGISTRY, format_checker=_format_checker())


def _refuse_dangling(scorer: str, schema: Any, kind: Any) -> None:
    """Refuse a `$ref` out of the schema, which would otherwise be noticed only by the first output that meets it."""
    from referencing.exceptions import Unresolvable
    from referencing.jsonschema import DRAFT202012, EMPTY_REGISTRY, specification_with

    dialect = specification_with(kind.META_SCHEMA.get("$id", kind.META_SCHEMA.get("id", "")), default=DRAFT202012)
    resource = dialect.create_resource(schema)
    waiting = [(EMPTY_REGISTRY.resolver_with_root(resource), resource)]
    while waiting:
        resolver, part = waiting.pop()
        for keyword in ("$ref", "$dynamicRef"):
            target = part.contents.get(keyword) if isinstance(part.contents, Mapping) else None
            try:
                if isinstance(target, str):
                    resolver.lookup(target)
            except Unresolvable:
                raise ConfigError(
                    f"scorer '{scorer}': the schema's {keyword} {target!r} leads nowhere; nothing is ever fetched",
                    hint="copy what it names into '$defs' and point there",
                ) from None
        waiting.extend((resolver.in_subresource(inner), inner) for inner in part.subresources())


def _format_checker() -> Any:
    from jsonschema import FormatChecker

    checker = FormatChecker(formats=FORMATS)
    checker.checks("date-time", raises=ValueError)(_is_date_time)
    checker.checks("time", raises=ValueError)(_is_time)
    return checker


def _is_date_time(value: object) -> bool:
    if not isinstance(value, str):
        return True
    return bool(_DATE_TIME.fullmatch(value) and datetime.fromisoformat(value.upper()))


def _is_time(value: object) -> bool:
    if not isinstance(value, str):
        return True
    return bool(_TIME.fullmatch(value) and datetime.fromisoformat(f"2000-01-01T{value.upper()}"))


def _schema_problems(validator: Any, values: list[Any], *, lines: bool) -> Iterator[str]:
    for number, value in enumerate(values, 1):
        errors = sorted(islice(validator.iter_errors(value), VIOLATIONS_KEPT), key=lambda error: str(error.json_path))
        for error in errors:
            where = f"line {number}: " if lines else ""
            yield f"{where}{error.json_path}: {_readable(error.message)}"


def _readable(message: str) -> str:
    return message if len(message) <= 160 and message.isprintable() else shown(message, 160)


def _regex_problems(pattern: re.Pattern[str], text: str, *, search: bool) -> tuple[str, ...]:
    if len(text) > REGEX_CHARS:
        return (f"the output has {len(text)} characters, a regex is matched against at most {REGEX_CHARS}",)
    if search:
        return () if pattern.search(text) else (f"nothing in the output matches {shown(pattern.pattern, 100)}",)
    return () if pattern.fullmatch(text) else (f"the whole output does not match {shown(pattern.pattern, 100)}",)


def _choice_problems(choices: tuple[str, ...], text: str, *, fold: bool) -> tuple[str, ...]:
    held = text.casefold() in {choice.strip().casefold() for choice in choices} if fold else text in _stripped(choices)
    return () if held else (f"the output is none of {shown_words(choices)}",)


def _stripped(choices: tuple[str, ...]) -> set[str]:
    return {choice.strip() for choice in choices}


def _scored(findings: list[Finding], output: str) -> Score:
    details = {"rules": [finding.to_dict() for finding in findings]}
    problems = [problem for finding in findings for problem in finding.problems]
    if not problems:
        held = ", ".join(finding.rule for finding in findings)
        return Score(1.0, f"every rule holds ({held}) for {shown(output, 100)}", details=details)
    more = f"; and {len(problems) - VIOLATIONS_SHOWN} more" if len(problems) > VIOLATIONS_SHOWN else ""
    return Score(0.0, f"{'; '.join(problems[:VIOLATIONS_SHOWN])}{more}; got {shown(output, 100)}", details=details)


def _parse_json(text: str) -> list[Any]:
    return [strict_json(text)]


def _parse_jsonl(text: str) -> list[Any]:
    values = []
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            values.append(strict_json(line))
        except ValueError as error:
            raise ValueError(f"line {number}: {error}") from None
    if not values:
        raise ValueError("no line")
    return values


def _parse_number(text: str) -> list[Any]:
    return _matching(_NUMBER, text)


def _parse_integer(text: str) -> list[Any]:
    return _matching(_INTEGER, text)


def _parse_date(text: str) -> list[Any]:
    _matching(_DATE, text)
    date.fromisoformat(text)
    return []


def _parse_python(text: str) -> list[Any]:
    # Warnings about odd escapes in a model's code say nothing about whether it parses.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            tree = ast.parse(text)
        except (SyntaxError, RecursionError, MemoryError) as error:
            raise ValueError(str(error) or "nested too deeply") from None
    if not tree.body:
        raise ValueError("no statement")
    return []


def _parse_toml(text: str) -> list[Any]:
    try:
        table = tomllib.loads(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if not table:
        raise ValueError("no key")
    return []


def _parse_yaml(text: str) -> list[Any]:
    """Composed into nodes, never into objects: merge keys and aliases of a hostile text are not expanded."""
    import yaml

    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except (yaml.YAMLError, RecursionError) as error:
        raise ValueError(str(error) or "nested too deeply") from None
    if not isinstance(node, yaml.CollectionNode):
        raise ValueError("neither a mapping nor a sequence")  # noqa: TRY004
    return []


def _parse_csv(text: str) -> list[Any]:
    try:
        widths = [len(row) for row in csv.reader(text.splitlines(keepends=True), strict=True) if row]
    except csv.Error as error:
        raise ValueError(str(error)) from None
    if not widths or min(widths) < 2:
        raise ValueError("fewer than two columns")
    if len(set(widths)) > 1:
        raise ValueError(f"rows of {min(widths)} and of {max(widths)} columns")
    return []


def _parse_xml(text: str) -> list[Any]:
    parser = expat.ParserCreate(encoding="utf-8")
    parser.StartDoctypeDeclHandler = _refuse_doctype
    try:
        parser.Parse(text.encode("utf-8"), True)  # noqa: FBT003
    except expat.ExpatError as error:
        raise ValueError(str(error)) from None
    return []


def _refuse_doctype(*_: Any) -> None:
    raise ValueError("a DOCTYPE is not allowed")


def _matching(pattern: re.Pattern[str], text: str) -> list[Any]:
    if pattern.fullmatch(text):
        return []
    raise ValueError("another form")


PARSERS: Mapping[str, Callable[[str], list[Any]]] = {
    "json": _parse_json,
    "jsonl": _parse_jsonl,
    "number": _parse_number,
    "integer": _parse_integer,
    "date": _parse_date,
    "python": _parse_python,
    "toml": _parse_toml,
    "yaml": _parse_yaml,
    "csv": _parse_csv,
    "xml": _parse_xml,
}
"""Text to the values a schema may judge; raises ValueError where the text is not of that form."""
