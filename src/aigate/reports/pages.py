"""What a name means: a page per check, rule, scorer, reason code and exit code, made from the words of the code."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, field, fields
from functools import cache
from importlib import import_module
from typing import Any

from aigate.core.registry import nearest
from aigate.core.verdict import Status
from aigate.errors import UsageError
from aigate.gating import comparison, integrity, margins, people
from aigate.gating.advice import ADVICE
from aigate.gating.checks.base import CHECKS
from aigate.gating.reasons import REASONS
from aigate.scorers.base import SCORERS

__all__ = ["KINDS", "Page", "as_markdown", "as_text", "pages_of"]

# What stands in an example where an option has no default.
EXAMPLES: Mapping[str, str] = {"metric": '"includes"', "tag": '"safety"', "at-least": "0.85", "at-most": "0.01"}
# Checks of which one of several options must be given, and the one to show.
SHOWN = {"max-cost": {"relative": "1.10"}, "max-latency": {"quantile": "0.95", "seconds": "5"}}
EXIT_CODES: Mapping[str, tuple[str, str]] = {
    str(Status.PASS.exit_code): (
        "pass: every check passed. Only this code may deploy.",
        "ship it, or make it the baseline: aigate baseline promote RUN",
    ),
    str(Status.FAIL.exit_code): (
        "fail: the candidate is worse than the policy allows.",
        "read the samples that moved: aigate report RUN",
    ),
    str(UsageError.exit_code): (
        "usage or configuration: a flag, a setting or a file is wrong; nothing was judged.",
        "do what the message says after 'next:', and run again",
    ),
    str(Status.INCONCLUSIVE.exit_code): (
        "inconclusive: the evidence does not settle it. It may not deploy.",
        "add samples or repeats, as the verdict says, or allow a larger margin in suite.toml, where it is reviewed",
    ),
    str(Status.ERROR.exit_code): (
        "error: the gate could not judge: no baseline, runs that are not comparable, no answers. It may not deploy.",
        "do what the verdict says after 'next:'; its reason code has a page of its own",
    ),
    "130": ("interrupted: stopped by Ctrl-C, or by the end of a job.", "the same command with --resume goes on"),
}
_SECTION = re.compile(r"(Args|Attributes|Returns|Raises|Yields):\s*")


@dataclass(frozen=True, slots=True)
class Page:
    """What there is to say of one name.

    Attributes:
        kind: `check`, `rule`, `scorer`, `reason code` or `exit code`.
        name: The name.
        summary: One sentence or more, on one line.
        body: Further paragraphs, in the words of the source.
        options: What each option means.
        related: Of a check or rule the reason codes it gives; of a reason code the checks and rules that give it.
        example: How it is written in suite.toml; empty where it is not written.
        next_step: What to do about it; empty where nothing is to be done.
    """

    kind: str
    name: str
    summary: str
    body: str = ""
    options: Mapping[str, str] = field(default_factory=dict)
    related: tuple[str, ...] = ()
    example: str = ""
    next_step: str = ""


def pages_of(name: str) -> tuple[Page, ...]:
    """The pages of a name: several where a check and a reason code share it.

    Raises:
        UsageError: Nothing is called that; names the nearest that is.
    """
    found = tuple(kind.page(name) for kind in KINDS.values() if name in kind.names())
    if not found:
        known = sorted({known for kind in KINDS.values() for known in kind.names()})
        raise UsageError(f"nothing is called '{name}'", hint=nearest(name, known, kind="names"))
    return found


def as_text(page: Page) -> str:
    """The page for a terminal, ending in a newline."""
    lines = [f"{page.name} ({page.kind})", "", page.summary]
    lines += ["", page.body] if page.body else []
    if page.options:
        widest = max(map(len, page.options))
        lines += ["", "options:", *(f"  {name:<{widest}}  {meaning}" for name, meaning in page.options.items())]
    if page.related:
        lines += ["", f"{_related(page)}: {', '.join(page.related)}"]
    lines += ["", f"example: {page.example}"] if page.example else []
    lines += ["", f"next: {page.next_step}"] if page.next_step else []
    return "\n".join(lines) + "\n"


def as_markdown(page: Page) -> str:
    """The page as markdown, ending in a newline."""
    lines = [f"## `{page.name}` ({page.kind})", "", page.summary]
    lines += ["", page.body] if page.body else []
    if page.options:
        rows = (f"| `{name}` | {meaning} |" for name, meaning in page.options.items())
        lines += ["", "| option | meaning |", "|---|---|", *rows]
    if page.related:
        lines += ["", f"{_related(page).capitalize()}: {', '.join(f'`{name}`' for name in page.related)}."]
    lines += ["", "```toml", page.example, "```"] if page.example else []
    lines += ["", f"**Next:** {page.next_step}"] if page.next_step else []
    return "\n".join(lines) + "\n"


def _related(page: Page) -> str:
    return "given by" if page.kind == "reason code" else "reason codes"


def _check_page(name: str) -> Page:
    kind: Any = CHECKS.factory(name)
    summary, body, described = _parts(kind)
    options = {
        spec.name.replace("_", "-"): described.get(spec.name, "") + ("" if _has_default(spec) else " Needed.")
        for spec in fields(kind)
    }
    needed = [spec.name.replace("_", "-") for spec in fields(kind) if not _has_default(spec)]
    given = {**{key: EXAMPLES.get(key, "...") for key in needed}, **SHOWN.get(name, {})}
    written = ", ".join([f'check = "{name}"', *(f"{key} = {value}" for key, value in given.items())])
    return Page("check", name, summary, body, options, _check_codes(name), f"{{ {written} }}")


def _rule_page(name: str) -> Page:
    rule = _rules()[name]
    summary, body, _ = _parts(rule)
    return Page(
        "rule", name, summary, body or "It always holds: no policy has to ask for it.", related=_rule_codes(name)
    )


def _scorer_page(name: str) -> Page:
    factory = SCORERS.factory(name)
    module = import_module(factory.__module__)
    summary, body, _ = _parts(module if module.__doc__ else factory)
    shown = re.search(rf'^ +(\{{ scorer = "{name}".*?\}})(?=\s|$)', body, re.MULTILINE)  # the first that the text shows
    written = {"recorded": '"recorded:NAME"', "ragas": '"ragas:faithfulness"'}.get(name, f'"{name}"')
    return Page("scorer", name, summary, body, example=f"scorers = [{shown[1] if shown else written}]")


def _reason_page(code: str) -> Page:
    givers = [name for name in CHECKS.names() if code in _check_codes(name)]
    givers += [name for name in _rules() if code in _rule_codes(name)]
    return Page("reason code", code, REASONS[code], related=tuple(givers), next_step=ADVICE.get(code, ""))


def _exit_page(code: str) -> Page:
    meaning, next_step = EXIT_CODES[code]
    return Page("exit code", code, meaning, next_step=next_step)


def _rules() -> dict[str, Callable[..., Any]]:
    return {rule.__name__.replace("_", "-"): rule for rule in integrity.INTEGRITY}


def _check_codes(name: str) -> tuple[str, ...]:
    """The codes of a check: those of its module, and those of what it shares with others."""
    kind: Any = CHECKS.factory(name)
    shared = ("no-baseline", "not-comparable") if kind.needs_baseline else ()
    options = {spec.name for spec in fields(kind)}
    of_margins = _codes_of(margins) if "margin" in options else ()
    of_people = _codes_of(people) if "human" in options else ()
    return tuple(dict.fromkeys((*_codes_of(inspect.getmodule(kind)), *of_margins, *of_people, *shared)))


def _rule_codes(name: str) -> tuple[str, ...]:
    """The codes of a rule; what keeps two runs from being compared is found by the comparison itself."""
    rule = _rules()[name]
    codes = _codes_of(inspect.getmodule(rule), rule.__name__)
    return (*codes, *_codes_of(comparison)) if name == "comparable" else codes


@dataclass(frozen=True, slots=True)
class _Kind:
    """Names of one kind, and the page of each."""

    names: Callable[[], list[str]]
    page: Callable[[str], Page]


KINDS: Mapping[str, _Kind] = {
    "check": _Kind(CHECKS.names, _check_page),
    "rule": _Kind(lambda: list(_rules()), _rule_page),
    "scorer": _Kind(SCORERS.names, _scorer_page),
    "reason code": _Kind(lambda: sorted(REASONS), _reason_page),
    "exit code": _Kind(lambda: list(EXIT_CODES), _exit_page),
}
"""Everything that has a page, by kind."""


def _parts(documented: Any) -> tuple[str, str, dict[str, str]]:
    """Of a docstring: its first line, the paragraphs up to its first section, and what `Attributes` says."""
    text = inspect.getdoc(documented) or ""
    summary, _, rest = text.partition("\n")
    paragraphs: list[str] = []
    described: dict[str, list[str]] = {}
    section, current = "", ""
    for line in rest.splitlines():
        if found := _SECTION.fullmatch(line):
            section = found[1]
        elif not section:
            paragraphs.append(line)
        elif section == "Attributes" and (entry := re.match(r"    (\w+): (.*)", line)):
            current = entry[1]
            described[current] = [entry[2]]
        elif section == "Attributes" and current and line.strip():
            described[current].append(line.strip())
    body = "\n".join(paragraphs).strip("\n").rstrip()  # the first paragraph may be indented: it is code
    return summary, body, {name: " ".join(words) for name, words in described.items()}


def _has_default(spec: Any) -> bool:
    return spec.default is not MISSING or spec.default_factory is not MISSING


@cache
def _codes_of(module: Any, function: str | None = None) -> tuple[str, ...]:
    """Reason codes that a module names; of one function, those that it and what it calls in its module name."""
    tree = ast.parse(inspect.getsource(module))
    if function is None:
        return _codes_in(tree)
    functions = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
    reached, waiting = set[str](), [function]
    while waiting:
        name = waiting.pop()
        reached.add(name)
        called = {node.id for node in ast.walk(functions[name]) if isinstance(node, ast.Name)}
        waiting += [other for other in called & functions.keys() if other not in reached]
    return tuple(dict.fromkeys(code for name in sorted(reached) for code in _codes_in(functions[name])))


def _codes_in(tree: ast.AST) -> tuple[str, ...]:
    """The codes among the texts of a piece of code; of a text that is put together, those that begin like it."""
    texts = [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    begun = tuple(
        part.value
        for node in ast.walk(tree)
        if isinstance(node, ast.JoinedStr)
        for part in node.values[:1]
        if isinstance(part, ast.Constant) and isinstance(part.value, str) and part.value.endswith("-")
    )
    return tuple(code for code in REASONS if code in texts or (begun and code.startswith(begun)))
