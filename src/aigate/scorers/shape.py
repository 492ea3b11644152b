"""The shape of an output: its form without its words, as a few categories, each of one value per output.

A new model version may keep its score on a metric and still change what the code behind it reads: code comes in a
fence, step-by-step answers become a bare `[No]`, JSON gains a key. The check `same-shape` compares how often each value
of each feature occurs in two runs; the scorer `shape` asks of one output whether it is usable at all.

Deterministic, total on any string, and linear in its length: patterns look at the first and the last 20,000 characters.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import reduce
from typing import Any

from aigate.core.json_text import strict_json
from aigate.core.response import Response
from aigate.core.sample import Sample
from aigate.core.score import MetricSpec, Score, ScoreOrNot, Unscored
from aigate.scorers.base import Scorer, ScorerSettings
from aigate.scorers.options import metric_option
from aigate.scorers.reading import Fence, fences, output_of, shown

__all__ = ["Shape", "ShapeScorer", "describe_shape", "from_settings", "is_abstention", "is_refusal", "shape_features"]

WINDOW_CHARS = 20_000
WHOLE_ANSWER_CHARS = 1_000  # a refusal or abstention is short; a long answer that begins with one goes on to answer
KEYS_SHOWN = 40
ITEMS_READ = 20

LENGTH_CLASSES = (
    (1, "0"),
    (4, "1-3"),
    (16, "4-15"),
    (64, "16-63"),
    (256, "64-255"),
    (1024, "256-1023"),
    (4096, "1024-4095"),
)
LINE_CLASSES = ((1, "0"), (2, "1"), (6, "2-5"))
CUT_REASONS = frozenset({"length", "max_tokens", "max_output_tokens"})
REFUSAL_REASONS = frozenset({"content_filter", "refusal", "safety"})

_JSON_BEGINS = (*'{["-0123456789', "true", "false", "null")
_PLAIN_KEY = re.compile(r"[\w$.-]{1,60}", re.ASCII)
_LANGUAGE = re.compile(r"[a-z0-9+#-]{1,20}")
_WRAPPERS = re.compile(r"^[*_\s]{1,4}")

_LABELS = {
    "a": "answer",
    "answer": "answer",
    "final answer": "answer",
    "short answer": "answer",
    "the answer is": "answer",
    "result": "answer",
    "response": "answer",
    "output": "answer",
    "solution": "answer",
    "conclusion": "conclusion",
    "explanation": "explanation",
    "reasoning": "explanation",
    "rationale": "explanation",
    "analysis": "explanation",
    "thought": "explanation",
    "summary": "summary",
    "note": "note",
    "question": "question",
    "q": "question",
    "step": "step",
}
_LABEL = re.compile(r"([A-Za-z][A-Za-z ]{0,30}?)(?: ?\d{1,3})?(?:\*\*)? ?:", re.ASCII)
_LEADING: tuple[tuple[str, re.Pattern[str]], ...] = (
    ("code", re.compile(r"```|~~~|#!|#include\b|<\?php|@\w+\s*$", re.MULTILINE)),
    (
        "code",
        re.compile(
            r"(?:(?:async )?def \w+\s*\(|class \w+\s*[(:{]|import [\w.]+|from [\w.]+ import\b|return\b.*[\w)\]]\s*$"
            r"|(?:const|let|var) \w+ ?=|function \w*\s*\(|(?:public|private|static) \w+|SELECT\b.*\bFROM\b|package \w+;"
            r"|[A-Za-z_]\w* ?(?:=|\+=|-=) ?[^=\s]|[\w.]+\([^()\n]{0,100}\)\s*$)",
            re.MULTILINE,
        ),
    ),
    ("heading", re.compile(r"#{1,6}\s")),
    ("bullet", re.compile(r"[-*+•]\s")),
    ("numbered", re.compile(r"\(?\d{1,3}[.)]\s")),
    ("bracketed", re.compile(r"\[[^\[\]\n]{1,60}\]|\([^()\n]{1,60}\)\s*$", re.MULTILINE)),
    ("yes/no", re.compile(r"(?:yes|no|true|false)(?=\s*(?:[.,;:!*–—-]|$))", re.IGNORECASE | re.MULTILINE)),
    (
        "pleasantry",
        re.compile(
            r"(?:(?:sure|certainly|absolutely|definitely|great|okay|ok|thanks|hello|hi|gladly)(?=\s*[,.!:;–—-])"
            r"|sure thing|of course|great question|thank you|happy to"
            r"|i'd be (?:happy|glad)|here(?:'s| is| are)|below (?:is|are)|as requested|let me|let's)\b",
            re.IGNORECASE,
        ),
    ),
    ("quote", re.compile(r"[\"'“”‘«>]")),
)
_MARKDOWN: tuple[tuple[str, re.Pattern[str]], ...] = (
    ("headings", re.compile(r"^#{1,6} \S", re.MULTILINE)),
    ("bullets", re.compile(r"^[ \t]{0,8}[-*+•] \S", re.MULTILINE)),
    ("numbers", re.compile(r"^[ \t]{0,8}\d{1,3}[.)] \S", re.MULTILINE)),
    ("bold", re.compile(r"\*\*[^\s*][^*\n]{0,200}\*\*")),
    ("table", re.compile(r"^[ \t]{0,3}\|[ \t]{0,20}:?-{2,100}:?[ \t]{0,20}\|", re.MULTILINE)),
    ("link", re.compile(r"\[[^\[\]\n]{1,200}\]\([^()\s]{1,500}\)")),
)
_MARKS = re.compile(r"[-#*+•|\[\d]")  # none of the above is without one of these
_FINAL: tuple[tuple[str, re.Pattern[str]], ...] = (
    ("hashes", re.compile(r"#### ?\S[^\n]{0,100}$")),
    ("boxed", re.compile(r"\\boxed\{[^\n]{1,100}\}[^\w\n]{0,5}$")),
    (
        "labelled",
        re.compile(
            r"(?:^|[.!?]\s)[*_\s]{0,4}(?:(?:final |short )?answer|a|result|output)[*_]{0,2} ?: ?\S.{0,100}$", re.I
        ),
    ),
    ("labelled", re.compile(r"\b(?:the |my )(?:final |correct )?answer is:? [^.\n]{1,60}[.\"]{0,2}$", re.I)),
    ("bracketed", re.compile(r"(?:^|[\s\"*])\[[^\[\]\n]{1,40}\][\"*.!]{0,4}$")),
    ("yes/no", re.compile(r"^[*_\"]{0,3}(?:yes|no|true|false)[*_\".!]{0,4}$", re.I)),
)

_CANNOT = r"(?:cannot|can't|can not|won't|will not|(?:am|'m) (?:not able|unable) to|must decline to)"
_HELP = (
    r"(?:help|assist|comply|fulfill|fulfil|provide|support|engage|participate|create|generate|write|produce|share|discuss"
    r"|continue|do that|answer that|respond to that|offer|give)"
)
_REFUSAL = re.compile(
    r"(?:(?:i'm |i am )?(?:very |really |so )?sorry|i apologi[sz]e|as an ai\b[^.\n]{0,60}|unfortunately)?[,.;:]?\s*"
    rf"(?:but )?(?:as an ai\b[^.\n]{{0,60}}?,? ?)?i ?{_CANNOT} (?:\w+ )?{_HELP}\b",
    re.IGNORECASE,
)
_SOURCE = (
    r"(?:(?:provided|given|retrieved|above|following|available) )?"
    r"(?:context|passage|document|text|article|source|information|excerpt)s?"
)
_ABSTENTION = re.compile(
    r"(?:i(?:'m| am) (?:not sure|unsure|not certain)\b"
    r"|i (?:really |honestly )?(?:do not|don't) (?:really )?know\b"
    r"|i have no idea\b|i (?:do not|don't) have (?:enough|sufficient|any|that|this|the|access)\b"
    r"|(?:i(?:'m| am) |we are |it is )?(?:unable|not able|not possible) to (?:answer|determine|say|find|tell)\b"
    r"|i (?:cannot|can't|could not|couldn't) (?:answer|determine|find|say|tell|be sure|locate)\b"
    r"|(?:this |that |it |the answer )?(?:cannot|can't|can not) be (?:determined|answered|found|inferred)\b"
    r"|(?:there is |there's )?(?:not enough|insufficient|no) (?:relevant |further )?information\b"
    r"|(?:n/?a|unknown|unanswerable|not (?:mentioned|stated|specified|given|available|known|found))(?=\W{0,3}$)"
    rf"|(?:the |these |those |this |none of the )?{_SOURCE} (?:do(?:es)? not|don't|doesn't) "
    r"(?:contain|provide|mention|include|specify|say|state|give|answer|have)\b)",
    re.IGNORECASE,
)
_LEAD_IN = re.compile(
    r"(?:(?:i(?:'m| am) )?sorry|i(?:'m| am) afraid|i apologi[sz]e|unfortunately|however|but|well"
    r"|(?:based on|according to) [^,.\n]{1,80})"
    r"[,.;:]?\s+(?:but )?",
    re.IGNORECASE,
)
_APOLOGY = re.compile(r"(?:(?:i(?:'m| am) )?(?:very |so )?sorry|i apologi[sz]e|my apologies)\W*$", re.IGNORECASE)
_GOES_ON = re.compile(
    r"[:;–—]|\b(?:but|however|instead|though|although|rather|here|unless|except|until)\b|\b(?:can|could|will|would)\b(?!')",
    re.IGNORECASE,
)
_ANSWERS_AFTER_ALL = re.compile(
    r"(?:;|\b(?:but|however|though|although|nevertheless|nonetheless)\b)\W*\w", re.IGNORECASE
)
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+|\n+")


@dataclass(frozen=True, slots=True)
class Shape:
    """The form of one output.

    Attributes:
        json: What the whole output is as strict JSON: object, array, scalar, or none.
        json_keys: Keys and types of that JSON, one level deep: `{answer:string,meta:{id:number}}`; empty without JSON.
        fence: none, or where the first code fence stands and its language: `whole:python`, `inside:`.
        leading: What the first line begins with: plain, code, json, heading, bullet, numbered, bracketed, yes/no,
            pleasantry, quote, or `label:` and the kind of label (`label:answer`, `label:step`, `label:other`); none
            when empty.
        markdown: Which of headings, bullets, numbers, bold, table, link occur outside code, joined by "+"; or none.
        length: Class of the number of characters without space at the ends, by powers of four.
        lines: Class of the number of lines that are not blank.
        empty: Nothing but space.
        refusal: The provider marked it as one, or the whole answer declines in English to help.
        abstains: Every sentence says that the answer is not known or not in the sources. Not a refusal.
        truncated: The provider says it was cut, or a code fence or the JSON it began with is left open.
        final_mark: How the last line marks a final answer: bracketed (`[Yes]`), labelled (`Answer: 7`), hashes (`####
            7`), boxed, yes/no, or none.
    """

    json: str
    json_keys: str
    fence: str
    leading: str
    markdown: str
    length: str
    lines: str
    empty: bool
    refusal: bool
    abstains: bool
    truncated: bool
    final_mark: str

    def to_dict(self) -> dict[str, Any]:
        """The shape as JSON."""
        return {name: getattr(self, name) for name in _FEATURES}

    @property
    def faults(self) -> tuple[str, ...]:
        """Why the output is not usable at all; empty when it is."""
        found = {"empty": self.empty, "a refusal": self.refusal, "truncated": self.truncated}
        return tuple(name for name, present in found.items() if present)


_FEATURES = tuple(spec.name for spec in fields(Shape))


def describe_shape(output: str, *, finish_reason: str | None = None, refusal: bool = False) -> Shape:
    r"""The shape of an output.

    Args:
        output: Any string.
        finish_reason: As the provider says; `length` and its synonyms mean truncated, `content_filter` refused.
        refusal: True when the provider marked the answer as a refusal.

    >>> describe_shape("```python\nreturn 1\n```").fence
    'whole:python'
    >>> describe_shape('{"answer": "yes", "score": 1}').json_keys
    '{answer:string,score:number}'
    """
    text = output.strip()
    found = fences(text)
    kind, keys = _json_shape(text)
    leading = _leading(text[:WINDOW_CHARS], kind)
    abstains = is_abstention(text)
    refused = refusal or finish_reason in REFUSAL_REASONS or (not abstains and _declines(text))
    open_end = bool(found and not found[-1].closed) or (kind == "none" and _breaks_off(text))
    return Shape(
        json=kind,
        json_keys=keys,
        fence=_fence(text, found),
        leading=leading,
        markdown="none" if leading == "code" and not found else _markdown(_without_fences(text, found)),
        length=_class_of(len(text), LENGTH_CLASSES, "4096+"),
        lines=_class_of(sum(1 for line in text.split("\n") if line.strip()), LINE_CLASSES, "6+"),
        empty=not text,
        refusal=refused,
        abstains=abstains,
        truncated=finish_reason in CUT_REASONS or open_end,
        final_mark="none" if leading == "code" and not found else _final_mark(_tail(text, found)),
    )


def shape_features(shape: Shape) -> dict[str, str]:
    """The shape as categories, for comparing how often each value occurs in two runs.

    >>> shape_features(describe_shape("No"))["length"]
    '1-3'
    """
    return {name: _yes_or_no(value) if isinstance(value, bool) else value for name, value in shape.to_dict().items()}


def is_abstention(text: str) -> bool:
    """True when every sentence of a short text says that the answer is not known or not in the sources (English).

    >>> is_abstention("I'm sorry, but I don't know."), is_abstention("I don't know. Perhaps Paris.")
    (True, False)
    """
    told = _told(text)
    return bool(told) and all(map(_abstains, told))


def is_refusal(text: str) -> bool:
    """True when every sentence of a short text declines or abstains, one of them declines, and none goes on (English).

    What it is not sure of is no refusal: "I can't help with that, but here is how" may be half of one.

    >>> is_refusal("I'm sorry, but I can't help with that."), is_refusal("I can't help with that, but try this.")
    (True, False)
    """
    told = _told(text)
    declines = [_declines_and_stops(sentence) for sentence in told]
    return any(declines) and all(
        declined or _abstains(sentence) for declined, sentence in zip(declines, told, strict=True)
    )


def _told(text: str) -> list[str]:
    """The sentences of a short text but for apologies; none of a long one."""
    if len(text) > WHOLE_ANSWER_CHARS:
        return []
    plain = text.replace("’", "'").strip()
    sentences = [sentence for part in _SENTENCE_END.split(plain) if (sentence := part.strip(" \t\"'*_[]()"))]
    return [sentence for sentence in sentences if not _APOLOGY.match(sentence)]


def _abstains(sentence: str) -> bool:
    """True where it says so, and does not go on to answer after all ("I don't know, but it is 42 euros")."""
    plain = _without_lead_in(sentence)
    if (found := _ABSTENTION.match(plain)) is None:
        return False
    turn = _ANSWERS_AFTER_ALL.search(plain, found.end())
    return turn is None or _abstains(plain[turn.end() - 1 :])


def _declines_and_stops(sentence: str) -> bool:
    found = _REFUSAL.match(sentence)
    return found is not None and _GOES_ON.search(sentence, found.end()) is None


def from_settings(settings: ScorerSettings) -> Scorer:
    """Make the scorer `shape`.

    Raises:
        ConfigError: An unknown option.
    """
    settings.only("metric")
    metric = metric_option(settings, "shape")
    return ShapeScorer(MetricSpec(metric, "shape", options={"metric": metric}))


@dataclass(frozen=True)
class ShapeScorer:
    """1.0 when the output is usable at all: not empty, not a refusal, not truncated; else 0.0.

    `answer` is the shape in one line, `details` its features. It says nothing about whether the form is the right one:
    that is the scorer `contract`, or the check `same-shape` against a baseline.
    """

    spec: MetricSpec

    def applies_to(self, sample: Sample) -> Unscored | None:  # noqa: ARG002
        """Every sample: a shape needs no reference."""
        return None

    def score(self, sample: Sample, response: Response) -> ScoreOrNot:  # noqa: ARG002
        """Describe the output and say whether it is usable."""
        output = output_of(response)
        shape = describe_shape(output, finish_reason=response.finish_reason, refusal=response.refusal)
        features = shape_features(shape)
        verdict = (
            f"not usable: {', '.join(shape.faults)}" if shape.faults else "usable: not empty, refused or truncated"
        )
        return Score(float(not shape.faults), f"{verdict}; got {shown(output)}", _signature(features), features)


def _signature(features: Mapping[str, str]) -> str:
    """The features that say something, in one line."""
    told = (f"{name}={value}" for name, value in features.items() if value not in {"none", "no", "", "plain"})
    return shown(" ".join(told), 300)[1:-1]


def _yes_or_no(value: bool) -> str:  # noqa: FBT001
    return "yes" if value else "no"


def _class_of(number: int, classes: tuple[tuple[int, str], ...], above: str) -> str:
    return next((name for limit, name in classes if number < limit), above)


def _json_shape(text: str) -> tuple[str, str]:
    if not text.startswith(_JSON_BEGINS):  # most outputs are no JSON, and to find out by parsing takes long
        return "none", ""
    try:
        value = strict_json(text)
    except ValueError:
        return "none", ""
    kind = {"{": "object", "[": "array"}.get(_type_name(value, depth=1)[0], "scalar")
    return kind, _type_name(value, depth=1)


def _type_name(value: Any, *, depth: int) -> str:
    if isinstance(value, dict):
        return _object_type(value, depth=depth) if depth >= 0 else "object"
    if isinstance(value, list):
        inner = sorted({_type_name(item, depth=depth - 1) for item in value[:ITEMS_READ]}) if depth >= 0 else ["..."]
        return f"[{'|'.join(inner)}]"
    if value is None:
        return "null"
    return "boolean" if isinstance(value, bool) else "string" if isinstance(value, str) else "number"


def _object_type(value: Mapping[str, Any], *, depth: int) -> str:
    keys = sorted(value)
    parts = [f"{_key(key)}:{_type_name(value[key], depth=depth - 1)}" for key in keys[:KEYS_SHOWN]]
    return "{" + ",".join(parts if len(keys) <= KEYS_SHOWN else [*parts, "..."]) + "}"


def _key(key: str) -> str:
    return key if _PLAIN_KEY.fullmatch(key) else json.dumps(key)[:60]


def _breaks_off(text: str) -> bool:
    """True when the text begins like JSON and stops in the middle: the parser ran into the end of the text."""
    if not text.startswith(("{", "[")):
        return False
    try:
        json.loads(text)
    except json.JSONDecodeError as error:
        rest = text[error.pos : error.pos + 10]
        at_end = error.pos >= len(text) or error.msg.startswith("Unterminated string")
        cut_word = len(text) - error.pos < 5 and any(word.startswith(rest) for word in ("true", "false", "null", "-"))
        return (at_end or cut_word) and len(text) > 1
    except (ValueError, RecursionError):
        return False
    return False


def _fence(text: str, found: list[Fence]) -> str:
    if not found:
        return "none"
    whole = len(found) == 1 and found[0].start == 0 and found[0].end == len(text)
    language = found[0].language if _LANGUAGE.fullmatch(found[0].language) else ""
    return f"{'whole' if whole else 'inside'}:{language}"


def _leading(text: str, json_kind: str) -> str:
    if not text:
        return "none"
    if json_kind in {"object", "array"} or text.startswith("{"):
        return "json"
    line = (
        _WRAPPERS.sub("", text.split("\n", 1)[0][:500])
        if text.startswith(("**", "__"))
        else text.split("\n", 1)[0][:500]
    )
    label = _LABEL.match(line)
    if label is not None and (kind := _label_kind(label[1])):
        return f"label:{kind}"
    return next((name for name, pattern in _LEADING if pattern.match(line)), "label:other" if label else "plain")


def _label_kind(label: str) -> str:
    return _LABELS.get(label.strip().lower(), "")


def _without_fences(text: str, found: list[Fence]) -> str:
    pieces = zip([0, *(fence.end for fence in found)], [*(fence.start for fence in found), len(text)], strict=True)
    return "".join(text[start:end] for start, end in pieces)


def _markdown(text: str) -> str:
    if _MARKS.search(text) is None:
        return "none"
    windows = (text,) if len(text) <= 2 * WINDOW_CHARS else (text[:WINDOW_CHARS], text[-WINDOW_CHARS:])
    present = (name for name, pattern in _MARKDOWN if any(pattern.search(window) for window in windows))
    return "+".join(present) or "none"


def _tail(text: str, found: list[Fence]) -> str:
    """The last line that is not in a code fence."""
    outside = text[found[-1].end :] if found else text
    return outside[-WINDOW_CHARS:].strip().rsplit("\n", 1)[-1].strip()[-500:]


def _final_mark(line: str) -> str:
    return next((name for name, pattern in _FINAL if pattern.search(line)), "none")


def _declines(text: str) -> bool:
    return len(text) <= WHOLE_ANSWER_CHARS and _REFUSAL.match(text.replace("’", "'").lstrip(" \t\n\"'*_")) is not None


def _without_lead_in(sentence: str) -> str:
    return reduce(lambda rest, _: _LEAD_IN.sub("", rest, count=1) if _LEAD_IN.match(rest) else rest, range(3), sentence)
