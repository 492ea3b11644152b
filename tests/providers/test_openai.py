"""The OpenAI provider over a real socket, against the loopback server."""

import asyncio
import json
import socket
import time
from email.utils import formatdate

import pytest

from aigate.core.response import FaultKind
from aigate.core.sample import Sample
from aigate.core.vectors import vectors_in
from aigate.core.version import VersionId
from aigate.errors import CallError, ProviderConfigError
from aigate.providers.base import ProviderSettings, Request, make_provider
from aigate.providers.openai import Endpoint, OpenAIProvider
from aigate.testing import LoopbackServer, Reply, echo

VERSION = VersionId("gpt-4o", "2024-11-20", "v3")
KEY = "sk-test-0123456789abcdef"
MESSAGES = ({"role": "system", "content": "Be brief."}, {"role": "user", "content": "Can I return it?"})

WAYS = pytest.mark.parametrize(
    ("api", "stream"), [("chat", True), ("chat", False), ("responses", True), ("responses", False)]
)


@pytest.fixture(autouse=True, params=["auto", "sdk"])
def transport(request, monkeypatch):
    """Every test of this file holds for both ways to the endpoint."""
    monkeypatch.setitem(DEFAULTS, "transport", request.param)
    return request.param


DEFAULTS = {"api-key-env": "", "transport": "auto"}


def provider_for(server, *, environ=None, **options):
    options = {"base-url": server.base_url, **DEFAULTS, **{k.replace("_", "-"): v for k, v in options.items()}}
    return make_provider("openai", ProviderSettings(VERSION, options, environ=environ or {}))


def respond(provider, *, messages=MESSAGES, parameters=None, timeout_s=5.0):
    async def once():
        try:
            request = Request(Sample("a", "Can I return it?"), messages, parameters or {}, timeout_s=timeout_s)
            return await provider.respond(request)
        finally:
            await provider.aclose()

    return asyncio.run(once())


def asked(reply, *, timeout_s=5.0, messages=MESSAGES, parameters=None, **options):
    """The response to one reply, and the request the server saw."""
    with LoopbackServer([reply]) as server:
        provider = provider_for(server, **options)
        response = respond(provider, messages=messages, parameters=parameters, timeout_s=timeout_s)
        (seen,) = server.requests
    return response, seen


def fault_of(reply, *, timeout_s=5.0, **options):
    with LoopbackServer([reply]) as server:
        provider = provider_for(server, **options)
        with pytest.raises(CallError) as caught:
            respond(provider, timeout_s=timeout_s)
        assert len(server.requests) == 1, "the provider must not retry by itself"
    return caught.value


def sse(*events):
    return b"".join(b"data: " + (e if isinstance(e, bytes) else json.dumps(e).encode()) + b"\n\n" for e in events)


def chunk(delta, finish_reason=None, index=0):
    return {"id": "c", "model": "m", "choices": [{"index": index, "delta": delta, "finish_reason": finish_reason}]}


def streamed(*events):
    return Reply.raw(sse(*events), content_type="text/event-stream")


def whole(message, finish_reason="stop", **more):
    choices = [{"index": 0, "message": message, "finish_reason": finish_reason}]
    return Reply.raw(json.dumps({"id": "c", "model": "m", "choices": choices, **more}).encode())


