"""A promptfoo configuration: prompts, the first OpenAI provider, tests with their variables and asserts.

Deterministic asserts become rules of the scorer `assertions`, `llm-rubric` criteria of `rubric`, and `similar` texts of
`similarity`, with a check that their threshold is reached. Those that need another model, code, a clock or a bill are
named, never dropped in silence. Files are read relative to the
configuration, as promptfoo does; nothing is executed.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import yaml

from aigate.core.json_text import JsonDefectError, strict_json
from aigate.core.sample import Sample
from aigate.errors import SuiteError
from aigate.goldens.assertions import assertion_defect
from aigate.goldens.jsonlines import read_json_lines
from aigate.goldens.parameters import WELL_KNOWN, parameter_defect
from aigate.goldens.peers.base import LeftOut, PeerSuite, checked_sample, compared, made_id, texts_of, unique_ids

__all__ = ["read"]

FILE = "file://"
CODE = (".js", ".cjs", ".mjs", ".ts", ".py", ".rb")
INPUTS = ("question", "input", "query", "prompt", "user_input", "message", "text", "request", "topic")
CONTEXTS = ("context", "contexts")
READ_KEYS = ("prompts", "providers", "targets", "tests", "defaultTest", "description", "$schema", "env", "tags")
TEST_KEYS = ("vars", "assert", "description", "threshold", "metadata", "options")
RULE_KEYS = ("type", "value", "threshold", "weight", "metric")
SHORTHAND = re.compile(r"((?:not-)?[a-z-]+)(?:\((-?[\d.]+)\))?:\s*(.*)", re.DOTALL)
RUBRIC, SIMILAR = "llm-rubric", "similar"
ALIKE = 0.75  # what `similar` must reach where nothing is said
# The metrics that asserts become, in the order in which the first that is there is the primary one.
SCORERS = {
    "assertions": '"assertions"',
    "rubric": '{ scorer = "rubric", criteria = "sample" }',
    "similarity": '"similarity"',
}
JUDGES = {"rubric": "version", "similarity": "embeddings"}  # the key of [judge] that a metric needs
EXAMPLES = {"rubric": "gpt-4o-mini/2024-07-18/v1", "similarity": "text-embedding/3-small/v1"}
DATED = re.compile(r"(.+?)-(\d{4}-\d{2}-\d{2})")
_VARIABLE = re.compile(r"(\{\{-?|\{%-?)(.*?)(-?\}\}|-?%\})", re.DOTALL)


@dataclass(frozen=True, slots=True)
class _Case:
    """One test with one value per variable.

    Attributes:
        place: Where it stands, for messages.
        values: The variables.
        rules: The asserts that the scorer `assertions` tries.
        criteria: Those that `rubric` grades.
        similar: The texts of which the answer must be like one.
        alike: How much.
        threshold: Share of the rules' weight that must hold; None: all must.
        description: What the test is called; empty without one.
        metadata: Its metadata.
    """

    place: str
    values: Mapping[str, Any]
    rules: tuple[Mapping[str, Any], ...]
    criteria: tuple[str, ...]
    similar: tuple[str, ...]
    alike: float
    threshold: float | None
    description: str
    metadata: Mapping[str, Any]


def read(source: Path) -> PeerSuite:
    """Read a configuration.

    Raises:
        SuiteError: It is no promptfoo configuration, or a file that it names cannot be read.
    """
    config = _loaded(source)
    if not isinstance(config, Mapping) or "tests" not in config:
        raise SuiteError(f"{source}: no 'tests' in it: it is no promptfoo configuration")
    left = LeftOut()
    for key in config:
        if key not in READ_KEYS:
            left.out(f"'{key}' of the configuration")
    cases = list(_cases(config, source, left))
    names = list(dict.fromkeys(name for case in cases for name in case.values))
    asked = next((name for name in INPUTS if name in names), names[0] if names else "")
    samples = _samples(cases, asked, source, left)
    version, options, parameters = _provider(config, left)
    prompts = dict(_prompts(config, source, names, asked, parameters, left))
    metrics = _metrics(cases)
    return PeerSuite(
        samples=samples,
        scorers=(*(SCORERS[metric] for metric in metrics), '"shape"'),
        checks=(*compared(*metrics), *_must_be_alike(cases)),
        primary_metric=metrics[0],
        version=f"{version}/{next(iter(prompts), 'v1')}",
        provider_options=options,
        prompts=prompts,
        left_out=left.lines(),
        notes=tuple(_notes(metrics)),
        judge={JUDGES[metric]: EXAMPLES[metric] for metric in metrics if metric in JUDGES},
    )


def _metrics(cases: Sequence[_Case]) -> list[str]:
    """The metrics that the cases need, the primary one first."""
    used = {
        "assertions": any(case.rules for case in cases),
        "rubric": any(case.criteria for case in cases),
        "similarity": any(case.similar for case in cases),
    }
    return [metric for metric, there in used.items() if there] or ["assertions"]


def _must_be_alike(cases: Sequence[_Case]) -> Iterator[str]:
    """A check per threshold of `similar`: every one of its samples reaches it, as promptfoo demands."""
    for alike in sorted({case.alike for case in cases if case.similar}):
        yield f'{{ check = "must-pass", tag = "{_alike_tag(alike)}", metric = "similarity", at-least = {alike:g} }}'


def _alike_tag(alike: float) -> str:
    return f"similar-{alike:g}"


def _notes(metrics: Sequence[str]) -> Iterator[str]:
    if "assertions" in metrics:
        kept = '{ check = "min-score", metric = "assertions", at-least = 1 }'
        yield f"promptfoo fails with one test; to keep that: {kept}"
    if "rubric" in metrics:
        yield "llm-rubric became criteria of 'rubric', which grades them by a judge: name one under [judge]"
    if "similarity" in metrics:
        local = '{ scorer = "similarity", model = "models/NAME" }'
        yield f"'similarity' needs an embedding model: name one under [judge], or one on disk: {local}"


# --- files ------------------------------------------------------------------------------------------------------------


def _loaded(path: Path) -> Any:
    """The content of a YAML or JSON file."""
    text = _text(path)
    try:
        return strict_json(text) if path.suffix == ".json" else yaml.safe_load(text)
    except JsonDefectError as found:
        raise SuiteError(f"{path}:{found.line or 1}: {found.message}", hint=found.hint) from None
    except yaml.YAMLError as found:
        mark = getattr(found, "problem_mark", None)
        line = 1 if mark is None else mark.line + 1
        raise SuiteError(f"{path}:{line}: invalid YAML: {getattr(found, 'problem', found)}") from None


def _text(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8-sig")
    except OSError as found:
        raise SuiteError(f"{path}: cannot be read: {found.strerror or found}") from None
    except UnicodeDecodeError as found:
        raise SuiteError(f"{path}: not UTF-8: byte {found.start + 1}", hint="save the file as UTF-8") from None


def _named(source: Path, text: str) -> Path:
    """The file that a configuration names.

    Raises:
        SuiteError: It lies outside the configuration's folder: an import reads no other file of the machine.
    """
    path = source.parent / text.removeprefix(FILE)
    if not path.resolve().is_relative_to(source.parent.resolve()):
        raise SuiteError(f"{source}: names {text!r}, which lies outside its folder", hint="copy the file beside it")
    return path


# --- tests ------------------------------------------------------------------------------------------------------------


def _cases(config: Mapping[str, Any], source: Path, left: LeftOut) -> Iterator[_Case]:
    default = config.get("defaultTest") or {}
    if isinstance(default, str):
        default = _loaded(_named(source, default))
    for number, test in enumerate(_tests(config["tests"], source, left), start=1):
        place = f"test {number}" + (f" ('{test['description']}')" if test.get("description") else "")
        for key in (*test, *default):
            if key not in TEST_KEYS:
                left.out(f"'{key}'", place)
        if test.get("options") or default.get("options"):
            options = {**(default.get("options") or {}), **(test.get("options") or {})}
            left.out(f"'options' ({', '.join(options)})", place)
        values = {**(default.get("vars") or {}), **(test.get("vars") or {})}
        threshold = test.get("threshold", default.get("threshold"))
        asserts = [*(test.get("assert") or []), *(default.get("assert") or [])]
        for expanded in _expanded(values, source, place, left):
            given = list(_readable(asserts, expanded, source, place, left))
            rules, criteria = tuple(_rules(given, place, left)), tuple(_criteria(given, place, left))
            similar, alike = _similar(given, place, left)
            if threshold is not None and (criteria or similar):
                left.out(f"'threshold' over {RUBRIC} and {SIMILAR}: it counts the other asserts", place)
            metadata = {**(default.get("metadata") or {}), **(test.get("metadata") or {})}
            description = str(test.get("description") or "")
            yield _Case(place, expanded, rules, criteria, similar, alike, threshold, description, metadata)


def _tests(given: Any, source: Path, left: LeftOut) -> Iterator[dict[str, Any]]:
    """Tests that stand in the configuration, or in files that it names."""
    for one in given if isinstance(given, list) else [given]:
        if isinstance(one, Mapping) and not {"path", "config"} >= set(one):
            yield dict(one)
        elif isinstance(one, str) and not one.endswith(CODE) and "://" not in one.removeprefix(FILE):
            for path in _files(_named(source, one), source):
                yield from _tests_of_file(path, left)
        else:
            left.out(
                f"tests from {one if isinstance(one, str) else json.dumps(one)}: they come out of code or the network"
            )


def _files(path: Path, source: Path) -> list[Path]:
    found = sorted(source.parent.glob(path.relative_to(source.parent).as_posix())) if "*" in path.name else [path]
    if not found:
        raise SuiteError(f"{source}: names {path.name}, and no file is called that")
    return found


def _tests_of_file(path: Path, left: LeftOut) -> Iterator[dict[str, Any]]:
    if path.suffix == ".csv":
        yield from _csv_tests(path, left)
    elif path.name.endswith((".jsonl", ".jsonl.gz")):
        yield from (_row_test(dict(row)) for _, row in read_json_lines(path))
    else:
        found = _loaded(path)
        yield from (_row_test(dict(row)) for row in (found if isinstance(found, list) else [found]))


def _row_test(row: dict[str, Any]) -> dict[str, Any]:
    return row if {"vars", "assert"} & row.keys() else {"vars": row}


def _csv_tests(path: Path, left: LeftOut) -> Iterator[dict[str, Any]]:
    """Columns are variables; `__expected` columns hold asserts in short."""
    for row in csv.DictReader(_text(path).splitlines(keepends=True), strict=True):
        test: dict[str, Any] = {"vars": {}, "assert": [], "metadata": {}}
        for name, value in row.items():
            if not name or value in (None, ""):
                continue
            if name.startswith("__expected"):
                test["assert"].append(_from_short(value))
            elif name == "__description":
                test["description"] = value
            elif name.startswith("__metadata:"):
                test["metadata"][name.removeprefix("__metadata:")] = value
            elif name.startswith("__"):
                left.out(f"column '{name}' of {path.name}")
            else:
                test["vars"][name] = value
        yield test


def _from_short(text: str) -> dict[str, Any]:
    """`contains: 45 days` as an assert; a text without a type is what the output must equal."""
    found = SHORTHAND.fullmatch(text)
    if found is None or found[1] in {"http", "https"}:
        bare = text.strip() in {"is-json", "contains-json"}
        return {"type": text.strip()} if bare else {"type": "equals", "value": text}
    kind, threshold, value = found.groups()
    parts: Any = value
    if kind.endswith(("-any", "-all")):
        parts = [part.strip() for part in next(csv.reader([value]))]
    return {"type": kind, "value": parts, **({"threshold": float(threshold)} if threshold else {})}


def _expanded(values: Mapping[str, Any], source: Path, place: str, left: LeftOut) -> Iterator[dict[str, Any]]:
    """One case per combination of the variables that are lists, as promptfoo makes them."""
    columns: list[list[Any]] = []
    for name, value in values.items():
        options = value if isinstance(value, list) else [value]
        columns.append([_value(one, source, f"variable '{name}' ", place, left) for one in options])
    for chosen in product(*columns):
        yield dict(zip(values, chosen, strict=True))


def _value(given: Any, source: Path, what: str, place: str, left: LeftOut) -> Any:
    """A variable's value; of a file its text."""
    if not isinstance(given, str) or not given.startswith(FILE):
        return given
    if given.endswith(CODE):
        left.out(f"{what}from {given}: it comes out of code", place)
        return ""
    path = _named(source, given)
    return _loaded(path) if path.suffix in {".json", ".yaml", ".yml"} else _text(path)


