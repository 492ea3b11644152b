"""How far a scorer says what people say: its agreement with their labels, stored with the suite that it judges.

A calibration is measured on answers that people called good or bad. It holds for one metric, computed in one way (the
digest of its spec), and says with what data and when. A graded score is cut in two where it agrees best; the figures at
such a cut are those of cuts chosen on other groups, since a cut looks better on the rows that it was chosen on.

`calibration/METRIC.json` in a suite's folder is read by every run of the suite and goes with the run, so that a stored
run is decided again as it was.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import quote

from aigate.core.counts import are, count_of
from aigate.core.digest import combined_digest, digest_of, seed_from
from aigate.core.json_text import JsonDefectError, strict_json
from aigate.core.score import MetricSpec, Score, ScoreOrNot, Unscored
from aigate.errors import CannotJudgeError, ConfigError, UsageError
from aigate.files import write_atomically

if TYPE_CHECKING:
    from aigate.stats.arrays import Floats

__all__ = [
    "CALIBRATION_FORMAT",
    "FOLDER",
    "WEAK",
    "Calibration",
    "Cut",
    "Estimate",
    "Labelled",
    "Quality",
    "calibrate",
    "calibrations_in",
    "load_calibrations",
    "store_calibration",
]

CALIBRATION_FORMAT = "aigate.calibration/1"
FOLDER = "calibration"
LEVEL = 0.95
WEAK = 0.5  # a judge with less J sees less than half of every change
FEWEST_OF_A_KIND = 10  # labels of each kind: with fewer no interval would say anything
MOST_MISSING = 0.10  # share of labelled answers without a score: what a judge fails on is no random part


@dataclass(frozen=True, slots=True)
class Labelled:
    """One answer that people called good or bad, with its score.

    Attributes:
        sample_digest: The sample that was answered.
        output_digest: The answer.
        unit: The statistical unit: answers to one sample, or about one document, belong together.
        tags: The slices of the sample.
        score: What the scorer says.
        good: What people say.
    """

    sample_digest: str
    output_digest: str
    unit: str
    tags: tuple[str, ...]
    score: ScoreOrNot
    good: bool


@dataclass(frozen=True, slots=True)
class Cut:
    """How a graded score becomes good or bad; at most one of the two. Neither: where J is largest.

    Attributes:
        at: This score or more is good, fixed before the labels were seen.
        specificity: The lowest cut that calls at least this share of the bad answers bad.
    """

    at: float | None = None
    specificity: float | None = None

    def __str__(self) -> str:
        if self.at is not None:
            return "as given"
        return "largest J" if self.specificity is None else f"specificity of at least {self.specificity:g}"


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure with its 95 % interval; None where the labels do not define it.

    Attributes:
        value: The figure.
        low: Lower end.
        high: Upper end.
    """

    value: float | None
    low: float
    high: float

    def to_dict(self) -> dict[str, Any]:
        """The figure as JSON."""
        return {"value": self.value, "low": self.low, "high": self.high}


@dataclass(frozen=True, slots=True)
class Quality:
    """How a scorer agrees with people on some rows; see `aigate.stats.agreement` for the figures and their intervals.

    Attributes:
        n: Labelled and scored answers.
        groups: Statistical units they come from.
        good: Answers that people call good.
        auroc: Chance that a good answer scores higher than a bad one.
        kappa: Cohen's, at the cut.
        sensitivity: Share of the good answers that are called good.
        specificity: Share of the bad answers that are called bad.
        balanced_accuracy: Mean of the two.
        youden_j: Their sum less 1: what is left of a change, where the cut score is what is compared.
        contrast: Mean score of good answers less that of bad ones: what is left of a change in the mean score.
    """

    n: int
    groups: int
    good: int
    auroc: Estimate
    kappa: Estimate
    sensitivity: Estimate
    specificity: Estimate
    balanced_accuracy: Estimate
    youden_j: Estimate
    contrast: Estimate

    def to_dict(self) -> dict[str, Any]:
        """The figures as JSON."""
        counts = {"n": self.n, "groups": self.groups, "good": self.good}
        return {**counts, **{name: getattr(self, name).to_dict() for name in FIGURES}}

    @classmethod
    def from_dict(cls, row: Mapping[str, Any]) -> Self:
        """The inverse of `to_dict`."""
        figures = {name: Estimate(**row[name]) for name in FIGURES}
        return cls(n=row["n"], groups=row["groups"], good=row["good"], **figures)