class TestAnswers:
    @WAYS
    def test_output_usage_and_identity_are_recorded(self, api, stream):
        reply = Reply.text(
            "Yes, within  30 days.\n",
            input_tokens=310,
            output_tokens=12,
            served_model="gpt-4o-2024-11-20",
            fingerprint="fp",
        )
        response, seen = asked(reply, api=api, stream=stream)
        assert response.output == "Yes, within  30 days.\n"
        assert (response.input_tokens, response.output_tokens) == (310, 12)
        assert response.served_model == "gpt-4o-2024-11-20"
        assert response.finish_reason == "stop"
        assert response.fingerprint == ("fp" if api == "chat" else None)
        assert (response.refusal, response.truncated) == (False, False)
        assert seen.body["model"] == "gpt-4o-2024-11-20"
        assert seen.body["messages" if api == "chat" else "input"] == list(MESSAGES)
        assert seen.streamed is stream

    @WAYS
    def test_a_wrong_served_model_is_reported_as_it_is(self, api, stream):
        response, _ = asked(Reply.text("x", served_model="gpt-3.5-turbo"), api=api, stream=stream)
        assert response.served_model == "gpt-3.5-turbo"

    @WAYS
    def test_a_truncated_answer_says_so(self, api, stream):
        response, _ = asked(Reply.text("cut here", finish_reason="length"), api=api, stream=stream)
        assert (response.output, response.truncated) == ("cut here", True)

    @WAYS
    def test_a_refusal_is_an_answer_that_is_marked(self, api, stream):
        response, _ = asked(Reply.refusal("I can't help with that."), api=api, stream=stream)
        assert (response.output, response.refusal) == ("I can't help with that.", True)

    @WAYS
    def test_an_empty_answer_is_an_answer(self, api, stream):
        response, _ = asked(Reply.text(""), api=api, stream=stream)
        assert (response.output, response.fault) == ("", None)

    @WAYS
    def test_unicode_survives(self, api, stream):
        text = "naïve 😀 \u2028 日本語"
        assert asked(Reply.text(text), api=api, stream=stream)[0].output == text

    @WAYS
    def test_latency_runs_to_the_last_byte_and_ttft_to_the_first_token(self, api, stream):
        response, _ = asked(Reply.text("one two three", latency_s=0.3, ttft_s=0.1), api=api, stream=stream)
        assert 0.3 <= response.latency_s < 2.0
        if stream:
            assert 0.1 <= response.ttft_s < 0.29
        else:
            assert response.ttft_s is None

    def test_the_role_chunk_is_not_the_first_token(self):
        assert asked(Reply.text("", latency_s=0.0))[0].ttft_s is None

    def test_usage_that_was_not_sent_is_unknown(self):
        response, _ = asked(streamed(chunk({"content": "x"}), chunk({}, "stop"), b"[DONE]"))
        assert (response.input_tokens, response.output_tokens) == (None, None)

    def test_only_the_first_of_several_answers_counts(self):
        response, _ = asked(
            streamed(chunk({"content": "a"}), chunk({"content": "b"}, index=1), chunk({}, "stop"), b"[DONE]")
        )
        assert response.output == "a"

    def test_tool_calls_are_canonical_json_without_their_random_ids(self):
        call = {"id": "call_x8", "type": "function", "function": {"name": "find", "arguments": '{"b": 1, "a": [2]}'}}
        response, _ = asked(
            whole({"role": "assistant", "content": None, "tool_calls": [call]}, "tool_calls"), stream=False
        )
        assert response.output == '[{"arguments":{"a":[2],"b":1},"name":"find"}]'
        assert response.finish_reason == "tool_calls"

    def test_streamed_tool_calls_are_put_together(self):
        def part(index, **function):
            return chunk({"tool_calls": [{"index": index, "function": function}]})

        response, _ = asked(
            streamed(
                part(0, name="find", arguments=""),
                part(0, arguments='{"a":'),
                part(1, name="send", arguments="not json"),
                part(0, arguments=" 1}"),
                chunk({}, "tool_calls"),
                b"[DONE]",
            )
        )
        assert response.output == '[{"arguments":{"a":1},"name":"find"},{"arguments":"not json","name":"send"}]'
        assert response.ttft_s is not None

    def test_tool_calls_of_the_responses_api(self):
        item = {"type": "function_call", "id": "fc", "call_id": "c", "name": "find", "arguments": '{"a": 1}'}
        body = {"id": "r", "model": "m", "status": "completed", "output": [{"type": "reasoning"}, item]}
        response, _ = asked(Reply.raw(json.dumps(body).encode()), api="responses", stream=False)
        assert response.output == '[{"arguments":{"a":1},"name":"find"}]'

    def test_connections_are_kept_and_many_requests_fly_at_once(self):
        async def many(server):
            provider = provider_for(server)
            try:
                requests = [Request(Sample(str(i), "x"), ({"role": "user", "content": f"q{i}"},)) for i in range(64)]
                return await asyncio.gather(*(provider.respond(request) for request in requests))
            finally:
                await provider.aclose()

        with LoopbackServer(lambda seen: Reply.text(seen.last_user_text, latency_s=0.2)) as server:
            responses = asyncio.run(many(server))
            assert server.peak_in_flight == 64
        assert [response.output for response in responses] == [f"q{i}" for i in range(64)]

    def test_another_event_loop_gets_connections_of_its_own(self):
        request = Request(Sample("a", "x"), MESSAGES)
        closing = whole({"content": "x"})
        closing = Reply.raw(
            closing.body, headers={"connection": "close"}
        )  # so that none is left open on the first loop
        with LoopbackServer([closing, closing]) as server:
            provider = provider_for(server, stream=False)
            clients = []
            for _ in range(2):
                assert asyncio.run(provider.respond(request)).output == "x"
                clients.append(provider._client)
            asyncio.run(provider.aclose())
        assert clients[0] is not clients[1]

    def test_it_answers_again_on_another_event_loop_and_after_it_was_closed(self):
        with LoopbackServer() as server:
            provider = provider_for(server)
            assert [respond(provider).output for _ in range(2)] == ["Can I return it?"] * 2