def _readable(
    asserts: Sequence[Any], values: Mapping[str, Any], source: Path, place: str, left: LeftOut
) -> Iterator[dict[str, Any]]:
    """The asserts with their values filled in; those that code or another setting decides are named."""
    for given in asserts:
        rule = _from_short(given) if isinstance(given, str) else dict(given)
        kind = rule.get("type", "?")
        if kind in {RUBRIC, SIMILAR} and rule.pop("provider", None) is not None:
            left.out(f"'provider' of assert {kind}: the judge is named in suite.toml", place)
        if more := [key for key in rule if key not in RULE_KEYS]:
            left.out(f"assert {kind} with {', '.join(more)}", place)
            continue
        value = rule.get("value")
        if isinstance(value, str) and value.startswith(FILE) and value.endswith(CODE):
            left.out(f"assert {kind} from {value}: it comes out of code", place)
            continue
        made = {key: rule[key] for key in ("type", "threshold", "weight") if rule.get(key) is not None}
        if value is not None:
            made["value"] = _rendered(_value(value, source, f"assert {kind} ", place, left), values)
        yield made


def _criteria(asserts: Sequence[dict[str, Any]], place: str, left: LeftOut) -> Iterator[str]:
    """The criteria that `rubric` grades, each once."""
    found: dict[str, None] = {}
    for rule in asserts:
        if rule.get("type") == RUBRIC and (texts := _judged_texts(rule, place, left)):
            if "threshold" in rule:
                left.out(f"'threshold' of assert {RUBRIC}: grades of 'rubric' have a scale of their own", place)
            found |= dict.fromkeys(texts)
    yield from found


