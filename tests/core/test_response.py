"""Response: an output or a fault, and which faults are whose."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aigate.core.digest import sha256_text
from aigate.core.response import Fault, FaultKind, Response

SECONDS = st.none() | st.floats(min_value=0, allow_nan=False, allow_infinity=False)
FAULTS = st.builds(Fault, st.sampled_from(FaultKind), st.text())
ANSWERS = st.fixed_dictionaries({"output": st.text()}) | st.fixed_dictionaries({"fault": FAULTS})
OTHERS = st.fixed_dictionaries(
    {
        "latency_s": SECONDS,
        "ttft_s": SECONDS,
        "input_tokens": st.none() | st.integers(min_value=0),
        "output_tokens": st.none() | st.integers(min_value=0),
        "cost_usd": SECONDS,
        "finish_reason": st.none() | st.text(),
        "served_model": st.none() | st.text(),
        "fingerprint": st.none() | st.text(),
        "refusal": st.booleans(),
        "scores": st.dictionaries(st.text(), st.floats(0, 1), max_size=2),
        "attempts": st.integers(1, 9),
        "retry_wait_s": st.floats(min_value=0, max_value=1e6),
        "longest_failed_s": st.floats(min_value=0, max_value=1e6),
    }
)
RESPONSES = st.builds(lambda answer, others: Response(**answer, **others), ANSWERS, OTHERS)

BLAME = {
    FaultKind.TIMEOUT: True,
    FaultKind.SERVER: True,
    FaultKind.BAD_RESPONSE: True,
    FaultKind.BAD_REQUEST: True,
    FaultKind.CONTENT_FILTER: True,
    FaultKind.CANDIDATE: True,
    FaultKind.RATE_LIMIT: False,
    FaultKind.CONNECTION: False,
    FaultKind.AUTH: False,
    FaultKind.NOT_FOUND: False,
    FaultKind.QUOTA: False,
    FaultKind.ADAPTER: False,
    FaultKind.MISSING: False,
}
RETRYABLE = {"timeout", "server", "bad_response", "rate_limit", "connection"}


def test_every_fault_kind_is_somebodys():
    assert {kind: kind.candidate_fault for kind in FaultKind} == BLAME


def test_only_what_may_pass_is_retried():
    assert {str(kind) for kind in FaultKind if kind.retryable} == RETRYABLE


@given(RESPONSES)
def test_a_response_round_trips(response):
    assert Response.from_dict(response.to_dict()) == response


def test_a_response_has_an_output_or_a_fault():
    with pytest.raises(ValueError, match="an output or a fault"):
        Response()
    with pytest.raises(ValueError, match="an output or a fault"):
        Response(output="", fault=Fault(FaultKind.SERVER, "500"))
    with pytest.raises(ValueError, match="an output or a fault"):
        Response.from_dict({"latency_s": 1.0})
    with pytest.raises(ValueError, match="an output or a fault"):
        Response.from_dict({"output": "x", "fault": {"kind": "server", "message": "500"}})


def test_an_empty_answer_is_an_answer():
    response = Response(output="")
    assert response.to_dict() == {"output": ""}
    assert response.output_digest == sha256_text("")
    assert Response(fault=Fault(FaultKind.SERVER, "500")).output_digest is None


def test_zero_is_not_left_out():
    row = Response(output="x", latency_s=0.0, cost_usd=0.0, output_tokens=0).to_dict()
    assert row == {"output": "x", "latency_s": 0.0, "output_tokens": 0, "cost_usd": 0.0}


def test_an_unknown_fault_kind_is_refused():
    with pytest.raises(ValueError, match="bananas"):
        Response.from_dict({"fault": {"kind": "bananas", "message": ""}})


@pytest.mark.parametrize(
    ("finish_reason", "truncated"),
    [("length", True), ("max_tokens", True), ("max_output_tokens", True), ("stop", False), (None, False)],
)
def test_truncated_is_what_was_cut_at_the_token_limit(finish_reason, truncated):
    assert Response(output="x", finish_reason=finish_reason).truncated is truncated
