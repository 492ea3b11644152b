"""The public fakes: provider, scorer, loopback server and broken run files."""

import asyncio
import http.client
import json
import re
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest

from aigate.core.digest import sha256_text
from aigate.core.response import Fault, FaultKind, Response
from aigate.core.sample import Sample
from aigate.core.score import Score, Unscored
from aigate.errors import CallError
from aigate.providers.base import Provider, Request
from aigate.scorers.base import Scorer
from aigate.testing import FakeProvider, FakeScorer, LoopbackServer, Reply, corrupt_run, main, stalling

SAMPLE = Sample("a", "Is it?", reference="yes")


def respond(provider, sample=SAMPLE, **request):
    return asyncio.run(provider.respond(Request(sample, (), **request)))


def port_of(server):
    return int(server.origin.rpartition(":")[2])


def post(server, body, *, path="/v1/chat/completions", headers=None, connection=None):
    """Status, headers and body of one POST, over a plain HTTP client."""
    own = connection or http.client.HTTPConnection("127.0.0.1", port_of(server), timeout=10)
    try:
        text = body if isinstance(body, bytes) else json.dumps(body).encode()
        own.request("POST", path, text, {"content-type": "application/json", **(headers or {})})
        answer = own.getresponse()
        return answer.status, dict(answer.getheaders()), answer.read()
    finally:
        if connection is None:
            own.close()


def chat(text="hello there", **more):
    return {"model": "m", "messages": [{"role": "user", "content": text}], **more}


def events(body):
    return [json.loads(line[6:]) for line in body.decode().split("\n") if line.startswith("data: {")]


class TestFakeProvider:
    def test_it_is_a_provider(self):
        assert isinstance(FakeProvider({}), Provider)

    def test_answers_by_sample_id_and_remembers_requests(self):
        provider = FakeProvider({"a": "yes"})
        assert respond(provider, repeat=3).output == "yes"
        assert [(request.sample.id, request.repeat) for request in provider.requests] == [("a", 3)]

    def test_answers_by_function_of_the_whole_sample(self):
        assert respond(FakeProvider(lambda sample: sample.reference.upper())).output == "YES"

    def test_a_sample_without_an_answer_is_missing(self):
        with pytest.raises(CallError, match="no answer for sample 'a'") as caught:
            respond(FakeProvider({}))
        assert caught.value.kind is FaultKind.MISSING

    def test_faults_are_raised_by_sample_id(self):
        provider = FakeProvider({"a": "x", "b": "y"}, faults={"a": Fault(FaultKind.SERVER, "down")})
        with pytest.raises(CallError, match="down") as caught:
            respond(provider)
        assert caught.value.kind is FaultKind.SERVER
        assert respond(provider, Sample("b", "?")).output == "y"

    def test_latency_is_waited_for_and_reported(self):
        waits = []

        async def sleep(seconds):
            waits.append(seconds)

        assert respond(FakeProvider({"a": "x"}, latency_s=7.0, sleep=sleep)).latency_s == 7.0
        assert waits == [7.0]

    def test_a_latency_longer_than_the_deadline_is_a_timeout(self):
        with pytest.raises(CallError) as caught:
            respond(FakeProvider({"a": "x"}, latency_s=9.0), timeout_s=0.01)
        assert caught.value.kind is FaultKind.TIMEOUT

    def test_it_knows_whether_it_was_closed(self):
        provider = FakeProvider({})
        assert not provider.closed
        asyncio.run(provider.aclose())
        assert provider.closed


class TestFakeScorer:
    def test_it_is_a_scorer(self):
        scorer = FakeScorer({}, metric="m")
        assert isinstance(scorer, Scorer)
        assert scorer.spec.metric == "m"

    def test_scores_by_sample_id_and_the_rest_is_not_applicable(self):
        scorer = FakeScorer({"a": 0.5, "b": Unscored("judge_error", "x")})
        assert scorer.applies_to(SAMPLE) is None
        assert scorer.score(SAMPLE, Response(output="x")) == Score(0.5)
        assert scorer.score(Sample("b", "?"), Response(output="x")) == Unscored("judge_error", "x")
        outside = scorer.applies_to(Sample("c", "?"))
        assert outside is not None
        assert outside.reason == "not_applicable"

    def test_scores_by_function(self):
        scorer = FakeScorer(lambda sample, response: response.output == sample.reference)
        assert scorer.score(SAMPLE, Response(output="yes")) == Score(1.0)


