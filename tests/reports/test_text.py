"""Text of a model is shown, never obeyed."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aigate.reports.text import excerpt, printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[31mred\x1b[0m", r"\x1b[31mred\x1b[0m"),
        ("\x1b]8;;http://x\x07link", r"\x1b]8;;http://x\x07link"),
        ("a\rb", r"a\x0db"),
        ("a\x08\x00\x7f\x9b", r"a\x08\x00\x7f\x9b"),
        ("safe\u202etxet", r"safe\u202etxet"),
        ("zero\u200bwidth\ufeff", r"zero\u200bwidth\ufeff"),
        ("\ud800", r"\ud800"),
        ("\U000e0041", r"\U000e0041"),
        ("Grüße, 世界 😀\n\tline", "Grüße, 世界 😀\n\tline"),
    ],
)
def test_what_could_act_on_a_terminal_is_made_visible(text, shown):
    assert printable(text) == shown


@given(st.text(st.characters()))
def test_nothing_that_acts_is_left_and_the_rest_is_kept(text):
    shown = printable(text)
    assert all(c in "\n\t" or unicodedata.category(c) not in {"Cc", "Cf", "Cs", "Co", "Cn"} for c in shown)
    shown.encode("utf-8")
    kept = "".join(c for c in text if c in "\n\t" or unicodedata.category(c)[0] != "C")
    assert len(shown) >= len(text)
    assert kept == text or len(shown) > len(text)


def test_a_long_text_says_how_much_was_left_out():
    assert excerpt("x" * 400) == "x" * 400
    assert excerpt("x" * 1401, 400) == "x" * 400 + " … (1,001 more characters)"
    assert excerpt("ab   cd", 3) == "ab … (4 more characters)"
    assert excerpt("\x1b\x1b\x1b", 1) == r"\x1b … (2 more characters)"
