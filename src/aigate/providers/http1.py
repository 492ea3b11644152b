"""A small HTTP/1.1 client: posts to one place, over connections that are kept open; the parsing is httptools'.

General clients spend three times as long on a request: sessions, redirects, cookies, middleware. None of that is wanted
here: a redirect is an answer like any other, and nothing is retried, so that every call is counted by who makes it.
"""

from __future__ import annotations

import asyncio
import ssl
import zlib
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from ipaddress import ip_address
from typing import Any, NoReturn
from urllib.parse import quote, urlsplit

__all__ = ["Answer", "HttpPool", "NotHttpError"]

KEEP_ALIVE_S = 5.0  # as the SDK's client; a connection that idles longer may be closed by the server at any moment
ADDRESS_DELAY_S = 0.25  # until the next address of a host is tried beside the first (RFC 8305, section 5)
MOST_BODY_BYTES = 256 << 20  # an answer that is larger is no answer, and would take all memory
MOST_HEAD_BYTES = 256 << 10
ENCODINGS = {"gzip": 16 + zlib.MAX_WBITS, "x-gzip": 16 + zlib.MAX_WBITS, "deflate": zlib.MAX_WBITS}
DEFAULT_PORTS = {"http": 80, "https": 443}


class NotHttpError(ValueError):
    """What arrived is no HTTP that can be read."""


class Answer:
    """A status and headers; the body is read as it arrives.

    Attributes:
        status: The HTTP status.
        headers: By lower-case name; several of one name are joined by a comma.
    """

    def __init__(self, connection: _Connection) -> None:
        self._connection = connection
        self.status = connection.status
        self.headers: Mapping[str, str] = connection.headers

    async def read(self) -> bytes:
        """The whole body, or what of it was not read yet.

        Raises:
            OSError: The connection broke before its end.
            NotHttpError: What arrives is no HTTP.
        """
        while not self._connection.complete:
            await self._connection.more(whole=True)
        return self._connection.taken()

    async def pieces(self) -> AsyncIterator[bytes]:
        """The body in pieces, as they arrive.

        Raises:
            OSError, NotHttpError: As `read`.
        """
        while True:
            if piece := self._connection.taken():
                yield piece
            elif self._connection.complete:
                return
            else:
                await self._connection.more(whole=False)


