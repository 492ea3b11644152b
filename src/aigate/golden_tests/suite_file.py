"""A golden suite as a file of tests: one per check of its policy, one per sample that must pass, one for the rest.

The suite runs once, when the first of its tests does; each test then reads its part of the one verdict.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from aigate.cli.options import Chosen, chosen, policy_in_force
from aigate.core.verdict import Status
from aigate.errors import AigateError
from aigate.gating.checks.base import Check
from aigate.gating.checks.must_pass import MustPass
from aigate.golden_tests.asked import Asked
from aigate.golden_tests.benchmarks import benchmark_is_there, latency_test
from aigate.golden_tests.judging import Judgement, context_of, sample_key
from aigate.reports.text import printable
from aigate.running.evaluation import primary_metric
from aigate.running.judges import scorers_of

__all__ = ["CheckItem", "RulesItem", "SampleItem", "SuiteFile", "SuiteItem"]

Ask = Callable[[Path], Judgement]


class NotPassedError(Exception):
    """What a test of a suite says when it does not pass; the text is whole, and no traceback belongs to it."""


class SuiteFile(pytest.File):
    """`suite.toml` of a golden suite.

    Args:
        asked: The session's options.
        ask: Gives the one judgement of a suite.
    """

    def __init__(self, *, asked: Asked, ask: Ask, **node: Any) -> None:
        super().__init__(**node)
        self._asked, self.ask = asked, ask
        self._tellers: dict[str, str] = {}

    @property
    def folder(self) -> Path:
        """The suite's folder."""
        return self.path.parent

    def teller(self, text: str, test: str) -> str:
        """The id of the test that tells a text whole: the first in this process that has it to tell.

        Args:
            text: What is wrong.
            test: The id of a test that has it to tell.
        """
        return self._tellers.setdefault(text, test)

    def collect(self) -> Iterator[pytest.Item]:
        """The tests, in the policy's order."""
        try:
            found, checks = self._policy()
        except AigateError as error:
            raise self.CollectError(str(error)) from None
        self.add_marker(pytest.mark.aigate(suite=str(self.folder)))
        yield RulesItem.from_parent(self, name="rules")
        for number, (check, name) in enumerate(zip(checks, _names(checks), strict=True)):
            yield CheckItem.from_parent(self, name=name, number=number, check=check)
            if isinstance(check, MustPass):
                yield from self._samples(found, check, number)
        if benchmark_is_there(self.config):
            yield latency_test(self, lambda: self.ask(self.folder).latencies_s)

    def _policy(self) -> tuple[Chosen, Sequence[Check]]:
        flags = {"suite": str(self.folder), "threshold": self._asked.threshold}
        found = chosen(context_of(self._asked), flags)
        return found, policy_in_force(found, primary_metric(found.suite, scorers_of(found.suite))).checks

    def _samples(self, found: Chosen, check: MustPass, number: int) -> Iterator[pytest.Item]:
        for sample in found.suite.samples:
            if check.tag in sample.tags:
                name = f"{check.name}[{printable(check.tag)}/{_escaped(sample.id)}]"
                item = SampleItem.from_parent(self, name=name, number=number, sample_id=sample.id)
                item.extra_keyword_matches.update(sample.tags)
                yield item


class SuiteItem(pytest.Item):
    """One test of a suite."""

    parent: SuiteFile

    def __init__(self, *, name: str, parent: SuiteFile, **node: Any) -> None:
        # As text: pytest reads it as it reads the ids of `--lf` and of the command line, brackets apart.
        super().__init__(name=name, parent=parent, nodeid=f"{parent.nodeid}::{name}", **node)

    def runtest(self) -> None:
        """Read this test's part of the verdict.

        Raises:
            NotPassedError: It is no pass, or the suite could not be run.
        """
        try:
            judgement = self.parent.ask(self.parent.folder)
        except AigateError as error:
            raise NotPassedError(self.not_judged(str(error))) from None
        self.user_properties.extend(self.properties(judgement))
        if text := self.failure(judgement):
            raise NotPassedError(text)

    def not_judged(self, why: str) -> str:
        """Why it was not judged, from the first test that has the same to say; where that is found, from the others."""
        first = self.parent.teller(why, self.nodeid)
        return why if first == self.nodeid else f"not judged: see {first}"

    def failure(self, judgement: Judgement) -> str:
        """What is wrong; empty for a pass."""
        raise NotImplementedError

    def outcomes(self, judgement: Judgement) -> list[int]:
        """Which checks of the verdict this test stands for."""
        raise NotImplementedError

    def properties(self, judgement: Judgement) -> Iterable[tuple[str, object]]:
        """What JUnit files carry of it."""
        return properties_of(judgement, self.outcomes(judgement))

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """The text alone where the failure is the suite's; a defect of ours keeps its traceback."""
        if isinstance(excinfo.value, NotPassedError | AigateError):
            return printable(str(excinfo.value))
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, int, str]:
        """Where it stands, and its name in the heading of a failure."""
        return self.path, 0, f"{self.parent.folder.name}: {self.name}"