class TestLoopbackServer:
    def test_the_default_echoes_the_last_user_message(self):
        with LoopbackServer() as server:
            status, headers, body = post(server, chat("hello there"))
        assert (status, headers["content-type"]) == (200, "application/json")
        whole = json.loads(body)
        assert whole["choices"][0]["message"]["content"] == "hello there"
        assert (whole["object"], whole["model"]) == ("chat.completion", "m")
        assert whole["usage"] == {"prompt_tokens": 2, "completion_tokens": 2, "total_tokens": 4}

    def test_content_parts_are_echoed_too(self):
        with LoopbackServer() as server:
            _, _, body = post(
                server, chat([{"type": "text", "text": "a"}, {"type": "image_url"}, {"type": "text", "text": "b"}])
            )
        assert json.loads(body)["choices"][0]["message"]["content"] == "ab"

    def test_a_chat_stream_has_role_pieces_reason_usage_and_end(self):
        with LoopbackServer() as server:
            _, headers, body = post(server, chat("one two", stream=True, stream_options={"include_usage": True}))
        assert headers["content-type"] == "text/event-stream"
        assert body.endswith(b"data: [DONE]\n\n")
        chunks = events(body)
        deltas = [c["choices"][0]["delta"] for c in chunks if c["choices"]]
        assert deltas == [{"role": "assistant", "content": ""}, {"content": "one "}, {"content": "two"}, {}]
        assert [c["choices"][0]["finish_reason"] for c in chunks if c["choices"]] == [None, None, None, "stop"]
        assert chunks[-1]["usage"]["completion_tokens"] == 2

    def test_usage_is_streamed_only_when_it_was_asked_for(self):
        with LoopbackServer() as server:
            _, _, body = post(server, chat("one", stream=True))
        assert all(c["usage"] is None for c in events(body))

    def test_the_responses_api_whole_and_streamed(self):
        request = {"model": "m", "input": [{"role": "user", "content": "one two"}]}
        with LoopbackServer() as server:
            _, _, body = post(server, request, path="/v1/responses")
            _, _, streamed = post(server, {**request, "stream": True}, path="/v1/responses")
        whole = json.loads(body)
        assert (whole["status"], whole["output"][0]["content"][0]["text"]) == ("completed", "one two")
        seen = events(streamed)
        assert "".join(e["delta"] for e in seen if e["type"] == "response.output_text.delta") == "one two"
        assert seen[-1] == {"type": "response.completed", "sequence_number": 3, "response": whole}
        assert b"event: response.completed\n" in streamed

    @pytest.mark.parametrize(
        ("reason", "spelt"), [("length", "max_output_tokens"), ("content_filter", "content_filter")]
    )
    def test_the_responses_api_has_its_own_words_for_an_answer_that_is_cut_short(self, reason, spelt):
        request = {"model": "m", "input": "x"}
        with LoopbackServer([Reply.text("x", finish_reason=reason)] * 2) as server:
            whole = json.loads(post(server, request, path="/v1/responses")[2])
            last = events(post(server, {**request, "stream": True}, path="/v1/responses")[2])[-1]
        assert (whole["status"], whole["incomplete_details"]) == ("incomplete", {"reason": spelt})
        assert (last["type"], last["response"]) == ("response.incomplete", whole)

    def test_models_are_listed_and_do_not_use_up_the_script(self):
        with LoopbackServer([Reply.text("x")], models=["a", "b"]) as server:
            connection = http.client.HTTPConnection("127.0.0.1", port_of(server))
            connection.request("GET", "/v1/models")
            listed = json.loads(connection.getresponse().read())
            connection.close()
            assert [row["id"] for row in listed["data"]] == ["a", "b"]
            assert post(server, chat())[0] == 200

    def test_requests_are_recorded_without_the_key(self):
        with LoopbackServer() as server:
            post(server, chat(), path="/v1/chat/completions?a=1", headers={"Authorization": "Bearer sk-1", "x-y": "z"})
            post(server, chat(), headers={"api-key": "sk-2"})
            first, second = server.requests
        assert (first.method, first.path, first.query) == ("POST", "/v1/chat/completions", {"a": "1"})
        assert (first.body, first.headers["x-y"], first.streamed) == (chat(), "z", False)
        assert first.headers["authorization"] == second.headers["api-key"] == "[redacted]"
        assert "sk-" not in str(server.requests)
        assert 0 <= first.at_s < second.at_s

    def test_a_sequence_answers_in_order_and_then_says_that_it_is_over(self):
        with LoopbackServer([Reply.text("1"), Reply.status(500, "down")]) as server:
            answers = [post(server, chat()) for _ in range(3)]
        assert [status for status, _, _ in answers] == [200, 500, 400]
        assert json.loads(answers[2][2])["error"]["code"] == "script_exhausted"

    def test_a_function_decides_by_request(self):
        def script(seen):
            return Reply.status(429, "slow", headers={"retry-after": "2"}, code_name="rate_limit_exceeded")

        with LoopbackServer(script) as server:
            status, headers, body = post(server, chat())
        assert (status, headers["retry-after"]) == (429, "2")
        assert json.loads(body)["error"] == {
            "message": "slow",
            "type": "rate_limit_exceeded",
            "param": None,
            "code": "rate_limit_exceeded",
        }

    def test_a_script_that_raises_is_seen_by_the_client(self):
        with LoopbackServer(lambda seen: seen.body["nope"]) as server:
            status, _, body = post(server, chat())
        assert (status, "KeyError('nope')" in body.decode()) == (500, True)

    def test_raw_replies_are_sent_as_they_are(self):
        with LoopbackServer([Reply.raw(b"<html>", content_type="text/html", code=502)]) as server:
            assert post(server, chat())[0::2] == (502, b"<html>")

    @pytest.mark.parametrize(
        ("headers", "status"), [({}, 401), ({"authorization": "Bearer k"}, 200), ({"api-key": "k"}, 200)]
    )
    def test_a_key_can_be_demanded(self, headers, status):
        with LoopbackServer(api_key="k") as server:
            assert post(server, chat(), headers=headers)[0] == status

    @pytest.mark.parametrize(("path", "body", "status"), [("/v1/nope", b"{}", 404), ("/v1/responses", b"{bad", 400)])
    def test_what_is_no_request_is_refused(self, path, body, status):
        with LoopbackServer() as server:
            assert post(server, body, path=path)[0] == status

    def test_latency_and_first_token_take_their_time(self):
        reply = Reply.text("one two three", latency_s=1.5, ttft_s=0.1)
        with LoopbackServer([reply]) as server, socket.create_connection(("127.0.0.1", port_of(server))) as peer:
            text = json.dumps(chat(stream=True))
            started = time.perf_counter()
            peer.sendall(f"POST /v1/chat/completions HTTP/1.1\r\ncontent-length: {len(text)}\r\n\r\n{text}".encode())
            received, first_s = b"", None
            while b"[DONE]" not in received:
                received += peer.recv(65536)
                if first_s is None and b'"one ' in received:
                    first_s = time.perf_counter() - started
            total_s = time.perf_counter() - started
        assert 0.1 <= first_s < 1.5 <= total_s < 15

    def test_many_requests_over_one_connection_do_not_stall(self):
        with LoopbackServer() as server:
            connection = http.client.HTTPConnection("127.0.0.1", port_of(server), timeout=10)
            took_s = []
            for _ in range(50):
                started = time.perf_counter()
                assert post(server, chat(), connection=connection)[0] == 200
                took_s.append(time.perf_counter() - started)
            connection.close()
            # Nagle's algorithm against delayed acknowledgements costs 40 ms a request; a busy machine slows some down.
            assert sorted(took_s)[len(took_s) // 4] < 0.03

    def test_128_connections_at_once(self):
        async def ask(port):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            text = json.dumps(chat(f"q{port}"))
            writer.write(f"POST /v1/chat/completions HTTP/1.1\r\ncontent-length: {len(text)}\r\n\r\n{text}".encode())
            head = await reader.readuntil(b"\r\n\r\n")
            writer.close()
            await writer.wait_closed()
            return head.startswith(b"HTTP/1.1 200 ")

        async def everyone(port):
            return await asyncio.gather(*(ask(port) for _ in range(128)))

        latencies_s = iter([2.0] * 128 + [0.0])  # long, beside what it takes to connect
        with LoopbackServer(lambda seen: Reply.text("x", latency_s=next(latencies_s))) as server:
            started = time.perf_counter()
            assert all(asyncio.run(everyone(port_of(server))))
            assert 2.0 <= time.perf_counter() - started < 15
            post(server, chat())
            assert server.peak_in_flight == 128

    def test_a_hanging_reply_ends_when_the_server_closes(self):
        ended = threading.Event()
        with LoopbackServer([Reply.hang()]) as server:

            def ask():
                with pytest.raises((http.client.HTTPException, OSError)):
                    post(server, chat())
                ended.set()

            client = threading.Thread(target=ask)
            client.start()
            while not server.requests:
                time.sleep(0.005)
            assert not ended.is_set()
            started = time.perf_counter()
        client.join(5)
        assert ended.is_set()
        assert time.perf_counter() - started < 15

    @pytest.mark.parametrize("stream", [True, False])
    def test_a_cut_breaks_the_socket(self, stream):
        reply = Reply.cut(2, output="one two three")
        with LoopbackServer([reply]) as server, pytest.raises(http.client.IncompleteRead) as caught:
            post(server, chat(stream=stream))
        if stream:
            assert b'"two "' in caught.value.partial
            assert b"three" not in caught.value.partial

    def test_a_tidy_cut_ends_the_body_without_a_reason(self):
        with LoopbackServer(
            [Reply.cut(1, output="one two", tidy=True), Reply.cut(output="one two", tidy=True)]
        ) as server:
            _, _, streamed = post(server, chat(stream=True))
            _, _, whole = post(server, chat())
        assert [c["choices"][0]["finish_reason"] for c in events(streamed)] == [None, None]
        assert b"[DONE]" not in streamed
        with pytest.raises(json.JSONDecodeError):
            json.loads(whole)

    def test_a_client_that_goes_away_or_speaks_no_http_does_no_harm(self):
        with LoopbackServer(lambda seen: Reply.text("a b c d", latency_s=0.1, ttft_s=0.0)) as server:
            port = port_of(server)
            for text in (b"nonsense\r\n\r\n", b"POST / HTTP/1.1\r\ncontent-length: x\r\n\r\n", b"GET"):
                with socket.create_connection(("127.0.0.1", port)) as peer:
                    peer.sendall(text)
            with socket.create_connection(("127.0.0.1", port)) as peer:
                body = json.dumps(chat(stream=True))
                peer.sendall(
                    f"POST /v1/chat/completions HTTP/1.1\r\ncontent-length: {len(body)}\r\n\r\n{body}".encode()
                )
            assert post(server, chat())[0] == 200

    def test_it_may_be_closed_twice_and_leaves_no_thread(self):
        server = LoopbackServer()
        server.start()
        server.close()
        server.close()
        assert not [thread for thread in threading.enumerate() if thread.name == "aigate-loopback"]

    def test_a_port_that_is_taken_is_an_error(self):
        with (
            LoopbackServer() as first,
            pytest.raises(OSError, match="in use"),
            LoopbackServer(port=port_of(first)),
        ):
            pass

    def test_it_runs_as_a_process(self):
        command = [sys.executable, "-W", "error", "-m", "aigate.testing", "--latency", "0.2", "--output", "fixed"]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        try:
            url = process.stdout.readline().strip()
            found = re.fullmatch(r"http://127\.0\.0\.1:(\d+)/v1", url)
            assert found
            connection = http.client.HTTPConnection("127.0.0.1", int(found[1]), timeout=10)
            started = time.perf_counter()
            _, _, body = post(None, chat(), connection=connection)
            assert time.perf_counter() - started >= 0.2
            assert json.loads(body)["choices"][0]["message"]["content"] == "fixed"
            connection.close()
        finally:
            process.send_signal(signal.SIGTERM)
            _, errors = process.communicate(timeout=10)
        assert (process.returncode, errors) == (0, "")


class TestStalling:
    @pytest.mark.parametrize(
        ("arrived_s", "latency_s"),
        [(0.5, 0.1), (0.95, 2.1), (1.0, 2.1), (2.0, 1.1), (2.99, 0.11), (3.0, 0.1), (9.0, 0.1)],
    )
    def test_what_is_in_the_work_while_it_stops_waits_until_it_goes_on(self, arrived_s, latency_s):
        now = iter([100.0, 100.0 + arrived_s])
        answer = stalling(
            lambda _: Reply.text("x", latency_s=0.1, ttft_s=0.02), at_s=1.0, for_s=2.0, clock=lambda: next(now)
        )
        assert answer(None).latency_s == 0.1  # the first request: the clock starts
        found = answer(None)
        assert found.latency_s == pytest.approx(latency_s)
        assert found.latency_s - found.ttft_s == pytest.approx(0.08)

    def test_an_answer_that_streams_all_at_once_still_does(self):
        now = iter([0.0, 1.5])
        answer = stalling(lambda _: Reply.text("x"), at_s=1.0, for_s=2.0, clock=lambda: next(now))
        answer(None)
        assert (answer(None).latency_s, answer.__name__) == (1.5, "answer")

    @pytest.mark.parametrize("text", ["1", "1:0", "-1:2", "x:1", "1:2:3"])
    def test_a_stall_that_is_none_is_refused(self, text, capsys):
        with pytest.raises(SystemExit):
            main([f"--stall={text}"])
        assert "expected AT:SECONDS" in capsys.readouterr().err


class TestCorruptRun:
    RESULTS = (
        '{"id":"a","repeat":0,"outcome":"provider_error","response":null,"scores":{"m":{"unscored":"not_run","explanation":""}}}',
        '{"id":"b","repeat":0,"outcome":"scored","response":{"output":"é"},"scores":{"m":{"value":0.5}}}',
        '{"id":"c","repeat":0,"outcome":"scored","response":{"output":"x"},"scores":{"m":{"value":1.0}}}',
    )
    HEADER = '{"format":"aigate.run/1","suite":{"digest":"sha256:' + "1" * 64 + '"}}'
    CLOSING = '{"closing":{"samples":3,"digest":"' + sha256_text("x") + '"}}'

    def run_file(self, folder):
        path = folder / "run.jsonl"
        path.write_text("\n".join([self.HEADER, *self.RESULTS, self.CLOSING]) + "\n", encoding="utf-8")
        return path

    def broken(self, folder, how):
        path = self.run_file(folder)
        before = path.read_bytes()
        copy = corrupt_run(path, how)
        assert path.read_bytes() == before
        assert copy == folder / f"run.{how}.jsonl"
        return copy.read_text(encoding="utf-8").split("\n")

    def test_truncate_ends_in_the_middle_of_the_last_result(self, tmp_path):
        lines = self.broken(tmp_path, "truncate")
        assert lines[:3] == [self.HEADER, *self.RESULTS[:2]]
        assert len(lines) == 4
        assert self.RESULTS[2].startswith(lines[3])
        assert 0 < len(lines[3]) < len(self.RESULTS[2])

    def test_drop_closing_line_keeps_every_result(self, tmp_path):
        assert self.broken(tmp_path, "drop-closing-line") == [self.HEADER, *self.RESULTS, ""]

    def test_flip_digest_changes_one_digit_of_the_closing_digest(self, tmp_path):
        *before, closing, end = self.broken(tmp_path, "flip-digest")
        assert (before, end) == ([self.HEADER, *self.RESULTS], "")
        assert len(closing) == len(self.CLOSING)
        assert sum(one != other for one, other in zip(closing, self.CLOSING, strict=True)) == 1
        assert re.fullmatch(r"sha256:[0-9a-f]{64}", json.loads(closing)["closing"]["digest"])

    def test_edit_score_changes_the_first_score_and_nothing_else(self, tmp_path):
        lines = self.broken(tmp_path, "edit-score")
        assert [lines[i] for i in (0, 1, 3, 4, 5)] == [self.HEADER, self.RESULTS[0], self.RESULTS[2], self.CLOSING, ""]
        assert lines[2] == self.RESULTS[1].replace('"value":0.5', '"value":0.25')

    def test_newer_format_raises_the_number(self, tmp_path):
        lines = self.broken(tmp_path, "newer-format")
        assert json.loads(lines[0])["format"] == "aigate.run/2"
        assert lines[1:] == [*self.RESULTS, self.CLOSING, ""]

    def test_drop_line_takes_one_result_out(self, tmp_path):
        assert self.broken(tmp_path, "drop-line") == [self.HEADER, *self.RESULTS[1:], self.CLOSING, ""]

    def test_a_file_that_is_no_whole_run_is_refused(self, tmp_path):
        path = tmp_path / "run.jsonl"
        path.write_text("{}\n")
        with pytest.raises(ValueError, match="no whole run file"):
            corrupt_run(path, "truncate")

    def test_a_run_without_what_is_to_be_broken_is_refused(self, tmp_path):
        path = tmp_path / "run.jsonl"
        path.write_text("{}\n{}\n{}\n")
        for how in ("flip-digest", "edit-score", "newer-format"):
            with pytest.raises(ValueError, match="nothing there to break"):
                corrupt_run(path, how)