def _similar(asserts: Sequence[dict[str, Any]], place: str, left: LeftOut) -> tuple[tuple[str, ...], float]:
    """The texts of the first `similar`, of which the answer must be like one, and how much."""
    found: list[tuple[tuple[str, ...], float]] = []
    for rule in asserts:
        if rule.get("type") != SIMILAR:
            continue
        alike = rule.get("threshold", ALIKE)
        if isinstance(alike, bool) or not isinstance(alike, int | float) or not 0 <= alike <= 1:
            left.out(f"assert {SIMILAR}: threshold is {alike!r}, expected a number in [0, 1]", place)
        elif found:
            left.out(f"assert {SIMILAR}, the second of its test: 'similarity' tells one likeness per answer", place)
        elif texts := _judged_texts(rule, place, left):
            found.append((texts, float(alike)))
    return found[0] if found else ((), ALIKE)


def _judged_texts(rule: Mapping[str, Any], place: str, left: LeftOut) -> tuple[str, ...]:
    """The text, or for `similar` the texts, of an assert that a model tries; none where it cannot be carried over."""
    kind, value = rule["type"], rule.get("value")
    given = [value] if isinstance(value, str) or kind == RUBRIC else value
    texts = texts_of(given)
    if not texts or texts != given:
        left.out(f"assert {kind} needs a text, got {value!r}", place)
    elif defect := _unrendered(rule):
        left.out(f"assert {kind}: {defect}", place)
    else:
        if rule.get("weight", 1) != 1:
            left.out(f"'weight' of assert {kind}: each metric is decided by itself", place)
        return tuple(texts)
    return ()