FIGURES = (
    "auroc",
    "kappa",
    "sensitivity",
    "specificity",
    "balanced_accuracy",
    "youden_j",
    "contrast",
)


@dataclass(frozen=True, slots=True)
class Calibration:
    """A scorer's agreement with people.

    Attributes:
        spec: The metric, exactly as it was computed.
        human: Where the labels stood, in words.
        cut: Answers with at least this score are called good; higher is better, whatever the metric's direction.
        chosen: How the cut was chosen.
        elsewhere: True when the figures at the cut come from cuts chosen on other groups.
        seen_j: J at the cut on the rows that it was chosen on: better than it will be; None where nothing was chosen.
        overall: The agreement over all rows.
        slices: The agreement per tag.
        missing: Labelled answers without a score, by reason.
        data_digest: Digest of samples, answers and labels.
        made_at: UTC, ISO 8601.
    """

    spec: MetricSpec
    human: str
    cut: float
    chosen: str
    elsewhere: bool
    seen_j: float | None
    overall: Quality
    slices: Mapping[str, Quality]
    missing: Mapping[str, int]
    data_digest: str
    made_at: str

    @property
    def metric(self) -> str:
        """The metric's name."""
        return self.spec.metric

    @property
    def spec_digest(self) -> str:
        """The digest of how the metric was computed; a calibration holds for no other."""
        return digest_of(self.spec.to_dict())

    @property
    def strong(self) -> bool:
        """True when J is at least 0.5; False also where it is not defined."""
        j = self.overall.youden_j.value
        return j is not None and j >= WEAK

    @property
    def digest(self) -> str:
        """The digest of all it says."""
        return digest_of(self._content())

    def holds_for(self, spec: MetricSpec) -> bool:
        """True when the metric is computed as it was when this was measured."""
        return digest_of(spec.to_dict()) == self.spec_digest

    def to_dict(self) -> dict[str, Any]:
        """The calibration as JSON, with its own digest."""
        return {**self._content(), "digest": self.digest}

    def _content(self) -> dict[str, Any]:
        return {
            "format": CALIBRATION_FORMAT,
            "metric": self.metric,
            "spec": self.spec.to_dict(),
            "spec_digest": self.spec_digest,
            "human": self.human,
            "cut": self.cut,
            "chosen": self.chosen,
            "elsewhere": self.elsewhere,
            "seen_j": self.seen_j,
            "level": LEVEL,
            "overall": self.overall.to_dict(),
            "slices": {tag: quality.to_dict() for tag, quality in self.slices.items()},
            "missing": dict(self.missing),
            "data_digest": self.data_digest,
            "made_at": self.made_at,
        }

    @classmethod
    def from_dict(cls, row: Mapping[str, Any]) -> Self:
        """The inverse of `to_dict`.

        Raises:
            KeyError, TypeError, ValueError: The row is no calibration, of another format, or was edited.
        """
        if row["format"] != CALIBRATION_FORMAT:
            raise ValueError(f"format {row['format']!r}, expected {CALIBRATION_FORMAT!r}")
        found = cls(
            spec=MetricSpec.from_dict(row["spec"]),
            human=row["human"],
            cut=row["cut"],
            chosen=row["chosen"],
            elsewhere=row["elsewhere"],
            seen_j=row["seen_j"],
            overall=Quality.from_dict(row["overall"]),
            slices={tag: Quality.from_dict(quality) for tag, quality in row["slices"].items()},
            missing=dict(row["missing"]),
            data_digest=row["data_digest"],
            made_at=row["made_at"],
        )
        if found.to_dict() != dict(row):
            raise ValueError("edited: its digest is not that of its content")
        return found


