"""Hands: they ask and judge what they are given, report what came of it, and hold nothing back and nothing secret."""

import json
import textwrap
import threading
import time
from pathlib import Path

import pytest

from aigate.core.sample import Sample
from aigate.core.version import VersionId
from aigate.errors import ProviderConfigError, UsageError
from aigate.providers.base import ProviderSettings, make_provider
from aigate.running.engine import Plan
from aigate.running.hands import Hands, Recipe, identity_of, recipe_of
from aigate.running.prices import Price
from aigate.running.provenance import code_digest
from aigate.scorers.base import ScorerSettings, make_scorer

VERSION = VersionId.parse("m/1/v1")
SAMPLE = Sample("a", "say yes", reference="yes", metadata={"deep": [1, {"x": None}]})
BOT = """
    import threading, time
    from aigate import Response

    def answer(text):
        return Response(output="yes", latency_s=0.5, input_tokens=1000, output_tokens=100)

    def slow(text):
        time.sleep(30)
"""


@pytest.fixture
def bot(tmp_path):
    path = tmp_path / "bot.py"
    path.write_text(textwrap.dedent(BOT))
    return path


def recipe(bot, name="answer", **fields):
    whole = {
        "version": "m/1/v1",
        "provider": "callable",
        "options": {"target": f"{bot}:{name}"},
        "folder": str(bot.parent),
        "concurrency": 4,
        "parameters": {"temperature": 0},
        "price": None,
        "scorers": ({"name": "exact_match", "argument": "", "options": {}, "contract": None},),
    }
    return Recipe(**{**whole, **fields})


class Reports:
    """What hands report, as it comes."""

    def __init__(self):
        self.messages, self._came = [], threading.Condition()

    def __call__(self, message):
        with self._came:
            self.messages.append(json.loads(message))
            self._came.notify_all()

    def found(self, count, timeout_s=20.0):
        """What came of so many calls, by number."""

        def rows():
            return {number: row for message in self.messages for number, row in message}

        with self._came:
            assert self._came.wait_for(lambda: len(rows()) >= count, timeout_s)
            return rows()


@pytest.fixture
def employ(bot):
    """Makes hands; closes them."""
    made = []

    def make(**fields):
        reports = Reports()
        made.append(Hands(fields.pop("recipe", None) or recipe(bot, **fields), reports, environ={}))
        return made[-1], reports

    yield make
    for hands in made:
        hands.close()


def ask(number, sample=SAMPLE, timeout_s=5.0):
    row = {"sample": sample.to_dict(), "messages": [{"role": "user", "content": sample.text}]}
    return [number, "ask", {**row, "repeat": 0, "timeout_s": timeout_s}]


def test_an_answer_comes_with_what_the_scorers_say_of_it(employ):
    hands, reports = employ()
    hands.give(json.dumps([ask(7)]))
    found = reports.found(1)[7]
    assert found["response"]["output"] == "yes"
    assert {metric: score["value"] for metric, score in found["scores"].items()} == {"exact_match": 1.0}
    assert (found["retry_after_s"], found["limits"]) == (None, None)


def test_an_answer_is_priced_before_it_is_judged(employ):
    hands, reports = employ(price=(2.0, 10.0))
    hands.give(json.dumps([ask(1)]))
    assert reports.found(1)[1]["response"]["cost_usd"] == Price(2.0, 10.0, "").cost_usd(1000, 100)


def test_what_a_scorer_does_not_apply_to_is_not_reported(employ):
    hands, reports = employ()
    hands.give(json.dumps([ask(1, Sample("b", "say yes"))]))
    assert reports.found(1)[1]["scores"] == {}


def test_an_answer_that_was_kept_is_judged_and_nobody_is_asked(employ):
    hands, reports = employ(name="slow")
    row = {"sample": SAMPLE.to_dict(), "response": {"output": "no", "journaled_at": "2026-01-01T00:00:00+00:00"}}
    hands.give(json.dumps([[3, "judge", row]]))
    assert reports.found(1)[3]["scores"]["exact_match"]["value"] == 0.0


def test_a_call_that_takes_too_long_is_ended_here(employ):
    hands, reports = employ(name="slow")
    hands.give(json.dumps([ask(1, timeout_s=0.1)]))
    found = reports.found(1)[1]
    assert found["response"]["fault"]["kind"] == "timeout"
    assert found["scores"] == {}


def test_whatever_goes_wrong_is_reported(employ):
    hands, reports = employ()
    hands.give(json.dumps([[1, "ask", {"sample": {"id": 5}}], [2, "judge", {}], ask(3)]))
    found = reports.found(3)
    assert "KeyError" in found[1]["broken"]
    assert "KeyError" in found[2]["broken"]
    assert found[3]["response"]["output"] == "yes"


