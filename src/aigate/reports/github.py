"""What a GitHub job takes of a verdict: annotations, a step summary, step outputs, and the body of a comment."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Mapping
from pathlib import Path

from aigate.core.counts import count_of
from aigate.core.run import Run
from aigate.core.verdict import CheckOutcome, Status, Verdict
from aigate.reports.markdown import markdown
from aigate.reports.places import Places
from aigate.reports.story import tell
from aigate.reports.text import printable

__all__ = [
    "COMMENT_LIMIT_BYTES",
    "SUMMARY_LIMIT_BYTES",
    "append_outputs",
    "append_summary",
    "comment",
    "shortened",
    "workflow_commands",
]

SUMMARY_LIMIT_BYTES = 900 * 1024  # GitHub drops a summary of more than 1024 KiB whole
COMMENT_LIMIT_BYTES = 60_000  # a comment holds 65,536 characters
MOST_ANNOTATIONS = 10  # of each level in one step
MESSAGE_LIMIT = 1_000
SHOWN = (50, 20, 10, 5, 2, 0)  # samples, tried in this order until the document is small enough
LEVELS = {Status.FAIL: "error", Status.ERROR: "error", Status.INCONCLUSIVE: "warning"}


def workflow_commands(verdict: Verdict, candidate: Run, places: Places) -> str:
    """Workflow commands: one annotation per check that is no pass, at most ten of each level; one line for a pass."""
    suite = candidate.header.suite_name
    if verdict:
        return _command("notice", {"title": f"aigate: {suite}"}, f"pass: {verdict.candidate}")
    lines: list[str] = []
    for level in ("error", "warning"):
        bad = [check for check in verdict.checks if LEVELS.get(check.status) == level]
        shown = bad if len(bad) <= MOST_ANNOTATIONS else bad[: MOST_ANNOTATIONS - 1]
        lines += [_annotation(level, check, suite, places) for check in shown]
        if rest := bad[len(shown) :]:
            told = f"{len(rest)} more: {', '.join(check.label for check in rest)}"
            lines.append(_command(level, {"title": f"aigate: {suite}"}, told))
    return "".join(lines)


def comment(verdict: Verdict, candidate: Run, baseline: Run | None) -> str:
    """The body of a comment on a pull request.

    It begins with a hidden marker that names the suite, so that the next one can take its place.
    """
    marker = f"<!-- aigate: {re.sub(r'[^A-Za-z0-9._]+', '-', _suite(candidate))} -->\n"
    return marker + shortened(verdict, candidate, baseline, limit_bytes=COMMENT_LIMIT_BYTES - len(marker.encode()))


def shortened(verdict: Verdict, candidate: Run, baseline: Run | None, *, limit_bytes: int) -> str:
    """The verdict as markdown of at most so many bytes; what was left out for that is said in it."""
    whole = ""
    for shown in SHOWN:
        whole = markdown(tell(verdict, candidate, baseline, shown=shown))
        said = (
            ""
            if shown == SHOWN[0]
            else f"\n_Shortened to {count_of(shown, 'sample')}: this place holds {limit_bytes:,} bytes._\n"
        )
        if len((whole + said).encode()) <= limit_bytes:
            return whole + said
    said = f"\n_Cut here: this place holds {limit_bytes:,} bytes. The whole report: `aigate report RUN`._\n"
    kept = whole.encode()[: max(0, limit_bytes - len(said.encode()))].decode("utf-8", errors="ignore")
    return kept[: kept.rfind("\n") + 1] + said if limit_bytes > len(said.encode()) else ""


def append_summary(path: Path, verdict: Verdict, candidate: Run, baseline: Run | None) -> None:
    """Add the verdict to the summary of a step, as far as there is room: other commands of the step write there too."""
    room = SUMMARY_LIMIT_BYTES - (path.stat().st_size if path.is_file() else 0)
    with path.open("a", encoding="utf-8") as file:
        file.write(shortened(verdict, candidate, baseline, limit_bytes=max(0, room)))


def append_outputs(
    path: Path, verdict: Verdict, candidate: Run, *, token: Callable[[], str] = secrets.token_hex
) -> None:
    """Add what later steps may ask for to the outputs of a step."""
    outputs = {
        "status": str(verdict.status),
        "passed": str(bool(verdict)).lower(),
        "exit-code": str(verdict.exit_code),
        "candidate": verdict.candidate,
        "baseline": verdict.baseline or "",
        "reason-codes": " ".join(sorted({reason.code for reason in verdict.reasons})),
        "suite": _suite(candidate),
        "run": candidate.source,
        "verdict-digest": verdict.digest,
    }
    with path.open("a", encoding="utf-8") as file:
        for name, value in outputs.items():
            delimiter = f"ghadelimiter_{token()}"
            file.write(f"{name}<<{delimiter}\n{' '.join(printable(value).split())}\n{delimiter}\n")


def _suite(candidate: Run) -> str:
    return candidate.header.suite_name


def _annotation(level: str, check: CheckOutcome, suite: str, places: Places) -> str:
    place = places.of_check(check)
    told = "\n".join(dict.fromkeys((check.summary, *(reason.text for reason in check.reasons))))
    where = {"file": place.path, "line": str(place.line), "title": f"aigate: {suite}: {check.label}"}
    return _command(level, where, told[:MESSAGE_LIMIT])


def _command(level: str, properties: Mapping[str, str], message: str) -> str:
    """A workflow command, with the escapes that the runner takes back."""
    told = ",".join(f"{name}={_escaped_property(printable(value))}" for name, value in properties.items())
    return f"::{level} {told}::{_escaped(printable(message))}\n"


def _escaped(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _escaped_property(text: str) -> str:
    return _escaped(text).replace(":", "%3A").replace(",", "%2C")
