"""One contract for every check: what it must never do, whatever it decides on. Each rule has a violator it rejects."""

import itertools
from dataclasses import dataclass
from typing import ClassVar

import pytest

from aigate.core.digest import canonical_json
from aigate.core.response import FaultKind
from aigate.core.verdict import CheckOutcome, Status
from aigate.errors import ConfigError
from aigate.gating.checks.base import CHECKS, Check, ConfiguredCheck, check_from_config
from aigate.gating.decision import gate
from aigate.gating.policy import Policy

LENIENT = {
    "max-cost": {"check": "max-cost", "usd": 1000.0, "relative": 1000.0},
    "max-error-rate": {"check": "max-error-rate", "at-most": 0.99},
    "max-latency": {"check": "max-latency", "quantile": 0.5, "seconds": 1000.0, "relative": 9.0},
    "min-score": {"check": "min-score", "metric": "correct", "at-least": 0.01},
    "must-pass": {"check": "must-pass", "tag": "safety", "at-least": 0.01},
    "no-regression": {"check": "no-regression", "metric": "correct", "margin": 0.9},
    "same-shape": {"check": "same-shape", "at-most": 0.9},
}
"""Each check with the widest options that still mean something: what these refuse, any options refuse."""


def ids(n):
    return [f"s{i:04}" for i in range(n)]


def tags(n):
    return {id_: ["safety"] for id_ in ids(n)}


def outcome(check, candidate, baseline=None):
    return next(c for c in gate(candidate, Policy((check,)), baseline=baseline).checks if not c.integrity)


MEASURED = {
    "responses": lambda id_, repeat: {"latency_s": 0.5, "cost_usd": 0.001},
    "load": {"engine": "local", "concurrency": 8, "timeout_s": 60.0},
}


def sound(make_run, n=200, value=1.0):
    return make_run({id_: [value] for id_ in ids(n)}, tags=tags(n), **MEASURED)


# --- the contract ---------------------------------------------------------------------------------------------------


def keeps_its_configuration(check, make_run):
    assert check_from_config(check.to_dict(), where="here") == check


def names_itself_and_its_metric(check, make_run):
    found = outcome(check, sound(make_run), sound(make_run))
    assert found.check == check.name
    assert set(check.metrics) <= {found.metric}
    assert found.summary


def passes_what_is_sound(check, make_run):
    run = sound(make_run)
    assert outcome(check, run, run).status is Status.PASS


def passes_nothing_on_an_empty_run(check, make_run):
    run = make_run({}, metric="correct")
    assert outcome(check, run, run).status is not Status.PASS


def passes_nothing_on_a_single_sample(check, make_run):
    run = sound(make_run, n=1)
    assert outcome(check, run, run).status is not Status.PASS


def passes_nothing_when_every_answer_is_missing(check, make_run):
    run = make_run({id_: [1.0] for id_ in ids(50)}, tags=tags(50), faults=dict.fromkeys(ids(50), FaultKind.CONNECTION))
    assert outcome(check, run, run).status is not Status.PASS


def passes_nothing_without_the_baseline_it_needs(check, make_run):
    found = outcome(check, sound(make_run))
    assert found.status is (Status.ERROR if check.needs_baseline else Status.PASS)


def gives_a_reason_for_whatever_is_no_pass(check, make_run):
    for run in (make_run({}, metric="correct"), sound(make_run, n=1)):
        assert outcome(check, run, run).reasons


def decides_the_same_twice(check, make_run):
    candidate, baseline = (
        make_run({id_: [float(i % 3 > 0)] for i, id_ in enumerate(ids(90))}, tags=tags(90), **MEASURED),
        sound(make_run, n=90),
    )
    first, second = (canonical_json(outcome(check, candidate, baseline).to_dict()) for _ in range(2))
    assert first == second


def survives_json(check, make_run):
    found = outcome(check, sound(make_run), sound(make_run))
    assert CheckOutcome.from_dict(found.to_dict()) == found


CONTRACT = [
    keeps_its_configuration,
    names_itself_and_its_metric,
    passes_what_is_sound,
    passes_nothing_on_an_empty_run,
    passes_nothing_on_a_single_sample,
    passes_nothing_when_every_answer_is_missing,
    passes_nothing_without_the_baseline_it_needs,
    gives_a_reason_for_whatever_is_no_pass,
    decides_the_same_twice,
    survives_json,
]


@pytest.mark.parametrize("name", sorted(LENIENT))
@pytest.mark.parametrize("rule", CONTRACT, ids=lambda rule: rule.__name__)
def test_every_check_keeps_the_contract(rule, name, make_run):
    rule(check_from_config(LENIENT[name], where="here"), make_run)


def test_no_check_is_unlisted():
    assert sorted(CHECKS.built_in) == sorted(LENIENT)


@pytest.mark.parametrize("name", sorted(LENIENT))
def test_every_check_refuses_an_option_it_does_not_know(name):
    with pytest.raises(ConfigError, match="unknown option 'at-leats'"):
        check_from_config({**LENIENT[name], "at-leats": 0.5}, where="here")


@pytest.mark.parametrize("name", sorted(LENIENT))
def test_every_check_is_a_check(name):
    assert isinstance(check_from_config(LENIENT[name], where="here"), Check)


# --- the violators --------------------------------------------------------------------------------------------------

_numbers = itertools.count()


@dataclass(frozen=True)
class Yes(ConfiguredCheck):
    """Passes whatever it sees: every "passes nothing" rule must reject it."""

    name: ClassVar[str] = "yes"
    needs_baseline: ClassVar[bool] = True

    @property
    def metrics(self):
        return ()

    def judge(self, evidence):
        return CheckOutcome("yes", Status.PASS, "fine")


class No(Yes):
    """Never passes, and never says why."""

    def judge(self, evidence):
        return CheckOutcome("yes", Status.FAIL, "no")


class Nameless(Yes):
    def judge(self, evidence):
        return CheckOutcome("another", Status.PASS, "")


class Moody(Yes):
    def judge(self, evidence):
        return CheckOutcome("yes", Status.PASS, f"pass number {next(_numbers)}")


class Lossy(Yes):
    def judge(self, evidence):
        return CheckOutcome("yes", Status.PASS, "fine", details={"set": (1, 2)}, moved=["not a tuple"])


VIOLATORS = {
    keeps_its_configuration: Yes(),  # no registry knows it
    names_itself_and_its_metric: Nameless(),
    passes_what_is_sound: No(),
    passes_nothing_on_an_empty_run: Yes(),
    passes_nothing_on_a_single_sample: Yes(),
    passes_nothing_when_every_answer_is_missing: Yes(),
    passes_nothing_without_the_baseline_it_needs: Yes(),
    gives_a_reason_for_whatever_is_no_pass: No(),
    decides_the_same_twice: Moody(),
    survives_json: Lossy(),
}


@pytest.mark.parametrize("rule", CONTRACT, ids=lambda rule: rule.__name__)
def test_every_rule_rejects_its_violator(rule, make_run):
    with pytest.raises((AssertionError, ConfigError, AttributeError)):
        rule(VIOLATORS[rule], make_run)
