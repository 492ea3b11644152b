"""Evaluate and decide for tests: as `aigate eval` does, and once for all tests and workers that ask for a suite."""

from __future__ import annotations

import fcntl
import io
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from aigate.cli.baseline import promoted
from aigate.cli.eval import decided, planned
from aigate.cli.main import Context, parse
from aigate.cli.options import Chosen, baseline_in_force, chosen, named_anchor, policy_in_force
from aigate.core.run import Run
from aigate.core.verdict import Verdict
from aigate.errors import AigateError
from aigate.files import write_atomically
from aigate.gating.decision import gate
from aigate.gating.policy import Policy
from aigate.gating.run_metrics import run_metric_names
from aigate.golden_tests.asked import KEYWORDS, Asked, Marked
from aigate.golden_tests.failures import outcome_texts, sample_text
from aigate.running.evaluation import evaluate, primary_metric
from aigate.running.judges import scorers_of
from aigate.running.writer import begun_run

__all__ = [
    "Answered",
    "Judgement",
    "SharedJudgements",
    "answered",
    "context_of",
    "judged",
    "latencies_s",
    "sample_key",
    "suite_judgement",
]

JOURNAL = Path(".aigate", "journal.sqlite")
RUNS = Path(".aigate", "runs")
OPTIONS = ("baseline", "threshold")  # of a session, settings of a command
LONGEST_NAME = 80


@dataclass(frozen=True)
class Answered:
    """A run, and what it will be held against.

    Attributes:
        run: The candidate.
        found: The suite and the settings in force.
        policy: What decides.
        baseline: The baseline; None without one.
        anchor: An older run beside it; None without one.
        said: What the command would have said on standard error.
    """

    run: Run
    found: Chosen
    policy: Policy
    baseline: Run | None
    anchor: Run | None
    said: str = ""


