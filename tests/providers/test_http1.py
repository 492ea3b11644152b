"""The HTTP client: what a server may send, however it is cut, ends as the right answer or as an error."""

import asyncio
import gzip
import zlib

import pytest

from aigate.providers import http1
from aigate.providers.http1 import HttpPool, NotHttpError

OK = b"HTTP/1.1 200 OK\r\n"
SHORT = OK + b"Content-Length: 2\r\n\r\nhi"


class Scripted:
    """Answers the n-th request of all connections with the n-th script: bytes, or None to close the connection."""

    def __init__(self, *scripts, piece=1 << 20, close=False):
        self.scripts, self.piece, self.close = list(scripts), piece, close
        self.requests, self.connections, self.dropped = [], 0, asyncio.Event()

    async def __aenter__(self):
        self.server = await asyncio.start_server(self.serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self.server.sockets[0].getsockname()[1]}/v1/x"
        return self

    async def __aexit__(self, *error):
        self.server.close()

    async def serve(self, reader, writer):
        self.connections += 1
        try:
            while self.scripts:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
                self.requests.append(head + await reader.readexactly(length))
                if (script := self.scripts.pop(0)) is None:
                    break
                for start in range(0, len(script), self.piece):
                    writer.write(script[start : start + self.piece])
                    await writer.drain()
                    await asyncio.sleep(0)
                if self.close:
                    break
            else:
                await reader.read()
        except (asyncio.IncompleteReadError, ConnectionError):
            self.dropped.set()
        finally:
            writer.close()


def pool_of(server, **headers):
    return HttpPool(server.url, headers=headers, connect_timeout_s=10.0)


def posted(*scripts, piece=1 << 20, close=False, times=1):
    """What came of each post: (status, body), and the server that answered."""

    async def run():
        async with Scripted(*scripts, piece=piece, close=close) as server:
            pool = pool_of(server)
            try:
                found = [await pool.post_whole(b"{}") for _ in range(times)]
            finally:
                await pool.aclose()
            return [(status, body) for status, _, body in found], server

    return asyncio.run(asyncio.wait_for(run(), 30))


READABLE = {
    "length": (SHORT, b"hi"),
    "empty": (OK + b"Content-Length: 0\r\n\r\n", b""),
    "chunks": (OK + b"Transfer-Encoding: chunked\r\n\r\n1\r\nh\r\n1;x=y\r\ni\r\n0\r\nTrailer: 1\r\n\r\n", b"hi"),
    "go on first": (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\nLink: x\r\n\r\n" + SHORT, b"hi"),
    "gzip": (OK + b"content-encoding: gzip\r\nContent-Length: 22\r\n\r\n" + gzip.compress(b"hi"), b"hi"),
    "deflate": (OK + b"Content-Encoding: deflate\r\nContent-Length: 10\r\n\r\n" + zlib.compress(b"hi"), b"hi"),
}


@pytest.mark.parametrize("piece", [1, 3, 1 << 20])
@pytest.mark.parametrize(("script", "body"), READABLE.values(), ids=READABLE)
def test_an_answer_is_read_however_it_is_cut_and_the_connection_used_again(script, body, piece):
    found, server = posted(script, script, piece=piece, times=2)
    assert found == [(200, body)] * 2
    assert server.connections == 1


@pytest.mark.parametrize("piece", [1, 1 << 20])
def test_an_answer_without_a_length_ends_with_the_connection(piece):
    found, server = posted(OK + b"\r\nhi", SHORT, piece=piece, close=True, times=2)
    assert found == [(200, b"hi")] * 2
    assert server.connections == 2


@pytest.mark.parametrize("script", [b"HTTP/1.0 200 OK\r\n", OK + b"Connection: close\r\n"], ids=["1.0", "close"])
def test_a_connection_that_ends_is_not_used_again(script):
    found, server = posted(script + b"Content-Length: 2\r\n\r\nhi", SHORT, times=2)
    assert found == [(200, b"hi")] * 2
    assert server.connections == 2


UNREADABLE = {
    "no HTTP": b"SSH-2.0-OpenSSH\r\n",
    "another protocol": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: upgrade\r\n\r\n",
    "two lengths": OK + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\nhi",
    "length and chunks": OK + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\nhi",
    "unknown encoding": OK + b"Content-Encoding: br\r\nContent-Length: 2\r\n\r\nhi",
    "no gzip": OK + b"Content-Encoding: gzip\r\nContent-Length: 2\r\n\r\nhi",
    "half of a gzip": OK + b"Content-Encoding: gzip\r\nContent-Length: 12\r\n\r\n" + gzip.compress(b"hi")[:12],
    "two answers": OK + b"Content-Length: 2\r\n\r\nhiHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nho",
    "endless head": OK + b"X: " + b"x" * 300_000,
}


@pytest.mark.parametrize("name", UNREADABLE)
def test_what_is_no_answer_is_an_error_and_its_connection_is_closed(name):
    async def run():
        async with Scripted(UNREADABLE[name], SHORT) as server:
            pool = pool_of(server)
            try:
                if name == "two answers":  # the first is whole; the second must not be taken for that of the next post
                    assert (await pool.post_whole(b"{}"))[2] == b"hi"
                else:
                    with pytest.raises(NotHttpError):
                        await pool.post_whole(b"{}")
                assert (await pool.post_whole(b"{}"))[2] == b"hi"
            finally:
                await pool.aclose()
            assert server.connections == 2

    asyncio.run(asyncio.wait_for(run(), 30))


@pytest.mark.parametrize(
    ("script", "said"),
    [
        (None, "without an answer"),
        (OK + b"Content-Length: 3\r\n\r\nhi", "in the middle"),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n", "in the middle"),
    ],
    ids=["nothing", "short", "no last chunk"],
)
def test_an_answer_that_breaks_off_is_never_a_shorter_answer(script, said):
    with pytest.raises(ConnectionError, match=said):
        posted(script, close=True)


def test_an_answer_larger_than_the_limit_is_refused_also_when_it_was_small_on_the_way(monkeypatch):
    monkeypatch.setattr(http1, "MOST_BODY_BYTES", 1000)
    bomb = gzip.compress(b"x" * 100_000)
    with pytest.raises(NotHttpError, match="larger"):
        posted(OK + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(bomb) + bomb)


def test_a_connection_that_rested_too_long_is_not_used_again(monkeypatch):
    monkeypatch.setattr(http1, "KEEP_ALIVE_S", -1.0)
    found, server = posted(SHORT, SHORT, times=2)
    assert [body for _, body in found] == [b"hi"] * 2
    assert server.connections == 2


def test_a_connection_that_the_server_closed_while_it_rested_is_not_used_again():
    async def run():
        async with Scripted(SHORT, SHORT, close=True) as server:
            pool = pool_of(server)
            await pool.post_whole(b"{}")
            (connection, _), *_ = pool._idle
            await connection.lost
            assert (await pool.post_whole(b"{}"))[2] == b"hi"
            await pool.aclose()

    asyncio.run(asyncio.wait_for(run(), 30))


def test_a_post_that_is_cancelled_closes_its_connection():
    async def run():
        async with Scripted(OK + b"Content-Length: 9\r\n\r\nhi", SHORT) as server:
            pool = pool_of(server)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.2):
                    await pool.post_whole(b"{}")
            await asyncio.wait_for(server.dropped.wait(), 20)
            await pool.aclose()

    asyncio.run(run())


