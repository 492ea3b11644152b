"""`aigate eval --provider openai` against a real HTTP server on this machine: the good case and each fault."""

import json
import threading

import pytest

from aigate.core.ledger import Outcome
from aigate.core.response import FaultKind
from aigate.storing.runs import load_run
from aigate.testing import LoopbackServer, Reply

TOML = """\
version = "gpt-4o/2024-11-20/v1"
provider = "openai"
scorers = [{ scorer = "exact_match", case = "fold" }]

[policy]
checks = [
  { check = "min-score", metric = "exact_match", at-least = 0.9 },
  { check = "max-error-rate", at-most = 0.0 },
]
"""
N = 12
SERVED = "gpt-4o-2024-11-20"


def right(request, **fields):
    """The right answer: the number in the question."""
    return Reply.text(request.last_user_text.split()[-1], **fields)


class Flaky:
    """The first answer to each question is broken; from the second on it is right."""

    def __init__(self, broken, times=1):
        self._broken, self._times = broken, times
        self._seen, self._lock = {}, threading.Lock()

    def __call__(self, request):
        with self._lock:
            count = self._seen[request.last_user_text] = self._seen.get(request.last_user_text, 0) + 1
        return self._broken if count <= self._times else right(request)


@pytest.fixture
def ask(place, monkeypatch):
    """Run `aigate eval` against a script; gives (exit code, standard error, run, requests)."""
    place.write_suite(
        toml=TOML, samples=[{"id": f"s{i:02}", "input": f"say {i}", "reference": str(i)} for i in range(N)]
    )
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret-of-the-test")

    def run(script, *more):
        out = place.folder / "run.jsonl"
        with LoopbackServer(script) as server:
            code, _, err = place.run("eval", "--suite", place.suite, "--base-url", server.base_url, "--out", out, *more)
        assert "sk-secret-of-the-test" not in err + (out.read_text() if out.exists() else "")
        return code, err, load_run(out) if code in {0, 1, 3, 4} else None, server.requests

    return run


@pytest.mark.parametrize(
    "options",
    [
        (),
        ("--option", "stream=false"),
        ("--option", "api=responses"),
        ("--option", "api=responses", "--option", "stream=false"),
    ],
)
def test_right_answers_pass_over_both_apis_streamed_and_not(ask, options):
    code, err, run, requests = ask(right, *options)
    assert code == 0, err
    assert len(requests) == N
    assert all(request.streamed == ("stream=false" not in options) for request in requests)
    responses = [result.response for result in run.results]
    assert {response.served_model for response in responses} == {SERVED}
    assert all(
        response.latency_s > 0 and response.input_tokens > 0 and response.output_tokens > 0 for response in responses
    )
    assert all((response.ttft_s is not None) == ("stream=false" not in options) for response in responses)


def test_the_served_model_and_fingerprint_are_recorded(ask):
    code, _, run, _ = ask(lambda request: right(request, fingerprint="fp_1"))
    assert code == 0
    assert {result.response.fingerprint for result in run.results} == {"fp_1"}


def test_wrong_served_model_is_an_error_that_names_both(ask):
    code, err, _, _ = ask(lambda request: right(request, served_model="gpt-4o-2024-08-06"))
    assert code == 4
    assert "declared gpt-4o/2024-11-20/v1, served gpt-4o-2024-08-06" in err


@pytest.mark.parametrize(
    "broken",
    [
        Reply.status(429, "slow down", headers={"Retry-After": "0"}),
        Reply.status(500, "oops"),
        Reply.status(503, "overloaded"),
        Reply.raw(b'{"id": "x", "choices": [', content_type="application/json"),
        Reply.raw(b"<html>gateway</html>", content_type="text/html"),
        Reply.cut(),
    ],
    ids=["429", "500", "503", "malformed JSON", "HTML", "cut stream"],
)
def test_a_fault_that_passes_is_retried_and_leaves_no_trace_in_the_scores(ask, broken):
    code, err, run, requests = ask(Flaky(broken))
    assert code == 0, err
    assert len(requests) == 2 * N
    assert all(result.outcome is Outcome.SCORED and result.response.attempts == 2 for result in run.results)


