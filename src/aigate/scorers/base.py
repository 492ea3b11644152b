"""What a scorer is: it judges one response. One file per family stands beside this one."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, Self, TypeGuard, runtime_checkable

from aigate.core.late import LateMapping
from aigate.core.registry import Registry, refuse_unknown
from aigate.core.response import Response
from aigate.core.run import Run
from aigate.core.sample import Sample
from aigate.core.score import MetricSpec, ScoreOrNot, Unscored
from aigate.errors import ConfigError

if TYPE_CHECKING:
    from aigate.scorers.judge import Judge, JudgeAccess, Question

__all__ = [
    "SCORERS",
    "BaselineAnswers",
    "JudgedScorer",
    "RunScorer",
    "Scorer",
    "ScorerSettings",
    "asks_a_judge",
    "embedded_by",
    "make_ready",
    "make_scorer",
    "scorer_from_spec",
]

SCORERS = Registry(
    kind="scorer",
    group="aigate.scorers",
    built_in={
        "assertions": "aigate.scorers.assertions:from_settings",
        "bleu": "aigate.scorers.text:bleu",
        "chrf": "aigate.scorers.text:chrf",
        "classification": "aigate.scorers.classification:from_settings",
        "contract": "aigate.scorers.contract:from_settings",
        "correctness": "aigate.scorers.correctness:from_settings",
        "entailment": "aigate.scorers.entailment:from_settings",
        "exact_match": "aigate.scorers.exact:exact_match",
        "faithfulness": "aigate.scorers.faithfulness:from_settings",
        "grounding": "aigate.scorers.grounding:from_settings",
        "includes": "aigate.scorers.exact:includes",
        "pairwise": "aigate.scorers.pairwise:from_settings",
        "ragas": "aigate.scorers.ragas_metrics:from_settings",
        "recorded": "aigate.scorers.recorded:from_settings",
        "refusal": "aigate.scorers.refusal:from_settings",
        "rouge_l": "aigate.scorers.text:rouge_l",
        "rubric": "aigate.scorers.rubric:from_settings",
        "shape": "aigate.scorers.shape:from_settings",
        "similarity": "aigate.scorers.similarity:from_settings",
        "token_f1": "aigate.scorers.text:token_f1",
    },
    error=ConfigError,
)


@runtime_checkable
class Scorer(Protocol):
    """Judges one response at a time. Pure: same sample and response, same score, unless its spec says otherwise."""

    @property
    def spec(self) -> MetricSpec:
        """The metric, its direction, and every option that can change a score."""
        ...

    def applies_to(self, sample: Sample) -> Unscored | None:
        """None when the sample can be judged; otherwise why it lies outside the metric (no reference, no contexts)."""
        ...

    def score(self, sample: Sample, response: Response) -> ScoreOrNot | Awaitable[ScoreOrNot]:
        """Judge a response that has an output. Called only where `applies_to` gave None.

        Returns:
            A score in [0, 1] with an explanation; or `Unscored("unparseable")` when the output cannot be read, which
            counts against the candidate; or `Unscored("judge_error")` when the scorer itself failed.
        """
        ...


@runtime_checkable
class RunScorer(Protocol):
    """A scorer that also computes numbers over a whole run (macro F1)."""

    @property
    def run_metrics(self) -> tuple[str, ...]:
        """Names of the numbers that are always there; others (per class) may join them."""
        ...

    def over_run(self, rows: Sequence[tuple[Sample, ScoreOrNot]]) -> Mapping[str, float]:
        """The numbers over a run's samples and scores; in [0, 1]. What is undefined is left out, never 0 or NaN."""
        ...


class JudgedScorer(Scorer, Protocol):
    """A scorer that asks a model. It cannot judge by itself: its `score` raises `ScoringError`.

    Its spec names the judge (`MetricSpec.judge`, made by `Judge.identity`) and is not deterministic.
    """

    def questions(self, sample: Sample, output: str) -> Sequence[Question]:
        """What one judgement of such an output will ask, as far as it can be known before: for the estimate of cost.

        A scorer that has texts embedded may have a member `embedded(sample, output)` besides, which tells them
        likewise; see `embedded_by`.
        """
        ...

    async def judge(self, sample: Sample, response: Response, access: JudgeAccess) -> ScoreOrNot:
        """Judge once a response that has an output. Called only where `applies_to` gave None.

        Where the judge's repeats are more than one it is called so many times, each with an access of its own; the
        score is the mean.

        Raises:
            JudgeError: The judge gave no judgement; the runner stores `Unscored("judge_error")`.
        """
        ...


def asks_a_judge(scorer: Scorer | JudgedScorer) -> TypeGuard[JudgedScorer]:
    """True for a scorer that asks a model."""
    return callable(getattr(scorer, "judge", None))


def embedded_by(scorer: JudgedScorer, sample: Sample, output: str) -> Sequence[Sequence[str]]:
    """The texts that one judgement of such an output will have embedded: one list for each call."""
    ask = getattr(scorer, "embedded", None)
    texts: Sequence[Sequence[str]] = () if ask is None else ask(sample, output)
    return texts


def make_ready(scorer: Scorer) -> None:
    """Have a scorer make sure that what it was made for is there, before anything is asked: its member `ready`, if any.

    Raises:
        ConfigError: It is not.
    """
    ready = getattr(scorer, "ready", None)
    if callable(ready):
        ready()


