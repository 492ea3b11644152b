"""Verdicts and stories for the tests of reports."""

import pytest

from aigate.core.verdict import CheckOutcome, Moved, Reason, Status, Verdict
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
