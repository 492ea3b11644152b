"""What a model costs: a table shipped with its date, overridable. A price that is not known is said, never guessed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path
from typing import Any

from aigate.core.registry import refuse_unknown
from aigate.core.response import Response
from aigate.errors import UsageError
from aigate.goldens.config import read_toml

__all__ = ["Price", "PriceTable", "find_price", "parse_price", "priced", "read_prices", "shipped_prices"]

TABLE = "usd-per-million-tokens"
MILLION = 1e6


@dataclass(frozen=True, slots=True)
class Price:
    """What one model costs.

    Attributes:
        input_usd: US dollars per million tokens sent; 0 or more.
        output_usd: US dollars per million tokens received; 0 or more.
        origin: Where it comes from, for messages: `prices of 2025-08-31`, `flag --price`.
    """

    input_usd: float
    output_usd: float
    origin: str

    def cost_usd(self, input_tokens: float, output_tokens: float) -> float:
        """The cost of so many tokens, in US dollars."""
        return (input_tokens * self.input_usd + output_tokens * self.output_usd) / MILLION


@dataclass(frozen=True, slots=True)
class PriceTable:
    """The prices of many models.

    Attributes:
        date: What day the prices are of: ISO 8601.
        prices: By the name a model is requested by.
    """

    date: str
    prices: Mapping[str, Price]


def shipped_prices() -> PriceTable:
    """The table that comes with this version of aigate."""
    return _table(read_toml(Path(str(files("aigate.running") / "prices.toml"))), "prices.toml of aigate")


def read_prices(path: Path) -> PriceTable:
    """A table of the user's own, in the format of the shipped one.

    Raises:
        UsageError: It cannot be read, or is no such table; the message starts with the file's name.
    """
    return _table(read_toml(path), str(path))


def parse_price(text: str) -> Price:
    """The price that `--price IN,OUT` states, in US dollars per million tokens.

    Raises:
        UsageError: It is not two numbers of 0 or more.

    >>> parse_price("2.5,10").cost_usd(1000, 100)
    0.0035
    """
    try:
        sent, received = (float(part) for part in text.split(","))
        sound = 0.0 <= sent < MILLION and 0.0 <= received < MILLION
    except ValueError:
        sound = False
    if not sound:
        raise UsageError(
            f"price is {text!r}: expected two numbers, USD per million tokens sent and received",
            hint="e.g. --price 2.50,10",
        )
    return Price(sent, received, "price given")


def find_price(model: str | None, *, given: str | None = None, table: Path | None = None) -> Price | None:
    """What a model costs; None where nobody knows.

    Args:
        model: The name it is requested by; None for a provider that names none.
        given: `--price`, which wins.
        table: A table of the user's own; what it lacks is looked up in the shipped one.

    Raises:
        UsageError: A price or a table that cannot be read.
    """
    if given is not None:
        return parse_price(given)
    own = {} if table is None else read_prices(table).prices
    if model is None:
        return None
    return own.get(model) or shipped_prices().prices.get(model)


def priced(response: Response, price: Price | None) -> Response:
    """The response with its cost, where the provider told the tokens and not the cost, and the price is known."""
    tokens = (response.input_tokens, response.output_tokens)
    if price is None or response.cost_usd is not None or None in tokens:
        return response
    return replace(response, cost_usd=price.cost_usd(tokens[0] or 0, tokens[1] or 0))


def _table(whole: Mapping[str, Any], source: str) -> PriceTable:
    refuse_unknown(whole, ("date", TABLE), where=source, kind="keys", error=UsageError)
    date, rows = whole.get("date"), whole.get(TABLE)
    if not isinstance(date, str) or not date:
        raise UsageError(f"{source}: no date", hint='write date = "2026-11-23": a price without its day is no price')
    if not isinstance(rows, Mapping) or not rows:
        raise UsageError(f"{source}: no [{TABLE}]", hint=f'write [{TABLE}] and rows like "gpt-4o" = [2.5, 10.0]')
    return PriceTable(date, {name: _price(row, f"{source}: '{name}'", date) for name, row in rows.items()})


def _price(row: Any, where: str, date: str) -> Price:
    numbers = isinstance(row, list) and len(row) == 2 and all(_is_amount(value) for value in row)
    if not numbers:
        raise UsageError(f"{where}: got {row!r}, expected [input, output] in USD per million tokens")
    return Price(float(row[0]), float(row[1]), f"prices of {date}")


def _is_amount(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < MILLION