@pytest.mark.parametrize(
    ("broken", "kind", "outcome", "sent"),
    [
        (
            Reply.status(429, "slow down", headers={"Retry-After": "0"}),
            FaultKind.RATE_LIMIT,
            Outcome.INFRASTRUCTURE_ERROR,
            6,  # five that say "later" count as one retry
        ),
        (Reply.status(429, "pay", code_name="insufficient_quota"), FaultKind.QUOTA, Outcome.INFRASTRUCTURE_ERROR, 1),
        (Reply.status(500, "oops"), FaultKind.SERVER, Outcome.PROVIDER_ERROR, 2),
        (Reply.status(401, "bad key"), FaultKind.AUTH, Outcome.INFRASTRUCTURE_ERROR, 1),
        (Reply.status(404, "no such model"), FaultKind.NOT_FOUND, Outcome.INFRASTRUCTURE_ERROR, 1),
        (Reply.status(400, "bad parameter"), FaultKind.BAD_REQUEST, Outcome.PROVIDER_ERROR, 1),
        (Reply.raw(b"{broken"), FaultKind.BAD_RESPONSE, Outcome.PROVIDER_ERROR, 2),
        (Reply.hang(), FaultKind.TIMEOUT, Outcome.PROVIDER_ERROR, 2),
    ],
    ids=["429", "quota", "500", "401", "404", "400", "malformed JSON", "hang"],
)
def test_a_fault_of_one_sample_that_stays_is_in_the_ledger_under_its_kind(ask, broken, kind, outcome, sent):
    script = lambda request: broken if request.last_user_text == "say 3" else right(request)  # noqa: E731
    # Only what hangs is worth a short deadline: on a busy machine half a second can pass before a request is sent.
    timeout = "2" if kind is FaultKind.TIMEOUT else "60"
    code, err, run, requests = ask(script, "--retries", "1", "--timeout", timeout)
    assert code in {1, 4}
    result = next(result for result in run.results if result.sample_id == "s03")
    assert (result.outcome, result.response.fault.kind) == (outcome, kind)
    assert len(requests) == N - 1 + sent
    assert "1 of 12 calls gave no answer" in err


def test_a_fault_of_every_sample_is_an_error_that_tells_the_first(ask):
    code, err, _, _ = ask(lambda request: Reply.status(500, "the machine is on fire"), "--retries", "0")
    assert code == 4
    assert "not one of 12 calls was answered" in err
    assert "the machine is on fire" in err


def test_a_refusal_and_a_truncated_answer_score_0_and_are_counted(ask):
    def script(request):
        if request.last_user_text == "say 1":
            return Reply.refusal("I will not.")
        return right(request, finish_reason="length" if request.last_user_text == "say 2" else "stop")

    code, err, run, _ = ask(script)
    assert code == 1
    outcomes = {result.sample_id: result.outcome for result in run.results}
    assert (outcomes["s01"], outcomes["s02"]) == (Outcome.REFUSED, Outcome.TRUNCATED)
    assert "1 refused" in err
    assert "1 truncated" in err


def test_concurrency_is_bounded(place, ask):
    with LoopbackServer(lambda request: right(request, latency_s=0.05)) as server:
        place.run("eval", "--suite", place.suite, "--base-url", server.base_url, "--concurrency", "3")
        assert server.peak_in_flight == 3


def test_the_reference_is_never_sent(ask):
    _, _, _, requests = ask(right)
    assert all("reference" not in json.dumps(request.body) for request in requests)


def test_the_prompt_file_and_its_parameters_are_sent(place, ask):
    (place.suite / "prompts").mkdir()
    (place.suite / "prompts" / "v1.md").write_text(
        "---\ntemperature: 0\nmax_tokens: 7\n---\nsystem:\nBe brief.\n\nuser:\nPlease {{ input }}\n"
    )
    code, err, _, requests = ask(right)
    assert code == 0, err
    body = requests[0].body
    assert body["messages"][0] == {"role": "system", "content": "Be brief."}
    assert body["messages"][1]["content"].startswith("Please say")
    assert (body["temperature"], body["max_tokens"], body["model"]) == (0, 7, SERVED)


def test_an_endpoint_without_keys_needs_none(place, ask, monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY")
    with LoopbackServer(right) as server:
        code, _, err = place.run(
            "eval",
            "--suite",
            place.suite,
            "--base-url",
            server.base_url,
            "--api-key-env",
            "",
            "--out",
            place.folder / "o.jsonl",
        )
    assert code == 0, err
