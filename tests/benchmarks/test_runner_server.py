"""The endpoint of the benchmark answers, injects faults by its seed, and counts what it was asked."""

import http.client
import json
import subprocess
import sys
import time

import pytest

from contest import endpoint
from contest.server import Behaviour, Endpoint, answer_to, behaviour_of, main

FAULTS = ((429, 0.2), (500, 0.05))


@pytest.fixture(scope="module")
def server():
    with endpoint.running() as running:
        yield running


@pytest.fixture
def connection(server):
    found = http.client.HTTPConnection("127.0.0.1", int(server.base_url.split(":")[2].removesuffix("/v1")), timeout=20)
    yield found
    found.close()


def asked(connection, question, **more):
    body = {"model": "m", "messages": [{"role": "user", "content": question}], **more}
    connection.request("POST", "/v1/chat/completions", json.dumps(body))
    answer = connection.getresponse()
    return answer.status, answer.headers, json.loads(answer.read())


def test_it_answers_what_stands_behind_the_colon(server, connection):
    server.reset(Behaviour(0.0))
    status, _, body = asked(connection, 'Repeat: é "x"')
    assert (status, body["model"]) == (200, "m")
    assert body["choices"][0]["message"]["content"] == 'é "x"' == answer_to('Repeat: é "x"')
    assert body["usage"] == {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}


def test_parts_of_a_message_are_read_as_one_text(server, connection):
    server.reset(Behaviour(0.0))
    parts = [{"type": "text", "text": "Repeat: "}, {"type": "text", "text": "y"}]
    assert asked(connection, parts)[2]["choices"][0]["message"]["content"] == "y"


def test_it_counts_requests_questions_and_answers_given_twice(server, connection):
    server.reset(Behaviour(0.0))
    for question in ("a", "b", "a"):
        asked(connection, question)
    stats = server.stats()
    assert (stats["requests"], stats["questions"], stats["asked_again"]) == (3, 2, 1)
    assert (stats["answers"], stats["answered_again"], stats["in_flight"]) == (3, 1, 0)
    assert stats["first_request_at"] <= stats["last_answer_at"] <= time.time()


def test_a_request_that_was_refused_is_no_answer_given_twice(server, connection):
    server.reset(Behaviour(0.0, faults=((429, 0.5),), seed=3))
    while asked(connection, "a")[0] != 200:
        pass
    assert server.stats()["answered_again"] == 0


def test_a_reset_begins_a_new_count(server, connection):
    asked(connection, "a")
    server.reset(Behaviour(0.0))
    assert server.stats()["requests"] == 0
    assert server.stats()["last_answer_at"] is None


def test_a_refused_request_says_when_to_come_back(server, connection):
    server.reset(Behaviour(0.0, faults=((429, 0.999),), retry_after_s=1.5))
    status, headers, body = asked(connection, "a")
    assert (status, headers["retry-after"]) == (429, "1.5")
    assert "429" in body["error"]["message"]


def test_a_client_that_goes_away_is_counted_as_cut_off(server, connection):
    server.reset(Behaviour(30.0))
    connection.request("POST", "/v1/chat/completions", json.dumps({"messages": [{"content": "a"}]}))
    until_s = time.monotonic() + 20
    while not server.stats()["in_flight"] and time.monotonic() < until_s:
        time.sleep(0.01)
    connection.close()
    while not server.stats()["cut"] and time.monotonic() < until_s:
        time.sleep(0.01)
    stats = server.stats()
    assert (stats["cut"], stats["in_flight"], stats["answers"], stats["peak_in_flight"]) == (1, 0, 0, 1)


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/v1/models", "{}", 404),
        ("/v1/chat/completions", "{", 400),
        ("/v1/chat/completions", '{"messages": []}', 400),
        ("/v1/chat/completions", '{"messages": [{"content": "a"}], "stream": true}', 400),
    ],
)
def test_what_it_does_not_speak_is_refused_and_not_counted(server, connection, path, body, status):
    server.reset(Behaviour(0.0))
    connection.request("POST", path, body)
    answer = connection.getresponse()
    answer.read()
    assert answer.status == status
    assert server.stats()["requests"] == 0


def test_the_same_seed_gives_the_same_faults_in_the_same_places():
    endpoints = [Endpoint(Behaviour(0.1, 0.5, FAULTS, seed=seed)) for seed in (1, 1, 2)]
    draws = [[found.drawn() for _ in range(200)] for found in endpoints]
    assert draws[0] == draws[1] != draws[2]


def test_faults_come_in_their_shares_and_latencies_have_their_median():
    found = Endpoint(Behaviour(0.1, 0.5, FAULTS))
    draws = [found.drawn() for _ in range(20_000)]
    shares = {code: sum(draw[0] == code for draw in draws) / len(draws) for code in (200, 429, 500)}
    assert shares == pytest.approx({200: 0.75, 429: 0.2, 500: 0.05}, abs=0.01)
    latencies_s = sorted(latency_s for code, latency_s in draws if code == 200)
    assert latencies_s[len(latencies_s) // 2] == pytest.approx(0.1, rel=0.05)


def test_a_fixed_latency_is_fixed():
    assert {Endpoint(Behaviour(0.25)).drawn() for _ in range(5)} == {(200, 0.25)}


def test_a_behaviour_survives_the_way_through_json():
    behaviour = Behaviour(0.1, 0.5, FAULTS, 1.0, 7)
    document = {name: getattr(behaviour, name) for name in behaviour.__dataclass_fields__}
    assert behaviour_of(json.loads(json.dumps(document))) == behaviour


@pytest.mark.parametrize("faults", [((429, 1.0),), ((429, 0.6), (500, 0.6)), ((429, -0.1),)])
def test_shares_that_leave_no_answers_are_refused(faults):
    with pytest.raises(ValueError, match="shares"):
        Behaviour(faults=faults)


@pytest.mark.parametrize(
    "arguments",
    [("--fault", "429"), ("--fault", "200:0.1"), ("--fault", "418:0.1"), ("--fault", "429:2")]
    + [("--latency", text) for text in ("fast", "lognormal:0.1", "normal:0.1,0.5", "-1")],
)
def test_arguments_that_mean_nothing_are_refused(arguments, capsys):
    with pytest.raises(SystemExit) as ended:
        main([f"{arguments[0]}={arguments[1]}"])
    assert ended.value.code == 2
    assert "expected" in capsys.readouterr().err


def test_it_ends_when_it_is_told_to():
    process = subprocess.Popen([sys.executable, str(endpoint.SERVER)], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline().startswith("http://127.0.0.1:")
    process.terminate()
    assert process.wait(timeout=20) == 0
    process.stdout.close()
