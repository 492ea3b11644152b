"""The short way to an endpoint: it sends what the SDK sends, and reads what arrives however it is cut into pieces."""

import asyncio
import gzip
import json
import socket
import threading

import pytest

from aigate.core.response import FaultKind
from aigate.core.sample import Sample
from aigate.core.version import VersionId
from aigate.errors import CallError
from aigate.providers.base import ProviderSettings, RateLimits, Request, make_provider, rate_limits_of
from aigate.providers.openai import OpenAIProvider
from aigate.providers.openai_direct import DirectClient, direct_is_enough
from aigate.testing import LoopbackServer, Reply

VERSION = VersionId("gpt-4o", "2024-11-20", "v3")
MESSAGES = (
    {"role": "system", "content": "Be brief. \u2028 é 漢字 \U0001f600"},
    {"role": "user", "content": 'a "b" \\ \n'},
)
PICTURE = {
    "role": "user",
    "content": [{"type": "text", "text": "?"}, {"type": "image_url", "image_url": {"url": "data:x"}}],
}
TOOL = {
    "type": "function",
    "function": {"name": "f", "parameters": {"type": "object", "properties": {"z": {}, "a": {}}}},
}
ON_PURPOSE = {"user-agent", "accept-encoding", "connection", "host", "content-length"}  # told or negotiated otherwise


def provider(base_url, **options):
    options = {"base-url": base_url, "api-key-env": "KEY", **{k.replace("_", "-"): v for k, v in options.items()}}
    return make_provider("openai", ProviderSettings(VERSION, options, environ={"KEY": "sk-0123456789"}))


def respond(asked, *, messages=MESSAGES, parameters=None, timeout_s=20.0):
    async def once():
        try:
            return await asked.respond(Request(Sample("a", "?"), messages, parameters or {}, timeout_s=timeout_s))
        finally:
            await asked.aclose()

    return asyncio.run(once())


@pytest.fixture
def wire():
    """A server that keeps the raw bytes of each request and answers with raw bytes, in the pieces given."""
    server = Wire()
    yield server
    server.close()


class Wire:
    def __init__(self):
        self.requests, self.pieces = [], [b""]
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.base_url = f"http://127.0.0.1:{self._socket.getsockname()[1]}/v1"
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self):
        self._socket.close()

    def answer(self, body, *, content_type="application/json", headers=b"", pieces=None):
        head = b"HTTP/1.1 200 OK\r\nContent-Type: " + content_type.encode() + b"\r\nConnection: close\r\n" + headers
        self.pieces = [head + b"\r\n", *(pieces or [body])]

    def _serve(self):
        while True:
            try:
                peer, _ = self._socket.accept()
            except OSError:
                return
            with peer:
                peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                data = b""
                while b"\r\n\r\n" not in data:
                    data += peer.recv(65536)
                head, _, body = data.partition(b"\r\n\r\n")
                lines = head.decode().split("\r\n")
                headers = dict(line.lower().split(": ", 1) for line in lines[1:])
                while len(body) < int(headers["content-length"]):
                    body += peer.recv(65536)
                self.requests.append((lines[0], headers, body))
                for piece in self.pieces:
                    peer.sendall(piece)


def completion(text="hi"):
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    return json.dumps({"id": "c", "model": "m", "choices": [choice]}, ensure_ascii=False).encode()


