"""The verdict as a document, in one of `aigate.reports.formats.FORMATS`."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from aigate.core.run import Run
from aigate.core.verdict import Verdict
from aigate.reports.places import Places
from aigate.reports.story import Story

__all__ = ["Shown", "document", "json_document"]

_COMMAND = re.compile(r"#(?=#\w*\[)")


@dataclass(frozen=True)
class Shown:
    """What a document is made of.

    Attributes:
        verdict: What was decided.
        candidate: The run under test.
        baseline: The run it was held against; None without one.
        story: The verdict as it is told.
        places: Where checks and samples stand.
    """

    verdict: Verdict
    candidate: Run
    baseline: Run | None
    story: Story
    places: Places


def document(name: str, shown: Shown) -> str:
    """The verdict in a format, ending in a newline.

    Raises:
        KeyError: No such format.
    """
    verdict, candidate, places = shown.verdict, shown.candidate, shown.places
    match name:
        case "json":
            return json_document(verdict.to_dict())
        case "markdown":
            from aigate.reports.markdown import markdown

            return markdown(shown.story)
        case "junit":
            from aigate.reports.junit import junit

            return junit(verdict, candidate, places)
        case "sarif":
            from aigate.reports.sarif import sarif

            return json_document(sarif(verdict, candidate, places))
        case "github":
            from aigate.reports.github import workflow_commands

            return workflow_commands(verdict, candidate, places)
        case "github-comment":
            from aigate.reports.github import comment

            return comment(verdict, candidate, shown.baseline)
        case "gitlab":
            from aigate.reports.gitlab import code_quality

            return json_document(code_quality(verdict, candidate, places))
    raise KeyError(name)


def json_document(value: Any) -> str:
    """A JSON document: the same bytes for the same value, none of which a runner of CI jobs takes for a command."""
    text = json.dumps(value, ensure_ascii=True, allow_nan=False, indent=2) + "\n"
    return _COMMAND.sub(r"\\u0023", text)