class TestRequests:
    def test_parameters_pass_as_given_and_unknown_ones_go_into_the_body(self):
        given = {
            "temperature": 0,
            "max_tokens": 200,
            "response_format": {"type": "json_object"},
            "top_k": 5,
            "guided_choice": ["a"],
        }
        _, seen = asked(Reply.text("x"), parameters=given)
        assert {name: seen.body[name] for name in given} == given
        assert seen.body["stream_options"] == {"include_usage": True}

    @pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens", "max_output_tokens"])
    def test_the_responses_api_gets_its_own_name_of_the_output_limit(self, name):
        _, seen = asked(Reply.text("x"), api="responses", parameters={name: 50, "top_k": 5})
        assert seen.body["max_output_tokens"] == 50
        assert not {"max_tokens", "max_completion_tokens"} & set(seen.body)
        assert seen.body["top_k"] == 5

    def test_two_output_limits_for_the_responses_api_are_refused(self):
        with LoopbackServer() as server, pytest.raises(ProviderConfigError, match="mean the same"):
            respond(provider_for(server, api="responses"), parameters={"max_tokens": 1, "max_completion_tokens": 2})

    def test_content_parts_are_renamed_for_the_responses_api(self):
        parts = [
            {"type": "text", "text": "look"},
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA==", "detail": "low"}},
        ]
        messages = (
            {"role": "user", "content": parts},
            {"role": "assistant", "content": [{"type": "text", "text": "ok"}]},
        )
        _, seen = asked(Reply.text("x"), api="responses", messages=messages)
        assert seen.body["input"][0]["content"] == [
            {"type": "input_text", "text": "look"},
            {"type": "input_image", "image_url": "data:image/png;base64,AA==", "detail": "low"},
        ]
        assert seen.body["input"][1]["content"] == [{"type": "output_text", "text": "ok"}]

    @pytest.mark.parametrize("name", ["model", "messages", "stream", "input", "timeout", "extra_body"])
    def test_what_is_the_providers_own_is_no_parameter(self, name):
        with LoopbackServer() as server:
            with pytest.raises(ProviderConfigError, match=f"'{name}' cannot be a request parameter"):
                respond(provider_for(server), parameters={name: "x"})
            assert server.requests == ()

    def test_parameters_that_are_no_json_are_refused(self):
        with LoopbackServer() as server, pytest.raises(ProviderConfigError, match="no JSON"):
            respond(provider_for(server), parameters={"stop": {1, 2}})

    @pytest.mark.parametrize(
        ("template", "requested"),
        [
            ("{model}", "gpt-4o"),
            ("azure-{model}@{prompt_version}", "azure-gpt-4o@v3"),
            ("pinned", "pinned"),
            (None, "gpt-4o-2024-11-20"),
        ],
    )
    def test_the_model_name_is_made_from_the_version(self, template, requested):
        options = {} if template is None else {"model": template}
        assert asked(Reply.text("x"), **options)[1].body["model"] == requested

    def test_default_headers_and_query_are_sent(self):
        headers = {"x-team": "support", "x-token": "env:TEAM_TOKEN"}
        _, seen = asked(
            Reply.text("x"),
            default_headers=headers,
            default_query={"tier": "eu"},
            environ={"TEAM_TOKEN": "t0ken-secret"},
        )
        assert (seen.headers["x-team"], seen.headers["x-token"], seen.query) == (
            "support",
            "t0ken-secret",
            {"tier": "eu"},
        )

    def test_organization_and_project_are_sent(self):
        _, seen = asked(Reply.text("x"), organization="org-1", project="proj-1")
        assert (seen.headers["openai-organization"], seen.headers["openai-project"]) == ("org-1", "proj-1")

    def test_azure_paths_versions_and_keys(self):
        with LoopbackServer(api_key=KEY) as server:
            settings = ProviderSettings(
                VERSION,
                {"base-url": server.origin, "api-version": "2024-10-21", "model": "my-deployment"},
                environ={"OPENAI_API_KEY": KEY},
            )
            assert respond(make_provider("openai", settings)).output == "Can I return it?"
            (seen,) = server.requests
        assert seen.path == "/openai/deployments/my-deployment/chat/completions"
        assert seen.query == {"api-version": "2024-10-21"}
        assert "api-key" in seen.headers

    def test_an_azure_url_that_names_its_path_is_kept(self):
        with LoopbackServer() as server:
            options = {"base_url": f"{server.origin}/openai/v1", "api_version": "preview", "api": "responses"}
            respond(provider_for(server, **options))
            assert server.requests[0].path == "/openai/v1/responses"

    def test_nothing_of_the_processs_environment_goes_out(self, monkeypatch):
        for name in ("OPENAI_ORG_ID", "OPENAI_PROJECT_ID", "OPENAI_ADMIN_KEY"):
            monkeypatch.setenv(name, "leaked-value")
        monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", "x-leak: leaked-value")
        monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
        monkeypatch.setenv("OPENAI_API_KEY", "sk-of-the-process")
        with LoopbackServer(api_key="none") as server:
            respond(provider_for(server))
            (seen,) = server.requests
        assert "leaked-value" not in str(seen)
        assert not {"openai-organization", "openai-project", "x-leak"} & set(seen.headers)