def _rules(asserts: Sequence[dict[str, Any]], place: str, left: LeftOut) -> Iterator[Mapping[str, Any]]:
    """The asserts that the scorer `assertions` can try; those that no scorer tries are named."""
    for made in asserts:
        kind = made.get("type", "?")
        if kind in {RUBRIC, SIMILAR}:
            continue
        if kind.removeprefix("not-") in {"is-json", "contains-json"} and isinstance(made.get("value"), str):
            made["value"] = yaml.safe_load(made["value"])
        if kind.endswith(("-any", "-all")) and isinstance(made.get("value"), str):
            made["value"] = [part.strip() for part in next(csv.reader([made["value"]]))]
        if defect := assertion_defect(made) or _unrendered(made):
            left.out(f"assert {kind}: {defect}", place)
            continue
        yield made


def _rendered(value: Any, values: Mapping[str, Any]) -> Any:
    """A value with `{{ name }}` filled in."""
    if isinstance(value, str):
        return re.sub(r"\{\{\s*(\w+)\s*\}\}", lambda m: str(values[m[1]]) if m[1] in values else m[0], value)
    if isinstance(value, list):
        return [_rendered(one, values) for one in value]
    if isinstance(value, dict):
        return {key: _rendered(one, values) for key, one in value.items()}
    return value