@dataclass(frozen=True)
class Judgement:
    """A verdict, and everything that tests tell of it. Plain values, so that workers can hand it to one another.

    Attributes:
        verdict: The verdict.
        run: The run file.
        suite: The suite's folder.
        baselines: Names of the baselines that were looked at, for the search of orphans.
        owners: For each check of the verdict, which check of the policy it belongs to; None for the rules that hold
            without being asked for.
        failures: One text per check of the verdict, as a failing test says it; empty where it passes.
        samples: A text per sample that a must-pass check names; see `sample_key`.
        first: True where the run became the first baseline: comparing checks had nothing to compare with.
        promotion: What became of the wish to update the baseline; empty without one.
        refused: True where that wish was refused.
        said: Notes of the evaluation.
        latencies_s: Seconds of every answer that was not taken from the journal.
    """

    verdict: Verdict
    run: str
    suite: str
    baselines: tuple[str, ...]
    owners: tuple[int | None, ...]
    failures: tuple[str, ...]
    samples: Mapping[str, str]
    first: bool = False
    promotion: str = ""
    refused: bool = False
    said: str = ""
    latencies_s: tuple[float, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The judgement as JSON."""
        return {**vars(self), "verdict": self.verdict.to_dict()}

    @classmethod
    def from_dict(cls, row: Mapping[str, Any]) -> Judgement:
        """The inverse of `to_dict`."""
        listed = {key: tuple(row[key]) for key in ("baselines", "owners", "failures", "latencies_s")}
        return cls(**{**row, **listed, "verdict": Verdict.from_dict(row["verdict"])})


class SharedJudgements:
    """The judgements of a session: made once per suite, also by several workers at a time.

    Args:
        folder: Where workers leave them for one another; None: this process is alone.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._known: dict[Path, Judgement | AigateError] = {}

    def of(self, suite: Path, make: Callable[[], Judgement]) -> Judgement:
        """The judgement of a suite; made where nobody made it yet, while others wait.

        Raises:
            AigateError: It could not be made; the same error for everybody who asks.
        """
        if suite not in self._known:
            self._known[suite] = self._from_others(suite, make)
        found = self._known[suite]
        if isinstance(found, AigateError):
            raise found
        return found

    def knows(self, suite: Path) -> bool:
        """True once this process has the judgement of a suite."""
        return isinstance(self._known.get(suite), Judgement)

    def _from_others(self, suite: Path, make: Callable[[], Judgement]) -> Judgement | AigateError:
        if self._folder is None:
            return _made(make)
        path = self._folder / f"{sha256(str(suite).encode()).hexdigest()}.json"
        with _locked(path.with_suffix(".lock")):
            if not path.exists():
                found = _made(make)
                whole = {"error": str(found)} if isinstance(found, AigateError) else found.to_dict()
                write_atomically(path, json.dumps(whole).encode())
                return found
        row = json.loads(path.read_bytes())
        return AigateError(row["error"]) if "error" in row else Judgement.from_dict(row)


def suite_judgement(folder: Path, asked: Asked) -> Judgement:
    """Run a suite as it stands, and decide.

    Raises:
        AigateError: It cannot be run.
    """
    return judged(answered(Marked(folder), asked, None, "suite", {}), asked)


def answered(marked: Marked, asked: Asked, answer: Any, name: str, options: Mapping[str, Any]) -> Answered:
    """Answer a suite.

    Args:
        marked: The suite, and what its test chose.
        asked: What the session chose: it wins.
        answer: A callable or a Provider; None: the suite's own provider, as `aigate eval` would ask it.
        name: Names the run file.
        options: Further arguments of `aigate.evaluate`.

    Raises:
        AigateError: Something is wrong, and nothing was asked.
    """
    out = asked.root / RUNS / marked.suite.name / f"{_file_name(name)}.jsonl"
    if begun_run(out) is not None:
        out.unlink()  # of a session that was stopped; what was paid for stands in the journal
    flags = _flags(marked, asked)
    if answer is None and not options:
        return _as_the_command(flags, asked, out)
    found = chosen(context_of(asked), flags)
    scorers = scorers_of(found.suite)
    policy = policy_in_force(found, primary_metric(found.suite, scorers))
    names = [scorer.spec.metric for scorer in scorers]
    where = str(found.suite.path / "suite.toml")
    policy.require_metrics(names, run_metric_names(scorers), found.suite.tags, where=where)
    baseline = baseline_in_force(found)
    anchor = named_anchor(found, explicit=found.given("anchor"))
    own = {"journal": _journal(found, asked), "provider": answer, "baseline": baseline}
    given = {**_settings(found), **own, **options}
    run = evaluate(found.suite, policy=policy.to_dict(), out=out, **given)
    return Answered(run, found, policy, baseline, anchor)


def judged(evidence: Answered, asked: Asked, policy: Policy | None = None) -> Judgement:
    """Decide, and make the run the baseline where that was asked for and it may be one."""
    run, baseline = evidence.run, evidence.baseline
    policy = policy or evidence.policy
    verdict, promotion, refused = gate(run, policy, baseline=baseline, anchor=evidence.anchor), "", False
    if asked.update_baseline:
        try:
            line, deciding = promoted(run, evidence.found, context_of(asked))
        except AigateError as error:
            promotion, refused = str(error), True
        else:
            promotion, verdict = f"{line.name}: {line.version}", deciding or verdict
    first = bool(promotion) and not refused and baseline is None
    owners = _owners(verdict, policy, first=first)
    return Judgement(
        verdict=verdict,
        run=run.source,
        suite=str(evidence.found.suite.path),
        baselines=(evidence.found["baseline"], evidence.found["anchor"]),
        owners=owners,
        failures=outcome_texts(verdict, run, baseline),
        samples=_sample_texts(verdict, owners, run, baseline),
        first=first,
        promotion=promotion,
        refused=refused,
        said=evidence.said,
        latencies_s=latencies_s(run),
    )


def context_of(asked: Asked) -> Context:
    """What a command would be run in: pytest's root folder, and nobody to read what it says."""
    options = {key: f"flag --aigate-{key}" for key in OPTIONS if getattr(asked, key) is not None}
    origins = {**{key: f"marker {key}" for key in KEYWORDS}, **options}
    return Context(os.environ, io.StringIO(), io.StringIO(), asked.root, origins)


def _flags(marked: Marked, asked: Asked) -> dict[str, str | None]:
    """What the command line would say: the session's options win over the test's marker."""
    options = {key: value for key in OPTIONS if (value := getattr(asked, key)) is not None}
    return {**{key: getattr(marked, key) for key in KEYWORDS}, "suite": str(marked.suite), **options}


def _as_the_command(flags: Mapping[str, str | None], asked: Asked, out: Path) -> Answered:
    """The same as `aigate eval`, looks and notes included."""
    context = context_of(asked)
    journal = _journal(chosen(context, flags), asked)
    words = [word for name, value in flags.items() if value is not None for word in (f"--{name}", value)]
    words += ["--no-journal"] if journal is None else ["--journal", str(journal)]
    words += ["--no-early-stop"] if asked.update_baseline else []  # only a run of the whole suite becomes a baseline
    arguments = parse(["eval", "--quiet", "--out", str(out), *words])
    evaluation = planned(arguments, context)
    run, _, evaluation = decided(evaluation, arguments, context)
    said = context.stderr.getvalue() if isinstance(context.stderr, io.StringIO) else ""
    return Answered(run, evaluation.found, evaluation.policy, evaluation.baseline, evaluation.anchor, said)


def _settings(found: Chosen) -> dict[str, Any]:
    """The settings in force, as arguments of `evaluate`."""
    return {
        "version": found["version"],
        "repeats": found["repeats"],
        "concurrency": found["concurrency"],
        "timeout_s": found["timeout-s"],
        "retries": found["retries"],
        "deadline_s": found["deadline-s"],
        "max_cost_usd": found["max-cost"],
        "max_calls": found["max-calls"],
        "max_tokens": found["max-tokens"],
        "price": found["price"],
    }


def _journal(found: Chosen, asked: Asked) -> Path | None:
    """The journal, in pytest's root folder where nothing else was chosen; None where there is to be none."""
    if not found.given("journal"):
        return asked.root / JOURNAL
    return Path(found["journal"]) if found["journal"] else None


def _owners(verdict: Verdict, policy: Policy, *, first: bool) -> tuple[int | None, ...]:
    """Which check of the policy each outcome belongs to; None for those that no policy has to ask for."""
    judged_checks = iter([n for n, check in enumerate(policy.checks) if not (first and check.needs_baseline)])
    owners: list[int | None] = []
    current = None
    for outcome in verdict.checks:
        if not outcome.integrity and outcome.against is None:  # the one against the anchor follows its own
            current = next(judged_checks)
        owners.append(None if outcome.integrity else current)
    return tuple(owners)


def _sample_texts(verdict: Verdict, owners: Sequence[int | None], run: Run, baseline: Run | None) -> Mapping[str, str]:
    """What tests of single samples say, by check and sample; only of must-pass checks, which name every one."""
    return {
        sample_key(owner, moved.sample_id): sample_text(moved.sample_id, outcome, run, baseline)
        for outcome, owner in zip(verdict.checks, owners, strict=True)
        if outcome.check == "must-pass" and owner is not None
        for moved in outcome.moved
    }


def sample_key(owner: int, sample_id: str) -> str:
    """The key of a sample's text in a judgement."""
    return f"{owner}/{sample_id}"


def latencies_s(run: Run) -> tuple[float, ...]:
    """Seconds of the answers that were waited for: what came from the journal has none."""
    answers = (result.response for result in run.results if result.response is not None)
    return tuple(a.latency_s for a in answers if a.output is not None and a.latency_s is not None)


def _file_name(text: str) -> str:
    """A name for a file: readable, and different for different texts."""
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-.")[-LONGEST_NAME:]
    return f"{plain or 'test'}-{sha256(text.encode('utf-8', 'surrogatepass')).hexdigest()[:8]}"


def _made(make: Callable[[], Judgement]) -> Judgement | AigateError:
    """What `make` gives, or the error that it raises, so that everybody who asks hears the same."""
    try:
        return make()
    except AigateError as error:
        return error


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """One process at a time; the lock goes with the process."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
