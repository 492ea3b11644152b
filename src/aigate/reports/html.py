"""The verdict as one HTML file: opens offline, asks no network, and runs nothing that a model wrote.

The top is plain HTML: it reads without scripts, too. Samples, charts and word diffs are drawn by a script from data in
the file (see `page_data`); it makes text nodes of everything a model wrote. A content security policy allows the
file's own scripts and styles, by digest, and nothing else.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aigate.core.counts import count_of
from aigate.core.ledger import Outcome
from aigate.core.run import Run
from aigate.core.verdict import CheckOutcome, Status
from aigate.reports.forest import Forest, Mark, Scale, compares, forest_of, good_is_more
from aigate.reports.page_data import blocks_of, index_of, inline_json, packed
from aigate.reports.story import MetricRow, Story
from aigate.reports.text import printable
from aigate.reports.usage import QUANTILES, Amount, Usage, usage_of

if TYPE_CHECKING:
    from jinja2 import Environment

__all__ = ["LIBRARIES", "Dumbbell", "Library", "html", "html_pieces"]

PAGE = Path(__file__).parent / "page"
VENDOR = PAGE / "vendor"
MINUS = "−"


@dataclass(frozen=True, slots=True)
class Library:
    """A library that stands in every report.

    Attributes:
        name: Its name on npm.
        version: The version in `page/vendor`, byte for byte as published.
        file: Its file there.
        licence: Its licence's file there; the text stands in every report.
    """

    name: str
    version: str
    file: str
    licence: str


LIBRARIES = (
    Library("diff", "9.0.0", "diff.min.js", "diff.LICENSE"),
    Library("d3", "7.9.2", "d3.min.js", "d3.LICENSE"),
    Library("@observablehq/plot", "0.6.17", "plot.min.js", "plot.LICENSE"),
)


@dataclass(frozen=True, slots=True)
class Dumbbell:
    """Two means on one scale.

    Attributes:
        before: Position of the baseline's mean, in percent; None without one.
        now: Position of the candidate's.
    """

    before: float | None
    now: float


def html(story: Story, candidate: Run, baseline: Run | None = None) -> str:
    """The whole document as one text; see `html_pieces`."""
    return "".join(html_pieces(story, candidate, baseline))


def html_pieces(story: Story, candidate: Run, baseline: Run | None = None) -> Iterator[str]:
    """The document, piece by piece: the texts of all samples are never in memory at once. Valid UTF-8, always.

    The same story and runs give the same document: nothing in it tells when or where it was made.
    """
    template = _environment().get_template("report.html.j2")
    return template.generate(**_view(story, candidate, baseline))


@cache
def _environment() -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(PAGE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_harmless,
    )
    environment.filters |= {
        "amount": _amount,
        "figure": _figure,
        "number": _number,
        "percent": lambda share: f"{100 * share:.3g} %",
        "seconds": _seconds,
        "signed": _signed,
        "tick": _tick,
        "usd": _usd,
    }
    return environment


def _harmless(value: Any) -> Any:
    """Every text that a template shows, with control and format characters made visible; escaped after that."""
    from markupsafe import Markup

    return printable(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _view(story: Story, candidate: Run, baseline: Run | None) -> dict[str, Any]:
    """All that the template shows."""
    from markupsafe import Markup

    from aigate import __version__

    verdict = story.verdict
    sound = [check for check in verdict.checks if check.integrity and check.status is Status.PASS]
    checks = [check for check in verdict.checks if check not in sound]
    usage = {"candidate": usage_of(candidate)} | ({} if baseline is None else {"baseline": usage_of(baseline)})
    scripts = {name: Markup(_read(name)) for name in ("report.js", "charts.js")}  # noqa: S704 - files of ours
    libraries = {library.name: Markup(_read(f"vendor/{library.file}")) for library in LIBRARIES}  # noqa: S704
    style = Markup(_read("report.css"))  # noqa: S704
    forest = forest_of(checks)
    return {
        "Status": Status,
        "aigate_version": __version__,
        "story": story,
        "verdict": verdict,
        "candidate": candidate,
        "baseline": baseline,
        "checks": _forest_rows(checks, forest),
        "forest": forest,
        "sound": sound,
        "metrics": [(row, _dumbbell(row.baseline, row.candidate)) for row in story.metrics],
        "slices": [(row, _dumbbell(row.row["baseline_mean"], row.row["candidate_mean"])) for row in story.slices],
        "primary": _primary(story, candidate),
        "compared": _compared(checks, candidate),
        "usage": usage,
        "quantiles": QUANTILES,
        "ledgers": _ledgers(candidate, baseline),
        "about": _about(candidate),
        "policy": _content_policy([*scripts.values(), *libraries.values()], [style, _read("plot.css")]),
        "style": style,
        "scripts": scripts,
        "libraries": libraries,
        "licences": [(library, _read(f"vendor/{library.licence}")) for library in LIBRARIES],
        "facts": Markup(inline_json(_facts(story, candidate, baseline, usage))),  # noqa: S704 - no < or > in it
        "index": Markup(packed(index_of(verdict, candidate, baseline))),  # noqa: S704 - base 64
        "blocks": ((block, Markup(block.packed)) for block in blocks_of(candidate, baseline)),  # noqa: S704
    }


def _read(name: str) -> str:
    return (PAGE / name).read_text("utf-8")


def _content_policy(scripts: Iterable[str], styles: Iterable[str]) -> str:
    """What the browser may do with this file: run and use these scripts and styles, and nothing else."""
    rules = {
        "default-src": ["'none'"],
        "script-src": [_source(script) for script in scripts],
        "style-src": [_source(style) for style in styles],
        "base-uri": ["'none'"],
        "form-action": ["'none'"],
        "require-trusted-types-for": ["'script'"],
        "trusted-types": ["'none'"],
    }
    return "; ".join(f"{name} {' '.join(values)}" for name, values in rules.items())


def _source(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode('utf-8')).digest()).decode('ascii')}'"


def _forest_rows(checks: list[CheckOutcome], forest: Forest) -> list[tuple[CheckOutcome, Mark | None]]:
    """Each check with its drawing: those of the policy first, changes together, so that they stand on one axis."""
    rows = list(zip(checks, forest.marks, strict=True))
    return sorted(rows, key=lambda row: (row[0].integrity, not (row[1] is not None and row[1].shared)))


UNIT = Scale(0.0, 1.0)


def _dumbbell(before: float | None, now: float | None) -> Dumbbell | None:
    """Two means, on the scale of scores; None for what lies outside it, or where there is none."""
    if now is None or not all(0.0 <= value <= 1.0 for value in (now, before if before is not None else now)):
        return None
    return Dumbbell(None if before is None else UNIT.at(before), UNIT.at(now))


def _primary(story: Story, candidate: Run) -> MetricRow | None:
    """The numbers of the primary metric."""
    return next((row for row in story.metrics if row.metric == candidate.header.primary_metric), None)


def _compared(checks: list[CheckOutcome], candidate: Run) -> CheckOutcome | None:
    """The comparison that the top tells of: one that did not pass, one of the primary metric, else the first."""
    found = [check for check in checks if compares(check) and check.against is None]
    primary = candidate.header.primary_metric
    return min(found, key=lambda check: (check.status is Status.PASS, check.metric != primary), default=None)


def _ledgers(candidate: Run, baseline: Run | None) -> list[tuple[str, int, int | None]]:
    """Every outcome that occurred, with its counts in candidate and baseline."""
    theirs = {} if baseline is None else baseline.ledger.counts
    rows = [
        (str(outcome).replace("_", " "), candidate.ledger.counts[outcome], theirs.get(outcome)) for outcome in Outcome
    ]
    return [row for row in rows if row[1] or row[2]]


def _about(candidate: Run) -> list[tuple[str, str]]:
    """What was run, and under which conditions."""
    header = candidate.header
    rows = {
        "suite": f"{header.suite_name} ({count_of(header.suite_size, 'sample')})",
        "subset": header.subset,
        "repeats": str(header.repeats),
        "provider": _listed(header.provider),
        "request parameters": _listed(header.parameters),
        "metrics": ", ".join(spec.metric for spec in header.metrics),
        "judges": ", ".join(f"{spec.metric}: {_listed(spec.judge)}" for spec in header.metrics if spec.judge),
        "started": header.started_at,
        "finished": candidate.finished_at,
        "commit": header.commit,
        "libraries": _listed(header.libraries),
    }
    return [(name, text) for name, text in rows.items() if text]


def _listed(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} {value}" for key, value in values.items() if value is not None)


def _facts(story: Story, candidate: Run, baseline: Run | None, usage: Mapping[str, Usage]) -> dict[str, Any]:
    """What the script must know before it has read the index."""
    return {
        "candidate": story.verdict.candidate,
        "baseline": None if baseline is None else str(baseline.version),
        "samples": len(candidate.samples),
        "metrics": [{"name": spec.metric, "direction": spec.direction} for spec in candidate.header.metrics],
        "metric": _first_metric(story, candidate),
        "latency": {name: used.latency.steps() for name, used in usage.items()},
    }


def _first_metric(story: Story, candidate: Run) -> str:
    """The metric that the table shows first: that of the check that decided, where it has scores per sample."""
    named = [check.metric for check in story.verdict.checks if check.status is not Status.PASS and check.metric]
    scored = [spec.metric for spec in candidate.header.metrics]
    return next((metric for metric in named if metric in scored), candidate.header.primary_metric)


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _signed(points: float) -> str:
    """A difference of scores in points, with a sign that is as wide as a plus."""
    return f"{points * 100:+.1f}".replace("-", MINUS) if round(points, 3) else "0.0"


def _tick(points: float) -> str:
    return f"{points * 100:+.3g}".replace("-", MINUS) if points else "0"


def _seconds(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value * 1000:.0f} ms" if value < 1.0 else f"{value:.3g} s"


def _usd(value: float | None) -> str:
    if value is None:
        return "–"
    return f"${value:,.2f}" if value >= 1.0 else f"${value:.3g}"


def _amount(amount: Amount) -> str:
    return f"{amount.total:,.0f}" if amount.known else "–"


def _figure(value: float, check: CheckOutcome) -> str:
    """A number of a check, in the unit it is read in."""
    if compares(check):
        return _signed(value)
    if "latency" in check.check or "first-token" in check.check:
        return _seconds(value)
    if not good_is_more(check) and 0.0 <= value <= 1.0:
        return f"{100 * value:.3g} %"
    return f"{value:.3f}"
