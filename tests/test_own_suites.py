"""The suites that come with the project: each prompt version does what it is there to show, offline, without a key."""

import ast
from pathlib import Path

import pytest

from aigate.core.verdict import Status
from aigate.gating.decision import gate
from aigate.gating.policy import Policy
from aigate.goldens.check import check_suite
from aigate.goldens.suite import load_suite
from aigate.running.evaluation import evaluate
from aigate.storing.baselines import Baselines

ROOT = Path(__file__).parents[1] / "goldens"
HANDBOOK, TICKETS = ROOT / "handbook-qa", ROOT / "ticket-extraction"
VERSIONS = {HANDBOOK: "extractive/tfidf-1", TICKETS: "extractor/rules-1"}


@pytest.fixture(scope="module")
def verdicts():
    """The verdict of every prompt version of both suites against the committed baseline."""
    found = {}
    for folder, version in VERSIONS.items():
        suite = load_suite(folder)
        policy = Policy.from_config(suite.config.policy or {})
        baseline = Baselines(folder / "baselines").load("main")
        for prompt in ("v1", "v2", "v3"):
            run = evaluate(suite, version=f"{version}/{prompt}", environ={})
            found[folder.name, prompt] = gate(run, policy, baseline=baseline)
    return found


def failing(verdict):
    return {check.label for check in verdict.checks if check.status is Status.FAIL}


@pytest.mark.parametrize("suite", ["handbook-qa", "ticket-extraction"])
def test_the_version_of_the_baseline_passes(verdicts, suite):
    assert verdicts[suite, "v3"].status is Status.PASS


def test_whole_passages_lose_abstentions_and_change_shape(verdicts):
    assert {"no-regression includes", "same-shape", "must-pass includes"} <= failing(verdicts["handbook-qa", "v1"])


def test_a_sentence_without_abstention_falls_below_the_threshold(verdicts):
    assert {"min-score includes", "no-regression includes"} <= failing(verdicts["handbook-qa", "v2"])


def test_prose_around_the_object_breaks_everything(verdicts):
    assert {"min-score contract", "no-regression exact_match", "same-shape"} <= failing(
        verdicts["ticket-extraction", "v1"]
    )


def test_a_code_fence_breaks_the_contract_and_nothing_else_sees_it(verdicts):
    verdict = verdicts["ticket-extraction", "v2"]
    assert failing(verdict) == {"min-score contract", "same-shape"}
    assert "code fence 'whole:json' 0% → 100%" in next(c for c in verdict.checks if c.check == "same-shape").summary


@pytest.mark.parametrize("folder", [HANDBOOK, TICKETS], ids=lambda folder: folder.name)
def test_the_suites_are_sound(folder):
    report = check_suite(folder)
    assert report.problems == ()
    assert report.warnings == ()


def test_the_suites_are_as_large_and_varied_as_they_say():
    handbook, tickets = load_suite(HANDBOOK), load_suite(TICKETS)
    assert len(handbook) >= 80
    assert handbook.tags["unanswerable"] >= 20
    assert handbook.tags["safety"] >= 8
    assert len({sample.group for sample in handbook.samples}) >= 20
    assert len(tickets) >= 40
    assert tickets.contract is not None


def test_the_extractor_reads_the_ticket_and_never_the_answer():
    tree = ast.parse((TICKETS / "extractor.py").read_text("utf-8"))
    read = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    assert not read & {"reference", "id", "digest", "tags", "group", "metadata"}