def _unrendered(rule: Mapping[str, Any]) -> str:
    return "its value is a template" if re.search(r"\{\{|\{%", json.dumps(rule.get("value"))) else ""


def _samples(cases: Sequence[_Case], asked: str, source: Path, left: LeftOut) -> tuple[Sample, ...]:
    kept = []
    for case in cases:
        if asked and case.values.get(asked) in (None, ""):
            left.out(f"nothing is asked: its variable '{asked}' is empty", case.place)
        else:
            kept.append(case)
    ids = unique_ids(_id(case) for case in kept)
    return tuple(_sample(case, id_, asked, source) for case, id_ in zip(kept, ids, strict=True))


def _id(case: _Case) -> str:
    """The test's description as an id, where it has one."""
    plain = re.sub(r"[^a-z0-9]+", "-", case.description.lower()).strip("-")[:60]
    return plain or made_id(case.values)


def _sample(case: _Case, id_: str, asked: str, source: Path) -> Sample:
    contexts = [str(text) for name in CONTEXTS if (text := case.values.get(name)) and name != asked]
    rest = {name: value for name, value in case.values.items() if name != asked and name not in CONTEXTS}
    reference: dict[str, Any] = {"assert": [dict(rule) for rule in case.rules]} if case.rules else {}
    if case.threshold is not None and case.rules:
        reference["threshold"] = case.threshold
    reference |= {key: list(texts) for key, texts in (("criteria", case.criteria), ("similar", case.similar)) if texts}
    given = case.values.get(asked)
    return checked_sample(
        f"{source}: {case.place}",
        id=id_,
        input=given if isinstance(given, str) else json.dumps(given if asked else case.description, ensure_ascii=False),
        reference=reference,
        tags=[_alike_tag(case.alike)] if case.similar else [],
        contexts=contexts,
        metadata={**rest, **case.metadata, **({"description": case.description} if case.description else {})},
    )


# --- provider and prompts ---------------------------------------------------------------------------------------------


