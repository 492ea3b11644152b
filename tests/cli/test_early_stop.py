"""`aigate eval` that stops early and escalates, end to end against a server that counts its requests."""

import json

import pytest

from aigate.core.ledger import Outcome
from aigate.gating.checks.min_score import MinScore
from aigate.gating.decision import gate
from aigate.gating.policy import Policy
from aigate.storing.baselines import Baselines
from aigate.storing.runs import load_run
from aigate.testing import LoopbackServer, Reply

TOML = """\
version = "gpt-4o/2024-11-20/v1"
provider = "openai"
scorers = ["exact_match"]
{keys}
[policy]
{policy}
checks = [
  {{ check = "no-regression", metric = "exact_match" }},
{checks}
]
"""
CONCURRENCY = 4


class Place:
    """A suite whose questions are numbers, a server that answers them, and the command line."""

    def __init__(self, workplace, port):
        self.workplace, self.folder, self.suite = workplace, workplace.folder, workplace.suite
        self.port = port  # always the same: a run is gone on with at the endpoint it was begun at

    def write(self, n, *, keys="", policy="", checks="", tags=None):
        rows = [
            {"id": f"s{i:03}", "input": f"say {i}", "reference": str(i), "tags": (tags or {}).get(i, [])}
            for i in range(n)
        ]
        self.workplace.write_suite(toml=TOML.format(keys=keys, policy=policy, checks=checks), samples=rows)

    def eval(self, good, *more, out="candidate"):
        """Exit code, standard error, run, and how many requests there were; `good(number)` says what is right."""
        path = self.folder / f"{out}.jsonl"

        def answer(request):
            number = int(request.last_user_text.split()[-1])
            return Reply.text(str(number) if good(number) else "no")

        with LoopbackServer(answer, port=self.port) as server:
            # No journal: here the server changes behind one and the same name.
            options = (
                "--suite",
                self.suite,
                "--base-url",
                server.base_url,
                "--concurrency",
                CONCURRENCY,
                "--no-journal",
            )
            code, printed, err = self.workplace.run("eval", *options, "--out", path, *more)
        run = load_run(path) if path.exists() else None
        return code, printed, err, run, len(server.requests)

    def baseline(self, good, *more, name="main"):
        """Answer, and make that the baseline of a name."""
        _, _, err, run, _ = self.eval(good, "--no-early-stop", *more, out=name)
        assert run is not None, err
        any_score = Policy((MinScore("exact_match", at_least=0.0),))
        now = "2026-01-01T00:00:00Z"
        Baselines(self.suite / "baselines").promote(run, name, decide=lambda _: gate(run, any_score), now=now)


