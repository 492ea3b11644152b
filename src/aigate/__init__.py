"""aigate: a gate in front of every model, provider or prompt change.

::

    from aigate import Policy, MinScore, NoRegression, evaluate, gate, load_run

    verdict = gate(load_run("candidate.jsonl"), policy, baseline=load_run("baseline.jsonl"))
    if verdict:            # False for fail, inconclusive and error alike
        ...

Importing this package imports nothing else: every name is looked up when it is first used (PEP 562).
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from aigate.core.ledger import Ledger, Outcome
    from aigate.core.response import Fault, FaultKind, Response
    from aigate.core.run import Run
    from aigate.core.sample import Sample
    from aigate.core.score import MetricSpec, Score, Unscored
    from aigate.core.verdict import CheckOutcome, Status, Verdict
    from aigate.core.version import VersionId
    from aigate.errors import AigateError, CallError, VerdictError
    from aigate.gating.checks.max_cost import MaxCost
    from aigate.gating.checks.max_error_rate import MaxErrorRate
    from aigate.gating.checks.max_latency import MaxLatency
    from aigate.gating.checks.min_score import MinScore
    from aigate.gating.checks.must_pass import MustPass
    from aigate.gating.checks.no_regression import NoRegression
    from aigate.gating.checks.same_shape import SameShape
    from aigate.gating.comparison import Comparison
    from aigate.gating.decision import gate
    from aigate.gating.policy import Policy
    from aigate.gating.tables import Comparisons, compare
    from aigate.goldens.suite import Suite, load_suite
    from aigate.providers.base import Provider, Request
    from aigate.running.evaluation import evaluate
    from aigate.running.latency import benchmark
    from aigate.running.measurement import Benchmark
    from aigate.running.timings import LatencySummary
    from aigate.scorers.base import Scorer
    from aigate.storing.runs import load_run

__version__ = "0.1.0"

_HOMES = {
    "AigateError": "errors",
    "Benchmark": "running.measurement",
    "CallError": "errors",
    "CheckOutcome": "core.verdict",
    "Comparison": "gating.comparison",
    "Comparisons": "gating.tables",
    "Fault": "core.response",
    "FaultKind": "core.response",
    "LatencySummary": "running.timings",
    "Ledger": "core.ledger",
    "MaxCost": "gating.checks.max_cost",
    "MaxErrorRate": "gating.checks.max_error_rate",
    "MaxLatency": "gating.checks.max_latency",
    "MetricSpec": "core.score",
    "MinScore": "gating.checks.min_score",
    "MustPass": "gating.checks.must_pass",
    "NoRegression": "gating.checks.no_regression",
    "Outcome": "core.ledger",
    "Policy": "gating.policy",
    "Provider": "providers.base",
    "Request": "providers.base",
    "Response": "core.response",
    "Run": "core.run",
    "SameShape": "gating.checks.same_shape",
    "Sample": "core.sample",
    "Score": "core.score",
    "Scorer": "scorers.base",
    "Status": "core.verdict",
    "Suite": "goldens.suite",
    "Unscored": "core.score",
    "Verdict": "core.verdict",
    "VerdictError": "errors",
    "VersionId": "core.version",
    "benchmark": "running.latency",
    "compare": "gating.tables",
    "evaluate": "running.evaluation",
    "gate": "gating.decision",
    "load_run": "storing.runs",
    "load_suite": "goldens.suite",
}

__all__ = [
    "AigateError",
    "Benchmark",
    "CallError",
    "CheckOutcome",
    "Comparison",
    "Comparisons",
    "Fault",
    "FaultKind",
    "LatencySummary",
    "Ledger",
    "MaxCost",
    "MaxErrorRate",
    "MaxLatency",
    "MetricSpec",
    "MinScore",
    "MustPass",
    "NoRegression",
    "Outcome",
    "Policy",
    "Provider",
    "Request",
    "Response",
    "Run",
    "SameShape",
    "Sample",
    "Score",
    "Scorer",
    "Status",
    "Suite",
    "Unscored",
    "Verdict",
    "VerdictError",
    "VersionId",
    "benchmark",
    "compare",
    "evaluate",
    "gate",
    "load_run",
    "load_suite",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'aigate' has no attribute '{name}'")
    found = getattr(import_module(f"aigate.{_HOMES[name]}"), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