def calibrate(rows: Sequence[Labelled], spec: MetricSpec, *, human: str, cut: Cut, made_at: str) -> Calibration:
    """Measure a scorer's agreement with people.

    Args:
        rows: Labelled answers. Those that lie outside the metric are left out; those without a score are counted.
        spec: How the metric is computed.
        human: Where the labels stood, in words.
        cut: How good and bad scores are told apart. Scores that are all 0 or 1 need no cut, and get 0.5.
        made_at: UTC, ISO 8601.

    Raises:
        UsageError: Too few labels of a kind, or of groups that hold them, to say anything.
        CannotJudgeError: More than a tenth of the labelled answers got no score.
    """
    rows = sorted(rows, key=lambda row: (row.sample_digest, row.output_digest))  # so that sums are the same bytes
    inside = [row for row in rows if isinstance(row.score, Score) or row.score.applicable]
    scored = [row for row in inside if isinstance(row.score, Score)]
    missing: Counter[str] = Counter(row.score.reason for row in inside if isinstance(row.score, Unscored))
    _refuse_few(scored, inside, missing, spec.metric)
    data_digest = combined_digest(digest_of([row.sample_digest, row.output_digest, row.good]) for row in inside)
    judged = _judged(scored, spec, cut, seed=seed_from(data_digest) % 2**63)
    tags = sorted({tag for row in scored for tag in row.tags})
    return Calibration(
        spec=spec,
        human=human,
        cut=judged.cut,
        chosen=judged.chosen,
        elsewhere=judged.elsewhere,
        seen_j=judged.seen_j,
        overall=_quality(judged, range(len(scored))),
        slices={tag: _quality(judged, [i for i, row in enumerate(scored) if tag in row.tags]) for tag in tags},
        missing=dict(sorted(missing.items())),
        data_digest=data_digest,
        made_at=made_at,
    )


def _refuse_few(
    scored: Sequence[Labelled], inside: Sequence[Labelled], missing: Mapping[str, int], metric: str
) -> None:
    if inside and sum(missing.values()) > MOST_MISSING * len(inside):
        told = ", ".join(f"{count} {reason}" for reason, count in missing.items())
        first = next(row.score.explanation for row in inside if isinstance(row.score, Unscored))
        raise CannotJudgeError(
            f"{sum(missing.values())} of {count_of(len(inside), 'labelled answer')} got no score of"
            f" '{metric}' ({told}); the first:"
            f" {first}",
            hint="what a judge fails on is no random part: make it answer, then calibrate again",
        )
    for kind, count in (("good", sum(row.good for row in scored)), ("bad", sum(not row.good for row in scored))):
        if count < FEWEST_OF_A_KIND:
            raise UsageError(
                f"{count} of {count_of(len(scored), 'scored answer')} {are(count)} labelled {kind}, {FEWEST_OF_A_KIND}"
                f" at least are needed",
                hint="label more answers, bad ones above all; or say what counts as good with --good",
            )


@dataclass(frozen=True, slots=True)
class _Judged:
    """Rows as columns, with what the cut makes of them."""

    scores: list[float]
    says: list[float]
    good: list[float]
    units: list[str]
    cut: float
    chosen: str
    elsewhere: bool
    seen_j: float | None


def _judged(scored: Sequence[Labelled], spec: MetricSpec, cut: Cut, *, seed: int) -> _Judged:
    from aigate.stats.agreement import agreement
    from aigate.stats.cutoff import judged_elsewhere

    scores = [spec.better(row.score.value) for row in scored if isinstance(row.score, Score)]
    good, units = [float(row.good) for row in scored], [row.unit for row in scored]
    at, chosen = cut.at, str(cut)
    if at is None and set(scores) <= {0.0, 1.0}:
        at, chosen = 0.5, "scores are 0 or 1"
    if at is not None:
        says = [float(score >= at) for score in scores]
        return _Judged(scores, says, good, units, at, chosen, elsewhere=False, seen_j=None)
    choose = _chooser(cut)
    try:
        honest = judged_elsewhere(scores, good, units, cutoff=choose, seed=seed)
    except ValueError:
        raise UsageError(
            "all labels of one kind come from so few groups that a cut cannot be judged on other groups",
            hint="label answers of more groups, or fix the cut beforehand with --threshold",
        ) from None
    at = choose(scores, good)
    seen_j = agreement([score >= at for score in scores], good).youden_j
    return _Judged(scores, honest.tolist(), good, units, at, chosen, elsewhere=True, seen_j=seen_j)