@pytest.fixture
def suite(place, held_port, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test")
    return Place(place, held_port)


def always(number):
    return True


def never(number):
    return False


def status(printed):
    return json.loads(printed)["status"]


@pytest.fixture
def large(suite):
    """200 samples, enough for the margin, all answered right by the baseline."""
    suite.write(200, policy="margin = 0.1")
    suite.baseline(always)
    return suite


@pytest.fixture
def small(suite):
    """30 samples: too few for the margin."""
    suite.write(30)
    suite.baseline(always)
    return suite


# --- early stop -------------------------------------------------------------------------------------------------------


def test_a_candidate_that_is_all_wrong_costs_one_look(large):
    code, _, err, run, requests = large.eval(never)
    assert code == 1, err
    assert 40 <= requests <= 40 + CONCURRENCY
    assert run.ledger.asked == requests
    assert run.ledger.total == len(run.samples) == 200
    assert f"look 1 of 5: decided; {200 - requests} of 200 answers not asked" in err


def test_a_candidate_that_is_the_same_passes_on_a_part(large):
    code, _, err, run, requests = large.eval(always)
    assert code == 0, err
    assert 60 <= requests < 200
    assert run.ledger.counts[Outcome.EARLY_STOP] == 200 - requests


@pytest.mark.parametrize("how", ["flag", "environment", "suite"])
def test_early_stop_is_turned_off_in_every_place(large, monkeypatch, how):
    if how == "environment":
        monkeypatch.setenv("AIGATE_EARLY_STOP", "false")
    if how == "suite":
        large.write(200, keys="early-stop = false", policy="margin = 0.1")
    code, _, err, run, requests = large.eval(never, *(["--no-early-stop"] if how == "flag" else []))
    assert (code, requests, run.header.looks) == (1, 200, None)
    assert "look 1" not in err


def test_a_flag_turns_early_stop_on_again(large):
    large.write(200, keys="early-stop = false", policy="margin = 0.1")
    assert large.eval(never, "--early-stop")[-1] < 200


@pytest.mark.parametrize("good", [always, never])
def test_the_rest_answered_later_changes_no_verdict(large, good):
    _, first, _, stopped, requests = large.eval(good, "--format", "json")
    code, second, err, whole, more = large.eval(good, "--format", "json", "--resume", "--no-early-stop")
    assert requests + more == 200
    assert (whole.header.looks, whole.ledger.asked) == (stopped.header.looks, 200)
    assert status(first) == status(second), err
    again, third, _ = large.workplace.run(
        "gate", whole.source, "--baseline", large.suite / "baselines/main.jsonl", "--format", "json"
    )
    assert (again, status(third)) == (code, status(second))


def test_a_stopped_run_that_is_resumed_asks_nothing_more(large):
    _, _, _, stopped, _ = large.eval(never)
    code, _, _, again, requests = large.eval(never, "--resume")
    assert (code, requests) == (1, 0)
    assert again.results == stopped.results


SAFETY = {number: ["safety"] for number in (3, 120, 199)}
TAGGED = '{ check = "must-pass", tag = "safety", metric = "exact_match" },'


def test_a_sample_that_must_pass_and_fails_ends_a_run_at_once(suite):
    suite.write(200, policy="margin = 0.1", tags=SAFETY, checks=TAGGED)
    suite.baseline(always)
    code, _, err, run, requests = suite.eval(lambda number: number != 199)
    assert code == 1, err
    assert 3 <= requests <= 3 + CONCURRENCY
    answered = {result.sample_id for result in run.results if result.outcome is Outcome.SCORED}
    assert {"s003", "s120", "s199"} <= answered
    assert f"must-pass samples: decided; {200 - requests} of 200 answers not asked" in err
    assert f"over the {requests} of 200 samples that were asked" in err
    next_steps = err[err.index("outcomes:") :]
    assert "what must pass is not up for averaging" in next_steps
    assert "--no-early-stop" not in next_steps


def test_samples_that_must_pass_and_do_settle_nothing(suite):
    suite.write(200, policy="margin = 0.1", tags=SAFETY, checks=TAGGED)
    suite.baseline(always)
    code, _, err, _, requests = suite.eval(lambda number: number in SAFETY)
    assert code == 1, err
    assert 40 <= requests <= 43 + CONCURRENCY  # the first look, and what must pass beyond it


def test_a_first_run_whose_samples_that_must_pass_do_is_asked_whole(suite):
    suite.write(30, tags={3: ["safety"]}, checks=TAGGED)
    assert suite.eval(always)[-1] == 30


# --- escalation -------------------------------------------------------------------------------------------------------


def undecided(number):
    """One of 30 falls: nothing that 30 answers could show, one way or the other."""
    return number != 7


def test_further_answers_are_asked_while_nothing_is_decided(small):
    code, _, err, run, requests = small.eval(undecided)
    assert code == 3, err
    assert requests == 90
    assert (run.header.repeats, run.header.looks.escalates) == (3, True)


def test_no_further_answers_are_asked_once_it_is_decided(small):
    code, _, err, run, requests = small.eval(never)
    assert code == 1, err
    assert 30 <= requests <= 30 + CONCURRENCY
    assert f"look 1 of 2: decided; {90 - requests} of 90 answers not asked" in err
    assert run.ledger.total == 90


@pytest.mark.parametrize(
    ("flags", "requests"),
    [
        (["--max-repeats", "1"], 30),
        (["--max-repeats", "2"], 60),
        (["--repeats", "1"], 30),
        (["--repeats", "2"], 60),
        (["--no-early-stop"], 30),
        (["--no-early-stop", "--max-repeats", "2"], 60),
    ],
)
def test_how_many_answers_are_asked_is_what_the_flags_say(small, flags, requests):
    code, _, err, _, asked = small.eval(undecided, *flags)
    assert (code, asked) == (3, requests), err


def test_repeats_of_the_suite_turn_escalation_off_and_its_max_repeats_turn_it_on(small):
    small.write(30, keys="repeats = 1")
    assert small.eval(undecided)[-1] == 30
    small.write(30, keys="repeats = 1\nmax-repeats = 2")
    assert small.eval(undecided)[-1] == 60


def test_fewer_answers_at_most_than_at_least_is_refused_before_any_call(small):
    small.write(30, keys="max-repeats = 3")
    code, _, err, _, requests = small.eval(always, "--repeats", "5")
    assert (code, requests) == (2, 0)
    assert "suite.toml: max-repeats is 3, and repeats is 5 (flag --repeats)" in err
    assert "--max-repeats 5 or more" in err


def test_a_recording_is_not_asked_for_repeats_that_it_does_not_hold(place):
    place.write_suite(n=30)
    _, _, _, base = place.eval(place.record("base", 30, n=30))
    code, _, err, out = place.eval(place.record("same", 29, n=30), "--baseline", base)
    run = load_run(out)
    assert (code, run.header.repeats, run.header.looks) == (3, 1, None), err
    code, _, err, out = place.eval(place.record("more", 29, n=30), "--baseline", base, "--max-repeats", "4")
    assert "note: max-repeats is 4, and 'replay' has 1 different answer per sample" in err
    assert load_run(out).header.repeats == 1


# --- anchor and strict ------------------------------------------------------------------------------------------------


def test_an_anchor_that_is_asked_for_and_missing_is_an_error_before_any_call(large):
    for flags in (["--anchor", "release"], ["--anchor", "release.jsonl"], ["--anchor", "anchor"]):
        code, _, err, _, requests = large.eval(always, *flags)
        assert code in {2, 4}, err
        assert requests == 0
        assert flags[1] in err


def test_the_suite_s_anchor_stops_a_slow_drift_that_the_baseline_has_followed(suite):
    def drifted(number):
        return number % 3 != 0

    suite.write(200, policy="margin = 0.1")
    suite.baseline(always, name="anchor")
    suite.baseline(drifted)
    code, _, err, _, _ = suite.eval(drifted)
    assert code == 1, err
    assert suite.eval(drifted, "--anchor", suite.suite / "baselines" / "main.jsonl")[0] == 0


def test_the_anchor_is_not_written_over(large):
    anchor = large.suite / "baselines" / "main.jsonl"
    code, _, err, _, requests = large.eval(always, "--anchor", anchor, out="goldens/faq/baselines/main")
    assert (code, requests) == (2, 0)
    assert "would write over the" in err


def test_a_margin_that_the_suite_cannot_see_is_noted_and_refused_when_strict(small):
    code, _, err, _, _ = small.eval(always, "--max-repeats", "1")
    assert code == 3
    assert "note: no-regression exact_match: 30 samples" in err
    code, _, err, _, requests = small.eval(always, "--max-repeats", "1", "--strict")
    assert (code, requests) == (2, 0)
    assert "strict: no-regression exact_match: 30 samples" in err
    assert "aigate goldens power" in err


def test_a_strict_policy_is_strict_without_the_flag(small):
    small.write(30, policy="strict = true")
    code, _, err, _, requests = small.eval(always)
    assert (code, requests) == (2, 0), err


def test_strict_is_stored_with_the_policy_of_the_run(suite):
    suite.write(200, policy="margin = 0.2")
    suite.baseline(always)
    code, _, err, run, _ = suite.eval(always, "--strict")
    assert code == 0, err
    assert run.header.policy["strict"] is True


# --- config -----------------------------------------------------------------------------------------------------------


def test_config_shows_what_stops_and_repeats_a_run(suite):
    suite.write(30, keys="max-repeats = 4")
    code, printed, err = suite.workplace.run("config", "--suite", suite.suite)
    assert code == 0, err
    rows = {line.split()[0]: " ".join(line.split()[1:]) for line in printed.splitlines()}
    assert rows["early-stop"] == "true (default)"
    assert rows["max-repeats"].startswith("4 (")
    assert rows["anchor"] == "anchor (default)"