class HttpPool:
    """Connections to one server, which are used again. For one event loop.

    Args:
        url: Where to post; http or https, without user and fragment.
        headers: Sent with each request.
        connect_timeout_s: Seconds that connecting may take.
        tls: For https.

    Raises:
        ValueError: A header that HTTP cannot carry; its value is not told.
    """

    def __init__(
        self, url: str, *, headers: Mapping[str, str], connect_timeout_s: float, tls: ssl.SSLContext | None = None
    ) -> None:
        parts = urlsplit(url)
        self._host, self._tls = parts.hostname or "", tls
        self._port = parts.port or DEFAULT_PORTS[parts.scheme]
        self._connect_timeout_s = connect_timeout_s
        self._address_delay_s = None if _is_address(self._host) else ADDRESS_DELAY_S
        host = f"[{self._host}]" if ":" in self._host else self._host
        own = {
            "Host": host if self._port == DEFAULT_PORTS[parts.scheme] else f"{host}:{self._port}",
            "Accept-Encoding": "gzip, deflate",
            "Connection": "keep-alive",
        }
        target = quote(parts.path or "/", safe="/%:@!$&'()*+,;=~") + (f"?{parts.query}" if parts.query else "")
        self._head = f"POST {target} HTTP/1.1\r\n".encode() + _written({**own, **headers})
        self._idle: list[tuple[_Connection, float]] = []
        self._all: set[_Connection] = set()

    @asynccontextmanager
    async def post(self, body: bytes) -> AsyncIterator[Answer]:
        """Post, and give the answer once its head is here. Leaving it before its end closes the connection.

        Raises:
            OSError: No connection, or it broke.
            NotHttpError: What arrives is no HTTP.
        """
        connection = await self._sent(body)
        try:
            while not connection.headed:
                await connection.more(whole=False)
            yield Answer(connection)
        finally:
            self._done(connection)

    async def post_whole(self, body: bytes) -> tuple[int, Mapping[str, str], bytes]:
        """Post, and read the whole answer: status, headers by lower-case name, body.

        Raises:
            OSError, NotHttpError: As `post`.
        """
        connection = await self._sent(body)
        try:
            while not connection.complete:
                await connection.more(whole=True)
            return connection.status, connection.headers, connection.taken()
        finally:
            self._done(connection)

    async def aclose(self) -> None:
        """Close every connection, also those in use."""
        self._idle.clear()
        everyone, self._all = self._all, set()
        for connection in everyone:
            with suppress(RuntimeError):  # its event loop is closed, and the connection with it
                connection.close()
        loop = asyncio.get_running_loop()
        if lost := [connection.lost for connection in everyone if connection.lost.get_loop() is loop]:
            await asyncio.wait(lost, timeout=1.0)  # a closed transport is let go on the next turns of the loop

    async def _sent(self, body: bytes) -> _Connection:
        connection = self._rested() or await self._connected()
        try:
            connection.begin(b"%bContent-Length: %d\r\n\r\n%b" % (self._head, len(body), body))
        except BaseException:
            connection.close()
            raise
        return connection

    def _rested(self) -> _Connection | None:
        """The connection that was used last, where one is still good."""
        while self._idle:
            connection, since_s = self._idle.pop()
            if connection.usable and asyncio.get_running_loop().time() - since_s < KEEP_ALIVE_S:
                return connection
            connection.close()
        return None

    async def _connected(self) -> _Connection:
        self._all = {connection for connection in self._all if not connection.lost.done()}
        try:
            async with asyncio.timeout(self._connect_timeout_s):
                _, connection = await asyncio.get_running_loop().create_connection(
                    _Connection,
                    self._host,
                    self._port,
                    ssl=self._tls,
                    server_hostname=self._host if self._tls is not None else None,
                    happy_eyeballs_delay=self._address_delay_s,
                )
        except TimeoutError:
            raise ConnectionError(f"no connection within {self._connect_timeout_s:g} s") from None
        self._all.add(connection)
        return connection

    def _done(self, connection: _Connection) -> None:
        if connection.complete and connection.usable:
            self._idle.append((connection, asyncio.get_running_loop().time()))
        else:
            connection.close()