class TestKeys:
    def test_the_key_of_the_settings_is_sent(self):
        with LoopbackServer(api_key=KEY) as server:
            settings = ProviderSettings(
                VERSION, {"base-url": server.base_url, "api-key-env": "MY_KEY"}, environ={"MY_KEY": KEY + "\n"}
            )
            assert respond(make_provider("openai", settings)).output == "Can I return it?"

    def test_a_local_server_needs_no_key(self):
        with LoopbackServer(api_key="none") as server:
            assert respond(provider_for(server)).output == "Can I return it?"

    def test_a_missing_key_names_the_variable_and_the_next_step(self):
        with pytest.raises(ProviderConfigError) as caught:
            make_provider("openai", ProviderSettings(VERSION))
        assert "OPENAI_API_KEY is not set" in caught.value.message
        assert "export OPENAI_API_KEY" in caught.value.hint

    @pytest.mark.parametrize("options", [{}, {"base-url": "https://api.openai.com/v1"}])
    def test_openai_itself_is_never_asked_without_a_key(self, options):
        with pytest.raises(ProviderConfigError, match="api-key-env is empty"):
            make_provider("openai", ProviderSettings(VERSION, {**options, "api-key-env": ""}))

    def test_a_missing_key_of_a_local_server_says_how_to_do_without(self):
        with pytest.raises(ProviderConfigError) as caught:
            make_provider("openai", ProviderSettings(VERSION, {"base-url": "http://localhost:11434/v1"}))
        assert 'api-key-env = ""' in caught.value.hint

    def test_a_key_that_no_header_can_carry_is_refused_without_showing_it(self):
        with pytest.raises(ProviderConfigError) as caught:
            make_provider("openai", ProviderSettings(VERSION, environ={"OPENAI_API_KEY": "sk-schlüssel"}))
        assert "schl" not in str(caught.value)

    def test_the_description_holds_no_secret(self):
        settings = ProviderSettings(
            VERSION,
            {
                "base-url": "https://user:passw0rd@gateway.example/v1?token=t0ken#f",
                "default-headers": {"x-token": "env:TEAM_TOKEN", "x-plain": "plain-header"},
                "default-query": {"code": "query-secret"},
            },
            environ={"OPENAI_API_KEY": KEY, "TEAM_TOKEN": "header-secret"},
        )
        provider = make_provider("openai", settings)
        assert provider.describe() == {
            "name": "openai",
            "adapter": 1,
            "api": "chat",
            "model": "gpt-4o-2024-11-20",
            "base_url": "https://gateway.example/v1",
            "stream": True,
        }
        shown = repr(provider.endpoint)
        assert not any(secret in shown for secret in (KEY, "header-secret", "query-secret", "plain-header"))

    def test_the_description_names_the_api_version(self):
        endpoint = Endpoint(model="m", base_url="https://r.example", key=KEY, api_version="2024-10-21", stream=False)
        described = OpenAIProvider(endpoint).describe()
        assert (described["api_version"], described["stream"]) == ("2024-10-21", False)

    @WAYS
    def test_a_server_that_echoes_the_key_does_not_get_it_into_the_message(self, api, stream):
        with LoopbackServer([Reply.status(401, f"Incorrect API key provided: {KEY}")]) as server:
            settings = ProviderSettings(
                VERSION, {"base-url": server.base_url, "api": api, "stream": stream}, environ={"OPENAI_API_KEY": KEY}
            )
            with pytest.raises(CallError) as caught:
                respond(make_provider("openai", settings))
        assert KEY not in str(caught.value)
        assert "Incorrect API key provided: [secret]" in caught.value.message


