"""Verdicts and stories for the tests of reports."""

import pytest

from aigate.core.digest import combined_digest
from aigate.core.ledger import Outcome
from aigate.core.run import Result, RunHeader
from aigate.core.runfile import RunEncoder, decode
from aigate.core.sample import Sample
from aigate.core.score import MetricSpec, Score
from aigate.core.verdict import CheckOutcome, Moved, Reason, Status, Verdict
from aigate.core.version import VersionId
from aigate.reports.places import places_of_suite
from aigate.reports.story import tell


def build_check(status=Status.FAIL, *, check="no-regression", metric="correct", moved=(), reasons=None, **fields):
    """A check that compared two runs and says so."""
    reasons = (Reason("fell", f"{metric} fell", "read the samples"),) if reasons is None else reasons
    fields = {"n_samples": 3, "n_groups": 3, "n_repeats": (1, 1), **fields}
    return CheckOutcome(check, status, f"{metric}: 0.9 -> 0.5", metric=metric, moved=moved, reasons=reasons, **fields)


def build_verdict(status, *checks, candidate="m/2/v1", baseline="m/1/v1", **fields):
    """A verdict of these checks."""
    return Verdict(status, checks, candidate, baseline, {}, {"scored": 3}, **fields)


@pytest.fixture
def check():
    """`build_check`."""
    return build_check


@pytest.fixture
def verdict():
    """`build_verdict`."""
    return build_verdict


@pytest.fixture
def failing(make_run):
    """The story of a failing verdict over two runs of one sample, with that output, id, question and explanation."""

    def make(output, *, id_="a", question="why?", note="", before="fine", **fields):
        moved = (Moved(id_, 1.0, 0.0, note),)
        baseline = make_run({id_: [1.0]}, version="m/1/v1", outputs={id_: before}, inputs={id_: question})
        candidate = make_run({id_: [0.0]}, version="m/2/v1", outputs={id_: output}, inputs={id_: question})
        return tell(build_verdict(Status.FAIL, build_check(moved=moved), **fields), candidate, baseline)

    return make


def build_answers(responses, *, version="m/2/v1", scores=None, metric="correct", samples=None, contexts=None, **header):
    """A run with these responses by sample id, one per repeat, each scored alike: by default with 1.0.

    Args:
        scores: Score of all answers to a sample, by its id.
        samples: Samples by id, where more than an id and contexts matters.
        contexts: Contexts by sample id.
    """
    scores, contexts, repeats = scores or {}, contexts or {}, max(map(len, responses.values()))
    ours = samples or {id_: Sample(id_, f"question {id_}", contexts=contexts.get(id_, ())) for id_ in responses}
    fields = {
        "version": VersionId.parse(version),
        "provider": {"name": "fake"},
        "suite_name": "suite",
        "suite_digest": combined_digest(sample.digest for sample in ours.values()),
        "suite_size": len(ours),
        "prompt_digest": None,
        "parameters": {},
        "metrics": (MetricSpec(metric, f"recorded:{metric}", deterministic=False),),
        "primary_metric": metric,
        "repeats": repeats,
        "policy": {},
    }
    encoder = RunEncoder(RunHeader(**{**fields, **header}))
    lines = [encoder.header_line()]
    for id_, row in responses.items():
        for repeat, response in enumerate(row):
            outcome = Outcome.SCORED if response.fault is None else Outcome.PROVIDER_ERROR
            score = scores.get(id_, Score(0.0 if response.fault else 1.0))
            given = score if isinstance(score, dict) else {metric: score}
            lines.append(encoder.result_line(Result(id_, repeat, outcome, response, given), ours[id_]))
    lines.append(encoder.closing_line(finished_at="2026-01-01T00:01:00Z"))
    return decode(lines, source="run.jsonl")


@pytest.fixture
def make_answers():
    """`build_answers`."""
    return build_answers


@pytest.fixture(scope="session")
def answers_of():
    """`build_answers`, for fixtures that outlive a test."""
    return build_answers


@pytest.fixture
def judged(make_run):
    """Verdict, candidate and baseline of one failing sample `a` among three, with that output, id and suite name."""

    def make(output="wrong", *, id_="a", suite="faq", status=Status.FAIL, before="fine", reasons=None, **check):
        ids = {id_: [1.0], "b": [1.0], "c": [1.0]}
        named = {"suite_name": suite}
        baseline = make_run(ids, version="m/1/v1", outputs=dict.fromkeys(ids, before), **named)
        candidate = make_run({**ids, id_: [0.0]}, version="m/2/v1", outputs={id_: output}, **named)
        moved = (Moved(id_, 1.0, 0.0),)
        bad = build_check(status, moved=moved, reasons=reasons, **check)
        sound = CheckOutcome("complete", Status.PASS, "no gating score is missing", integrity=True)
        return build_verdict(status, sound, bad), candidate, baseline

    return make


@pytest.fixture
def places(tmp_path):
    """The places of a suite in `goldens/faq` below a repository's top."""
    folder = tmp_path / "goldens" / "faq"
    folder.mkdir(parents=True)
    (folder / "suite.toml").write_text(
        'version = "m/1/v1"\n[policy]\n# { check = "no-regression", metric = "other" }\nchecks = [\n'
        '  { check = "no-regression", metric = "other" },\n  { check = "no-regression", metric = "correct" },\n]\n'
    )
    (folder / "samples.jsonl").write_text('{"id": "b", "input": "x"}\n{"id": "a", "input": "y"}\n')
    return places_of_suite(folder, root=tmp_path)