def test_a_body_is_read_in_pieces_as_it_arrives_and_what_is_left_unread_is_not_kept_for_the_next():
    async def run():
        async with Scripted(SHORT, OK + b"Content-Length: 4\r\n\r\nab", SHORT, piece=1) as server:
            pool = pool_of(server)
            async with pool.post(b"{}") as answer:
                assert b"".join([piece async for piece in answer.pieces()]) == b"hi"
            async with pool.post(b"{}") as answer:
                assert await anext(answer.pieces()) in {b"a", b"ab"}
            assert (await pool.post_whole(b"{}"))[2] == b"hi"
            assert server.connections == 2
            await pool.aclose()

    asyncio.run(asyncio.wait_for(run(), 30))


@pytest.mark.parametrize(
    ("url", "line", "host"),
    [
        ("http://a.example/v1/x", b"POST /v1/x HTTP/1.1", b"a.example"),
        ("http://a.example:80", b"POST / HTTP/1.1", b"a.example"),
        ("http://a.example:8080/a b/%20?q=1", b"POST /a%20b/%20?q=1 HTTP/1.1", b"a.example:8080"),
        ("https://[::1]:443/v1", b"POST /v1 HTTP/1.1", b"[::1]"),
    ],
)
def test_the_request_names_target_and_host(url, line, host):
    pool = HttpPool(url, headers={"X-Own": "é"}, connect_timeout_s=1.0)
    first, *rest = pool._head.split(b"\r\n")
    assert first == line
    assert b"Host: " + host in rest
    assert "X-Own: é".encode() in rest


@pytest.mark.parametrize("headers", [{"X": "a\r\nEvil: 1"}, {"X\r\nEvil": "1"}, {"": "1"}, {"a b": "1"}])
def test_a_header_that_would_write_another_is_refused_without_its_value(headers):
    with pytest.raises(ValueError, match="header") as caught:
        HttpPool("http://a.example/", headers=headers, connect_timeout_s=1.0)
    assert "Evil: 1" not in str(caught.value)


def test_a_server_that_nobody_runs_is_an_os_error():
    async def run():
        async with Scripted() as server:
            url = server.url
        pool = HttpPool(url, headers={}, connect_timeout_s=10.0)
        with pytest.raises(OSError, match="refused|failed"):
            await pool.post_whole(b"{}")
        await pool.aclose()

    asyncio.run(run())
