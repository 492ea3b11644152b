"""Options of a scorer, read by type: a wrong value is an error that names scorer, option, got and expected.

A value of None stands for "not given", so that the options stored in a run's header (defaults filled in) can be read
again.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any

from aigate.core.counts import count_of
from aigate.core.registry import nearest
from aigate.errors import ConfigError
from aigate.scorers.base import ScorerSettings

__all__ = [
    "count_option",
    "flag_option",
    "metric_option",
    "number_option",
    "pattern_option",
    "tag_option",
    "text_option",
    "texts_option",
    "word_option",
]


def metric_option(settings: ScorerSettings, default: str) -> str:
    """The metric's name: the option `metric`, or the default; never empty.

    >>> metric_option(ScorerSettings("bleu", options={"metric": "bleu_de"}), "bleu")
    'bleu_de'
    """
    name = text_option(settings, "metric")
    if name is None:
        return default
    if not name.strip() or name != name.strip():
        raise _wrong(settings, "metric", name, "a name without space around it")
    return name


def text_option(settings: ScorerSettings, name: str) -> str | None:
    """A string, or None when not given."""
    value = settings.options.get(name)
    if value is None or isinstance(value, str):
        return value
    raise _wrong(settings, name, value, "a string")


def tag_option(settings: ScorerSettings, name: str, *, default: str) -> str:
    """A tag of samples; never blank."""
    value = text_option(settings, name)
    if value is not None and not value.strip():
        raise ConfigError(f"scorer '{settings.name}': option '{name}' is empty, expected a tag")
    return default if value is None else value


def word_option(settings: ScorerSettings, name: str, known: Sequence[str], *, default: str | None) -> str | None:
    """One of the known words."""
    value = text_option(settings, name)
    if value is None:
        return default
    if value in known:
        return value
    raise ConfigError(
        f"scorer '{settings.name}': option '{name}' is {value!r}, expected one of {', '.join(known)}",
        hint=nearest(value, known, kind="values"),
    )


def flag_option(settings: ScorerSettings, name: str, *, default: bool = False) -> bool:
    """True or false; no number and no string stands for either."""
    value = settings.options.get(name)
    if value is None:
        return default
    if isinstance(value, bool):
        return value
    raise _wrong(settings, name, value, "true or false")


def number_option(settings: ScorerSettings, name: str) -> float | None:
    """A finite number of at least 0, or None when not given."""
    value = settings.options.get(name)
    if value is None:
        return None
    if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value >= 0:
        return value
    raise _wrong(settings, name, value, "a number of at least 0")


def count_option(settings: ScorerSettings, name: str) -> int | None:
    """An integer of at least 1, or None when not given."""
    value = settings.options.get(name)
    if value is None or (isinstance(value, int) and not isinstance(value, bool) and value >= 1):
        return value
    raise _wrong(settings, name, value, "an integer of at least 1")


def texts_option(settings: ScorerSettings, name: str) -> tuple[str, ...] | None:
    """Different strings, at least one, none of them blank; or None when not given."""
    value = settings.options.get(name)
    if value is None:
        return None
    texts = tuple(value) if isinstance(value, list | tuple) else ()
    filled = all(isinstance(text, str) and text.strip() for text in texts)
    if texts and filled and len(set(texts)) == len(texts):
        return texts
    raise _wrong(settings, name, value, "a list of different strings, none of them blank")


def pattern_option(settings: ScorerSettings, name: str, *, groups: int | None = None) -> re.Pattern[str] | None:
    """A regular expression, with so many groups where `groups` is given; or None when not given."""
    text = text_option(settings, name)
    if text is None:
        return None
    try:
        pattern = re.compile(text)
    except (re.error, OverflowError, RecursionError) as error:
        raise _wrong(settings, name, text, f"a regular expression ({error})") from None
    if groups is not None and pattern.groups != groups:
        expected = f"a regular expression with {count_of(groups, 'group')}, not {pattern.groups}"
        raise _wrong(settings, name, text, expected)
    return pattern


def _wrong(settings: ScorerSettings, name: str, value: Any, expected: str) -> ConfigError:
    return ConfigError(
        f"scorer '{settings.name}': option '{name}' is {value!r}, expected {expected}",
        hint=f"change '{name}' in the suite file",
    )
