"""The fixture `aigate`: answer the suite that a test's marker names, decide, and raise.

A test that passes has looked at its verdict: one that was never asked for, or never looked at, fails the test.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from aigate.core.run import Run
from aigate.core.verdict import Status, Verdict
from aigate.gating.policy import Policy
from aigate.golden_tests.asked import Asked, marked_of
from aigate.golden_tests.benchmarks import mirror
from aigate.golden_tests.failures import verdict_text
from aigate.golden_tests.judging import Answered, Judgement, answered, judged, latencies_s
from aigate.providers.base import Provider

__all__ = ["Evaluated", "GoldenTest", "SeenVerdict"]

Answer = Callable[..., str] | Callable[..., Awaitable[str]] | Provider
_LOOKS = frozenset({"status", "exit_code", "checks", "reasons", "raise_for_status", "to_dict"})


class SeenVerdict(Verdict):
    """A verdict that remembers whether anybody looked at what it says."""

    def __bool__(self) -> bool:
        object.__setattr__(self, "_seen", True)
        return super().__bool__()

    def __getattribute__(self, name: str) -> Any:
        if name in _LOOKS:
            object.__setattr__(self, "_seen", True)
        return super().__getattribute__(name)

    def __repr__(self) -> str:
        fields = vars(self)
        bad = ", ".join(check.label for check in fields["checks"] if check.status is not Status.PASS)
        return f"<{fields['status']}: {fields['candidate']}{f': {bad}' if bad else ''}>"

    @property
    def seen(self) -> bool:
        """True once its status, its truth or its checks were asked for."""
        return bool(vars(self).get("_seen"))

    @classmethod
    def of(cls, verdict: Verdict) -> SeenVerdict:
        """The same verdict; not seen yet."""
        return cls(**vars(verdict))


class Evaluated:
    """A suite's answers, not judged yet.

    Attributes:
        run: The run.
    """

    def __init__(self, evidence: Answered, asked: Asked, suite: str) -> None:
        self.run: Run = evidence.run
        self._evidence, self._asked, self._suite = evidence, asked, suite
        self.verdict: SeenVerdict | None = None
        self.judgement: Judgement | None = None

    def gate(self, policy: Policy | None = None) -> Verdict:
        """Hold the run against its baseline and decide.

        With `--aigate-update-baseline` a passing run becomes the baseline.

        Args:
            policy: What it must show; default: the suite's own.

        Returns:
            The verdict; true only for a pass. A test must look at it: `.raise_for_status()`, or an `assert`.

        Raises:
            AigateError: The policy is wrong.
        """
        __tracebackhide__ = True
        self.judgement = judged(self._evidence, self._asked, policy)
        self.verdict = SeenVerdict.of(self.judgement.verdict)
        return self.verdict

    @property
    def passed(self) -> bool:
        """True where the verdict is a pass, and the baseline became what was asked for."""
        judgement = self.judgement
        return judgement is not None and bool(judgement.verdict) and not judgement.refused

    def told(self) -> str:
        """The verdict with the samples that moved, as a failing test shows it; empty before it was gated."""
        if self.judgement is None:
            return ""
        whole = verdict_text(self.judgement.verdict, self.run, self._evidence.baseline)
        refused = f"\n\nthe baseline was not updated: {self.judgement.promotion}" if self.judgement.refused else ""
        return f"{whole}{refused}\n\nrun: {self.judgement.run}"

    def unfinished(self) -> str:
        """Why a test that passes has not tested anything; empty where it has."""
        if self.verdict is None:
            return f"{self._suite} was answered and never gated; next: .gate().raise_for_status()"
        if self.judgement is not None and self.judgement.refused:
            return f"the baseline was not updated: {self.judgement.promotion}"
        if not self.verdict.seen and not self.verdict:
            return f"nobody looked at the verdict, which is {self.verdict.status}; next: .gate().raise_for_status()"
        return ""


class GoldenTest:
    """What a test gets as `aigate`.

    Attributes:
        evaluations: Every evaluation of the test, in order.
    """

    def __init__(self, request: pytest.FixtureRequest, asked: Asked) -> None:
        self._request, self._asked = request, asked
        self._marked = marked_of(request.node)
        self.evaluations: list[Evaluated] = []

    def __repr__(self) -> str:
        return f"<golden suite {self._marked.suite.name}>"

    def evaluate(self, answer: Answer | None = None, *, version: str | None = None, **options: Any) -> Evaluated:
        """Answer the suite.

        Args:
            answer: Who answers: any function of one argument, sync or async, or a `Provider`. None: the suite's own
                provider, as `aigate eval` would ask it.
            version: The version under test; default: that of the marker, then that of the suite.
            options: Further arguments of `aigate.evaluate`, such as `repeats`.

        Raises:
            AigateError: Something in suite, settings or arguments is wrong; nothing was asked.
        """
        __tracebackhide__ = True
        chosen = {**options, **({} if version is None else {"version": version})}
        name = f"{self._request.node.nodeid}#{len(self.evaluations) + 1}"
        evidence = answered(self._marked, self._asked, answer, name, chosen)
        evaluated = Evaluated(evidence, self._asked, str(self._marked.suite))
        if not self.evaluations:
            mirror(self._request, latencies_s(evidence.run))
        self.evaluations.append(evaluated)
        return evaluated

    def unfinished(self) -> str:
        """Why the test, if it passes, has tested nothing; empty where it has."""
        if not self.evaluations:
            return "the suite was never evaluated; next: aigate.evaluate(answer).gate().raise_for_status()"
        return "\n".join(filter(None, (evaluated.unfinished() for evaluated in self.evaluations)))
