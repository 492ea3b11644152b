"""The ledger: every outcome is counted, and its blame is stated."""

from hypothesis import given
from hypothesis import strategies as st

from aigate.core.ledger import Ledger, Outcome

#                      counts 0 on every metric, no answer came back, nothing was asked
TABLE = {
    "scored": (False, False, False),
    "provider_error": (True, True, False),
    "refused": (True, False, False),
    "truncated": (True, False, False),
    "unparseable": (True, False, False),
    "judge_error": (False, False, False),
    "infrastructure_error": (False, True, False),
    "skipped_by_early_stop": (False, False, True),
    "stopped_by_budget": (False, False, True),
}


def test_every_outcome_has_its_row_in_the_table():
    found = {str(outcome): (outcome.candidate_fault, outcome.unanswered, outcome.not_run) for outcome in Outcome}
    assert found == TABLE


@given(st.lists(st.sampled_from(Outcome)))
def test_counts_add_up(outcomes):
    ledger = Ledger.of(iter(outcomes))
    assert ledger.total == len(outcomes)
    assert ledger.unanswered == sum(TABLE[str(outcome)][1] for outcome in outcomes)
    assert ledger.asked == sum(not TABLE[str(outcome)][2] for outcome in outcomes)
    assert all(ledger.counts[outcome] == outcomes.count(outcome) for outcome in Outcome)


def test_every_outcome_is_in_the_json_zero_included():
    row = Ledger.of([Outcome.REFUSED, Outcome.REFUSED]).to_dict()
    assert row == {**dict.fromkeys(TABLE, 0), "refused": 2}
    assert all(type(name) is str for name in row)


def test_words_leave_out_zeros_but_are_never_empty():
    told = str(Ledger.of([Outcome.SCORED, Outcome.JUDGE_ERROR, Outcome.SCORED]))
    assert told == "2 scored · 1 judge error"
    assert str(Ledger.of([])) == "nothing ran"
