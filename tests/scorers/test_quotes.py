"""A quotation proves something only where it stands."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aigate.scorers.quotes import find_quote, normalised

TEXTS = ["Opened items may be returned, but only within 30 days.", "It’s “final”:\n no\u00a0refunds — ever."]

STANDS = {
    "Opened items may be returned": 0,
    "opened ITEMS  may\nbe returned": 0,
    '"Opened items may be returned."': 0,
    "only within 30 days": 0,
    'It\'s "final": no refunds - ever': 1,
    "no re\u200bfunds – ever": 1,
    "Opened items … within 30 days": 0,
    "Opened items ... returned [...] 30 days": 0,
    "Opened items may be returned...": 0,
    "... within 30 days.": 0,
}
STANDS_NOT = [
    "",
    "   ",
    "...",
    ". . .",
    "30 days",  # too short to prove anything
    "Opened items may not be returned",
    "pened items may be returned",  # begins within a word
    "Opened items may be return",  # ends within a word
    "within 30 days ... Opened items",  # the other way round
    "Opened items ... no refunds",  # from two texts
    "a ... b ... c ... d",
    "Opened items may be returned within 30 days",  # left out without saying so
    "only within 30 days after delivery",
]


@pytest.mark.parametrize(("quote", "place"), STANDS.items())
def test_a_quotation_that_stands_there_is_found(quote, place):
    assert find_quote(quote, TEXTS) == place


@pytest.mark.parametrize("quote", STANDS_NOT)
def test_a_quotation_that_stands_nowhere_is_not_found(quote):
    assert find_quote(quote, TEXTS) is None


def test_a_short_text_is_quoted_whole():
    assert find_quote("45 days.", ["Other", "45 days"]) == 1
    assert find_quote("5 days", ["45 days"]) is None


def test_a_text_with_an_ellipsis_of_its_own_is_quoted_as_it_stands():
    assert find_quote("Well... that is all", ["Well... that is all there is."]) == 0


def test_chinese_needs_fewer_characters_and_no_edges_of_words():
    text = "开封的商品可以在三十天内退货。"
    assert find_quote("可以在三十天内退货", [text]) == 0
    assert find_quote("退货", [text]) is None


@given(st.text(max_size=60), st.lists(st.text(max_size=60), max_size=3))
def test_what_is_found_really_stands_there(quote, texts):
    place = find_quote(quote, texts)
    if place is not None:
        words = [part for part in normalised(quote).split("...") if part.strip(" \t\n'\".,;:!?-()[]")]
        assert all(part.strip(" \t\n'\".,;:!?-()[]") in normalised(texts[place]) for part in words) or (
            normalised(quote).strip(" \t\n'\".,;:!?-()[]") in normalised(texts[place])
        )


@given(st.text(alphabet=st.characters(categories=("L", "N", "Zs")), min_size=20, max_size=80))
def test_a_whole_text_stands_in_itself(text):
    if normalised(text).strip(" \t\n'\".,;:!?-()[]"):
        assert find_quote(text, [text]) == 0