def test_answers_that_come_together_are_reported_together(employ):
    hands, reports = employ()
    hands.give(json.dumps([ask(number) for number in range(50)]))
    assert len(reports.found(50)) == 50
    assert len(reports.messages) < 40


def test_a_slow_scorer_holds_up_no_answer(employ, monkeypatch):
    third_asked, in_time = threading.Event(), []

    class Slow:
        spec = make_scorer(ScorerSettings("exact_match")).spec

        def applies_to(self, sample):
            return None

        def score(self, sample, response):
            judging.set()
            in_time.append(third_asked.wait(20))
            raise ValueError

    monkeypatch.setattr("aigate.running.hands.Recipe.make_scorers", lambda _self: (Slow(),))
    hands, reports = employ()
    judging, asked = threading.Event(), []
    from aigate.running import hands as module

    attempt = module.attempt

    async def timed(provider, request):
        asked.append(request)
        if len(asked) == 3:
            third_asked.set()
        return await attempt(provider, request)

    monkeypatch.setattr(module, "attempt", timed)
    hands.give(json.dumps([ask(1), ask(2)]))
    assert judging.wait(20)
    hands.give(json.dumps([ask(3)]))
    reports.found(3)
    assert in_time == [True] * 3  # it was asked while the first judgement was still being made


def test_closing_drops_what_is_being_done_and_may_be_done_twice(bot):
    reports = Reports()
    hands = Hands(recipe(bot, "slow"), reports, environ={})
    hands.give(json.dumps([ask(1, timeout_s=60.0)]))
    before = time.monotonic()
    hands.close()
    hands.close()
    assert time.monotonic() - before < 5.0
    assert reports.messages == []
    assert not [thread for thread in threading.enumerate() if thread.name in {"aigate-asking", "aigate-judging"}]


def test_hands_that_cannot_be_made_say_why(bot):
    with pytest.raises(ProviderConfigError, match="no 'nope' there"):
        Hands(recipe(bot, "nope"), Reports(), environ={})
    scorers = ({"name": "nosuch", "argument": "", "options": {}, "contract": None},)
    with pytest.raises(UsageError, match="nosuch"):
        Hands(recipe(bot, scorers=scorers), Reports(), environ={})


# --- recipes ----------------------------------------------------------------------------------------------------------


def plan(provider, *scorers, **fields):
    made = tuple(make_scorer(settings) for settings in scorers)
    whole = {"samples": (SAMPLE,), "repeats": 1, "render": lambda _: (), "parameters": {"top_p": 0.5}, "concurrency": 3}
    return Plan(provider=provider, scorers=made, **{**whole, **fields})


def test_a_recipe_makes_the_same_provider_and_scorers_again(bot):
    options = {"target": f"{bot}:answer"}
    provider = make_provider("callable", ProviderSettings(VERSION, options))
    scorers = (ScorerSettings("includes", options={"case": "fold"}), ScorerSettings("recorded", "human"))
    made = recipe_of(
        plan(provider, *scorers, price=Price(1.0, 2.0, "x")),
        version=VERSION,
        provider="callable",
        options=options,
        folder=Path(),
        scorers=scorers,
    )
    again = Recipe.from_json(made.to_json())
    assert again == made
    assert again.price == (1.0, 2.0)
    here = identity_of(provider, [make_scorer(settings) for settings in scorers])
    assert identity_of(again.make_provider({}), again.make_scorers()) == here
    assert here["code of aigate"] == code_digest()
    assert {"version of python", "version of aigate", "scorer of includes", "scorer of human"} <= set(here)


def test_a_recipe_holds_no_key():
    settings = ProviderSettings(VERSION, {}, environ={"OPENAI_API_KEY": "secret"})
    provider = make_provider("openai", settings)
    made = recipe_of(
        plan(provider, ScorerSettings("exact_match")),
        version=VERSION,
        provider="openai",
        options={},
        folder=Path(),
        scorers=(ScorerSettings("exact_match"),),
    )
    assert "secret" not in made.to_json()
    with pytest.raises(ProviderConfigError, match="OPENAI_API_KEY"):
        made.make_provider({})
    assert made.make_provider({"OPENAI_API_KEY": "own"}).describe() == provider.describe()


@pytest.mark.parametrize("option", [object(), float("nan"), {1, 2}, b"bytes"])
def test_an_option_that_no_worker_can_be_told_is_refused(bot, option):
    provider = make_provider("callable", ProviderSettings(VERSION, {"target": f"{bot}:answer"}))
    with pytest.raises(UsageError, match="cannot be sent to a worker"):
        recipe_of(plan(provider), version=VERSION, provider="x", options={"o": option}, folder=Path(), scorers=())
