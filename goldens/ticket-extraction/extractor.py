"""A rule-based reader of customer mails: the system under test of this suite, offline and without a key.

It is an honest baseline for a model to beat: regular expressions and word lists, no learning. It sees the mail and the
parameters of the prompt version, never the reference. `style` (the `callable:` section of a prompt file) is the form it
answers in: `prose` around the object, the object in a code `fenced`, or bare `json`.
"""

# ruff: noqa: INP001 - a suite is a folder of data, not a package; aigate loads this file by its path

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from aigate.providers.base import Request

# A category, how much one of its words says, and the words. Equal sums go to the category that stands first.
CATEGORIES: tuple[tuple[str, int, str], ...] = (
    ("cancellation", 4, r"cancel\w*|stornier\w*|annull?er|withdraw"),
    (
        "damaged",
        3,
        r"broken|cracks?|cracked|defective|faulty|damaged?|dent(?:ed)?|sparks?|leaks?|beschädigt|cassé|fendu",
    ),
    (
        "refund",
        3,
        r"refund\w*|money back|return(?:ed|ing)?|sent .{0,40}back|rückerstattung|remboursement|zurückgeschickt",
    ),
    ("billing", 3, r"invoice|charged?|bill|fee|twice|abgebucht|rechnung|facture|voucher|payment"),
    ("delivery", 2, r"deliver(?:y|ed)|parcel|tracking|carrier|driver|transit|arrived?|paket|geliefert|colis|livraison"),
    ("question", 1, r"\?"),
)
PRODUCTS = (
    "Aurora Kettle",
    "Breva Fan",
    "Cobalt Toaster",
    "Halo Air Fryer",
    "Lumen Desk Lamp",
    "Mesa Rice Cooker",
    "Nimbus Humidifier",
    "Orbit Vacuum",
    "Piccolo Grinder",
    "Polar Ice Maker",
    "Siena Espresso Machine",
    "Terra Blender",
)
CURRENCIES = {
    "€": "EUR",
    "eur": "EUR",
    "euro": "EUR",
    "euros": "EUR",
    "£": "GBP",
    "gbp": "GBP",
    "$": "USD",
    "usd": "USD",
}

_ORDER = re.compile(r"\bBF[-# ]{0,2}(\d{6})\b", re.IGNORECASE)
_NUMBER = r"\d{1,3}(?:[,.]\d{3})+(?:[,.]\d{2})?|\d+(?:[,.]\d{1,2})?"
_SIGN = r"€|£|\$|\beuros?\b|\bEUR\b|\bGBP\b|\bUSD\b"
_AMOUNT = re.compile(
    rf"(?P<before>{_SIGN})\s?(?P<first>{_NUMBER})|(?P<second>{_NUMBER})\s?(?P<after>{_SIGN})", re.IGNORECASE
)
_CENTS = re.compile(r"[,.](\d{1,2})$")
_URGENT = re.compile(
    r"\b(?:urgent(?:ly)?|asap|immediately|right away|at once|as soon as possible|by tomorrow|today|dringend|sofort)\b",
    re.IGNORECASE,
)


def extract(request: Request) -> str:
    """Answer one mail, in the form that the prompt version's `style` asks for (default: `json`)."""
    answer = json.dumps(ticket(request.sample.text), ensure_ascii=False)
    style = request.parameters.get("style", "json")
    if style == "prose":
        return f"Sure! Here is what I found in the message: {answer} Let me know if you need anything else."
    if style == "fenced":
        return f"```json\n{answer}\n```"
    if style == "json":
        return answer
    raise ValueError(f"style is {style!r}: expected prose, fenced or json")


def ticket(mail: str) -> dict[str, Any]:
    """The fields of one mail, in the order of contract.json; None where the mail does not say."""
    text = "\n".join(line for line in mail.splitlines() if not line.lstrip().startswith(">"))
    amount, currency = amount_of(text)
    return {
        "category": category_of(text),
        "order_id": order_of(text),
        "product": product_of(text),
        "amount": amount,
        "currency": currency,
        "urgent": bool(_URGENT.search(text)),
    }


def category_of(text: str) -> str:
    """The category whose words weigh most; a word counts each time it is used."""
    weights = [(weight * len(_word(words).findall(text)), name) for name, weight, words in CATEGORIES]
    most, name = max(weights, key=lambda entry: entry[0])
    return name if most else "question"


def order_of(text: str) -> str | None:
    """The first order number, in the spelling of the contract."""
    found = _ORDER.search(text)
    return f"BF-{found[1]}" if found else None


def product_of(text: str) -> str | None:
    """The product of the catalogue that is named first, in full."""
    places = [(text.casefold().find(name.casefold()), name) for name in PRODUCTS]
    return min(((place, name) for place, name in places if place >= 0), default=(0, None))[1]


def amount_of(text: str) -> tuple[float | None, str | None]:
    """The first sum with a currency."""
    found = _AMOUNT.search(text)
    if found is None:
        return None, None
    number = found["first"] or found["second"]
    sign = found["before"] or found["after"]
    return number_of(number), CURRENCIES[sign.casefold()]


def number_of(written: str) -> float:
    """A number as people write it: `1,249.00`, `1.249,00` and `74,50`; three digits after a mark are thousands."""
    cents = _CENTS.search(written)
    digits = re.sub(r"[,.]", "", written[: cents.start()] if cents else written)
    return float(f"{digits}.{cents[1]}" if cents else digits)


def _word(words: str) -> re.Pattern[str]:
    return re.compile(rf"(?<!\w)(?:{words})(?!\w)", re.IGNORECASE)
