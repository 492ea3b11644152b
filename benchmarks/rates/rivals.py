"""Other gates, called through their own API with their own defaults; only the margin and the seed are ours.

Nothing of theirs is copied here: each package is imported when asked for, and reported as not installed where it is
missing (`pip install 'aigate[rivals]'`). Each rival answers "pass", "block" or None (undecided) for two arms of scores.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

import numpy as np

Decision = str | None

ALPHA = 0.05
MARGIN = 0.05
ENOUGH = 0.5  # a score from here on counts as passed, for rivals that only know passed and failed


@dataclass(frozen=True)
class Rival:
    """Another tool's gate.

    Attributes:
        key: Short name.
        package: Its name in the registry.
        how: The call, and what counts as pass and block.
        judge: `judge(baseline, candidate, seed)`.
        binary_only: True when it cannot judge graded scores.
        slow: True when a call takes a tenth of a second or more, so that it gets fewer runs.
    """

    key: str
    package: str
    how: str
    judge: Callable[[np.ndarray, np.ndarray, int], Decision]
    binary_only: bool = False
    slow: bool = False

    @property
    def installed(self) -> str | None:
        """The installed version; None where there is none."""
        try:
            return version(self.package)
        except PackageNotFoundError:
            return None


def statgate(baseline: np.ndarray, candidate: np.ndarray, seed: int) -> Decision:
    """`evaluate_gate`: the BCa interval of the mean difference against the margin."""
    from statgate import GateSettings, evaluate_gate

    settings = GateSettings(margin=MARGIN, alpha=ALPHA, seed=seed)
    report = evaluate_gate(_statgate_records(baseline), _statgate_records(candidate), settings)
    return {"SHIP": "pass", "BLOCK": "block"}.get(str(report.verdict))


def statgate_sequential(baseline: np.ndarray, candidate: np.ndarray, seed: int) -> Decision:
    """`run_replay`: a mixture sequential probability ratio test in batches of 25."""
    from statgate import GateSettings, SequentialSettings
    from statgate.sequential_runner import run_replay

    gate = GateSettings(margin=MARGIN, alpha=ALPHA, seed=seed)
    sequential = SequentialSettings(max_cases=max(2, len(baseline)))
    outcome = run_replay(_statgate_records(baseline), _statgate_records(candidate), gate, sequential)
    return {"SHIP": "pass", "BLOCK": "block"}.get(str(outcome.verdict))


def _statgate_records(scores: np.ndarray) -> list:
    from statgate import EvalRecord

    return [EvalRecord(case_id=f"case-{i:05}", score=float(score)) for i, score in enumerate(scores)]


def evalsig(baseline: np.ndarray, candidate: np.ndarray, seed: int) -> Decision:
    """`gate(baseline, candidate, min_delta=0.05)`: it asks whether the candidate is better, as its readme shows."""
    import evalsig as package

    report = package.gate(_evalsig_run("a", baseline), _evalsig_run("b", candidate), min_delta=MARGIN, rng=seed)
    return {"ALLOW": "pass", "REJECT": "block"}.get(report.verdict.value)


def evalsig_reversed(baseline: np.ndarray, candidate: np.ndarray, seed: int) -> Decision:
    """The same gate asked whether the *baseline* is better by half the margin: ALLOW blocks, REJECT passes.

    This is the kindest reading: used as documented, its gate never lets an equal candidate through.
    """
    import evalsig as package

    report = package.gate(_evalsig_run("a", candidate), _evalsig_run("b", baseline), min_delta=MARGIN / 2, rng=seed)
    return {"ALLOW": "block", "REJECT": "pass"}.get(report.verdict.value)


def _evalsig_run(name: str, scores: np.ndarray) -> object:
    from evalsig import ItemResult, RunFrame

    items = [ItemResult(item_id=f"case-{i:05}", score=float(score)) for i, score in enumerate(scores)]
    return RunFrame(run_id=name, model_id=name, task_id="task", metric_name="score", items=items)


def evalproof(baseline: np.ndarray, candidate: np.ndarray, seed: int) -> Decision:
    """`compare_runs` and `decide`: exact McNemar or paired bootstrap; a drop that is not significant passes."""
    from evalproof.compare import compare_runs
    from evalproof.config import GateConfig
    from evalproof.gate import decide

    config = GateConfig(metric="score", max_drop=MARGIN, alpha=ALPHA)
    binary = bool(np.isin((baseline, candidate), (0.0, 1.0)).all())
    runs = _evalproof_run("a", baseline, binary=binary), _evalproof_run("b", candidate, binary=binary)
    comparison = compare_runs(*runs, alpha=ALPHA, n_boot=config.n_boot, seed=seed)
    return "block" if decide(comparison, config).exit_code else "pass"


def _evalproof_run(name: str, scores: np.ndarray, *, binary: bool) -> object:
    from evalproof.models import CaseResult, Run, RunInfo, Score, SystemOutput

    info = RunInfo(
        suite="suite",
        system=name,
        dataset_path="data",
        dataset_hash="0",
        started_at="",
        finished_at="",
        wall_time_s=0.0,
        evalproof_version="",
        seed=0,
    )
    results = [
        CaseResult(
            case_id=f"case-{i:05}",
            output=SystemOutput(output=""),
            scores={"score": Score(value=float(score), passed=score >= ENOUGH if binary else None)},
        )
        for i, score in enumerate(scores)
    ]
    return Run(info=info, results=results)


def llm_evalgate(baseline: np.ndarray, candidate: np.ndarray, seed: int) -> Decision:
    """`RegressionGate.check` on accuracy: blocks a drop past the threshold whose bootstrap p is below alpha."""
    from llm_evalgate import BenchmarkResult, RegressionGate

    def result(scores: np.ndarray) -> object:
        predicted = [bool(score >= ENOUGH) for score in scores]
        labels = [True] * len(predicted)
        return BenchmarkResult(predicted, labels, metrics={}, n=len(predicted), dataset_fingerprint="same")

    gate = RegressionGate(metrics=("accuracy",), threshold=MARGIN, alpha=ALPHA, seed=seed)
    return "pass" if gate.check(result(candidate), result(baseline)).passed else "block"


RIVALS: dict[str, Rival] = {
    rival.key: rival
    for rival in (
        Rival("statgate", "statgate", "evaluate_gate(margin=0.05): SHIP, BLOCK", statgate),
        Rival("statgate-sequential", "statgate", "run_replay(margin=0.05): SHIP, BLOCK", statgate_sequential),
        Rival("evalsig", "evalsig", "gate(baseline, candidate, min_delta=0.05): ALLOW, REJECT", evalsig),
        Rival(
            "evalsig-reversed",
            "evalsig",
            "gate(candidate, baseline, min_delta=0.025): ALLOW blocks, REJECT passes",
            evalsig_reversed,
        ),
        Rival("evalproof", "evalproof", "decide(compare_runs(...), max_drop=0.05): exit code", evalproof),
        Rival(
            "llm-evalgate",
            "llm-evalgate",
            "RegressionGate(accuracy, threshold=0.05).check(...).passed",
            llm_evalgate,
            binary_only=True,
            slow=True,
        ),
    )
}
