"""What many tests need: runs from a table of scores, Ctrl-C, a port, an S3 server; no example is refused as slow."""

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import uuid
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from aigate.core.digest import combined_digest
from aigate.core.ledger import Outcome
from aigate.core.response import Fault, FaultKind, Response
from aigate.core.run import Result, Run, RunHeader
from aigate.core.runfile import RunEncoder, decode
from aigate.core.sample import Sample
from aigate.core.score import MetricSpec, Score, Unscored
from aigate.core.version import VersionId

settings.register_profile("aigate", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("aigate")

for name in ("COLUMNS", "LINES", "FORCE_COLOR", "NO_COLOR"):  # how wide and how bright somebody's terminal is
    os.environ.pop(name, None)

Scores = Mapping[str, Sequence[float | None]]
"""Per sample id, a score per repeat; None is a missing score (judge error)."""


def build_run(
    scores: Scores | Mapping[str, Scores],
    *,
    version: str = "m/1/v1",
    metric: str = "correct",
    groups: Mapping[str, str] | None = None,
    tags: Mapping[str, Sequence[str]] | None = None,
    outputs: Mapping[str, str] | None = None,
    inputs: Mapping[str, str] | None = None,
    faults: Mapping[str, FaultKind] | None = None,
    served: str | None = None,
    policy: Mapping[str, Any] | None = None,
    specs: Sequence[MetricSpec] | None = None,
    skipped: Collection[tuple[str, int]] = (),
    responses: Callable[[str, int], Mapping[str, Any]] | None = None,
    **header: Any,
) -> Run:
    """A run with a true digest.

    Args:
        scores: For one metric, `{"a": [1.0], "b": [0.0]}`; for several, `{"correct": {"a": [1.0]}, ...}`.
        outputs: Output by sample id, for every repeat; default: one of its own per sample, repeat, version and score.
        faults: Samples that got no answer, and why.
        skipped: Sample id and repeat of what an early stop left unasked.
        responses: Further fields of the response by sample id and repeat, such as `latency_s`.
        header: Fields of `RunHeader` to override.
    """
    per_metric: Mapping[str, Scores] = (
        {metric: scores} if all(not isinstance(v, Mapping) for v in scores.values()) else scores  # type: ignore[dict-item, assignment]
    )
    ids = list(dict.fromkeys(id_ for table in per_metric.values() for id_ in table))
    groups, tags, outputs, inputs, faults = groups or {}, tags or {}, outputs or {}, inputs or {}, faults or {}
    samples = [
        Sample(id_, inputs.get(id_, f"question {id_}"), tags=tuple(tags.get(id_, ())), group=groups.get(id_))
        for id_ in ids
    ]
    repeats = max((len(row) for table in per_metric.values() for row in table.values()), default=1)
    fields: dict[str, Any] = {
        "version": VersionId.parse(version),
        "provider": {"name": "fake"},
        "suite_name": "suite",
        "suite_digest": combined_digest(sample.digest for sample in samples),
        "suite_size": len(samples),
        "prompt_digest": None,
        "parameters": {},
        "metrics": tuple(specs or (MetricSpec(name, f"recorded:{name}", deterministic=False) for name in per_metric)),
        "primary_metric": next(iter(per_metric), metric),
        "repeats": repeats,
        "policy": policy or {},
        "started_at": "2026-01-01T00:00:00Z",
    }
    encoder = RunEncoder(RunHeader(**{**fields, **header}))
    lines = [encoder.header_line()]
    for sample in samples:
        for repeat in range(repeats):
            row = {
                name: table[sample.id][repeat]
                for name, table in per_metric.items()
                if repeat < len(table.get(sample.id, ()))
            }
            if (sample.id, repeat) in skipped:
                lines.append(encoder.result_line(Result(sample.id, repeat, Outcome.EARLY_STOP, None, {}), sample))
                continue
            if not row:
                continue
            result = _result(sample, repeat, row, version, outputs, faults, served)
            if responses is not None:
                result = replace(result, response=replace(result.response, **responses(sample.id, repeat)))
            lines.append(encoder.result_line(result, sample))
    lines.append(encoder.closing_line(finished_at="2026-01-01T00:01:00Z"))
    return decode(lines, source="run.jsonl")


def _result(
    sample: Sample,
    repeat: int,
    row: Mapping[str, float | None],
    version: str,
    outputs: Mapping[str, str],
    faults: Mapping[str, FaultKind],
    served: str | None,
) -> Result:
    if sample.id in faults:
        kind = faults[sample.id]
        outcome = Outcome.PROVIDER_ERROR if kind.candidate_fault else Outcome.INFRASTRUCTURE_ERROR
        score = Score(0.0, str(outcome)) if kind.candidate_fault else Unscored("infrastructure_error", "no answer")
        return Result(sample.id, repeat, outcome, Response(fault=Fault(kind, "broken")), dict.fromkeys(row, score))
    scores = {
        name: Unscored("judge_error", "judge broke") if value is None else Score(value, "told")
        for name, value in row.items()
    }
    outcome = Outcome.JUDGE_ERROR if None in row.values() else Outcome.SCORED
    output = outputs.get(sample.id, f"answer of {version} to {sample.id}, repeat {repeat}, {row}")
    return Result(sample.id, repeat, outcome, Response(output=output, served_model=served), scores)


@pytest.fixture
def make_run():
    """`build_run`, as a fixture, since tests cannot import one another."""
    return build_run


@pytest.fixture
def ctrl_c():
    """Ctrl-C is heard by this process and by those that it starts, also where it was itself started with `&`."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def held_port():
    """A port for servers that follow one another: nobody else is given it in between."""
    with socket.socket() as held:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]


# --- a real S3 server -------------------------------------------------------------------------------------------------

# moto looks whether the condition of a write holds and then writes, with nothing in between that keeps another request
# out. S3 does both as one step. Werkzeug's server with one thread takes one request after the other, so that here too
# it is the server that decides which of two writers was first.
S3_SERVER = """
from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server

server = make_server("127.0.0.1", 0, DomainDispatcherApplication(create_backend_app), threaded=False)
print(f"http://127.0.0.1:{server.server_port}", flush=True)
server.serve_forever()
"""


CONDITIONS = {"if-match", "if-none-match"}


@dataclass(frozen=True)
class Bucket:
    """A bucket of its own on the S3 server.

    Attributes:
        endpoint: The server.
        name: The bucket's name.
    """

    endpoint: str
    name: str

    @property
    def url(self) -> str:
        return f"s3://{self.name}"

    def environ(self, endpoint: str | None = None) -> dict[str, str]:
        """What a process needs to use it."""
        return {
            "AWS_ENDPOINT_URL": endpoint or self.endpoint,
            "AWS_ACCESS_KEY_ID": "key",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_REGION": "us-east-1",
        }

    def ask(self, method: str, key: str = "", body: bytes | None = None) -> bytes:
        """One plain HTTP request to the server: another client than the one that is tested."""
        connection = HTTPConnection(self.endpoint.removeprefix("http://"), timeout=30)
        signed = {"Authorization": "AWS key:unchecked"}  # moto asks for a signature, and takes any
        connection.request(method, f"/{self.name}/{key}", body=body, headers=signed)
        with closing(connection), connection.getresponse() as answer:
            content = answer.read()
        assert answer.status < 300, content
        return content

    def objects(self) -> dict[str, bytes]:
        """Everything in it, by key."""
        keys = re.findall(r"<Key>(.*?)</Key>", self.ask("GET").decode())
        return {key: self.ask("GET", key) for key in keys}


@pytest.fixture(scope="session")
def s3_server():
    """The endpoint of an S3 server that runs as a process; it fails where moto is not installed."""
    process = subprocess.Popen([sys.executable, "-c", S3_SERVER], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    try:
        endpoint = process.stdout.readline().decode().strip()
        if not endpoint:
            pytest.fail("the S3 server did not start: pip install '.[integration]'")
        yield endpoint
    finally:
        process.terminate()
        process.wait()
        process.stdout.close()


@pytest.fixture
def bucket(s3_server, monkeypatch):
    """A fresh bucket; this process's environment leads to it."""
    made = Bucket(s3_server, f"bucket-{uuid.uuid4().hex[:12]}")
    made.ask("PUT")
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in made.environ().items():
        monkeypatch.setenv(name, value)
    return made


class Front(ThreadingHTTPServer):
    """Passes requests on to the S3 server.

    Attributes:
        seen: Method, key and condition of each request, in order.
        ignore_conditions: Leave conditions out, as a server does that does not know them.
        lose_answer_to: Names of objects: the first write to each reaches the server, and its answer never comes back.
        break_off_at: Names of objects: the connection breaks before a write to one reaches the server.
        before_write: Called with the object's key before a write is passed on.
    """

    daemon_threads = True

    def __init__(self, bucket):
        super().__init__(("127.0.0.1", 0), _Passing)
        self.bucket = bucket
        self.seen = []
        self.ignore_conditions = False
        self.lose_answer_to, self.break_off_at = set(), set()
        self.before_write = lambda _key: None

    @property
    def endpoint(self):
        return f"http://127.0.0.1:{self.server_port}"


class _Passing(BaseHTTPRequestHandler):
    def pass_on(self):
        front, key = self.server, self.path.partition("?")[0].split("/", 2)[2]
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        name = key.rpartition("/")[2]
        conditions = {n.lower(): v for n, v in self.headers.items() if n.lower() in CONDITIONS}
        front.seen.append((self.command, key, conditions))
        if self.command == "PUT":
            front.before_write(key)
            if name in front.break_off_at:
                self.connection.close()
                return
        code, headers, answer = self._answer(body, without=CONDITIONS if front.ignore_conditions else set())
        if self.command == "PUT" and name in front.lose_answer_to:
            front.lose_answer_to.remove(name)
            code, headers, answer = 500, {}, b"<Error><Code>InternalError</Code><Message>lost</Message></Error>"
        self.send_response(code)
        for header, value in headers.items():
            if header.lower() not in {"content-length", "connection", "transfer-encoding", "server", "date"}:
                self.send_header(header, value)
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    do_GET = do_PUT = pass_on  # noqa: N815 - the names that http.server looks for

    def _answer(self, body, *, without):
        headers = {name: value for name, value in self.headers.items() if name.lower() not in without | {"connection"}}
        connection = HTTPConnection(self.server.bucket.endpoint.removeprefix("http://"), timeout=30)
        connection.request(self.command, self.path, body=body, headers=headers)
        with closing(connection), connection.getresponse() as found:
            return found.status, dict(found.headers), found.read()

    def log_message(self, *_):
        pass


@pytest.fixture
def front(bucket, monkeypatch):
    """A front before the bucket's server; this process's environment leads to it."""
    with Front(bucket) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        monkeypatch.setenv("AWS_ENDPOINT_URL", server.endpoint)
        yield server
        server.shutdown()
        thread.join()
