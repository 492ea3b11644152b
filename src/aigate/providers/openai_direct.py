"""The short way to an OpenAI-compatible endpoint: the SDK's bytes for a tenth of the SDK's work.

The SDK's import alone takes half a second, and one core sends some 700 requests a second through it. What goes out
(path, query, body, the headers that mean something) is what the SDK would send; tests hold the two side by side. Only
the ordinary case comes here: `direct_is_enough` says what is left to the SDK.
"""

from __future__ import annotations

import json
import os
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode, urlsplit

from aigate import __version__
from aigate.errors import ProviderConfigError
from aigate.providers.http1 import Answer, HttpPool

__all__ = ["DirectClient", "HttpError", "Reply", "StreamEnd", "direct_is_enough"]

OWN_CERTIFICATES = ("SSL_CERT_FILE", "SSL_CERT_DIR")  # OpenSSL's own; with them nothing else is trusted
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
    """Whether the short way does what the SDK would: no Azure, no proxy on the way, nothing unusual in the URL.

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
        and "@" not in parts.netloc
        and base_url.isascii()
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
        try:
            self._pool = HttpPool(
                f"{url}?{urlencode(query)}" if query else url,
                headers=_last_of_each(
                    {
                        "Accept": "application/json",
                        "Content-Type": "application/json",
                        "User-Agent": f"aigate/{__version__}",
                        **headers,
                    }
                ),
                connect_timeout_s=connect_timeout_s,
                tls=_tls(url),
            )
        except ValueError as error:
            raise ProviderConfigError(f"provider 'openai': {error}") from None

    async def post(self, body: Mapping[str, Any]) -> Reply:
        """Post, and read the whole answer.

        Raises:
            HttpError: A status that is no success; redirects are none: the key is not carried elsewhere.
            OSError: No connection, or one that broke.
            ValueError: What arrived is no HTTP.
        """
        status, headers, content = await self._pool.post_whole(_encoded(body))
        if not 200 <= status < 300:
            raise HttpError(status, headers, content)
        return Reply(headers, content)

    @asynccontextmanager
    async def stream(self, body: Mapping[str, Any]) -> AsyncIterator[tuple[Mapping[str, str], AsyncIterator[Any]]]:
        """Post, and read the answer's events as they arrive: the headers, and an iterator of parsed JSON.

        The iterator ends at `[DONE]`, or where the server ends.

        Raises:
            HttpError: As `post`.
            StreamEnd: The server sent an error as an event.
            ValueError: An event that is no JSON.
        """
        async with self._pool.post(_encoded(body)) as answer:
            if not 200 <= answer.status < 300:
                raise HttpError(answer.status, answer.headers, await answer.read())
            yield answer.headers, _events(answer)

    async def aclose(self) -> None:
        """Close every connection."""
        await self._pool.aclose()


def _encoded(body: Mapping[str, Any]) -> bytes:
    """The body as the SDK writes it."""
    order = [name for name in FIRST if name in body]
    order += sorted(name for name in body if name not in FIRST)
    ordered = {name: body[name] for name in order}
    return _ENCODER.encode(ordered).encode()


_ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def _last_of_each(headers: Mapping[str, str]) -> dict[str, str]:
    """One header of each name, however it is spelled: the last one given."""
    return dict({name.lower(): (name, value) for name, value in headers.items()}.values())


def _tls(url: str) -> ssl.SSLContext | None:
    """Certificates that `SSL_CERT_FILE` or `SSL_CERT_DIR` name, else those of the system and those the SDK brings."""
    if urlsplit(url).scheme != "https":
        return None
    context = ssl.create_default_context()
    if not any(os.environ.get(name) for name in OWN_CERTIFICATES):
        with suppress(ImportError):
            import certifi

            context.load_verify_locations(cafile=certifi.where())
    context.set_alpn_protocols(["http/1.1"])
    return context


async def _events(answer: Answer) -> AsyncIterator[Any]:
    """The data of each event, parsed; see the HTML standard, section 9.2.6."""
    data: list[str] = []
    async for line in _lines(answer):
        if line:
            name, _, value = line.partition(":")
            if name == "data":
                data.append(value.removeprefix(" "))
            continue
        text, data = "\n".join(data), []
        if text.startswith("[DONE]"):
            async for _ in answer.pieces():  # the connection can be used again once all is read
                pass
            return
        if text:
            yield _event(text)


def _event(text: str) -> Any:
    found = json.loads(text)
    if isinstance(found, Mapping) and found.get("error"):
        raise StreamEnd(found["error"])
    return found


async def _lines(answer: Answer) -> AsyncIterator[str]:
    """Lines as they arrive, ended by LF, CRLF or CR; what the last line end leaves over is no line."""
    rest = b""
    async for chunk in answer.pieces():
        rest += chunk
        end = len(rest) - rest.endswith(b"\r")  # after a CR at the end an LF may follow
        *lines, over = rest[:end].replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
        rest = over + rest[end:]
        for line in lines:
            yield line.decode("utf-8")
    if rest.endswith(b"\r"):
        yield rest[:-1].decode("utf-8")
