"""Word diffs: complete, readable, and given up where two texts have nothing in common."""

import time

from hypothesis import given
from hypothesis import strategies as st

from aigate.reports.words import MOST_WORDS, marked, word_changes

TEXTS = st.text(st.sampled_from("ab c.\n"), max_size=40)


@given(TEXTS, TEXTS)
def test_both_texts_can_be_read_from_the_changes(before, after):
    changes = word_changes(before, after)
    if changes is not None:
        assert "".join(change.text for change in changes if change.kind != "new") == before
        assert "".join(change.text for change in changes if change.kind != "gone") == after


def test_what_changed_is_marked():
    assert marked(word_changes("Returns take 45 days.", "Returns take 30 working days.")) == (
        "Returns take [-45-]{+30 working+} days."
    )


def test_equal_texts_have_no_marks():
    assert marked(word_changes("the same", "the same")) == "the same"
    assert marked(word_changes("", "")) == ""


def test_texts_with_little_in_common_are_not_mixed():
    assert word_changes("Use alkaline batteries only.", "I don't know") is None


def test_long_texts_take_no_time():
    text = "word " * (MOST_WORDS + 1)
    started = time.process_time()
    assert word_changes(text, text + "x") is None
    assert time.process_time() - started < 1
