"""An OpenAI-compatible endpoint that costs little: what is measured beside it is the client.

    python benchmarks/contest/server.py --latency 0.1 --fault 429:0.05 --fault 500:0.01 --seed 1

A process of its own on 127.0.0.1; the first line on standard output is the base URL. `POST .../chat/completions`
answers with what stands behind the last `: ` of the last message. `GET /_stats` tells what arrived, counted here and
not by the client; `POST /_reset` begins a new count with new faults and a new latency. Only the standard library, one
`asyncio.Protocol` per connection, Nagle off, nothing kept of a request but its question. (`aigate.testing` is the
server for tests: scripted, streaming, with every request kept.)
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import os
import random
import signal
import socket
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

LIMIT_BYTES = 8 << 20
REASONS = {200: "OK", 400: "Bad Request", 404: "Not Found", 429: "Too Many Requests", 500: "Internal Server Error"}

# Filled in by hand: json.dumps of the whole would cost a third of what everything else here does.
COMPLETION = (
    b'{"id": "chatcmpl-1", "object": "chat.completion", "created": 0, "model": %b, "choices": [{"index": 0, "message": '
    b'{"role": "assistant", "content": %b, "refusal": null}, "logprobs": null, "finish_reason": "stop"}], '
    b'"usage": {"prompt_tokens": %d, "completion_tokens": %d, "total_tokens": %d}}'
)


@dataclass(frozen=True, slots=True)
class Behaviour:
    """How the endpoint answers.

    Attributes:
        median_s: Seconds to an answer; half of the answers take longer where sigma is not 0.
        sigma: Standard deviation of the logarithm of the latency; 0: every answer takes the same.
        faults: Shares of the requests by the status they get instead of an answer, at once.
        retry_after_s: What a 429 says; None: nothing.
        seed: Of the latencies and of the faults, each with draws of its own.
    """

    median_s: float = 0.1
    sigma: float = 0.0
    faults: tuple[tuple[int, float], ...] = ()
    retry_after_s: float | None = None
    seed: int = 1

    def __post_init__(self) -> None:
        good = self.median_s >= 0 and self.sigma >= 0 and all(0 <= share < 1 for _, share in self.faults)
        if not (good and sum(share for _, share in self.faults) < 1):
            raise ValueError(f"expected latencies of at least 0 and shares of less than 1 together, got {self}")


@dataclass(slots=True)
class Counts:
    """What arrived since the last reset, and what was sent back. Times are those of `time.time()`."""

    requests: int = 0
    statuses: Counter[int] = field(default_factory=Counter)
    questions: Counter[str] = field(default_factory=Counter)
    answered: Counter[str] = field(default_factory=Counter)
    in_flight: int = 0
    peak_in_flight: int = 0
    cut: int = 0  # the client went away before its answer
    first_request_at: float | None = None
    last_answer_at: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """As JSON; questions as counts."""
        return {
            "requests": self.requests,
            "statuses": {str(code): count for code, count in sorted(self.statuses.items())},
            "questions": len(self.questions),
            "asked_again": self.requests - len(self.questions),
            "answers": self.statuses[200],
            "answered_again": self.statuses[200] - len(self.answered),
            "in_flight": self.in_flight,
            "peak_in_flight": self.peak_in_flight,
            "cut": self.cut,
            "first_request_at": self.first_request_at,
            "last_answer_at": self.last_answer_at,
            "cpu_s": time.process_time(),
        }


class Endpoint:
    """The counts, and the draws that decide what a request gets."""

    def __init__(self, behaviour: Behaviour) -> None:
        self.reset(behaviour)

    def reset(self, behaviour: Behaviour) -> None:
        """Begin anew. Requests that are still being answered belong to the counts they arrived in."""
        self.behaviour, self.counts = behaviour, Counts()
        self._latencies = random.Random(f"latency {behaviour.seed}")
        self._faults = random.Random(f"fault {behaviour.seed}")

    def arrived(self, question: str) -> Counts:
        """Count a request; gives the counts it belongs to."""
        counts = self.counts
        counts.requests += 1
        counts.questions[question] += 1
        counts.in_flight += 1
        counts.peak_in_flight = max(counts.peak_in_flight, counts.in_flight)
        if counts.first_request_at is None:
            counts.first_request_at = time.time()
        return counts

    def drawn(self) -> tuple[int, float]:
        """Status and latency of the next request. The n-th request of a seed always gets the same."""
        latency_s = self._latency_s()
        left = self._faults.random()
        for code, share in self.behaviour.faults:
            if (left := left - share) < 0:
                return code, 0.0
        return 200, latency_s

    def _latency_s(self) -> float:
        behaviour = self.behaviour
        if not behaviour.sigma or not behaviour.median_s:
            return behaviour.median_s
        return self._latencies.lognormvariate(math.log(behaviour.median_s), behaviour.sigma)


class Connection(asyncio.Protocol):
    """One client's connection: requests one after the other."""

    def __init__(self, endpoint: Endpoint, loop: asyncio.AbstractEventLoop) -> None:
        self._endpoint = endpoint
        self._loop = loop
        self._buffer = bytearray()
        self._transport: asyncio.Transport | None = None
        self._waiting: dict[asyncio.TimerHandle, Counts] = {}

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def connection_lost(self, _error: Exception | None) -> None:
        for timer, counts in self._waiting.items():
            timer.cancel()
            counts.in_flight -= 1
            counts.cut += 1
        self._waiting.clear()
        self._transport = None

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while self._transport is not None and (head_end := self._buffer.find(b"\r\n\r\n")) >= 0:
            head = bytes(self._buffer[:head_end])
            body_end = head_end + 4 + _content_length(head)
            if body_end > LIMIT_BYTES:
                return self._transport.close()
            if len(self._buffer) < body_end:
                return None
            body = bytes(self._buffer[head_end + 4 : body_end])
            del self._buffer[:body_end]
            self._request(head, body)
        return None

    def _request(self, head: bytes, body: bytes) -> None:
        method, path = head.split(b" ", 2)[:2]
        if path == b"/_stats":
            return self._send(200, _quoted(self._endpoint.counts.to_dict()))
        if path == b"/_reset":
            self._endpoint.reset(behaviour_of(json.loads(body)))
            return self._send(200, b"{}")
        if method != b"POST" or not path.partition(b"?")[0].endswith(b"/chat/completions"):
            return self._send(404, _error(f"no such endpoint: {path.decode('latin-1')}"))
        try:
            asked = json.loads(body)
            question = _text(asked["messages"][-1]["content"])
        except (ValueError, KeyError, IndexError, TypeError):
            return self._send(400, _error("no chat request"))
        if asked.get("stream"):
            return self._send(400, _error("this endpoint does not stream: ask with stream = false"))
        return self._ask(asked.get("model"), question)

    def _ask(self, model: Any, question: str) -> None:
        counts = self._endpoint.arrived(question)
        code, latency_s = self._endpoint.drawn()

        def answer() -> None:
            self._waiting.pop(timer, None)
            counts.in_flight -= 1
            counts.statuses[code] += 1
            if code == 200:
                counts.answered[question] += 1
                self._send(200, _completion(model, question))
                counts.last_answer_at = time.time()
            else:
                self._send(code, _error(f"an injected {code}"), retry_after_s=self._retry_after_s(code))

        timer = self._loop.call_later(latency_s, answer)
        self._waiting[timer] = counts

    def _retry_after_s(self, code: int) -> float | None:
        return self._endpoint.behaviour.retry_after_s if code == 429 else None

    def _send(self, code: int, content: bytes, *, retry_after_s: float | None = None) -> None:
        more = "" if retry_after_s is None else f"retry-after: {retry_after_s:g}\r\n"
        head = f"HTTP/1.1 {code} {REASONS[code]}\r\ncontent-type: application/json\r\n{more}"
        if self._transport is not None:
            self._transport.write(f"{head}content-length: {len(content)}\r\n\r\n".encode() + content)