class _Connection(asyncio.Protocol):
    """One connection: one request, then its answer, then the next request.

    Attributes:
        status: That of the answer, once `headed`.
        headers: Likewise.
        headed: True once the answer's head is here.
        complete: True once all of the answer is here, and before the first request.
        lost: Done once the connection is closed.
    """

    def __init__(self) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self.headed = self.complete = True
        self.lost = asyncio.get_running_loop().create_future()
        self._transport: Any = None
        self._parser: Any = None
        self._keeps_open = True
        self._error: Exception | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._wants_whole = False
        self._pieces: list[bytes] = []
        self._decompress: Any = None
        self._head_bytes = self._body_bytes = self._compressed_bytes = 0

    @property
    def usable(self) -> bool:
        """True while another request may be sent."""
        return self._keeps_open and self._error is None and not self._transport.is_closing()

    def begin(self, request: bytes) -> None:
        """Send a request."""
        from httptools import HttpResponseParser

        self.status, self.headers, self._pieces = 0, {}, []
        self.headed = self.complete = False
        self._decompress, self._head_bytes, self._body_bytes, self._compressed_bytes = None, 0, 0, 0
        if self._parser is None:
            self._parser = HttpResponseParser(self)
        self._transport.write(request)

    def taken(self) -> bytes:
        """What arrived of the body since the last time."""
        pieces, self._pieces = self._pieces, []
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    async def more(self, *, whole: bool) -> None:
        """Wait until more is here, or until all is.

        Raises:
            OSError, NotHttpError: No more will come.
        """
        if self._error is not None:
            raise self._error
        self._wants_whole = whole
        self._waiter = asyncio.get_running_loop().create_future()
        await self._waiter
        if self._error is not None and not self.complete:
            raise self._error

    def close(self) -> None:
        """Close it at once."""
        self._keeps_open = False
        if self._transport is not None:
            self._transport.abort()

    # --- what the event loop calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        if self.complete:  # nobody asked: whatever it is, it must not be taken for the next answer
            self.close()
            return
        if not self.headed:
            self._head_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except Exception as error:  # noqa: BLE001 - the parser's own kinds, and what the callbacks below raise
            self._fail(self._error or NotHttpError(str(error) or type(error).__name__))
            return
        if not self.headed and self._head_bytes > MOST_HEAD_BYTES:
            self._fail(NotHttpError("the head of the answer does not end"))
        else:
            self._tell()

    def connection_lost(self, error: Exception | None) -> None:
        if not self.lost.done():
            self.lost.set_result(None)
        if not self.complete and self._error is None:
            ends_here = self.headed and not {"content-length", "transfer-encoding"} & self.headers.keys()
            if error is None and ends_here:
                with suppress(NotHttpError):  # noted
                    self._end()
            else:
                when = "in the middle of its answer" if self.headed else "without an answer"
                self._error = error or ConnectionError(f"the server closed the connection {when}")
        self._keeps_open = False
        self._wake()

    # --- what the parser calls

    def on_message_begin(self) -> None:
        if self.complete:
            self._refuse("a second answer follows the first")

    def on_header(self, name: bytes, value: bytes) -> None:
        key, text = name.decode("latin-1").lower(), value.decode("latin-1")
        self.headers[key] = f"{self.headers[key]}, {text}" if key in self.headers else text

    def on_headers_complete(self) -> None:
        self.status = self._parser.get_status_code()
        if self.status == 101:
            self._refuse("the server switches to another protocol")
        if self.status < 200:
            return
        encoding = self.headers.get("content-encoding", "identity").strip().lower()
        if encoding in ENCODINGS:
            self._decompress = zlib.decompressobj(ENCODINGS[encoding])
        elif encoding not in {"identity", ""}:
            self._refuse(f"the answer has the content encoding {encoding!r}, which was not asked for")
        self.headed = True

    def on_body(self, body: bytes) -> None:
        if self._decompress is not None:
            self._compressed_bytes += len(body)
            body = self._decompressed(body)
        self._body_bytes += len(body)
        if self._body_bytes > MOST_BODY_BYTES:
            self._refuse(f"the answer is larger than {MOST_BODY_BYTES >> 20} MiB")
        if body:
            self._pieces.append(body)

    def on_message_complete(self) -> None:
        if self.status < 200:  # "go on", "early hints": the answer comes after it
            self.headers, self._head_bytes = {}, 0
            return
        self._keeps_open = self._keeps_open and self._parser.should_keep_alive()
        self._end()

    def _decompressed(self, body: bytes) -> bytes:
        try:
            return bytes(self._decompress.decompress(body, MOST_BODY_BYTES + 1))
        except zlib.error as error:
            self._refuse(f"the compressed answer is damaged: {error}")

    def _end(self) -> None:
        if self._decompress is not None and not self._decompress.eof and self._compressed_bytes:
            self._refuse("the compressed answer breaks off")
        self.complete = True

    def _refuse(self, message: str) -> NoReturn:
        """Tell the parser to stop; what it makes of the error does not say what this one says."""
        self._error = NotHttpError(message)
        raise self._error

    def _tell(self) -> None:
        """Wake who waits, where what they wait for is here."""
        if self.complete or not self._wants_whole:
            self._wake()

    def _fail(self, error: Exception) -> None:
        if self._error is None:
            self._error = error
        self.close()
        self._wake()

    def _wake(self) -> None:
        if (waiter := self._waiter) is not None:
            self._waiter = None
            if not waiter.done():
                waiter.set_result(None)


def _is_address(host: str) -> bool:
    """True for an address: there is no other one to race, and a race that is cancelled leaves its socket open."""
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def _written(headers: Mapping[str, str]) -> bytes:
    """The header lines.

    Raises:
        ValueError: A header that HTTP cannot carry; see RFC 9110, section 5.
    """
    for name, value in headers.items():
        if not name or not all(letter.isascii() and (letter.isalnum() or letter in _TOKEN) for letter in name):
            raise ValueError(f"'{name}' is no name of an HTTP header")
        if any(letter in value for letter in "\r\n\0"):
            raise ValueError(f"the HTTP header '{name}' holds a line break")
    return "".join(f"{name}: {value}\r\n" for name, value in headers.items()).encode()


_TOKEN = "!#$%&'*+-.^_`|~"  # noqa: S105 - the marks of RFC 9110, section 5.6.2
