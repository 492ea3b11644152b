"""The short way to an OpenAI-compatible endpoint: the SDK's bytes over aiohttp, for a sixth of the SDK's work.

One core sends some 700 requests a second through the SDK and 5,000 through here, and the SDK's import alone takes half
a second. What goes out (path, query, body, the headers that mean something) is what the SDK would send; tests hold the
two side by side. Only the ordinary case comes here: `direct_is_enough` says what is left to the SDK.
"""

from __future__ import annotations

import asyncio
import json
import os
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode, urlsplit

from aigate import __version__

if TYPE_CHECKING:
    import aiohttp

__all__ = ["DirectClient", "HttpError", "Reply", "StreamEnd", "direct_is_enough"]

OWN_CERTIFICATES = ("SSL_CERT_FILE", "SSL_CERT_DIR")  # OpenSSL's own; with them nothing else is trusted
KEEP_ALIVE_S = 5.0  # as the SDK's client; a connection that idles longer may be closed by the server at any moment
FIRST = ("model", "stream", "messages", "input")  # the SDK writes these first, then all others by name


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole answer.

    Attributes:
        headers: By lower-case name.
        content: The body.
    """

    headers: Mapping[str, str]
    content: bytes


class HttpError(Exception):
    """The server answered with a status that is no success.

    Attributes:
        status_code: The HTTP status.
        headers: By lower-case name.
        body: What the error says: an object, or a text where it is no JSON.
    """

    def __init__(self, status_code: int, headers: Mapping[str, str], content: bytes) -> None:
        super().__init__(f"HTTP {status_code}")
        self.status_code = status_code
        self.headers = headers
        text = content.decode("utf-8", "replace")
        try:
            parsed = json.loads(text)
        except (ValueError, RecursionError):
            self.body: Any = text
        else:
            self.body = parsed.get("error", parsed) if isinstance(parsed, Mapping) else parsed
        self.message = text or f"Error code: {status_code}"


class StreamEnd(Exception):  # noqa: N818 - it is the end of a stream, told by the server
    """A stream that ended with an error event.

    Attributes:
        body: What the event says.
    """

    def __init__(self, body: Any) -> None:
        super().__init__("the stream ended with an error")
        self.body = body


def direct_is_enough(base_url: str, *, api_version: str, proxies: Mapping[str, str]) -> bool:
    """Whether the short way does what the SDK would: no Azure, no proxy on the way.

    Args:
        base_url: The endpoint.
        api_version: Azure's; empty anywhere else.
        proxies: By scheme, as `urllib.request.getproxies_environment` finds them; "no" names hosts without.
    """
    parts = urlsplit(base_url)
    proxied = any(proxies.get(scheme) for scheme in (parts.scheme, "all"))
    return (
        not api_version
        and parts.scheme in {"http", "https"}
        and (not proxied or _without_proxy(parts.hostname, proxies))
    )


def _without_proxy(host: str | None, proxies: Mapping[str, str]) -> bool:
    """Whether `no_proxy` names the host, or a domain above it."""
    listed = [name.strip().lstrip(".").lower() for name in proxies.get("no", "").split(",") if name.strip()]
    folded = (host or "").lower()
    return any(name == "*" or folded == name or folded.endswith(f".{name}") for name in listed)


class DirectClient:
    """A pool of connections to one endpoint. For one event loop.

    Args:
        url: Where to post.
        headers: Sent with each request.
        query: Sent with each request.
        connect_timeout_s: Seconds that connecting may take.
    """

    def __init__(
        self, url: str, *, headers: Mapping[str, str], query: Mapping[str, Any], connect_timeout_s: float
    ) -> None:
        import aiohttp
        from yarl import URL

        self._url = URL(f"{url}?{urlencode(query)}" if query else url, encoded=True)
        connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEP_ALIVE_S, ssl=_tls(url))
        self._session = aiohttp.ClientSession(
            connector=connector,
            headers={
                "Accept": "application/json",
                "Content-Type": "application/json",
                "User-Agent": f"aigate/{__version__}",
                **headers,
            },
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=connect_timeout_s),
            cookie_jar=aiohttp.DummyCookieJar(),
            raise_for_status=False,
            trust_env=False,
        )

    async def post(self, body: Mapping[str, Any]) -> Reply:
        """Post, and read the whole answer.

        Raises:
            HttpError: A status that is no success; redirects are none: the key is not carried elsewhere.
            aiohttp.ClientError, OSError: No connection, or one that broke.
        """
        async with self._answered(body) as answer:
            return Reply(_headers(answer), await answer.read())

    @asynccontextmanager
    async def stream(self, body: Mapping[str, Any]) -> AsyncIterator[tuple[Mapping[str, str], AsyncIterator[Any]]]:
        """Post, and read the answer's events as they arrive: the headers, and an iterator of parsed JSON.

        The iterator ends at `[DONE]`, or where the server ends.

        Raises:
            HttpError: As `post`.
            StreamEnd: The server sent an error as an event.
            ValueError: An event that is no JSON.
        """
        async with self._answered(body) as answer:
            yield _headers(answer), _events(answer.content)

    async def aclose(self) -> None:
        """Close every connection."""
        await self._session.close()
        await asyncio.sleep(0)  # aiohttp closes its transports on the next turn of the loop

    @asynccontextmanager
    async def _answered(self, body: Mapping[str, Any]) -> AsyncIterator[aiohttp.ClientResponse]:
        async with self._session.post(self._url, data=_encoded(body), allow_redirects=False) as answer:
            if not 200 <= answer.status < 300:
                raise HttpError(answer.status, _headers(answer), await answer.read())
            yield answer


def _encoded(body: Mapping[str, Any]) -> bytes:
    """The body as the SDK writes it."""
    order = [name for name in FIRST if name in body]
    order += sorted(name for name in body if name not in FIRST)
    ordered = {name: body[name] for name in order}
    return json.dumps(ordered, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()


def _headers(answer: aiohttp.ClientResponse) -> dict[str, str]:
    return {name.lower(): value for name, value in answer.headers.items()}


def _tls(url: str) -> ssl.SSLContext | bool:
    """Certificates that `SSL_CERT_FILE` or `SSL_CERT_DIR` name, else those of the system and those the SDK brings."""
    if urlsplit(url).scheme != "https":
        return True
    context = ssl.create_default_context()
    if not any(os.environ.get(name) for name in OWN_CERTIFICATES):
        with suppress(ImportError):
            import certifi

            context.load_verify_locations(cafile=certifi.where())
    return context


async def _events(content: aiohttp.StreamReader) -> AsyncIterator[Any]:
    """The data of each event, parsed; see the HTML standard, section 9.2.6."""
    data: list[str] = []
    async for line in _lines(content):
        if line:
            name, _, value = line.partition(":")
            if name == "data":
                data.append(value.removeprefix(" "))
            continue
        text, data = "\n".join(data), []
        if text.startswith("[DONE]"):
            async for _ in content.iter_any():  # the connection can be used again once all is read
                pass
            return
        if text:
            yield _event(text)


def _event(text: str) -> Any:
    found = json.loads(text)
    if isinstance(found, Mapping) and found.get("error"):
        raise StreamEnd(found["error"])
    return found


async def _lines(content: aiohttp.StreamReader) -> AsyncIterator[str]:
    """Lines as they arrive, ended by LF, CRLF or CR; what the last line end leaves over is no line."""
    rest = b""
    async for chunk in content.iter_any():
        rest += chunk
        end = len(rest) - rest.endswith(b"\r")  # after a CR at the end an LF may follow
        *lines, over = rest[:end].replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
        rest = over + rest[end:]
        for line in lines:
            yield line.decode("utf-8")
    if rest.endswith(b"\r"):
        yield rest[:-1].decode("utf-8")
