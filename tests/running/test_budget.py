"""The budget: no cap is overshot by calls in flight together, and what was not told counts as used."""

import random

import pytest

from aigate.core.response import Fault, FaultKind, Response
from aigate.core.sample import Sample
from aigate.errors import UsageError
from aigate.providers.base import Request
from aigate.running.budget import Budget, Caps, Spent, estimate, input_tokens_of
from aigate.running.prices import Price

PRICE = Price(input_usd=1.0, output_usd=10.0, origin="told")


def request(text="x" * 40, **parameters):
    return Request(Sample("a", "?"), ({"role": "user", "content": text},), parameters)


def answer(sent=10, received=5, **fields):
    return Response(output="yes", input_tokens=sent, output_tokens=received, **fields)


def test_calls_are_capped_exactly_however_many_are_in_flight():
    budget = Budget(Caps(calls=3))
    held = [budget.reserve(request()) for _ in range(5)]
    assert [reservation is not None for reservation in held] == [True] * 3 + [False] * 2
    assert budget.exhausted == "max-calls 3 was reached"
    for reservation in held[:3]:
        budget.settle(reservation, answer())
    assert budget.reserve(request()) is None
    assert budget.spent == Spent(3, 45, 0.0)


@pytest.mark.parametrize("seed", range(5))
def test_no_cap_is_overshot_where_requests_limit_their_output(seed):
    draw = random.Random(seed)  # noqa: S311
    caps = Caps(cost_usd=0.004, tokens=900)
    budget, in_flight = Budget(caps, price=PRICE), []
    for _ in range(400):
        if in_flight and draw.random() < 0.5:
            limit, reservation = in_flight.pop(draw.randrange(len(in_flight)))
            budget.settle(reservation, answer(14, draw.randint(0, limit)))
        else:
            limit = draw.randint(1, 60)
            if (reservation := budget.reserve(request(max_tokens=limit))) is not None:
                in_flight.append((limit, reservation))
    assert budget.spent.tokens <= 900
    assert budget.spent.cost_usd <= 0.004
    assert budget.spent.calls > 5


def test_an_answer_longer_than_reserved_overshoots_by_no_more_than_that():
    budget = Budget(Caps(tokens=1000))
    reservation = budget.reserve(request())
    budget.settle(reservation, answer(10, 5000))
    assert budget.spent.tokens == 5010
    assert budget.reserve(request()) is None


def test_the_longest_answer_so_far_is_what_the_next_may_take():
    budget = Budget(Caps(tokens=10_000))
    budget.settle(budget.reserve(request()), answer(10, 700))
    assert budget.reserve(request()).spent.tokens == input_tokens_of(request().messages) + 700


@pytest.mark.parametrize("response", [None, Response(fault=Fault(FaultKind.TIMEOUT, "late")), Response(output="x")])
def test_a_call_that_tells_no_usage_counts_as_what_was_reserved_for_it(response):
    budget = Budget(Caps(tokens=1000), price=PRICE)
    reservation = budget.reserve(request(max_tokens=100))
    budget.settle(reservation, response)
    assert budget.spent == reservation.spent


def test_a_cost_that_the_provider_tells_wins():
    budget = Budget(Caps(cost_usd=1.0), price=PRICE)
    budget.settle(budget.reserve(request()), answer(cost_usd=0.25))
    assert budget.spent.cost_usd == 0.25


def test_a_cap_on_cost_without_a_price_is_refused_before_any_call():
    with pytest.raises(UsageError, match="price of the model is not known") as caught:
        Budget(Caps(cost_usd=1.0))
    assert "--price" in caught.value.hint


def test_where_the_first_call_does_not_fit_nothing_is_asked():
    budget = Budget(Caps(cost_usd=1e-9), price=PRICE)
    assert budget.reserve(request()) is None
    assert budget.exhausted == "max-cost 1e-09 USD was reached"


@pytest.mark.parametrize(
    ("text", "tokens"), [("", 4), ("a" * 40, 14), ("漢" * 30, 24), ([{"type": "text", "text": "a" * 8}, {"n": 1}], 6)]
)
def test_tokens_of_a_prompt_are_counted_by_a_rule_of_thumb(text, tokens):
    assert input_tokens_of(({"role": "user", "content": text},)) == tokens


def test_the_estimate_says_what_it_rests_on(make_run):
    messages = [({"role": "user", "content": "x" * 40},)] * 100
    common = {"repeats": 1, "most_repeats": 3, "parameters": {}, "model": "gpt-x"}
    unknown = str(estimate(messages, **common, price=None))
    assert "100 calls (up to 300)" in unknown
    assert "1,400 tokens to send and 25,600 to receive (assumed)" in unknown
    assert "price of 'gpt-x' is not known" in unknown
    known = str(estimate(messages, **{**common, "parameters": {"max_tokens": 10}}, price=PRICE, already_answered=50))
    assert known == (
        "estimate: 50 calls (up to 250), about 700 tokens to send and 500 to receive (assumed), about 0.0057 USD (told)"
    )
