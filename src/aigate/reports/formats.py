"""The formats in which a verdict can be written, by the name that `--format` takes."""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["FORMATS"]

FORMATS: Mapping[str, str] = {
    "json": "the verdict itself",
    "markdown": "a report to read",
    "junit": "JUnit XML, for Jenkins, GitLab and others",
    "sarif": "SARIF 2.1.0, for code scanning",
    "github": "annotations; in a GitHub job also the step summary and step outputs",
    "github-comment": "the body of a comment that can take the place of the one before",
    "gitlab": "a GitLab code-quality report",
}
"""What each is, for those who choose."""
