"""Prices: dated, overridable, and never guessed."""

import pytest

from aigate.core.response import Response
from aigate.errors import ConfigError, UsageError
from aigate.running.prices import Price, find_price, parse_price, priced, read_prices, shipped_prices


def table(tmp_path, text):
    path = tmp_path / "own.toml"
    path.write_text(text)
    return path


def test_the_shipped_table_has_its_date_and_sound_prices():
    found = shipped_prices()
    assert found.date == "2025-08-31"
    assert len(found.prices) > 40
    assert all(0 < price.input_usd <= price.output_usd for price in found.prices.values())
    assert find_price("gpt-4o-2024-11-20") == Price(2.5, 10.0, "prices of 2025-08-31")


@pytest.mark.parametrize("model", ["gpt-4o-2099-01-01", "GPT-4O", "gpt", None, "my-own"])
def test_a_model_that_is_not_listed_has_no_price(model):
    assert find_price(model) is None


def test_a_table_of_ones_own_wins_and_the_shipped_one_fills_in(tmp_path):
    own = table(tmp_path, 'date = "2026-11-01"\n[usd-per-million-tokens]\n"gpt-4o" = [1, 2.5]\n')
    assert find_price("gpt-4o", table=own) == Price(1.0, 2.5, "prices of 2026-11-01")
    assert find_price("o3", table=own) == shipped_prices().prices["o3"]
    assert find_price("gpt-4o", table=own, given="7,8") == Price(7.0, 8.0, "price given")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[usd-per-million-tokens]\n'a' = [1, 2]\n", "no date"),
        ("date = '2026-01-01'\n", "no .usd-per-million-tokens"),
        ("date = '2026-01-01'\n[usd-per-million-tokens]\n'a' = [1]\n", "'a': got .1., expected .input, output."),
        ("date = '2026-01-01'\n[usd-per-million-tokens]\n'a' = [1, -2]\n", "'a': got"),
        ("date = '2026-01-01'\n[usd-per-million-tokens]\n'a' = [1, true]\n", "'a': got"),
        ("date = '2026-01-01'\nusd = 1\n[usd-per-million-tokens]\n'a' = [1, 2]\n", "unknown key"),
        ("date = ", "invalid TOML"),
    ],
)
def test_a_wrong_table_is_refused_by_its_name(tmp_path, text, told):
    with pytest.raises((UsageError, ConfigError), match=rf"own\.toml.*{told}"):
        read_prices(table(tmp_path, text))


@pytest.mark.parametrize("text", ["", "1", "1,2,3", "a,b", "-1,2", "nan,1", "inf,1"])
def test_a_wrong_price_is_refused(text):
    with pytest.raises(UsageError, match="expected two numbers") as caught:
        parse_price(text)
    assert "--price" in caught.value.hint


def test_cost_is_filled_in_only_where_it_can_be_known():
    price = Price(2.0, 10.0, "told")
    both = Response(output="x", input_tokens=1000, output_tokens=100)
    assert priced(both, price).cost_usd == pytest.approx(0.003)
    assert priced(both, None).cost_usd is None
    assert priced(Response(output="x", input_tokens=1000), price).cost_usd is None
    assert priced(Response(output="x", input_tokens=1, output_tokens=1, cost_usd=0.5), price).cost_usd == 0.5
