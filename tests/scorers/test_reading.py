from fractions import Fraction

import pytest

from aigate.scorers.reading import alternatives, fences, one_number, shown, shown_words, unfenced, whole_fence


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("18", Fraction(18)),
        (" -1,234.50 ", Fraction(-2469, 2)),
        ("+.5", Fraction(1, 2)),
        ("18.", Fraction(18)),
        ("1.5e3", Fraction(1500)),
        ("25E-2", Fraction(1, 4)),
        ("007", Fraction(7)),
    ],
)
def test_one_number_reads_numbers_exactly(text, number):
    assert one_number(text) == number


@pytest.mark.parametrize("text", ["", ".", "-", "1,23", "1 2", "$5", "5%", "1e9999", "٣", "1,2345", "9" * 401, "0x10"])
def test_one_number_is_none_for_anything_else(text):
    assert one_number(text) is None


def test_fences_of_both_marks_with_language_and_content():
    text = "Intro\n```Python title=x\na = 1\n\nb = 2\n```\nbetween\n~~~\n```\n~~~\n"
    first, second = fences(text)
    assert (first.language, first.content, first.closed) == ("python", "a = 1\n\nb = 2", True)
    assert (second.language, second.content, second.closed) == ("", "```", True)
    assert text[first.start : first.end] == "```Python title=x\na = 1\n\nb = 2\n```"


def test_longer_fence_holds_a_shorter_one():
    (fence,) = fences("````md\n```\nx\n```\n````")
    assert fence.content == "```\nx\n```"


def test_fence_without_closing_mark_is_open_to_the_end():
    (fence,) = fences("```js\nlet a")
    assert (fence.closed, fence.content) == (False, "let a")


def test_empty_fence_has_empty_content():
    assert fences("```\n```")[0].content == ""


def test_inline_code_is_no_fence():
    assert fences("Use ```x``` here\n```y``` too") == []


def test_whole_fence_allows_space_around_and_nothing_else():
    assert whole_fence("\n ```json\n{}\n```  \n").content == "{}"
    assert whole_fence("Here:\n```json\n{}\n```") is None
    assert whole_fence("```\na\n```\n```\nb\n```") is None


def test_unfenced_takes_the_only_closed_fence():
    assert unfenced("Here:\n```\n42\n```\nDone") == "42"
    assert unfenced("```\na\n```\n```\nb\n```").startswith("```")
    assert unfenced("```\na") == "```\na"
    assert unfenced("plain") == "plain"


def test_alternatives_of_references():
    assert alternatives("a") == ("a",)
    assert alternatives(1.5) == ("1.5",)
    assert alternatives(True) == ("true",)
    assert alternatives(["a", "b"]) == ("a", "b")
    assert [alternatives(other) for other in ([], ["a", 1], {"a": 1}, None)] == [None] * 4


def test_shown_escapes_what_cannot_be_seen_and_shortens():
    assert shown("a\u202eb\ud800\x00") == r"'a\u202eb\ud800\x00'"
    long = shown("x" * 500)
    assert len(long) < 240
    assert "(500 characters)" in long


def test_shown_words_counts_what_it_leaves_out():
    text = shown_words([f"word{i}" for i in range(100)])
    assert len(text) < 280
    assert text.startswith("'word0', 'word1'")
    shown_count = text.count("'word")
    assert text.endswith(f"and {100 - shown_count} more")
