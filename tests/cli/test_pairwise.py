"""A candidate held against the stored answers of its baseline, from the command line: real HTTP to a scripted judge."""

import json
import re

import pytest

from aigate.core.run import Run
from aigate.core.score import Score
from aigate.storing.runs import load_run
from aigate.testing import FakeJudge, LoopbackServer, Reply

N = 80
TOML = """\
version = "m/1/v1"
provider = "replay"
scorers = ["recorded:correct", "pairwise"]

[judge]
version = "j/1/v1"
base-url = "{url}"
api-key-env = ""

[policy]
margin = 0.1
checks = [
  {{ check = "min-score", metric = "correct", at-least = 0.5 }},
  {{ check = "no-regression", metric = "pairwise" }},
  {{ check = "no-regression", metric = "correct" }},
]
"""


def fewer_words(asked):
    """A judge that takes the shorter answer; of two of a length the first."""
    first, second = (len(asked.data["answers"][place].split()) for place in ("first", "second"))
    return {"reasoning": "it is shorter", "better": "second" if second < first else "first"}


@pytest.fixture
def judge():
    return FakeJudge({"pairwise_better": fewer_words})


@pytest.fixture
def suite(place, judge):
    with LoopbackServer(judge) as server:
        rows = [{"id": f"s{i:03}", "input": f"question {i}"} for i in range(N)]
        place.write_suite(toml=TOML.format(url=server.base_url), samples=rows)
        yield place.suite


def recording(place, name, words, missing=()):
    """Answers of so many words to each sample."""
    rows = [
        {"id": f"s{i:03}", "output": f"{name} {i} {'word ' * words(i)}", "scores": {"correct": 1.0}}
        | ({"output": None, "error": "it broke"} if i in missing else {})
        for i in range(N)
    ]
    path = place.folder / f"{name}.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def promoted(place, run, words, name="main", **fields):
    _, _, said, out = place.eval(recording(place, run, words, **fields), "--quiet")
    code, _, err = place.run("baseline", "promote", out, "--suite", place.suite, "--name", name)
    assert code == 0, said + err
    return load_run(out)


def verdict_of(place, name, words, *more):
    code, out, err, run = place.eval(recording(place, name, words), "--quiet", "--format", "json", *more)
    found = json.loads(out)
    [check] = [c for c in found["checks"] if c["check"] == "no-regression" and c["metric"] == "pairwise"]
    return code, check, found, load_run(run), err


def values(run: Run):
    return [r.scores["pairwise"].value for r in run.results if isinstance(r.scores["pairwise"], Score)]


def test_a_version_that_loses_most_pairs_is_blocked_and_one_that_wins_passes(place, suite, judge):
    baseline = promoted(place, "old", lambda i: 5)
    assert judge.asked == []  # there was nothing to hold it against
    code, check, _, run, err = verdict_of(place, "worse", lambda i: 9 if i % 4 else 2)
    assert (code, check["status"]) == (1, "fail")
    assert run.header.metric("pairwise").against == baseline.digest
    assert re.search(r"mean 0\.500 → 0\.250: -25\.0 points", check["summary"])
    assert len(judge.asked) == 2 * N
    assert "estimate: 160 questions to the judge j/1/v1" in err
    assert "no-regression pairwise: 80 samples" in err  # what it can see does not hang on the baseline's own scores
    code, check, *_ = verdict_of(place, "better", lambda i: 2)
    assert (code, check["status"], check["observed"]) == (0, "pass", 0.5)


def test_ties_by_the_order_do_not_move_it_and_the_bias_is_told(place, suite):
    promoted(place, "old", lambda i: 5)
    code, check, found, run, _ = verdict_of(place, "same", lambda i: 5)
    assert set(values(run)) == {0.5}
    assert (code, check["observed"]) == (0, 0.0)
    [told] = [why["text"] for c in found["checks"] for why in c["reasons"] if why["code"] == "position-bias"]
    assert "of 80 pairs, each shown in both orders, the order decided 80: 80 times the first" in told
    assert "position bias +100.0 points (95 % interval" in told