class TestFaults:
    @WAYS
    @pytest.mark.parametrize(
        ("code", "code_name", "kind"),
        [
            (400, None, FaultKind.BAD_REQUEST),
            (400, "content_filter", FaultKind.CONTENT_FILTER),
            (401, "invalid_api_key", FaultKind.AUTH),
            (402, None, FaultKind.QUOTA),
            (403, None, FaultKind.AUTH),
            (404, "model_not_found", FaultKind.NOT_FOUND),
            (408, None, FaultKind.TIMEOUT),
            (409, None, FaultKind.SERVER),
            (413, None, FaultKind.BAD_REQUEST),
            (422, None, FaultKind.BAD_REQUEST),
            (429, "rate_limit_exceeded", FaultKind.RATE_LIMIT),
            (429, "insufficient_quota", FaultKind.QUOTA),
            (500, None, FaultKind.SERVER),
            (503, None, FaultKind.SERVER),
            (529, None, FaultKind.SERVER),
        ],
    )
    def test_each_status_has_its_kind(self, api, stream, code, code_name, kind):
        fault = fault_of(Reply.status(code, "the server's words", code_name=code_name), api=api, stream=stream)
        assert (fault.kind, fault.message) == (kind, f"HTTP {code}: the server's words")

    def test_azures_inner_filter_code_is_seen(self):
        error = {
            "error": {"code": "BadRequest", "message": "no", "innererror": {"code": "ResponsibleAIPolicyViolation"}}
        }
        reply = Reply.raw(json.dumps(error).encode(), code=400)
        assert fault_of(reply).kind is FaultKind.CONTENT_FILTER

    @pytest.mark.parametrize(
        ("headers", "expected_s"),
        [
            ({"retry-after": "3"}, 3.0),
            ({"retry-after": "1.5"}, 1.5),
            ({"retry-after": "20", "retry-after-ms": "250"}, 0.25),
            ({"retry-after": "-1"}, 0.0),
            ({"retry-after": "soon"}, None),
            ({"retry-after": "nan"}, None),
            ({}, None),
        ],
    )
    def test_the_time_to_wait_is_read(self, headers, expected_s):
        assert fault_of(Reply.status(429, "slow", headers=headers)).retry_after_s == expected_s

    def test_a_date_to_wait_for_is_read(self):
        reply = Reply.status(503, "back soon", headers={"retry-after": formatdate(1_800_000_030, usegmt=True)})
        with LoopbackServer([reply]) as server:
            endpoint = Endpoint(model="m", base_url=server.base_url, key="none")
            with pytest.raises(CallError) as caught:
                respond(OpenAIProvider(endpoint, now=lambda: 1_800_000_000.0))
        assert caught.value.retry_after_s == 30.0

    def test_a_date_that_is_past_is_no_wait(self):
        reply = Reply.status(503, "x", headers={"retry-after": formatdate(0, usegmt=True)})
        assert fault_of(reply).retry_after_s == 0.0

    @WAYS
    @pytest.mark.parametrize(
        "reply",
        [
            Reply.raw(b'{"choices": ['),
            Reply.raw(b"<html><body>Sign in</body></html>", content_type="text/html"),
            Reply.raw(b'{"id": "x", "choices": []}'),
            Reply.raw(b'{"id": "x"}'),
            Reply.raw(b"[]"),
            Reply.raw(b"null"),
            Reply.raw(b'"text"'),
            Reply.raw(b""),
            Reply.raw(b"\xff\xfe\x00"),
            Reply.raw(b"[" * 100_000),
            Reply.raw(b"data: {bad\n\n", content_type="text/event-stream"),
            Reply.raw(b"data: [" + b"[" * 100_000 + b"\n\n", content_type="text/event-stream"),
            Reply.raw(b"data: \xff\xfe\n\n", content_type="text/event-stream"),
            Reply.raw(b"data: [1]\n\ndata: [DONE]\n\n", content_type="text/event-stream"),
            Reply.raw(b"data: null\n\ndata: [DONE]\n\n", content_type="text/event-stream"),
            Reply.raw(b"data: [DONE]\n\n", content_type="text/event-stream"),
        ],
        ids=lambda reply: reply.body[:24].decode("latin-1"),
    )
    def test_a_body_that_is_no_answer_is_a_bad_response(self, api, stream, reply):
        assert fault_of(reply, api=api, stream=stream).kind is FaultKind.BAD_RESPONSE

    def test_the_start_of_a_web_page_is_shown(self):
        fault = fault_of(Reply.raw(b"<html>Sign in</html>", content_type="text/html"), stream=False)
        assert "<html>Sign in" in fault.message
        assert "base-url" in fault.hint

    @pytest.mark.parametrize(
        "reply",
        [
            whole({"content": 7}),
            whole({"content": ["x"]}),
            whole({"content": None}),
            whole("text"),
            whole(None),
            whole({"content": "x"}, finish_reason=3),
            whole({"content": "x"}, usage={"prompt_tokens": "3"}),
            whole({"content": "x"}, usage={"prompt_tokens": -3}),
            whole({"content": "x"}, usage={"prompt_tokens": True}),
            whole({"content": "x"}, usage=[]),
            whole({"content": None, "tool_calls": ["x"]}),
            whole({"content": "x"}, model=4),
            Reply.raw(b'{"choices": {"0": 1}}'),
            Reply.raw(b'{"choices": ["x"]}'),
        ],
        ids=lambda reply: reply.body[-60:].decode(),
    )
    def test_wrong_types_are_a_bad_response(self, reply):
        assert fault_of(reply, stream=False).kind is FaultKind.BAD_RESPONSE

    @pytest.mark.parametrize(
        "event",
        [
            chunk({"content": 7}),
            chunk("x"),
            chunk({"tool_calls": [{"index": "a"}]}),
            {"choices": 5},
            {"choices": ["x"]},
            {"choices": [{"index": [], "delta": {}}]},
            {"usage": {"completion_tokens": 1.5}},
        ],
        ids=str,
    )
    def test_wrong_types_in_a_stream_are_a_bad_response(self, event):
        reply = streamed(chunk({"content": "x"}), event, chunk({}, "stop"), b"[DONE]")
        assert fault_of(reply).kind is FaultKind.BAD_RESPONSE

    @pytest.mark.parametrize(
        "body",
        [
            {"status": "completed", "output": []},
            {"status": "completed", "output": ["x"]},
            {"status": "completed", "output": [{"type": "message", "content": "x"}]},
            {"status": "completed", "output": [{"type": "message", "content": [{"text": 3}]}]},
            {"status": "in_progress", "output": []},
            {"status": "cancelled", "output": []},
            {"status": 3},
        ],
        ids=str,
    )
    def test_responses_that_are_not_finished_or_hold_nothing_are_bad(self, body):
        reply = Reply.raw(json.dumps({"id": "r", **body}).encode())
        assert fault_of(reply, api="responses", stream=False).kind is FaultKind.BAD_RESPONSE

    def test_a_finished_response_without_the_text_that_was_streamed_is_bad(self):
        reply = streamed(
            {"type": "response.output_text.delta", "delta": "hello"},
            {
                "type": "response.completed",
                "response": {"status": "completed", "output": [{"type": "message", "content": [{"text": ""}]}]},
            },
        )
        assert fault_of(reply, api="responses").kind is FaultKind.BAD_RESPONSE

    @WAYS
    def test_an_answer_that_the_filter_withheld_is_a_filter_fault(self, api, stream):
        fault = fault_of(Reply.text("", finish_reason="content_filter"), api=api, stream=stream)
        assert fault.kind is FaultKind.CONTENT_FILTER

    @WAYS
    def test_an_answer_that_the_filter_cut_short_is_kept_with_its_reason(self, api, stream):
        response, _ = asked(Reply.text("so far", finish_reason="content_filter"), api=api, stream=stream)
        assert (response.output, response.finish_reason) == ("so far", "content_filter")

    @pytest.mark.parametrize(
        ("error", "kind"),
        [
            ({"message": "slow", "code": 429}, FaultKind.RATE_LIMIT),
            ({"message": "slow", "type": "rate_limit_error"}, FaultKind.RATE_LIMIT),
            ({"message": "down", "type": "server_error"}, FaultKind.SERVER),
            ({"message": "broke", "code": "insufficient_quota"}, FaultKind.QUOTA),
            ({"message": "long", "code": "context_length_exceeded"}, FaultKind.BAD_REQUEST),
            ({"message": "odd"}, FaultKind.BAD_RESPONSE),
            ("just words", FaultKind.BAD_RESPONSE),
        ],
    )
    @pytest.mark.parametrize("stream", [True, False])
    def test_an_error_with_status_200_has_its_kind(self, error, kind, stream):
        body = {"error": error}
        reply = streamed(chunk({"content": "x"}), body) if stream else Reply.raw(json.dumps(body).encode())
        fault = fault_of(reply, stream=stream)
        assert fault.kind is kind
        assert (error if isinstance(error, str) else error["message"]) in fault.message

    @pytest.mark.parametrize(
        "event",
        [
            {"type": "error", "code": "server_error", "message": "it broke"},
            {
                "type": "response.failed",
                "response": {"status": "failed", "error": {"code": "server_error", "message": "it broke"}},
            },
        ],
        ids=lambda event: event["type"],
    )
    def test_error_events_of_the_responses_api_are_faults(self, event):
        fault = fault_of(streamed(event), api="responses")
        assert (fault.kind, "it broke" in fault.message) == (FaultKind.SERVER, True)

    @pytest.mark.parametrize("api", ["chat", "responses"])
    def test_a_stream_whose_socket_breaks_is_a_connection_fault(self, api):
        assert fault_of(Reply.cut(2), api=api).kind is FaultKind.CONNECTION

    @pytest.mark.parametrize("api", ["chat", "responses"])
    @pytest.mark.parametrize("after_chunks", [0, 2, 4])
    def test_a_stream_that_ends_early_is_never_a_shorter_answer(self, api, after_chunks):
        fault = fault_of(Reply.cut(after_chunks, output="one two three four", tidy=True), api=api)
        assert fault.kind is FaultKind.BAD_RESPONSE

    @pytest.mark.parametrize("api", ["chat", "responses"])
    def test_a_whole_answer_that_breaks_off_is_a_fault(self, api):
        assert fault_of(Reply.cut(), api=api, stream=False).kind is FaultKind.CONNECTION
        assert fault_of(Reply.cut(tidy=True), api=api, stream=False).kind is FaultKind.BAD_RESPONSE

    @WAYS
    def test_a_server_that_hangs_is_a_timeout(self, api, stream):
        started = time.perf_counter()
        fault = fault_of(Reply.hang(), api=api, stream=stream, timeout_s=0.2)
        assert fault.kind is FaultKind.TIMEOUT
        assert 0.2 <= time.perf_counter() - started < 15

    @pytest.mark.parametrize("api", ["chat", "responses"])
    def test_a_stream_that_trickles_past_the_deadline_is_a_timeout(self, api):
        words = " ".join(["word"] * 40)
        fault = fault_of(Reply.text(words, latency_s=4.0, ttft_s=0.01), api=api, timeout_s=0.4)
        assert fault.kind is FaultKind.TIMEOUT

    @WAYS
    def test_a_refused_connection_is_a_connection_fault(self, api, stream):
        with socket.socket() as taken:  # by nobody who listens
            taken.bind(("127.0.0.1", 0))
            port = taken.getsockname()[1]
            options = {"base-url": f"http://127.0.0.1:{port}/v1", "api-key-env": "", "api": api, "stream": stream}
            with pytest.raises(CallError) as caught:
                respond(make_provider("openai", ProviderSettings(VERSION, options)))
        assert caught.value.kind is FaultKind.CONNECTION
        assert f"127.0.0.1:{port}" in caught.value.message

    def test_cancelling_the_caller_is_no_fault(self):
        async def cancel(server):
            provider = provider_for(server)
            task = asyncio.create_task(provider.respond(Request(Sample("a", "x"), MESSAGES)))
            while not server.requests:
                await asyncio.sleep(0.01)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await provider.aclose()

        with LoopbackServer([Reply.hang()]) as server:
            asyncio.run(cancel(server))

    def test_hints_name_the_key_and_the_model(self):
        with LoopbackServer([Reply.status(401, "no"), Reply.status(404, "no")]) as server:
            settings = ProviderSettings(
                VERSION, {"base-url": server.base_url, "api-key-env": "MY_KEY"}, environ={"MY_KEY": KEY}
            )
            hints = []
            for _ in range(2):
                with pytest.raises(CallError) as caught:
                    respond(make_provider("openai", settings))
                hints.append(caught.value.hint)
        assert "MY_KEY" in hints[0]
        assert "'gpt-4o-2024-11-20' was requested" in hints[1]


