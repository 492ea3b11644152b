"""The whole gate on stored runs: does it say what the arrays say, and what does it cost?"""

from __future__ import annotations

import multiprocessing
import resource
import time
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor

import numpy as np

from aigate.core.digest import combined_digest, digest_of
from aigate.core.ledger import Outcome
from aigate.core.looks import Look, LookPlan
from aigate.core.response import Response
from aigate.core.run import Result, Run, RunHeader
from aigate.core.sample import Sample
from aigate.core.score import MetricSpec, Score
from aigate.core.version import VersionId
from aigate.gating.checks.no_regression import NoRegression
from aigate.gating.decision import gate
from aigate.gating.policy import Policy
from rates import rules
from rates.data import KINDS, Random
from rates.plan import seed_from

STATUS = {"pass": "pass", "fail": "block", "inconclusive": None}
OPINIONS = 5  # the array rule is asked so often, with other seeds; where it disagrees with itself it is a close call
METRIC = "score"


def make_run(
    scores: Mapping[str, np.ndarray], *, prompt: str, looks: LookPlan | None = None, tags: tuple[str, ...] = ()
) -> Run:
    """A run in memory: one answer to each sample, `scores` per metric of shape (n,); tags in turn."""
    n = len(next(iter(scores.values())))
    samples = [Sample(f"s{i:06}", f"question {i}", tags=(tags[i % len(tags)],) if tags else ()) for i in range(n)]
    results = tuple(
        Result(
            sample.id,
            0,
            Outcome.SCORED,
            Response(output=f"answer {prompt} {i}"),
            {name: Score(float(values[i])) for name, values in scores.items()},
        )
        for i, sample in enumerate(samples)
    )
    header = RunHeader(
        version=VersionId.parse(f"model/1/{prompt}"),
        provider={"name": "simulated"},
        suite_name="simulated",
        suite_digest=combined_digest(sample.digest for sample in samples),
        suite_size=n,
        prompt_digest=None,
        parameters={},
        metrics=tuple(MetricSpec(name, f"recorded:{name}") for name in scores),
        primary_metric=next(iter(scores)),
        repeats=1,
        policy={},
        looks=looks,
    )
    digest = digest_of([prompt, *(values.tolist() for values in scores.values())])
    return Run(header, {sample.id: sample for sample in samples}, results, digest)


def agreement(runs: int) -> dict[str, int]:
    """Cases decided by the whole gate and by the array rule: how many, how many close calls, how many disagree.

    A case is a close call where the array rule does not agree with itself over five seeds: the gate draws its seed from
    the content of the runs, so it may fall on either side there, and only there.
    """
    random = np.random.Generator(np.random.PCG64(seed_from("gate and arrays")))
    found = {"cases": 0, "close": 0, "disagree": 0, "block": 0, "pass": 0, "undecided": 0}
    cases = [(kind, n, drop) for kind in KINDS for n in (60, 120) for drop in (0.0, 0.05, 0.10)]
    for number in range(runs):
        kind, n, drop = cases[number % len(cases)]
        said, opinions = _both(random, kind, n, drop)
        found["cases"] += 1
        found[said or "undecided"] += 1
        if len(opinions) > 1:
            found["close"] += 1
        elif said not in opinions:
            found["disagree"] += 1
    return found


def _both(random: Random, kind: str, n: int, drop: float) -> tuple[str | None, set[str | None]]:
    """What the gate says of one case, and what the array rule says of it with several seeds."""
    looks = 5 if n >= 100 else 1
    scores = KINDS[kind].arms(random, n, drop)
    plan = LookPlan(tuple(Look(-(-n * k // looks), 1) for k in range(1, looks + 1))) if looks > 1 else None
    baseline, candidate = (
        make_run({METRIC: arm}, prompt=prompt, looks=plan) for arm, prompt in zip(scores, ("v1", "v2"), strict=True)
    )
    policy = Policy((NoRegression(METRIC),), alpha=rules.ALPHA, margin=rules.MARGIN)
    verdict = gate(candidate, policy, baseline=baseline)
    (check,) = (check for check in verdict.checks if check.check == NoRegression.name)
    place = {sample.unit: number for number, sample in enumerate(candidate.samples.values())}
    d = (scores[1] - scores[0])[[place[unit] for unit in candidate.unit_order]]
    opinions = {
        rules.verdict(d, rules.planned(n, looks), random, binary=KINDS[kind].binary).decision for _ in range(OPINIONS)
    }
    return STATUS[str(check.status)], opinions


def cost(*, n: int, metrics: int, slices: int, looks: int) -> dict[str, float]:
    """Seconds of one `gate()`, and the peak memory of a process that does nothing else, runs included."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(_measured, n, metrics, slices, looks).result()


def _measured(n: int, metrics: int, slices: int, looks: int) -> dict[str, float]:
    random = np.random.Generator(np.random.PCG64(1))
    names = [f"metric-{m}" for m in range(metrics)]
    arms = [KINDS["graded"].arms(random, n, 0.01) for _ in names]
    tags = tuple(f"slice-{k}" for k in range(slices))
    plan = LookPlan(tuple(Look(-(-n * k // looks), 1) for k in range(1, looks + 1))) if looks > 1 else None
    pair = [
        make_run({name: arm[side] for name, arm in zip(names, arms, strict=True)}, prompt=prompt, looks=plan, tags=tags)
        for side, prompt in enumerate(("v1", "v2"))
    ]
    policy = Policy(tuple(NoRegression(name, slices=tags) for name in names))
    before = _peak_mib()
    started = time.perf_counter()
    verdict = gate(pair[1], policy, baseline=pair[0])
    seconds = time.perf_counter() - started
    assert all(check.status != "error" for check in verdict.checks), verdict
    return {"seconds": seconds, "mebibytes": _peak_mib(), "before": before}


def _peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024.0
