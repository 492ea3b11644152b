"""The public calls as users write them. Checked by `mypy --strict`, never run: nothing here is called.

Every `type: ignore` is a call that must not be accepted: mypy reports one that is no longer needed.
"""

from collections.abc import Awaitable, Mapping, Sequence
from pathlib import Path
from typing import Any, assert_type

from aigate import (
    AigateError,
    Benchmark,
    CallError,
    CheckOutcome,
    Fault,
    FaultKind,
    LatencySummary,
    Ledger,
    MaxCost,
    MaxErrorRate,
    MaxLatency,
    MetricSpec,
    MinScore,
    MustPass,
    NoRegression,
    Outcome,
    Policy,
    Provider,
    Request,
    Response,
    Run,
    SameShape,
    Sample,
    Score,
    Scorer,
    Status,
    Suite,
    Unscored,
    Verdict,
    VerdictError,
    VersionId,
    benchmark,
    compare,
    evaluate,
    gate,
    load_run,
    load_suite,
)


def answer(question: str) -> str:
    """The system under test, as a plain function."""
    return question.upper()


async def answer_later(question: str) -> str:
    """The system under test, asynchronous."""
    return answer(question)


class House:
    """A provider of a user's own: it says what a `Provider` says, and inherits nothing."""

    @property
    def name(self) -> str:
        return "house"

    def describe(self) -> Mapping[str, Any]:
        return {"name": self.name, "adapter": 1}

    async def respond(self, request: Request) -> Response:
        if not request.messages:
            raise CallError("nothing to answer", kind=FaultKind.BAD_REQUEST, retry_after_s=None)
        if request.repeat > 9:
            return Response(fault=Fault(FaultKind.QUOTA, "enough"))
        return Response(output=answer(request.sample.text), latency_s=0.1, finish_reason="stop")

    async def aclose(self) -> None:
        return None


class Polite:
    """A scorer of a user's own."""

    @property
    def spec(self) -> MetricSpec:
        return MetricSpec("polite", "polite", options={"word": "please"})

    def applies_to(self, sample: Sample) -> Unscored | None:
        return None if sample.text else Unscored("not_applicable", "nothing was asked")

    def score(self, sample: Sample, response: Response) -> Score | Unscored | Awaitable[Score | Unscored]:
        if response.output is None:
            return Unscored("unparseable")
        return Score(float("please" in response.output), "looked for 'please'")


def a_gate_between_two_stored_runs() -> None:
    policy = Policy(
        (
            MinScore("faithfulness", at_least=0.85),
            NoRegression("faithfulness"),
            NoRegression("exact_match", margin=0.02, slices=("refunds",)),
            MustPass("safety"),
            MustPass("safety", metric="exact_match", at_least=0.9),
            SameShape(),
            MaxErrorRate(at_most=0.01),
            MaxLatency(seconds=5, quantile=0.99, relative=1.25),
            MaxLatency(seconds=1, of="ttft"),
            MaxCost(relative=1.10, usd=0.01),
        ),
        alpha=0.05,
        margin=0.05,
    )
    verdict = gate(load_run("candidate.jsonl"), policy, baseline=load_run(Path("baseline.jsonl")))
    assert_type(verdict, Verdict)
    assert_type(verdict.status, Status)
    assert_type(verdict.exit_code, int)
    assert_type(verdict.checks, tuple[CheckOutcome, ...])
    if verdict:
        return
    for check in verdict.checks:
        assert_type(check.observed, float | None)
    verdict.raise_for_status()


def a_gate_by_the_policy_stored_in_the_run() -> bool:
    run = load_run("candidate.jsonl")
    assert_type(run.ledger, Ledger)
    assert_type(run.ledger.counts[Outcome.SCORED], int)
    return bool(gate(run))


def evaluations() -> None:
    suite = load_suite(Path("goldens/support-faq"))
    assert_type(suite, Suite)
    assert_type(evaluate(suite), Run)
    assert_type(evaluate("goldens/support-faq", provider=answer), Run)
    evaluate(Path("goldens/support-faq"), provider=answer_later, version="gpt-4o/2024-11-20/v3")
    evaluate(suite, provider=House(), version=VersionId("gpt-4o", "2024-11-20", "v3"), repeats=3, concurrency=16)
    evaluate(suite, provider="openai", provider_options={"stream": False}, timeout_s=30, retries=2)
    evaluate(suite, recorded="answers.jsonl.gz", out=Path("run.jsonl"), resume=True, tags=["refunds"], limit=10)
    evaluate(suite, baseline=load_run("baseline.jsonl"))


def measurements(suite: Suite) -> None:
    found = benchmark(suite, provider=answer, requests=300, concurrency=8)
    assert_type(found, Benchmark)
    assert_type(found.latency, LatencySummary)
    assert_type(found.latency[0.99].high, float | None)
    assert_type(found.latency.seconds, tuple[float, ...])
    benchmark("goldens/support-faq", provider=House(), rate=5.0, duration_s=60.0, baseline=found)
    benchmark(suite, baseline=load_run("baseline.jsonl"), warmup=0, max_calls=400)


def a_notebook(suite: Suite) -> None:
    runs: Sequence[Run] = [evaluate(suite, version=v) for v in ("gpt-4o/2024-08-06/v3", "gpt-4o/2024-11-20/v3")]
    compare(*runs)
    sample: Sample = suite.samples[0]
    assert_type(sample.tags, tuple[str, ...])
    score = runs[0].by_sample[sample.id][0].scores["exact_match"]
    if isinstance(score, Score):
        assert_type(score.value, float)
    else:
        assert_type(score, Unscored)


def errors() -> str:
    try:
        gate(load_run("candidate.jsonl")).raise_for_status()
    except VerdictError as error:
        return str(error.verdict.status)
    except AigateError as error:
        return error.hint
    return ""


def protocols_are_met_without_inheriting() -> tuple[Provider, Scorer]:
    return House(), Polite()


def calls_that_must_not_be_accepted(suite: Suite, run: Run) -> None:
    evaluate(suite, "gpt-4o/2024-11-20/v3")  # type: ignore[call-arg]
    evaluate(suite, provider=5)  # type: ignore[arg-type]
    evaluate(suite, repeats="3")  # type: ignore[arg-type]
    gate(run, baseline="main")  # type: ignore[arg-type]
    gate(run, Policy((MinScore("m", at_least=0.5),)), run)  # type: ignore[call-arg]
    gate("candidate.jsonl")  # type: ignore[arg-type]
    MinScore("faithfulness")  # type: ignore[call-arg]
    MaxLatency(5)  # type: ignore[call-arg]
    MaxLatency(seconds=5, of="tokens")  # type: ignore[arg-type]
    benchmark(suite, baseline="before.json")  # type: ignore[arg-type]
    Unscored("tired")  # type: ignore[arg-type]
    Score("0.5")  # type: ignore[arg-type]
    run.header.repeats = 2  # type: ignore[misc]
    CallError("without a kind")  # type: ignore[call-arg]
