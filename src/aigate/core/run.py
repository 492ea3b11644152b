"""`Run`: one stored execution, with everything needed to decide again without a network."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import accumulate
from typing import Any

from aigate.core.columns import AnswerColumns, RunColumns, SampleColumns
from aigate.core.display import Displayed
from aigate.core.ledger import Ledger, Outcome
from aigate.core.looks import LookPlan, order_units
from aigate.core.response import Response
from aigate.core.sample import Sample
from aigate.core.score import MetricSpec, ScoreOrNot, score_from_dict
from aigate.core.version import VersionId

__all__ = ["RUN_FORMAT", "AnchorScore", "AnchorsJudged", "JudgeUse", "Result", "Run", "RunHeader"]

RUN_FORMAT = "aigate.run/1"
MOST_REPEATS = 10_000  # more are a broken header, which would otherwise take all memory


@dataclass(frozen=True, slots=True)
class JudgeUse:
    """What one metric's judge was asked for one answer, and what it cost: told apart from the answer's own cost.

    Attributes:
        calls: Calls made, retries and further attempts included.
        from_journal: Questions whose reply was given before this run, and taken from the journal: it cost nothing now.
        input_tokens: Tokens sent by the calls that told; of this run only.
        output_tokens: Tokens received.
        cost_usd: US dollars; None where the price is not known.
        served_models: The models that the endpoint says it served, sorted; those of journaled replies too.
        steering: What in the answer is meant for its judge, in words; empty where nothing is.
    """

    calls: int = 0
    from_journal: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost_usd: float | None = None
    served_models: tuple[str, ...] = ()
    steering: tuple[str, ...] = ()

    def plus(self, other: JudgeUse) -> JudgeUse:
        """Both together; a cost that is not known adds nothing to one that is."""
        costs = [cost for cost in (self.cost_usd, other.cost_usd) if cost is not None]
        return JudgeUse(
            calls=self.calls + other.calls,
            from_journal=self.from_journal + other.from_journal,
            input_tokens=self.input_tokens + other.input_tokens,
            output_tokens=self.output_tokens + other.output_tokens,
            cost_usd=sum(costs) if costs else None,
            served_models=tuple(sorted({*self.served_models, *other.served_models})),
            steering=tuple(dict.fromkeys((*self.steering, *other.steering))),
        )

    def to_dict(self) -> dict[str, Any]:
        """The use as JSON."""
        whole = {
            "calls": self.calls,
            "from_journal": self.from_journal,
            "input_tokens": self.input_tokens,
            "output_tokens": self.output_tokens,
            "cost_usd": self.cost_usd,
            "served_models": list(self.served_models),
        }
        return {**whole, "steering": list(self.steering)} if self.steering else whole

    @classmethod
    def from_dict(cls, row: Mapping[str, Any]) -> JudgeUse:
        """The inverse of `to_dict`.

        Raises:
            KeyError, TypeError, ValueError: The row is no use of a judge.
        """
        counts = {name: row[name] for name in ("calls", "from_journal", "input_tokens", "output_tokens")}
        if not all(type(count) is int and count >= 0 for count in counts.values()):
            raise ValueError(f"a judge's calls and tokens are counts, got {counts!r}")
        served, steering = tuple(row["served_models"]), tuple(row.get("steering", ()))
        return cls(**counts, cost_usd=row["cost_usd"], served_models=served, steering=steering)


@dataclass(frozen=True, slots=True)
class AnchorScore:
    """What a judge said in this run of one labelled answer.

    Attributes:
        id: Which anchor.
        digest: Of the whole row: one that was edited is another anchor.
        label: The score it deserves.
        score: The score it got; None where the judge gave none.
        why: Why it gave none.
    """

    id: str
    digest: str
    label: float
    score: float | None
    why: str = ""

    def to_dict(self) -> dict[str, Any]:
        """The anchor as JSON."""
        whole = {"id": self.id, "digest": self.digest, "label": self.label, "score": self.score}
        return {**whole, "why": self.why} if self.why else whole

    @classmethod
    def from_dict(cls, row: Mapping[str, Any]) -> AnchorScore:
        """The inverse of `to_dict`.

        Raises:
            KeyError, TypeError, ValueError: The row is none.
        """
        found = cls(row["id"], row["digest"], float(row["label"]), row["score"], row.get("why", ""))
        if found.score is not None and not 0.0 <= found.score <= 1.0:
            raise ValueError(f"anchor {found.id!r}: the score {found.score!r} lies outside [0, 1]")
        return found


@dataclass(frozen=True, slots=True)
class AnchorsJudged:
    """What one metric's judge said of all its anchors, and what that cost.

    Attributes:
        rows: In the order of the suite's file.
        use: What the judge was asked for them.
    """

    rows: tuple[AnchorScore, ...]
    use: JudgeUse = field(default_factory=JudgeUse)

    def to_dict(self) -> dict[str, Any]:
        """The anchors as JSON."""
        return {"rows": [row.to_dict() for row in self.rows], "use": self.use.to_dict()}

    @classmethod
    def from_dict(cls, row: Mapping[str, Any]) -> AnchorsJudged:
        """The inverse of `to_dict`.

        Raises:
            KeyError, TypeError, ValueError: The row is none.
        """
        return cls(tuple(AnchorScore.from_dict(found) for found in row["rows"]), JudgeUse.from_dict(row["use"]))


@dataclass(frozen=True)
class Result:
    """What became of one sample and repeat.

    Attributes:
        sample_id: Which sample.
        repeat: Which repeat, from 0.
        outcome: How it ended; exactly one.
        response: The answer or fault; None when nothing was asked.
        scores: Per metric, a score or why there is none.
        judging: Per judged metric, what its judge was asked.
    """

    sample_id: str
    repeat: int
    outcome: Outcome
    response: Response | None
    scores: Mapping[str, ScoreOrNot]
    judging: Mapping[str, JudgeUse] = field(default_factory=dict)

    @property
    def key(self) -> tuple[str, int]:
        """What identifies it within a run."""
        return (self.sample_id, self.repeat)

    def to_dict(self) -> dict[str, Any]:
        """The result as JSON, without its sample."""
        whole = {
            "id": self.sample_id,
            "repeat": self.repeat,
            "outcome": str(self.outcome),
            "response": None if self.response is None else self.response.to_dict(),
            "scores": {metric: score.to_dict() for metric, score in self.scores.items()},
        }
        if self.judging:
            whole["judging"] = {metric: use.to_dict() for metric, use in self.judging.items()}
        return whole

    @classmethod
    def from_dict(cls, row: Mapping[str, Any]) -> Result:
        """The inverse of `to_dict`.

        Raises:
            KeyError, ValueError, TypeError: The row is no result; `aigate.core.runfile` turns it into file:line.
        """
        response = row["response"]
        return cls(
            sample_id=row["id"],
            repeat=row["repeat"],
            outcome=Outcome(row["outcome"]),
            response=None if response is None else Response.from_dict(response),
            scores={metric: score_from_dict(score) for metric, score in row["scores"].items()},
            judging={metric: JudgeUse.from_dict(use) for metric, use in row.get("judging", {}).items()},
        )


@dataclass(frozen=True)
class RunHeader:
    """Line 1 of a run file: what was run, and under which conditions.

    Attributes:
        version: The version under test.
        provider: The provider's name, adapter version and settings that are no secret.
        suite_name: The suite's name.
        suite_digest: Digest of the samples, in any order.
        suite_size: Samples in the suite.
        subset: How the run was narrowed (`--limit`, `--tag`), or None for the whole suite.
        prompt_digest: Digest of the prompt file; None when the input is sent as it is.
        parameters: Request parameters that are not part of the prompt file.
        metrics: What was scored, and how.
        primary_metric: The metric `--threshold` speaks of.
        repeats: Answers per sample.
        policy: The policy in force, as JSON, so that the run can be decided again as it was.
        expected_models: Names the provider may report as served; empty: derived from the version.
        libraries: Versions of what can move a score.
        seed: Seed of anything random in the run.
        commit: The git commit of the working tree, with `-dirty` where it had changes; None outside a checkout.
        started_at: UTC, ISO 8601.
        looks: When the run may be decided and stopped, planned before the first answer; None: at its end only.
        load: Under which load answers were asked for: `engine`, `concurrency`, `timeout_s`, `requests_per_minute` where
            limited. Latencies measured under another load cannot be compared. None: nothing was called, or parts of the
            run had different ones.
        calibrations: Per metric, how far its scorer says what people say (`aigate.scorers.calibration`), as JSON: what
            the suite knew when the run was made.
        rejudged_from: The digest of the run whose answers these are, judged again; None for a run of its own.
    """

    version: VersionId
    provider: Mapping[str, Any]
    suite_name: str
    suite_digest: str
    suite_size: int
    prompt_digest: str | None
    parameters: Mapping[str, Any]
    metrics: tuple[MetricSpec, ...]
    primary_metric: str
    repeats: int
    policy: Mapping[str, Any]
    subset: str | None = None
    expected_models: tuple[str, ...] = ()
    libraries: Mapping[str, str] = field(default_factory=dict)
    seed: int = 0
    commit: str | None = None
    started_at: str = ""
    looks: LookPlan | None = None
    load: Mapping[str, Any] | None = None
    calibrations: Mapping[str, Any] = field(default_factory=dict)
    rejudged_from: str | None = None

    def metric(self, name: str) -> MetricSpec | None:
        """The spec of a metric, or None when the run did not compute it."""
        return next((spec for spec in self.metrics if spec.metric == name), None)

    def own_metric(self, name: str) -> MetricSpec | None:
        """The spec of a metric that says something of this run alone; None of one that holds it against another."""
        found = self.metric(name)
        return found if found is not None and found.against is None else None

    def share(self, n_samples: int) -> float:
        """The share of the suite that so many samples are; 0.0 of an empty suite."""
        return n_samples / self.suite_size if self.suite_size else 0.0

    def to_dict(self) -> dict[str, Any]:
        """The header as JSON; calibrations stand in it only where there are any."""
        return {
            **({"calibrations": dict(self.calibrations)} if self.calibrations else {}),
            "format": RUN_FORMAT,
            "version": str(self.version),
            "provider": dict(self.provider),
            "suite": {
                "name": self.suite_name,
                "digest": self.suite_digest,
                "size": self.suite_size,
                "subset": self.subset,
            },
            "prompt_digest": self.prompt_digest,
            "parameters": dict(self.parameters),
            "metrics": [spec.to_dict() for spec in self.metrics],
            "primary_metric": self.primary_metric,
            "repeats": self.repeats,
            "looks": None if self.looks is None else self.looks.to_dict(),
            "policy": dict(self.policy),
            "expected_models": list(self.expected_models),
            "libraries": dict(self.libraries),
            "seed": self.seed,
            "commit": self.commit,
            "started_at": self.started_at,
            **({} if self.load is None else {"load": dict(self.load)}),
            **({} if self.rejudged_from is None else {"rejudged_from": self.rejudged_from}),
        }

    @classmethod
    def from_dict(cls, row: Mapping[str, Any]) -> RunHeader:
        """The inverse of `to_dict`.

        Raises:
            KeyError, ValueError, TypeError: The row is no header of this format.
        """
        for key, kind in _HEADER_TYPES.items():
            if not isinstance(row[key], kind):
                raise TypeError(f"'{key}' is {type(row[key]).__name__}")
        if not isinstance(row.get("load"), dict | None):
            raise TypeError(f"'load' is {type(row['load']).__name__}")
        suite = row["suite"]
        if not 1 <= row["repeats"] <= MOST_REPEATS:
            raise ValueError(f"'repeats' is {row['repeats']!r}: expected 1 to {MOST_REPEATS}")
        return cls(
            version=VersionId.parse(row["version"]),
            provider=row["provider"],
            suite_name=suite["name"],
            suite_digest=suite["digest"],
            suite_size=suite["size"],
            subset=suite["subset"],
            prompt_digest=row["prompt_digest"],
            parameters=row["parameters"],
            metrics=tuple(MetricSpec.from_dict(spec) for spec in row["metrics"]),
            primary_metric=row["primary_metric"],
            repeats=row["repeats"],
            policy=row["policy"],
            expected_models=tuple(row["expected_models"]),
            libraries=row["libraries"],
            seed=row["seed"],
            commit=row["commit"],
            started_at=row["started_at"],
            looks=LookPlan.from_dict(row["looks"]) if row.get("looks") is not None else None,  # not there before 0.2
            load=row.get("load"),
            calibrations=row.get("calibrations", {}),
            rejudged_from=row.get("rejudged_from"),
        )

    def same_conditions(self) -> Mapping[str, Any]:
        """All that can move an answer or a score: what two parts of one run must share.

        Left out: when, where and with which library versions it was begun, and how it is decided. The planned looks are
        left out too: a run that goes on keeps the plan it was begun with; and the load, which may change on the way.
        """
        apart = {"started_at", "commit", "libraries", "policy", "expected_models", "primary_metric"}
        apart |= {"looks", "load", "calibrations"}
        return {key: value for key, value in self.to_dict().items() if key not in apart}


_HEADER_TYPES: Mapping[str, Any] = {
    "version": str,
    "provider": dict,
    "suite": dict,
    "prompt_digest": str | None,
    "parameters": dict,
    "metrics": list,
    "primary_metric": str,
    "repeats": int,
    "policy": dict,
    "expected_models": list,
    "libraries": dict,
    "commit": str | None,
    "started_at": str,
}


@dataclass(frozen=True)
class Run(Displayed):
    """One finished execution.

    A run that was read from a file holds its columns, and reads a sample or a result again when it is looked at.

    Attributes:
        header: What was run.
        samples: The samples by id, sorted by id.
        results: Every sample and repeat, sorted by id and repeat.
        digest: The run file's digest (see `aigate.core.runfile`).
        finished_at: UTC, ISO 8601.
        source: Where it was read from, for messages; not part of its identity.
        judge_anchors: What the judge of each judged metric said of the suite's labelled answers.
    """

    header: RunHeader
    samples: Mapping[str, Sample]
    results: Sequence[Result]
    digest: str
    finished_at: str = ""
    source: str = ""
    judge_anchors: Mapping[str, AnchorsJudged] = field(default_factory=dict)

    @property
    def version(self) -> VersionId:
        """The version that answered."""
        return self.header.version

    @cached_property
    def columns(self) -> RunColumns:
        """What a verdict rests on, without the texts."""
        return self._stored or _columns_of(self.samples, self.results)

    @property
    def _stored(self) -> RunColumns | None:
        """The columns that samples and results were read with; None for those that somebody made."""
        held = getattr(self.results, "columns", None)
        return held if isinstance(held, RunColumns) and held is getattr(self.samples, "columns", None) else None

    @cached_property
    def ledger(self) -> Ledger:
        """How every sample and repeat ended."""
        return self.columns.answers.ledger()

    @cached_property
    def by_sample(self) -> Mapping[str, tuple[Result, ...]]:
        """The results of each sample, by repeat."""
        if self._stored is not None:
            return _BySample(self._stored, self.results)
        grouped: dict[str, list[Result]] = {sample_id: [] for sample_id in self.samples}
        for result in self.results:
            grouped[result.sample_id].append(result)
        return {sample_id: tuple(found) for sample_id, found in grouped.items()}

    @cached_property
    def unit_order(self) -> tuple[str, ...]:
        """The units in the order in which looks take them; see `aigate.core.looks`."""
        samples = self.columns.samples
        tagged = ((samples.unit(row), samples.tags[row] or ()) for row in range(len(samples)))
        return order_units(tagged, seed=self.header.seed)

    def under(self, header: RunHeader) -> Run:
        """The same samples and results under another header."""
        run = replace(self, header=header)
        run.__dict__["columns"] = self.columns  # they were worked out already
        return run

    def part(self, header: RunHeader, samples: Sequence[int], results: Sequence[int]) -> Run:
        """Some of the samples with some of their results.

        Args:
            header: The header of the part.
            samples: Rows of `columns.samples`, ascending.
            results: Rows of `columns.answers` that belong to them, ascending.
        """
        columns = self.columns.part(samples, results)
        if self._stored is not None:
            stored: tuple[Any, Any] = (self.samples, self.results)
            kept, answers = (type(held)(columns, held.lines) for held in stored)
        else:
            kept = {sample_id: self.samples[sample_id] for sample_id in columns.samples.ids}
            ordered = sorted(self.results, key=lambda result: result.key)
            answers = tuple(ordered[row] for row in results)
        run = replace(self, header=header, samples=kept, results=answers)
        run.__dict__["columns"] = columns
        return run

    def __len__(self) -> int:
        return len(self.samples)


def _columns_of(samples: Mapping[str, Sample], results: Iterable[Result]) -> RunColumns:
    """The columns of samples and results that stand in no file."""
    known = SampleColumns.of(samples[sample_id] for sample_id in sorted(samples))
    answers = AnswerColumns()
    counts = dict.fromkeys(known.ids, 0)
    for result in sorted(results, key=lambda result: result.key):
        answers.add(result.to_dict())
        counts[result.sample_id] += 1
    return RunColumns(known, answers, array("q", accumulate(counts.values(), initial=0)))


class _BySample(Mapping[str, tuple[Result, ...]]):
    """The results of each sample, found when they are asked for."""

    def __init__(self, columns: RunColumns, results: Sequence[Result]) -> None:
        self._columns, self._results = columns, results

    def __getitem__(self, sample_id: str) -> tuple[Result, ...]:
        place = self._columns.samples.ids.find(sample_id)
        if place is None:
            raise KeyError(sample_id)
        return tuple(self._results[row] for row in self._columns.rows_of(place))

    def __iter__(self) -> Iterator[str]:
        return iter(self._columns.samples.ids)

    def __len__(self) -> int:
        return len(self._columns)