def _provider(config: Mapping[str, Any], left: LeftOut) -> tuple[str, dict[str, Any], dict[str, Any]]:
    """Model and provider version, options of the provider, and request parameters: of the first OpenAI provider."""
    listed = config.get("providers", config.get("targets")) or []
    listed = listed if isinstance(listed, list) else [listed]
    chosen: tuple[str, dict[str, Any]] | None = None
    for one in listed:
        name, settings = _one_provider(one)
        if chosen is None and name.startswith("openai:"):
            chosen = (name.rpartition(":")[2], settings)
        else:
            left.out(
                f"provider {name}: {'one version is run at a time' if name.startswith('openai:') else 'not OpenAI'}"
            )
    if chosen is None:
        return "gpt-4o/2024-11-20", {}, {}
    model, settings = chosen
    parameters = {}
    for key, value in settings.items():
        if key in WELL_KNOWN and not parameter_defect(key, value):
            parameters[key] = value
        else:
            left.out(f"setting '{key}' of provider openai:{model}")
    if dated := DATED.fullmatch(model):
        return f"{dated[1]}/{dated[2]}", {}, parameters
    return f"{model}/undated", {"model": model}, parameters


def _one_provider(given: Any) -> tuple[str, dict[str, Any]]:
    if isinstance(given, Mapping):
        if "id" not in given and len(given) == 1:
            name, more = next(iter(given.items()))
            return str(name), dict((more or {}).get("config") or {})
        return str(given.get("id")), dict(given.get("config") or {})
    return str(given), {}


def _prompts(
    config: Mapping[str, Any],
    source: Path,
    names: Sequence[str],
    asked: str,
    parameters: Mapping[str, Any],
    left: LeftOut,
) -> Iterator[tuple[str, str]]:
    """Each prompt as `v1`, `v2`, ... with its template in our names."""
    given = config.get("prompts") or []
    number = 0
    for one in given if isinstance(given, list) else [given]:
        for text in _prompt_texts(one, source, left):
            body = _messages(text)
            if body is None:
                left.out(f"prompt {number + 1}: its messages are built by a template")
                continue
            number += 1
            front = yaml.safe_dump(dict(parameters), sort_keys=False) if parameters else ""
            yield (
                f"v{number}",
                f"---\ndescription: Imported from promptfoo.\n{front}---\n{_renamed(body, names, asked)}\n",
            )


def _prompt_texts(given: Any, source: Path, left: LeftOut) -> Iterator[str]:
    if isinstance(given, Mapping):
        given = given.get("raw") or given.get("id") or ""
    text = str(given)
    file_like = text.startswith(FILE) or re.fullmatch(r"[\w./*-]+\.(txt|md|json|ya?ml|j2)", text)
    if text.endswith(CODE) or text.startswith("exec:"):
        left.out(f"prompt {text}: it comes out of code")
    elif not file_like:
        yield text
    else:
        for path in _files(_named(source, text), source):
            yield from _parts(path)


def _parts(path: Path) -> list[str]:
    """The prompts of a file: in a text file, lines of three dashes stand between them."""
    text = _text(path)
    if path.suffix != ".txt":
        return [text]
    return [part.strip() for part in re.split(r"^---[ \t]*$", text, flags=re.MULTILINE) if part.strip()]


def _messages(text: str) -> str | None:
    """Chat messages in JSON or YAML as role lines; other text as it is; None where messages cannot be told apart."""
    if not re.match(r"\s*(\[\s*\{|-\s+role:)", text):
        return text
    try:
        found = yaml.safe_load(text)
        return "\n\n".join(f"{message['role']}:\n{message['content']}" for message in found)
    except (yaml.YAMLError, KeyError, TypeError):
        return None


def _renamed(body: str, names: Sequence[str], asked: str) -> str:
    """The template in our names: the question is `input`, a context is in `contexts`, all else in `metadata`."""

    def ours(name: str) -> str:
        if name == asked:
            return "input"
        return 'contexts | join("\\n\\n")' if name in CONTEXTS else f"metadata.{name}"

    def renamed(found: re.Match[str]) -> str:
        inside = found[2]
        for name in names:
            inside = re.sub(rf"(?<![\w.'\"]){re.escape(name)}(?![\w'\"])", lambda _: ours(name), inside)  # noqa: B023
        return f"{found[1]}{inside}{found[3]}"

    return _VARIABLE.sub(renamed, body)