class CheckItem(SuiteItem):
    """One check of the policy; with an anchor, both of its comparisons.

    Args:
        number: Which check.
        check: The check.
    """

    def __init__(self, *, number: int, check: Check, **node: Any) -> None:
        super().__init__(**node)
        self._number = number
        metric = next(iter(check.metrics), None)
        self.add_marker(pytest.mark.aigate(suite=str(self.path.parent), check=check.name, metric=metric))
        self.extra_keyword_matches.update({check.name, *check.metrics, *check.tags})

    def outcomes(self, judgement: Judgement) -> list[int]:
        """Those of the check."""
        return [n for n, owner in enumerate(judgement.owners) if owner == self._number]

    def failure(self, judgement: Judgement) -> str:
        """What the check found. A check that had nothing to compare with is skipped, and says so."""
        found = self.outcomes(judgement)
        if not found and judgement.first:
            pytest.skip(f"the run is the first baseline ({judgement.promotion}): nothing to compare it with")
        if not found:
            return f"{self.name}: the verdict says nothing of it"
        texts = [judgement.failures[n] for n in found if judgement.failures[n]]
        for text in texts:
            self.parent.teller(text, self.nodeid)  # whole in any case; its samples need not say it again
        return "\n\n".join(texts)


class SampleItem(SuiteItem):
    """One sample that must pass.

    Args:
        number: Which check of the policy says so.
        sample_id: The sample.
    """

    def __init__(self, *, number: int, sample_id: str, **node: Any) -> None:
        super().__init__(**node)
        self._number, self._sample_id = number, sample_id
        self.add_marker(pytest.mark.aigate(suite=str(self.path.parent), check=MustPass.name, sample=sample_id))

    def outcomes(self, judgement: Judgement) -> list[int]:
        """Those of its check."""
        return [n for n, owner in enumerate(judgement.owners) if owner == self._number]

    def properties(self, judgement: Judgement) -> Iterable[tuple[str, object]]:
        """Its id; the statistics are those of its check."""
        return [("aigate.sample", self._sample_id), ("aigate.version", judgement.verdict.candidate)]

    def failure(self, judgement: Judgement) -> str:
        """The sample's answers where it does not pass, or why its check was not judged."""
        outcomes = [judgement.verdict.checks[n] for n in self.outcomes(judgement)]
        if not outcomes:
            return f"{self.name}: the verdict says nothing of it"
        if outcomes[0].status is Status.ERROR:
            return self.not_judged(judgement.failures[self.outcomes(judgement)[0]])
        return judgement.samples.get(sample_key(self._number, self._sample_id), "")


class RulesItem(SuiteItem):
    """The rules that hold whatever the policy says: complete, served model, comparable, and so on.

    It also fails where the verdict is no pass although every check of the policy is one, and where a baseline was to be
    updated and was not.
    """

    def outcomes(self, judgement: Judgement) -> list[int]:
        """Those that belong to no check of the policy."""
        return [n for n, owner in enumerate(judgement.owners) if owner is None]

    def failure(self, judgement: Judgement) -> str:
        """What they found."""
        texts = [judgement.failures[n] for n in self.outcomes(judgement) if judgement.failures[n]]
        if judgement.refused:
            texts.append(f"the baseline was not updated\nE   {printable(judgement.promotion)}")
        if not judgement.verdict and not any(judgement.failures):
            texts.append(f"E   the verdict is {judgement.verdict.status}")
        return "\n\n".join(texts)

    def properties(self, judgement: Judgement) -> Iterable[tuple[str, object]]:
        """What the whole verdict is bound to, too."""
        verdict = judgement.verdict
        yield "aigate.status", str(verdict.status)
        yield "aigate.version", verdict.candidate
        yield "aigate.baseline", verdict.baseline or "none"
        yield from ((f"aigate.digest.{name}", digest) for name, digest in verdict.bound.items() if digest)
        yield from super().properties(judgement)


def properties_of(judgement: Judgement, numbers: Iterable[int]) -> Iterator[tuple[str, object]]:
    """The statistics of checks, as properties of a JUnit test case."""
    for number in numbers:
        check = judgement.verdict.checks[number]
        name = f"aigate.{check.label.replace(' ', '.')}"
        yield f"{name}.status", str(check.status)
        interval = {} if check.interval is None else check.interval.to_dict()
        found = {
            "observed": check.observed,
            "threshold": check.threshold,
            "interval-low": interval.get("low"),
            "interval-high": interval.get("high"),
            "interval-level": interval.get("level"),
            "samples": check.n_samples or None,
            "groups": check.n_groups or None,
            "alpha": check.alpha,
            "smallest-detectable-drop": check.smallest_detectable_drop,
        }
        yield from ((f"{name}.{key}", value) for key, value in found.items() if value is not None)


def _names(checks: Sequence[Check]) -> Iterator[str]:
    """`check[subject]`, numbered where a policy has two alike."""
    seen: dict[str, int] = {}
    for check in checks:
        subject = next(iter((*check.tags, *check.metrics)), "")
        name = f"{check.name}[{_escaped(subject)}]" if subject else check.name
        seen[name] = seen.get(name, 0) + 1
        yield name if seen[name] == 1 else f"{name}#{seen[name]}"


def _escaped(text: str) -> str:
    """A text as part of a test's name: one line, nothing invisible."""
    return printable(text).replace("\n", "\\n").replace("\t", "\\t")