def _digests_in(run: Run) -> Mapping[str, str]:
    return {id_: sample.digest for id_, sample in run.samples.items()}


def _outputs_in(run: Run) -> Mapping[str, str]:
    outputs: dict[str, str] = {}
    for result in sorted(run.results, key=lambda result: result.repeat):
        response = result.response
        if response is not None and response.output and not result.outcome.candidate_fault:
            outputs.setdefault(result.sample_id, response.output)
    return outputs


@dataclass(frozen=True, slots=True)
class BaselineAnswers:
    """The answers of a stored run, for scorers that hold the candidate's against them.

    Attributes:
        digest: The run's digest; empty where there is no run.
        samples: The digest of each of its samples, by id.
        outputs: Its first answer to each sample, by id, where it has one that is no fault and not cut off.
    """

    digest: str = ""
    samples: Mapping[str, str] = field(default_factory=dict)
    outputs: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, run: Run) -> BaselineAnswers:
        """Those of a run, read when a scorer first looks one up: most scorers never do, and a run may be large."""
        return cls(run.digest, LateMapping(lambda: _digests_in(run)), LateMapping(lambda: _outputs_in(run)))

    def asked(self, sample: Sample) -> bool:
        """Whether the run was asked this very sample."""
        return self.samples.get(sample.id) == sample.digest

    def answer(self, sample: Sample) -> str:
        """Its answer; empty where it has none."""
        return self.outputs.get(sample.id, "") if self.asked(sample) else ""


@dataclass(frozen=True, slots=True)
class ScorerSettings:
    """What a scorer is made from.

    Attributes:
        name: The scorer's name.
        argument: What stands after a colon in the suite file (`recorded:correct` has `correct`); empty without one.
        options: Options by kebab-case key.
        contract: The suite's `contract.json`, or None.
        judge: The model that judges, where the suite or a caller names one; the embedding model stands beside it, or in
            its place where no model is named that can be asked.
        folder: What relative paths in options are relative to (the suite's folder).
        baseline: The baseline's answers, where there is a baseline.
    """

    name: str
    argument: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    contract: Any = None
    judge: Judge | None = None
    folder: Path = Path()
    baseline: BaselineAnswers | None = None

    def to_dict(self) -> dict[str, Any]:
        """As JSON, for another process to make the same scorer from. Without the judge and the baseline."""
        told = {name: getattr(self, name) for name in ("name", "argument", "options", "contract")}
        return {**told, "folder": str(self.folder.resolve())}

    @classmethod
    def from_dict(cls, row: Mapping[str, Any]) -> Self:
        """The inverse of `to_dict`."""
        return cls(**{**row, "folder": Path(row.get("folder", "."))})

    def to_json(self) -> str:
        """`to_dict` as text.

        Raises:
            TypeError: An option is no JSON.
        """
        return json.dumps(self.to_dict())

    def needed_judge(self) -> Judge:
        """The judge.

        Raises:
            ConfigError: None is named.
        """
        if self.judge is None or self.judge.embeds:
            raise ConfigError(
                f"scorer '{self.name}' needs a judge, and none is named",
                hint='write [judge] and version = "gpt-4o-mini/2024-07-18/v1" below it in suite.toml, or give --judge',
            )
        return self.judge

    def needed_embeddings(self) -> Judge:
        """The embedding model.

        Raises:
            ConfigError: None is named.
        """
        found = self.judge if self.judge is None or self.judge.embeds else self.judge.embeddings
        if found is None:
            raise ConfigError(
                f"scorer '{self.name}' needs an embedding model, and none is named",
                hint='write [judge] and embeddings = "text-embedding/3-small/v1" below it in suite.toml',
            )
        return found

    def only(self, *known: str, argument: bool = False) -> None:
        """Refuse options the scorer does not know, and an argument where it takes none.

        Raises:
            ConfigError: An unknown option; the message names the nearest known one.
        """
        if self.argument and not argument:
            raise ConfigError(f"scorer '{self.name}' takes no ':{self.argument}'", hint=f"write '{self.name}'")
        refuse_unknown(self.options, known, where=f"scorer '{self.name}'", error=ConfigError)


def make_scorer(settings: ScorerSettings) -> Scorer:
    """Make a scorer by name: a built-in one, or one that an installed package names in `aigate.scorers`.

    Raises:
        ConfigError: No scorer of that name, or its options are wrong.
        MissingExtraError: It needs a package that is not installed.
    """
    scorer: Scorer = SCORERS.factory(settings.name)(settings)
    if not scorer.spec.metric.isprintable() or " " in scorer.spec.metric:
        raise ConfigError(
            f"scorer '{settings.name}': {scorer.spec.metric!r} is no metric's name: it has space or control characters",
            hint=f'{{ scorer = "{scorer.spec.scorer}", metric = "another_name" }}',
        )
    return scorer


def scorer_from_spec(spec: MetricSpec) -> Scorer:
    """The scorer that a run's header names, made again from what is stored there."""
    from aigate.scorers.judge import Judge

    name, _, argument = spec.scorer.partition(":")
    options = {key: value for key, value in spec.options.items() if key != "schema"}
    judge = None if spec.judge is None else Judge.from_identity(spec.judge)
    baseline = None if spec.against is None else BaselineAnswers(spec.against)
    contract = spec.options.get("schema")
    return make_scorer(ScorerSettings(name, argument, options, contract=contract, judge=judge, baseline=baseline))
