"""Answers that people labelled, judged by one scorer: what a calibration is measured on.

The answers come from recordings or stored runs, and are judged as in any run: through the journal, the limiter and the
caps. Scores that a stored run holds already, computed in just that way, are taken as they are.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from aigate.core.json_text import json_type
from aigate.core.registry import nearest
from aigate.core.response import Response
from aigate.core.run import RUN_FORMAT, Run
from aigate.core.sample import Sample
from aigate.core.score import MetricSpec, Unscored
from aigate.errors import RunFileError, SuiteError, UsageError
from aigate.files import read_lines
from aigate.goldens.config import DEFAULTS, ScorerEntry
from aigate.goldens.interchange import table_rows
from aigate.goldens.suite import Suite
from aigate.providers.replay import Recording, ReplayProvider, load_recorded
from aigate.running.evaluation import Choices, Progress, execute, prepare
from aigate.running.judges import named_judges, scorers_of
from aigate.scorers.base import SCORERS
from aigate.scorers.calibration import Labelled

__all__ = ["Answers", "Found", "Goodness", "Labels", "labelled", "load_answers", "scorer_entry"]

VERSION = "labelled/answers/v1"  # of the throw-away runs; it stands nowhere
GOOD, BAD = frozenset({"1", "1.0", "true", "yes"}), frozenset({"0", "0.0", "false", "no"})


@dataclass(frozen=True, slots=True)
class Goodness:
    """What in a label means good; at most one of the two. Neither: 1, true and yes are good, 0, false and no are bad.

    Attributes:
        values: These labels are good, all others bad.
        at_least: Labels are numbers, and those of at least this are good.
    """

    values: frozenset[str] = frozenset()
    at_least: float | None = None

    def read(self, value: Any, *, where: str) -> bool | None:
        """True for good, False for bad, None where there is no label (nothing, or an empty cell).

        Raises:
            SuiteError: A label that says neither; the message starts with `where`.
        """
        if value is None or (isinstance(value, str) and not value.strip()):
            return None
        text = str(value).lower() if isinstance(value, bool) else str(value).strip()
        if self.values:
            return text in self.values
        if self.at_least is not None:
            return _number(value, text, where=where) >= self.at_least
        if text.lower() in GOOD | BAD:
            return text.lower() in GOOD
        shown = repr(value) if isinstance(value, str | int | float) else json_type(value)
        raise SuiteError(
            f"{where}: the label is {shown}, expected 0 or 1",
            hint="say what is good: --good VALUE, or --good-at-least X",
        )


def _number(value: Any, text: str, *, where: str) -> float:
    try:
        found = math.nan if isinstance(value, bool) else float(text)
    except ValueError:
        found = math.nan
    if not math.isfinite(found):
        raise SuiteError(f"{where}: the label is {value!r}, expected a number for --good-at-least")
    return found


@dataclass(frozen=True)
class Labels:
    """Where people's labels stand.

    Attributes:
        name: `NAME` for `scores.NAME` of the recorded answers, `metadata.NAME` for a column of the samples' metadata,
            or a column of the table.
        goodness: What in a label means good.
        table: A file of labels: JSON Lines, JSON, CSV or Parquet, with the column `id`, and where needed `repeat` and
            `answers` (the name of the file that the answer stands in). None: the labels stand beside the answers.
    """

    name: str
    goodness: Goodness = field(default_factory=Goodness)
    table: Path | None = None

    def __str__(self) -> str:
        if self.table is not None:
            return f"{self.table.name}: {self.name}"
        return self.name if self.name.startswith("metadata.") else f"scores.{self.name}"

    def reader(self, sources: Sequence[str]) -> Callable[[str, Sample, int, Response], bool | None]:
        """What reads the label of an answer, given its file's name, its sample, its repeat and the answer itself.

        Raises:
            SuiteError: The table cannot be read, or does not say which answer a label is of.
        """
        held = {} if self.table is None else self._held(self.table, sources)
        column = self.name.removeprefix("metadata.")

        def read(source: str, sample: Sample, repeat: int, response: Response) -> bool | None:
            if self.table is not None:
                return held.get((source, sample.id, repeat))
            if column != self.name:
                return self.goodness.read(sample.metadata.get(column), where=f"sample '{sample.id}': {self.name}")
            where = f"{source}: '{sample.id}', repeat {repeat}: scores.{self.name}"
            return self.goodness.read(response.scores.get(self.name), where=where)

        return read

    def _held(self, table: Path, sources: Sequence[str]) -> dict[tuple[str, str, int], bool | None]:
        """The labels of a table, by file, sample and repeat."""
        held: dict[tuple[str, str, int], bool | None] = {}
        for where, row in table_rows(table):
            for column in ("id", self.name):
                if column not in row:
                    raise SuiteError(f"{where}: no column '{column}'", hint=nearest(column, row, kind="columns"))
            if len(sources) > 1 and "answers" not in row:
                hint = "add a column 'answers' with the name of the file, or calibrate on one file"
                raise SuiteError(f"{where}: does not say which of {len(sources)} files it labels", hint=hint)
            key = (str(row.get("answers") or sources[0]), str(row["id"]), _repeat(row.get("repeat"), where))
            if key in held:
                raise SuiteError(f"{where}: a second label of '{key[1]}', repeat {key[2]}")
            held[key] = self.goodness.read(row[self.name], where=where)
        return held


def _repeat(value: Any, where: str) -> int:
    if value is None or value == "":
        return 0
    try:
        return int(value)
    except (TypeError, ValueError):
        raise SuiteError(f"{where}: repeat is {value!r}, expected a whole number") from None


@dataclass(frozen=True)
class Answers:
    """Answers from one file.

    Attributes:
        name: The file's name.
        recording: The answers.
        run: The stored run they are from; None for a recording.
    """

    name: str
    recording: Recording
    run: Run | None = None


def load_answers(path: Path) -> Answers:
    """Answers from a recording, or from a stored run.

    Raises:
        SuiteError, RunFileError: The file is neither, or broken.
    """
    if not _is_run_file(path):
        return Answers(path.name, load_recorded(path))
    from aigate.core.runfile import decode

    run = decode(read_lines(path), source=str(path))
    answers = {result.key: result.response for result in run.results if result.response is not None}
    return Answers(path.name, Recording(answers, path, run.digest), run)


def _is_run_file(path: Path) -> bool:
    """True when its first line is the header of a run."""
    try:
        with path.open("rb") as file:
            return f'"{RUN_FORMAT}"'.encode() in file.readline(4096)
    except FileNotFoundError:
        raise RunFileError(f"{path}: no such file", hint="name a recording, or a run file") from None
    except IsADirectoryError:
        raise RunFileError(f"{path}: a folder, expected a file", hint="name the files in it") from None


def scorer_entry(suite: Suite, name: str, choices: Choices) -> ScorerEntry:
    """The scorer of that name: one of the suite's, by its metric or as it stands there; else any that there is.

    Raises:
        UsageError: No such scorer.
        ConfigError: A scorer of the suite cannot be made.
    """
    entries: tuple[ScorerEntry, ...] = suite.config.scorers or DEFAULTS["scorers"]
    made = scorers_of(suite, named_judges(suite, choices.judge))
    for entry, scorer in zip(entries, made, strict=True):
        if name in (scorer.spec.metric, str(entry)):
            return entry
    kind, _, argument = name.partition(":")
    if kind not in SCORERS.names():
        known = dict.fromkeys([*(scorer.spec.metric for scorer in made), *SCORERS.names()])
        raise UsageError(f"--scorer {name}: no such scorer or metric", hint=nearest(name, known, kind="scorers"))
    return ScorerEntry(kind, argument)


@dataclass(frozen=True)
class Found:
    """Labelled answers with their scores.

    Attributes:
        spec: How the metric was computed.
        rows: The labelled answers.
        unlabelled: Answers without a label.
        unanswered: Labelled or not, those that are no answer that a scorer judges: faults, refusals, cut-off answers.
        foreign: Ids that are none of the suite's samples.
    """

    spec: MetricSpec
    rows: tuple[Labelled, ...]
    unlabelled: int
    unanswered: int
    foreign: tuple[str, ...]


def labelled(
    suite: Suite,
    entry: ScorerEntry,
    answers: Sequence[Answers],
    labels: Labels,
    choices: Choices,
    *,
    environ: Mapping[str, str],
    progress: Progress | None = None,
) -> Found:
    """Judge every answer that is there by one scorer, and put people's label beside it.

    Args:
        suite: Whose samples were answered.
        entry: The scorer.
        answers: The answers, at least one file of them; names are unique.
        labels: Where the labels stand.
        choices: Who judges, and what that may cost; `provider`, `version` and `repeats` are not used.
        environ: The environment, for keys.
        progress: Called per answer.

    Raises:
        UsageError: An answer file without one of the suite's samples, or two of one name.
        SuiteError: A label that says neither good nor bad.
    """
    names = [each.name for each in answers]
    if len(set(names)) < len(names):
        raise UsageError("two files of answers have the same name", hint="rename one of them")
    label_of = labels.reader(names)
    rows: list[Labelled] = []
    foreign: list[str] = []
    unlabelled = unanswered = 0
    spec: MetricSpec | None = None
    for each in answers:
        run = _judged(suite, entry, each, choices, environ=environ, progress=progress)
        spec = run.header.metrics[0] if spec is None else spec
        foreign += each.recording.extra_ids(sample.id for sample in suite.samples)
        for result in run.results:
            response, sample = result.response, run.samples[result.sample_id]
            if response is None or response.output is None or result.outcome.candidate_fault:
                unanswered += 1
                continue
            good = label_of(each.name, sample, result.repeat, response)
            if good is None:
                unlabelled += 1
                continue
            score = result.scores.get(spec.metric, Unscored("not_run", "never judged"))
            rows.append(
                Labelled(sample.digest, response.output_digest or "", sample.unit, sample.tags, score, good=good)
            )
    assert spec is not None  # noqa: S101 - for the type checker: there is at least one file
    return Found(spec, tuple(rows), unlabelled, unanswered, tuple(dict.fromkeys(foreign)))


def _judged(
    suite: Suite,
    entry: ScorerEntry,
    answers: Answers,
    choices: Choices,
    *,
    environ: Mapping[str, str],
    progress: Progress | None,
) -> Run:
    """A run of the answers with that one metric; repeats are counted from 0 as the recording counts them."""
    ids = {sample_id for sample_id, _ in answers.recording.answers}
    samples = tuple(sample for sample in suite.samples if sample.id in ids)
    if not samples:
        raise UsageError(
            f"{answers.recording.path}: answers none of the {len(suite)} samples of '{suite.name}'",
            hint="name the suite that was answered with --suite",
        )
    config = replace(suite.config, scorers=(entry,), primary_metric=None, policy=None)
    part = replace(suite, samples=samples, prompts={}, config=config)
    repeats = 1 + max(repeat for _, repeat in answers.recording.answers)
    provider = ReplayProvider(answers.recording, repeat_offset=0)
    chosen = replace(choices, version=VERSION, provider=provider, provider_options={}, repeats=repeats, policy={})
    conditions = prepare(part, chosen, environ=environ)
    [spec] = conditions.header.metrics
    held = None if answers.run is None else answers.run.header.metric(spec.metric)
    if answers.run is not None and held is not None and held.to_dict() == spec.to_dict():
        return replace(answers.run, header=replace(answers.run.header, metrics=(spec,)))
    with TemporaryDirectory(prefix="aigate-") as folder:
        asked = progress if conditions.plan.judges else None  # all else is over before anybody looks
        return execute(conditions, Path(folder) / "run.jsonl", progress=asked)