def events(*texts, end="\n\n"):
    deltas = [{"content": text} for text in texts]
    rows = [{"id": "c", "model": "m", "choices": [{"index": 0, "delta": d, "finish_reason": None}]} for d in deltas]
    rows.append({"id": "c", "model": "m", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
    return "".join(f"data: {json.dumps(row, ensure_ascii=False)}{end}" for row in rows) + f"data: [DONE]{end}"


def in_one_order(body):
    """The bytes, with the outermost keys sorted: their order differs between versions of the SDK, and means nothing."""
    whole = json.loads(body)
    ordered = {name: whole[name] for name in sorted(whole)}
    again = json.dumps(whole, ensure_ascii=False, separators=(",", ":")).encode()
    assert again == body, "numbers, white space or escapes that parsing hides"
    return json.dumps(ordered, ensure_ascii=False, separators=(",", ":")).encode()


@pytest.mark.parametrize("api", ["chat", "responses"])
@pytest.mark.parametrize("stream", [True, False], ids=["streamed", "whole"])
@pytest.mark.parametrize(
    ("messages", "parameters", "options"),
    [
        (MESSAGES, {}, {}),
        (MESSAGES, {"temperature": 0.0, "max_tokens": 5, "top_p": 1, "seed": None}, {}),
        ((PICTURE,), {"tools": [TOOL], "tool_choice": "auto", "metadata": {"z": "1", "a": "2"}}, {}),
        (MESSAGES, {"response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {}}}}, {}),
        (MESSAGES, {"temperature": 1e-7, "user": "ü"}, {"organization": "org", "project": "p"}),
        (
            MESSAGES,
            {},
            {"default_headers": {"X-Own": "1", "Accept": "text/x"}, "default_query": {"a b": "c&d", "n": 1}},
        ),
    ],
    ids=["plain", "numbers", "picture and tools", "schema", "organization", "headers and query"],
)
def test_sends_the_bytes_that_the_sdk_sends(wire, api, stream, messages, parameters, options):
    if api == "responses":
        parameters = {k: v for k, v in parameters.items() if k not in {"response_format", "seed"}}
    wire.answer(b"{}")
    for transport in ("direct", "sdk"):
        with pytest.raises(CallError):
            respond(
                provider(wire.base_url, transport=transport, api=api, stream=stream, **options),
                messages=messages,
                parameters=parameters,
            )
    (line, headers, body), (sdk_line, sdk_headers, sdk_body) = wire.requests
    assert in_one_order(body) == in_one_order(sdk_body)
    assert line == sdk_line
    meant = {name: value for name, value in sdk_headers.items() if not name.startswith("x-stainless-")}
    assert {k: v for k, v in headers.items() if k not in ON_PURPOSE} == {
        k: v for k, v in meant.items() if k not in ON_PURPOSE
    }


def test_parameters_that_the_sdk_does_not_know_mean_the_same(wire):
    wire.answer(b"{}")
    for transport in ("direct", "sdk"):
        with pytest.raises(CallError):
            respond(provider(wire.base_url, transport=transport), parameters={"min_p": 0.1, "a_new_one": [1]})
    (_, _, body), (_, _, sdk_body) = wire.requests
    assert json.loads(body) == json.loads(sdk_body)


@pytest.mark.parametrize("transport", ["direct", "sdk"])
@pytest.mark.parametrize("end", ["\n\n", "\r\n\r\n", "\r\r"], ids=["LF", "CRLF", "CR"])
@pytest.mark.parametrize("size", [1, 2, 7, 10_000])
def test_events_are_read_however_they_are_cut(wire, transport, end, size):
    text = (": a comment" + end[: len(end) // 2] + events("é漢", " \U0001f600", "\u2028x", end=end)).encode()
    wire.answer(b"", content_type="text/event-stream", pieces=[text[i : i + size] for i in range(0, len(text), size)])
    assert respond(provider(wire.base_url, transport=transport)).output == "é漢 \U0001f600\u2028x"


@pytest.mark.parametrize("transport", ["direct", "sdk"])
def test_an_event_of_several_data_lines_is_one(wire, transport):
    row = {"model": "m", "choices": [{"index": 0, "delta": {"content": "x"}, "finish_reason": "stop"}]}
    text = "".join(f"data: {line}\n" for line in json.dumps(row, indent=1).split("\n"))
    wire.answer(b"", content_type="text/event-stream", pieces=[f"id: 1\nretry: 5\n{text}\ndata: [DONE]\n\n".encode()])
    assert respond(provider(wire.base_url, transport=transport)).output == "x"


@pytest.mark.parametrize("transport", ["direct", "sdk"])
def test_a_compressed_answer_is_read(wire, transport):
    wire.answer(gzip.compress(completion("héllo")), headers=b"Content-Encoding: gzip\r\n")
    assert respond(provider(wire.base_url, transport=transport, stream=False)).output == "héllo"


@pytest.mark.parametrize("transport", ["direct", "sdk"])
@pytest.mark.parametrize("stream", [True, False])
def test_an_error_that_stands_in_an_event_or_in_an_answer_of_200_is_its_fault(wire, transport, stream):
    error = json.dumps({"error": {"message": "slow down", "code": "rate_limit_exceeded"}}).encode()
    wire.answer(b"data: " + error + b"\n\n" if stream else error, content_type="text/event-stream" if stream else "x/y")
    with pytest.raises(CallError, match="slow down") as caught:
        respond(provider(wire.base_url, transport=transport, stream=stream))
    assert caught.value.kind is FaultKind.RATE_LIMIT


def test_a_redirect_does_not_carry_the_key_elsewhere(wire):
    with LoopbackServer([Reply.text("stolen")]) as elsewhere:
        place = f"Location: {elsewhere.base_url}/chat/completions\r\nContent-Length: 0\r\n".encode()
        wire.pieces = [b"HTTP/1.1 307 Temporary Redirect\r\n" + place + b"\r\n"]
        with pytest.raises(CallError, match="HTTP 307") as caught:
            respond(provider(wire.base_url, transport="direct"))
        assert elsewhere.requests == ()
    assert caught.value.kind is FaultKind.BAD_RESPONSE


@pytest.mark.parametrize("transport", ["direct", "sdk"])
def test_the_servers_limits_are_remembered_from_answers_and_refusals(transport):
    told = {
        "x-ratelimit-limit-requests": "500",
        "x-ratelimit-remaining-requests": "7",
        "x-ratelimit-reset-tokens": "6m0.5s",
    }
    with LoopbackServer([Reply.status(429, "slow", headers=told | {"x-ratelimit-reset-requests": "17ms"})]) as server:
        asked = provider(server.base_url, transport=transport)
        assert rate_limits_of(asked) is None
        with pytest.raises(CallError):
            respond(asked)
    assert rate_limits_of(asked) == RateLimits(
        limit_requests=500, remaining_requests=7, reset_requests_s=0.017, reset_tokens_s=360.5
    )


def test_limits_that_make_no_sense_are_left_out():
    told = {
        "x-ratelimit-remaining-requests": "many",
        "x-ratelimit-reset-requests": "soon",
        "x-ratelimit-limit-tokens": "9",
    }
    with LoopbackServer([Reply.status(429, "slow", headers=told)]) as server:
        asked = provider(server.base_url)
        with pytest.raises(CallError):
            respond(asked)
    assert rate_limits_of(asked) == RateLimits(limit_tokens=9)


@pytest.mark.parametrize(
    ("base_url", "api_version", "proxies", "enough"),
    [
        ("https://api.example/v1", "", {}, True),
        ("http://localhost/v1", "", {"https": "http://proxy"}, True),
        ("http://localhost/v1", "", {"http": "http://proxy", "no": "localhost"}, True),
        ("https://api.example/v1", "2024-10-21", {}, False),
        ("https://api.example/v1", "", {"https": "http://proxy"}, False),
        ("https://api.example/v1", "", {"all": "socks5://proxy", "no": "localhost"}, False),
    ],
)
def test_what_is_not_ordinary_is_left_to_the_sdk(base_url, api_version, proxies, enough):
    assert direct_is_enough(base_url, api_version=api_version, proxies=proxies) is enough


@pytest.mark.parametrize(
    ("transport", "proxied", "direct"), [("auto", False, True), ("auto", True, False), ("sdk", False, False)]
)
def test_the_way_is_chosen_by_option_and_environment(transport, proxied, direct, monkeypatch):
    for name in ("HTTP_PROXY", "ALL_PROXY", "NO_PROXY", "http_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    if proxied:
        monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")

    async def chosen():
        asked = provider("http://api.example/v1", transport=transport)
        try:
            return isinstance(await asked._connected(), DirectClient)
        finally:
            await asked.aclose()

    assert asyncio.run(chosen()) is direct


class TestJournalIdentity:
    def identity(self, *, messages=MESSAGES, parameters=None, **options) -> dict:
        asked = provider("https://user:pass@api.example/v1?key=topsecret", **options)
        assert isinstance(asked, OpenAIProvider)
        return dict(asked.journal_identity(Request(Sample("a", "?"), messages, parameters or {})))

    def test_streaming_and_the_key_and_who_pays_do_not_decide_an_answer(self):
        assert self.identity(stream=True) == self.identity(stream=False, organization="org", project="p")

    @pytest.mark.parametrize(
        "change",
        [
            {"messages": MESSAGES[:1]},
            {"parameters": {"temperature": 0.0}},
            {"model": "other"},
            {"api": "responses"},
            {"default_headers": {"X-Beta": "on"}},
            {"default_query": {"v": "2"}},
            {"api_version": "2024-10-21"},
        ],
    )
    def test_whatever_decides_an_answer_is_in_it(self, change):
        assert self.identity(**change) != self.identity()

    def test_no_secret_is_in_it(self):
        told = json.dumps(self.identity(default_headers={"X-Secret": "hunter22"}))
        assert not any(secret in told for secret in ("sk-0123456789", "hunter22", "user:pass", "topsecret"))