def _chooser(cut: Cut) -> Callable[[Floats | list[float], Floats | list[float]], float]:
    from aigate.stats.cutoff import specificity_cutoff, youden_cutoff

    wanted = cut.specificity
    if wanted is None:
        return youden_cutoff
    return lambda scores, labels: specificity_cutoff(scores, labels, specificity=wanted)


def _quality(judged: _Judged, rows: Sequence[int]) -> Quality:
    from aigate.stats.agreement import agreement, auroc, contrast

    scores, says, good = ([column[i] for i in rows] for column in (judged.scores, judged.says, judged.good))
    units = [judged.units[i] for i in rows]
    at_cut = agreement(says, good, units=units, level=LEVEL)
    area, gap = auroc(scores, good, units=units, level=LEVEL), contrast(scores, good, units=units, level=LEVEL)
    low, high = at_cut.youden_j_interval
    return Quality(
        n=len(rows),
        groups=len(set(units)),
        good=int(sum(good)),
        auroc=Estimate(area.estimate, area.low, area.high),
        kappa=Estimate(at_cut.kappa, *at_cut.kappa_interval),
        sensitivity=Estimate(at_cut.sensitivity, *at_cut.sensitivity_interval),
        specificity=Estimate(at_cut.specificity, *at_cut.specificity_interval),
        balanced_accuracy=Estimate(at_cut.balanced_accuracy, (low + 1.0) / 2.0, (high + 1.0) / 2.0),
        youden_j=Estimate(at_cut.youden_j, low, high),
        contrast=Estimate(gap.estimate, gap.low, gap.high),
    )


def store_calibration(folder: Path, calibration: Calibration) -> Path:
    """Write a calibration into the folder of a suite's calibrations; returns its file."""
    path = folder / _file_name(calibration.metric)
    write_atomically(path, (json.dumps(calibration.to_dict(), indent=2, ensure_ascii=False) + "\n").encode())
    return path


def load_calibrations(folder: Path) -> dict[str, Calibration]:
    """The calibrations of a suite by metric; none where there is no such folder.

    Raises:
        ConfigError: A file is no calibration, was edited, or is called like another metric.
    """
    found = {}
    for path in sorted(folder.glob("*.json")):
        try:
            calibration = Calibration.from_dict(strict_json(path.read_bytes().decode("utf-8")))
        except (OSError, UnicodeDecodeError, JsonDefectError, KeyError, TypeError, ValueError) as error:
            told = f"'{error.args[0]}' is missing" if isinstance(error, KeyError) else str(error)
            raise ConfigError(
                f"{path}: no calibration: {told}", hint="restore the file from version control, or calibrate again"
            ) from None
        if path.name != _file_name(calibration.metric):
            raise ConfigError(
                f"{path}: is of the metric '{calibration.metric}'", hint=f"call it {_file_name(calibration.metric)}"
            )
        found[calibration.metric] = calibration
    return found


def calibrations_in(suite: Path, metrics: Collection[str]) -> dict[str, Any]:
    """What a suite's folder knows of these metrics, as the header of a run holds it.

    Raises:
        ConfigError: As `load_calibrations`.
    """
    folder = suite / FOLDER
    found = load_calibrations(folder) if folder.is_dir() else {}
    return {metric: calibration.to_dict() for metric, calibration in found.items() if metric in metrics}


def _file_name(metric: str) -> str:
    """Any metric's name as the name of a file; a usual one stays as it is."""
    return f"{quote(metric, safe='')}.json"