class TestOptions:
    @pytest.mark.parametrize(
        ("options", "says"),
        [
            ({"api": "completions"}, '"chat", "responses" or "embeddings"'),
            ({"stream": "yes"}, "true or false"),
            ({"model": "{modle}"}, "unknown placeholder {modle}"),
            ({"model": "{model.__class__}"}, "unknown placeholder"),
            ({"model": " "}, "a model name"),
            ({"model": 3}, "a string"),
            ({"base-url": "api.example/v1"}, "a URL with http or https"),
            ({"base-url": "ftp://api.example"}, "a URL with http or https"),
            ({"base-url": "http://api.example:port/"}, "a URL with http or https"),
            ({"api-key-env": 3}, "the name of an environment variable"),
            ({"default-headers": {"x": 1}}, "a table of strings"),
            ({"default-headers": {"x": "env:NOT_THERE"}}, "NOT_THERE is not set"),
            ({"default-query": [1]}, "a table of strings and numbers"),
            ({"base_url": "http://x.example"}, "unknown option 'base_url'"),
        ],
    )
    def test_wrong_options_are_refused_with_what_is_expected(self, options, says):
        with pytest.raises(ProviderConfigError) as caught:
            make_provider("openai", ProviderSettings(VERSION, options, environ={"OPENAI_API_KEY": KEY}))
        assert says in caught.value.message

    def test_a_wrong_url_is_shown_without_its_password(self):
        with pytest.raises(ProviderConfigError) as caught:
            make_provider("openai", ProviderSettings(VERSION, {"base-url": "ftp://u:passw0rd@h/v1"}))
        assert "passw0rd" not in str(caught.value)

    @pytest.mark.parametrize(
        ("options", "environ", "expected"),
        [
            ({}, {}, "https://api.openai.com/v1"),
            ({}, {"OPENAI_BASE_URL": "https://o.example"}, "https://o.example"),
            ({}, {"OPENAI_BASE_URL": "https://o.example", "AIGATE_BASE_URL": "https://a.example"}, "https://a.example"),
            ({"base-url": "https://f.example"}, {"AIGATE_BASE_URL": "https://a.example"}, "https://f.example"),
        ],
    )
    def test_the_base_url_comes_from_the_option_first_and_the_environment_then(self, options, environ, expected):
        settings = ProviderSettings(VERSION, options, environ={"OPENAI_API_KEY": KEY, **environ})
        assert make_provider("openai", settings).describe()["base_url"] == expected