def test_the_next_baseline_is_held_against_by_its_answers_not_by_its_scores(place, suite):
    promoted(place, "old", lambda i: 9)
    promoted(place, "short", lambda i: 5)  # won every pair: scores of 1
    code, check, _, run, err = verdict_of(place, "shorter", lambda i: 2)
    assert (code, check["status"], set(values(run))) == (0, "pass", {1.0})
    assert "pairwise – 1.000" in err  # what the baseline won before is not shown beside it
    assert run.header.metric("pairwise").against == load_run(place.folder / "runs" / "short.jsonl").digest


def test_another_judge_judges_the_pairs_and_not_the_baseline_again(place, suite, judge):
    promoted(place, "old", lambda i: 9)
    promoted(place, "short", lambda i: 5)
    toml = (place.suite / "suite.toml").read_text()
    (place.suite / "suite.toml").write_text(toml.replace("j/1/v1", "k/1/v1"))
    asked = len(judge.asked)
    code, check, _, _, err = verdict_of(place, "shorter", lambda i: 2)
    assert (code, check["status"], len(judge.asked) - asked) == (0, "pass", 2 * N)
    assert "judged again" not in err


def test_scores_against_another_baseline_cannot_be_used(place, suite):
    old = promoted(place, "old", lambda i: 5)
    _, _, _, run, _ = verdict_of(place, "new", lambda i: 2)
    other = promoted(place, "other", lambda i: 4)
    code, out, _ = place.run("gate", run.source, "--baseline", other.source, "--format", "json")
    codes = {why["code"] for c in json.loads(out)["checks"] for why in c["reasons"]}
    assert (code, "other-baseline" in codes) == (4, True)
    assert place.run("gate", run.source, "--baseline", old.source)[0] == 0


def test_answers_that_the_baseline_lacks_are_missing_and_never_won(place, suite):
    promoted(place, "old", lambda i: 5, missing=range(4))
    _, check, _, run, _ = verdict_of(place, "new", lambda i: 2)
    missing = [r.sample_id for r in run.results if not isinstance(r.scores["pairwise"], Score)]
    assert missing == ["s000", "s001", "s002", "s003"]
    assert check["n_samples"] == N - 4
    _, check, _, run, _ = verdict_of(place, "worse", lambda i: 9)
    assert (check["status"], set(values(run))) == ("fail", {0.0})


def test_a_judge_that_fails_passes_nobody(place, suite, judge):
    promoted(place, "old", lambda i: 5)
    judge._rules = {"pairwise_better": Reply.text("The second one.")}
    code, _, _, out = place.eval(recording(place, "new", lambda i: 2), "--quiet")
    assert code == 4
    told = out.read_text()
    assert '"pairwise":{"unscored":"judge_error"' in told
    assert '"pairwise":{"value"' not in told


def test_an_anchor_is_compared_with_by_the_other_metrics_only(place, suite):
    promoted(place, "old", lambda i: 9, name="anchor")
    promoted(place, "short", lambda i: 5)
    code, _, found, _, _ = verdict_of(place, "shorter", lambda i: 2)
    assert code == 0
    held = [c["metric"] for c in found["checks"] if c.get("against") == "anchor" and c["check"] == "no-regression"]
    assert held == ["correct"]


def test_answers_given_again_from_the_journal_are_compared_for_nothing(place, suite, judge):
    promoted(place, "old", lambda i: 5)
    verdict_of(place, "new", lambda i: 2)
    asked = len(judge.asked)
    first = values(load_run(place.folder / "runs" / "new.jsonl"))
    _, _, _, run, _ = verdict_of(place, "new", lambda i: 2)
    assert (len(judge.asked), values(run)) == (asked, first)


def test_compare_shows_it_beside_the_other_metrics(place, suite):
    old = promoted(place, "old", lambda i: 5)
    _, _, _, run, _ = verdict_of(place, "new", lambda i: 2)
    code, out, err = place.run("compare", old.source, run.source)
    assert (code, "pairwise" in out + err) == (0, True)