def behaviour_of(document: dict[str, Any]) -> Behaviour:
    """The behaviour that a JSON document describes."""
    faults = tuple((int(code), float(share)) for code, share in document.pop("faults", ()))
    return Behaviour(faults=faults, **document)


def answer_to(question: str) -> str:
    """What the endpoint answers."""
    return question.rpartition(": ")[2]


def main(arguments: list[str] | None = None) -> int:
    """Serve until SIGINT or SIGTERM."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--port", type=int, default=0, help="0 (the default) chooses a free one")
    parser.add_argument(
        "--latency", type=_latency, default=(0.1, 0.0), metavar="S|lognormal:MEDIAN,SIGMA", help="default: 0.1"
    )
    parser.add_argument(
        "--fault", type=_fault, action="append", default=[], metavar="CODE:SHARE", help="e.g. 429:0.05; repeatable"
    )
    parser.add_argument(
        "--retry-after", type=float, default=None, metavar="S", help="what a 429 says; default: nothing"
    )
    parser.add_argument("--seed", type=int, default=1, help="of latencies and faults; default: 1")
    given = parser.parse_args(arguments)
    median_s, sigma = given.latency
    try:
        behaviour = Behaviour(median_s, sigma, tuple(given.fault), given.retry_after, given.seed)
    except ValueError as error:
        parser.error(str(error))
    asyncio.run(_serve(behaviour, given.port))
    return 0


async def _serve(behaviour: Behaviour, port: int) -> None:
    loop, stopped, endpoint = asyncio.get_running_loop(), asyncio.Event(), Endpoint(behaviour)
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopped.set)
    server = await loop.create_server(lambda: Connection(endpoint, loop), "127.0.0.1", port, backlog=1024)
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1", flush=True)
    parent = os.getppid()
    while not stopped.is_set() and os.getppid() == parent:  # nobody is left to stop it where its parent was killed
        try:
            await asyncio.wait_for(stopped.wait(), timeout=1.0)
        except TimeoutError:
            continue
    server.close()


def _content_length(head: bytes) -> int:
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if len(name) == 14 and name.lower() == b"content-length":
            return int(value)
    return 0


def _text(content: Any) -> str:
    """The text of a message, whether it is a string or a list of parts."""
    return content if isinstance(content, str) else "".join(part["text"] for part in content)


def _completion(model: Any, question: str) -> bytes:
    output = answer_to(question)
    used_in, used_out = len(question.split()), len(output.split())
    return COMPLETION % (_quoted(model), _quoted(output), used_in, used_out, used_in + used_out)


def _quoted(value: Any) -> bytes:
    return json.dumps(value).encode()


def _error(message: str) -> bytes:
    return _quoted({"error": {"message": message, "type": "error", "param": None, "code": None}})


def _latency(text: str) -> tuple[float, float]:
    """`0.1`, or `lognormal:0.1,0.5`."""
    kind, colon, numbers = text.partition(":")
    try:
        if not colon:
            return float(text), 0.0
        median_s, sigma = map(float, numbers.split(","))
    except ValueError:
        kind = ""
    if kind != "lognormal":
        raise argparse.ArgumentTypeError(f"{text!r}: expected seconds or lognormal:MEDIAN,SIGMA")
    return median_s, sigma


def _fault(text: str) -> tuple[int, float]:
    """`429:0.05`."""
    code, _, share = text.partition(":")
    try:
        found = int(code), float(share)
    except ValueError:
        found = 0, 0.0
    if found[0] not in REASONS or found[0] < 400:
        raise argparse.ArgumentTypeError(f"{text!r}: expected CODE:SHARE, e.g. 429:0.05; codes: 400, 404, 429, 500")
    return found


if __name__ == "__main__":
    sys.exit(main())