def test_the_default_script_of_the_server_is_what_these_tests_rely_on():
    with LoopbackServer(echo) as server:
        assert respond(provider_for(server, stream=False)).output == MESSAGES[-1]["content"]


TEXTS = ({"role": "user", "content": "red wine"}, {"role": "user", "content": "a lorry"})


@pytest.mark.parametrize("encoding", ["base64", "float"])
def test_texts_are_embedded_in_either_encoding(encoding):
    vectors = [(1.0, 0.5), (-0.25, 2.0)]
    reply = Reply.embeddings(vectors, served_model="served", input_tokens=7)
    response, seen = asked(reply, messages=TEXTS, parameters={"encoding_format": encoding}, api="embeddings")
    assert vectors_in(response.output, count=2) == tuple(vectors)
    assert (response.served_model, response.input_tokens, response.output_tokens) == ("served", 7, 0)
    assert seen.path == "/v1/embeddings"
    assert seen.body == {"input": ["red wine", "a lorry"], "model": "gpt-4o-2024-11-20", "encoding_format": encoding}


def test_embeddings_are_asked_for_in_base64_with_the_dimensions_of_the_suite():
    response, seen = asked(Reply.text(""), messages=TEXTS, parameters={"dimensions": 5}, api="embeddings")
    assert (seen.body["encoding_format"], seen.body["dimensions"]) == ("base64", 5)
    assert len(vectors_in(response.output, count=2)[0]) == 5


