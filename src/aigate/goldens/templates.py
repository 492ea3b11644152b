"""The templates of prompts: a Jinja2 sandbox, which is imported only where a suite has prompts."""

from __future__ import annotations

import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from jinja2 import StrictUndefined, TemplateError, TemplateSyntaxError, UndefinedError, meta, nodes
from jinja2.environment import Template
from jinja2.exceptions import SecurityError
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment

from aigate.errors import SuiteError
from aigate.goldens.prompts import VISIBLE

__all__ = ["Part", "compiled", "variables_in"]

MAX_REPEATED = 100_000  # items or characters that `*` may make; the sandbox's own limit for range()
TEMPLATE_FILE = "<template>"  # how Jinja2 names a template made from text, in tracebacks


@dataclass(frozen=True, slots=True)
class Part:
    """One message of a prompt, to be filled in.

    Attributes:
        role: Who says it.
        template: Its text.
        source: The prompt file.
        line: The line of the file that its text starts on.
    """

    role: str
    template: Template
    source: Path
    line: int

    def filled(self, visible: Mapping[str, Any], sample_id: str) -> str:
        """Its text for one sample.

        Args:
            visible: What the template sees, by name.
            sample_id: Whose it is, for messages.

        Raises:
            SuiteError: As `Prompt.render`.
        """
        try:
            content = self.template.render(visible)
        except _TEMPLATE_ERRORS as found:
            line = self.line + (_template_line(found) or 1) - 1
            message = f"{self.source}:{line}: {_in_words(found)} (sample '{sample_id}')"
            raise SuiteError(message, hint=_render_hint(found)) from None
        if not content.strip():
            message = f"{self.source}:{self.line}: the {self.role} message renders to nothing (sample '{sample_id}')"
            raise SuiteError(message, hint="give the message a text that is always there")
        return content


def compiled(source: Path, role: str, text: str, line: int) -> Part:
    """One message of a prompt file, compiled.

    Args:
        source: The file, for messages.
        role: Who says it.
        text: The template.
        line: The line of the file that it starts on, from 1.

    Raises:
        SuiteError: A syntax error, or a variable that no sample can ever fill in; with file:line.
    """
    environment = _environment()
    try:
        tree = environment.parse(text)
        template = environment.from_string(text)
    except TemplateSyntaxError as found:
        raise SuiteError(f"{source}:{line + found.lineno - 1}: invalid template: {found.message}") from None
    except (RecursionError, MemoryError, SyntaxError):  # what Python's own compiler says to endless nesting
        raise SuiteError(f"{source}:{line}: invalid template: nested too deep") from None
    if unknown := meta.find_undeclared_variables(tree) - {*VISIBLE, *environment.globals}:
        _refuse_variable(source, line, tree, min(unknown))
    return Part(role, template, source, line)


def variables_in(texts: Sequence[str]) -> frozenset[str]:
    """The variables that templates mention."""
    environment = _environment()
    return frozenset(name for text in texts for name in meta.find_undeclared_variables(environment.parse(text)))


class _PromptEnvironment(ImmutableSandboxedEnvironment):
    """The sandbox, with a limit on what `*` may make and without `**`: a few characters must not fill the memory."""

    intercepted_binops = frozenset({"*", "**"})

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        if operator == "**":
            raise SecurityError("the operator ** is not available in prompts")
        for whole, times in ((left, right), (right, left)):
            if isinstance(whole, str | list | tuple) and isinstance(times, int) and len(whole) * times > MAX_REPEATED:
                raise SecurityError(f"repeating a value to more than {MAX_REPEATED} items is refused")
        return super().call_binop(context, operator, left, right)


def _environment() -> _PromptEnvironment:
    environment = _PromptEnvironment(undefined=StrictUndefined, autoescape=False)
    environment.globals = {"range": environment.globals["range"]}
    del environment.filters["random"]  # the same sample must always give the same prompt
    return environment


def _refuse_variable(source: Path, line: int, tree: nodes.Template, name: str) -> NoReturn:
    """An unknown variable is refused even in a branch that no sample takes today."""
    found = next((node for node in tree.find_all(nodes.Name) if node.name == name and node.ctx == "load"), None)
    where = f"{source}:{line + (found.lineno if found else 1) - 1}"
    raise SuiteError(f"{where}: '{name}' is undefined", hint=_visible_hint(name))


def _visible_hint(name: str) -> str:
    seen = f"a prompt sees {', '.join(VISIBLE)}"
    return f"{seen}; '{name}' is never shown to the model" if name in {"id", "reference", "tags", "group"} else seen


_TEMPLATE_ERRORS = (
    TemplateError,
    ArithmeticError,
    AttributeError,
    LookupError,
    MemoryError,
    RecursionError,
    TypeError,
    ValueError,
)


def _in_words(found: BaseException) -> str:
    if isinstance(found, SecurityError):
        return f"refused by the sandbox: {found}"
    if isinstance(found, UndefinedError):
        return str(found)
    if isinstance(found, OverflowError) and "Range" in str(found):
        return f"refused by the sandbox: {found}"
    return f"{type(found).__name__}: {found}"


def _render_hint(found: BaseException) -> str:
    if isinstance(found, UndefinedError):
        return f"a prompt sees {', '.join(VISIBLE)}; give every sample that metadata, or test it with `is defined`"
    return ""


def _template_line(found: BaseException) -> int | None:
    """The template's line that raised: Jinja2 writes it into the traceback."""
    frames = traceback.extract_tb(found.__traceback__)
    return next((frame.lineno for frame in reversed(frames) if frame.filename == TEMPLATE_FILE), None)
