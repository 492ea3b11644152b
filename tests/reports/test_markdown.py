"""Markdown: whatever a model wrote stays inside its fence, its cell and its line."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aigate.core.score import MetricSpec
from aigate.core.verdict import Moved, Reason, Status
from aigate.reports.markdown import _fenced, _html, _inline, markdown
from aigate.reports.story import tell

HOSTILE = [
    "```\n# owned\n```",
    "````` \n</details>\n# owned",
    "```text\n" * 3 + "`" * 40,
    "~~~\n# owned",
    "</summary></details><script>alert(1)</script>",
    "| owned | cell |\n|---|---|",
    "@everyone see #1 and org/repo#2 at https://evil.example",
    "\x1b[2J\r\n\u2028# owned",
    "![image](http://evil.example/x.png)",
]
MARKED_UP = st.text(st.sampled_from("`~|<>&#@\\*_[]()!\n\r\t :/ab1\x1b\u2028"), max_size=60)


def outside_fences(text):
    """The lines a markdown reader would act on: those in no fence. A fence is closed by one at least as long."""
    lines, fence = [], ""
    for line in text.split("\n"):
        found = re.match(r" {0,3}(`{3,}|~{3,})(.*)$", line)
        if fence:
            if found and found[1].startswith(fence) and not found[2].strip():
                fence = ""
        elif found and not (found[1][0] == "`" and "`" in found[2]):
            fence = found[1]
        else:
            lines.append(line)
    assert not fence, "a fence was left open"
    return lines


@pytest.mark.parametrize("output", HOSTILE)
def test_an_answer_stays_in_its_fence(failing, output):
    story = failing(output, question=output, before=output)
    plain = failing("plain", question="plain", before="plain")
    assert outside_fences(markdown(story)) == outside_fences(markdown(plain))


@given(MARKED_UP)
def test_no_text_gets_out_of_its_fence(text):
    lines = "\n".join(["before", *_fenced(text), "after"])
    assert outside_fences(lines) == ["before", "after"]


@given(st.integers(1, 60), st.integers(1, 60))
def test_a_fence_is_longer_than_every_run_of_backticks(one, other):
    opening, shown, closing = _fenced("`" * one + " " + "`" * other)
    assert opening == closing + "text"
    assert closing == "`" * max(3, one + 1, other + 1)
    assert closing not in shown


@settings(max_examples=300)
@given(MARKED_UP)
def test_inline_text_is_one_line_that_opens_nothing(text):
    shown = _inline(text)
    assert len(shown.splitlines()) <= 1
    assert "\x1b" not in shown
    unescaped = re.sub(r"\\[^a-z0-9 ]", "", shown)
    assert not re.search(r"[`~|<>&\[\]*_]", unescaped), shown
    assert not re.search(r"@[a-z0-9]|#[a-z0-9]|://[a-z0-9]|www\.[a-z]", shown, re.IGNORECASE)


@given(MARKED_UP)
def test_text_in_html_is_text(text):
    shown = _html(text)
    assert not re.search(r"[<>]", shown)
    assert len(shown.splitlines()) <= 1
    assert re.sub(r"&(amp|lt|gt|quot|#x27);", "", shown).count("&") == 0
    assert not re.search(r"@[a-z0-9]|(?<!&)#[0-9]|://[a-z0-9]", shown)


def test_nobody_is_mentioned_and_nothing_is_linked_or_referenced(failing):
    hostile = "@octocat &#64;octocat org/repo#7 GH-7 https://evil.example www.evil.example"
    story = failing("x", note=hostile, id_="@octocat", candidate=hostile.replace(" ", "."))
    read = "\n".join(outside_fences(markdown(story)))
    for active in ("@octocat", "&#64;", "#7", "GH-7", "://evil", "www.evil"):
        assert active not in read
    assert "octocat" in read
    assert "evil.example" in read


def test_an_id_with_line_ends_and_tags_stays_in_its_summary(failing):
    story = failing("x", id_="a\n\n# owned\n</summary><b>", note="n\n\n</details>")
    lines = markdown(story).split("\n")
    summary = next(line for line in lines if line.startswith("<details>"))
    assert summary.startswith("<details><summary>a #\u200b owned &lt;/summary&gt;&lt;b&gt; — ")
    assert summary.endswith("</summary>")
    assert summary.count("<") == 3
    assert lines.count("</details>") == 1
    assert "# owned" not in lines


def test_a_cell_holds_no_cell(make_run, check, verdict):
    run = make_run({"a": [1.0]})
    found = check(reasons=(Reason("x", "one | two\n\n| three |", "next | step\n# owned"),), metric="m|n\n`x`")
    text = markdown(tell(verdict(Status.FAIL, found), run, run))
    rows = [line for line in text.split("\n") if line.startswith("| ❌")]
    assert len(rows) == 1
    assert len(re.findall(r"(?<!\\)\|", rows[0])) == 5
    assert "\n# owned" not in text
    assert "one \\| two \\| three \\|" in text


def test_every_table_row_has_the_cells_of_its_head(make_run, check, verdict):
    run = make_run({"a": [1.0]}, metric="x|y")
    row = {"tag": "t|u", "n": 1, "baseline_mean": 0.9, "candidate_mean": 0.5, "difference": -0.4, "p": 0.1, "q": 0.1}
    found = verdict(Status.FAIL, check(details={"slices": [row]}), metrics={"x|y": {"mean": 0.5, "missing": 0}})
    blocks = re.findall(r"(?:^\|.*\n)+", markdown(tell(found, run, run)), re.MULTILINE)
    assert len(blocks) == 3
    for block in blocks:
        widths = {len(re.findall(r"(?<!\\)\|", line)) for line in block.splitlines()}
        assert len(widths) == 1, block


def test_the_head_of_a_confusion_matrix_holds_no_cell_or_line(make_run, check, verdict):
    options = {"labels": ["a|b", "c"]}
    spec = MetricSpec("x|y\n# owned", "classification", options=options)
    run = make_run({"s": [1.0]}, metric=spec.metric, specs=[spec], outputs={"s": "c"})
    story = tell(verdict(Status.FAIL, check()), run)
    assert list(story.confusions) == [spec.metric]
    text = markdown(story)
    (head,) = (line for line in text.split("\n") if "right" in line)
    assert head == "| x\\|y \\#\u200b owned: right \\ said | a\\|b | c |"
    assert "\n# owned" not in text


def test_the_verdict_comes_first_then_why_then_samples_then_what_to_do(failing):
    text = markdown(failing("the new answer", note="because"))
    order = [
        "## ❌ FAIL",
        "- no-regression correct: correct fell",
        "| check |",
        "<details>",
        "Outcomes: 1 scored",
        "**Next:**",
    ]
    places = [text.index(part) for part in order]
    assert places == sorted(places)
    assert text.startswith("## ")
    assert text.endswith("\n")
    assert not text.endswith("\n\n")
    assert text.index("fine") < text.index("the new answer")


def test_a_long_answer_is_cut_and_says_so(failing):
    text = markdown(failing("x" * 5000))
    assert "(3,500 more characters)" in text
    assert "x" * 1501 not in text


def test_more_samples_than_are_shown_are_counted(make_run, check, verdict):
    run = make_run({f"s{n}": [0.0] for n in range(9)})
    moved = tuple(Moved(f"s{n}", 1.0, 0.0) for n in range(9))
    text = markdown(tell(verdict(Status.FAIL, check(moved=moved)), run, run))
    assert text.count("<details>") == text.count("</details>") == 5
    assert "and 4 more samples" in text


def test_a_stopped_run_says_on_what_its_numbers_rest(make_run, check, verdict):
    run = make_run({"a": [0.0], "b": [0.0]}, skipped={("b", 0)})
    measured = {"correct": {"scored": 1, "missing": 0, "mean": 0.0}}
    text = markdown(tell(verdict(Status.FAIL, check(), metrics=measured), run))
    assert "| correct | – | 0.0000 |  |\n\n_over the 1 of 2 samples that were asked_" in text
