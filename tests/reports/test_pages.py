"""Everything a verdict may say has a page, and the pages say what the code does."""

import tomllib
from dataclasses import fields

import pytest

from aigate.core.verdict import Status
from aigate.errors import UsageError
from aigate.gating.advice import ADVICE
from aigate.gating.checks.base import CHECKS, check_from_config
from aigate.gating.integrity import INTEGRITY
from aigate.gating.reasons import REASONS
from aigate.reports.pages import KINDS, as_markdown, as_text, pages_of
from aigate.scorers.base import SCORERS

EVERY = [(kind, name) for kind, known in KINDS.items() for name in known.names()]


@pytest.mark.parametrize(("kind", "name"), EVERY)
def test_every_name_has_a_page_that_says_something(kind, name):
    page = KINDS[kind].page(name)
    assert (page.kind, page.name) == (kind, name)
    assert page.summary.endswith((".", ":", "!")), page.summary
    assert page in pages_of(name)
    assert as_text(page).startswith(f"{name} ({kind})\n")
    assert as_markdown(page).startswith(f"## `{name}` ({kind})\n")


def test_nothing_that_a_verdict_may_say_is_left_out():
    named = {kind: set(known.names()) for kind, known in KINDS.items()}
    assert named["check"] == set(CHECKS.names())
    assert named["rule"] == {rule.__name__.replace("_", "-") for rule in INTEGRITY}
    assert named["scorer"] == set(SCORERS.names())
    assert named["reason code"] == set(REASONS)
    assert {str(status.exit_code) for status in Status} | {"2", "130"} == named["exit code"]


@pytest.mark.parametrize("code", sorted(REASONS))
def test_every_reason_code_says_what_it_means_and_what_to_do(code):
    [page] = [page for page in pages_of(code) if page.kind == "reason code"]
    assert len(page.summary) > 20
    assert len(page.next_step) > 10, f"say in aigate.gating.advice what to do about '{code}'"


def test_there_is_no_advice_on_codes_that_do_not_exist():
    assert set(ADVICE) - set(REASONS) == set()


@pytest.mark.parametrize("name", CHECKS.names())
def test_the_page_of_a_check_explains_every_option_and_shows_a_row_that_is_read(name):
    [page] = [page for page in pages_of(name) if page.kind == "check"]
    assert list(page.options) == [spec.name.replace("_", "-") for spec in fields(CHECKS.factory(name))]
    assert all(len(meaning) > 8 for meaning in page.options.values()), page.options
    row = tomllib.loads(f"row = {page.example}")["row"]
    assert check_from_config(row, where="example").name == name
    assert page.related


@pytest.mark.parametrize("code", sorted(REASONS))
def test_most_codes_name_what_gives_them(code):
    [page] = [page for page in pages_of(code) if page.kind == "reason code"]
    about_all = {"anchor-unused", "cannot-fail"}  # the decision itself gives them
    assert page.related or code in about_all, code


@pytest.mark.parametrize(
    ("code", "givers"),
    [
        ("drop", {"no-regression"}),
        ("other-scorer", {"comparable"}),
        ("prompt-edited", {"prompt-unchanged"}),
        ("too-few-groups", {"no-regression"}),
        ("no-baseline", {"no-regression", "same-shape"}),
    ],
)
def test_a_code_names_the_checks_that_give_it(code, givers):
    [page] = [page for page in pages_of(code) if page.kind == "reason code"]
    assert givers <= set(page.related)


def test_a_name_of_two_things_has_two_pages():
    assert [page.kind for page in pages_of("must-pass")] == ["check", "reason code"]


def test_an_unknown_name_is_refused_with_the_nearest():
    with pytest.raises(UsageError, match="nothing is called 'no-regresion'") as refused:
        pages_of("no-regresion")
    assert refused.value.hint == "did you mean 'no-regression'?"


def test_a_scorer_that_needs_options_is_shown_with_them_and_code_keeps_its_place():
    page = KINDS["scorer"].page("rubric")
    assert page.example.startswith('scorers = [{ scorer = "rubric", metric = "tone", criteria = [')
    assert page.body.startswith('    { scorer = "rubric"')
    assert KINDS["scorer"].page("bleu").example == 'scorers = ["bleu"]'