def embeddings_body(*rows):
    return Reply.raw(json.dumps({"object": "list", "data": list(rows), "model": "m"}).encode())


def row(index, embedding):
    return {"object": "embedding", "index": index, "embedding": embedding}


BAD_EMBEDDINGS = {
    "none": embeddings_body(),
    "one of two": embeddings_body(row(0, [1.0])),
    "one too many": embeddings_body(row(0, [1.0]), row(1, [1.0]), row(2, [1.0])),
    "a place twice": embeddings_body(row(0, [1.0]), row(0, [1.0])),
    "no place": embeddings_body({"embedding": [1.0]}, row(1, [1.0])),
    "a place beyond": embeddings_body(row(0, [1.0]), row(2, [1.0])),
    "lengths that differ": embeddings_body(row(0, [1.0]), row(1, [1.0, 2.0])),
    "not a number": embeddings_body(row(0, [float("nan")]), row(1, [1.0])),
    "infinite": embeddings_body(row(0, [float("inf")]), row(1, [1.0])),
    "beyond 32 bits": embeddings_body(row(0, [1e300]), row(1, [1.0])),
    "zeros": embeddings_body(row(0, [0.0]), row(1, [1.0])),
    "empty": embeddings_body(row(0, []), row(1, [])),
    "a text": embeddings_body(row(0, ["1.0"]), row(1, ["1.0"])),
    "truth": embeddings_body(row(0, [True]), row(1, [True])),
    "no base64": embeddings_body(row(0, "*"), row(1, "*")),
    "half a float": embeddings_body(row(0, "AAA="), row(1, "AAA=")),
    "null": embeddings_body(row(0, None), row(1, None)),
    "no rows": embeddings_body(1, 2),
    "a completion": Reply.raw(b'{"choices": []}'),
}


@pytest.mark.parametrize("reply", BAD_EMBEDDINGS.values(), ids=BAD_EMBEDDINGS)
def test_embeddings_that_cannot_be_used_are_a_bad_response(reply):
    with pytest.raises(CallError) as caught:
        asked(reply, messages=TEXTS, api="embeddings")
    assert caught.value.kind is FaultKind.BAD_RESPONSE


def test_embeddings_of_another_length_than_was_asked_for_are_a_bad_response():
    with pytest.raises(CallError, match="expected 3") as caught:
        asked(Reply.embeddings([(1.0, 0.0)] * 2), messages=TEXTS, parameters={"dimensions": 3}, api="embeddings")
    assert caught.value.kind is FaultKind.BAD_RESPONSE


def test_embeddings_out_of_order_are_put_in_their_places():
    response, _ = asked(embeddings_body(row(1, [2.0]), row(0, [1.0])), messages=TEXTS, api="embeddings")
    assert vectors_in(response.output, count=2) == ((1.0,), (2.0,))


def test_only_texts_can_be_embedded():
    picture = {"role": "user", "content": [{"type": "text", "text": "x"}]}
    with pytest.raises(ProviderConfigError, match="only texts"):
        asked(Reply.text(""), messages=(picture,), api="embeddings")
