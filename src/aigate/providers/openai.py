"""`OpenAIProvider`: any endpoint that speaks OpenAI's API.

Ordinary requests go out over `aigate.providers.openai_direct`, which sends what the SDK would; to Azure and over a
proxy the SDK itself is used, and `transport = "sdk"` sends everything through it. The SDK's own retries are off: the
runner retries, so that every attempt is counted. Every failure is a `CallError` whose kind says who is to blame; a
stream that breaks off is a failure, never a shorter answer.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import math
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from functools import cache, cached_property
from ipaddress import ip_address
from typing import Any, Literal, NoReturn, TypeVar, cast, get_args
from urllib.parse import parse_qsl, urlsplit, urlunsplit
from urllib.request import getproxies_environment

from aigate.core.digest import canonical_json, sha256_text
from aigate.core.registry import nearest
from aigate.core.response import FaultKind, Response
from aigate.core.vectors import Vector, refuse_unsound, unpacked, vectors_text
from aigate.core.version import VersionId
from aigate.errors import CallError, ProviderConfigError
from aigate.providers.base import ProviderSettings, RateLimits, Request
from aigate.providers.openai_direct import DirectClient, HttpError, StreamEnd, direct_is_enough

__all__ = ["Endpoint", "OpenAIProvider", "from_settings"]

ADAPTER_VERSION = 1
OPENAI_BASE_URL = "https://api.openai.com/v1"
DEFAULT_MODEL = "{model}-{provider_version}"
CONNECT_TIMEOUT_S = 10.0
MESSAGE_LIMIT = 500  # characters of a provider's message that are kept

OPTIONS = (
    "api",
    "api-key-env",
    "api-version",
    "base-url",
    "default-headers",
    "default-query",
    "model",
    "organization",
    "project",
    "stream",
    "transport",
)
RESERVED_PARAMETERS = frozenset(
    {"extra_body", "extra_headers", "extra_query", "input", "messages", "model", "stream", "stream_options", "timeout"}
)
FILTER_CODES = frozenset({"content_filter", "content_policy_violation", "responsibleaipolicyviolation"})
_STREAMING = frozenset({"stream", "stream_options"})
QUOTA_CODES = frozenset({"insufficient_quota", "billing_hard_limit_reached", "billing_not_active"})

Api = Literal["chat", "responses", "embeddings"]
Transport = Literal["auto", "direct", "sdk"]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where to ask, and as whom.

    Attributes:
        model: The model name to request.
        base_url: The API's base URL.
        key: The key; never shown.
        key_origin: The environment variable it came from, for messages.
        api: Chat Completions, Responses, or Embeddings.
        stream: Whether answers are streamed: only then the time to the first token is known.
        api_version: Azure's; empty anywhere else.
        organization: Sent as a header; empty for none.
        project: Sent as a header; empty for none.
        headers: Extra headers; may hold secrets, never shown.
        query: Extra query parameters; never shown.
        transport: Over the SDK, past it, or past it where that does the same.
    """

    model: str
    base_url: str = OPENAI_BASE_URL
    key: str = field(default="", repr=False)
    key_origin: str = ""
    api: Api = "chat"
    stream: bool = True
    api_version: str = ""
    organization: str = ""
    project: str = ""
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    query: Mapping[str, Any] = field(default_factory=dict, repr=False)
    transport: Transport = "auto"


class OpenAIProvider:
    """Asks an OpenAI-compatible endpoint.

    Request parameters go out as they are. Those that the SDK's method does not know by name go into the body too. For
    the Responses API, `max_tokens` and `max_completion_tokens` become `max_output_tokens`; nothing else is renamed.
    The Embeddings API gets the text of each message, and its answer's output is their vectors
    (`aigate.core.vectors.vectors_in`): one for each text, in order, sound, or else the answer is a bad one.
    Proxies and certificates are those of the SDK's HTTP client.

    Args:
        endpoint: Where to ask.
        clock: Seconds that only grow.
        now: Seconds since the epoch, to read a `Retry-After` that is a date.

    Attributes:
        rate_limits: What the server said last about its limits; None where it said nothing.
    """

    name = "openai"

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        clock: Callable[[], float] = time.perf_counter,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.endpoint = endpoint
        self.rate_limits: RateLimits | None = None
        self._clock = clock
        self._now = now
        self._client: Any = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._framed_for: Mapping[str, Any] | None = None
        self._frame: Mapping[str, Any] = {}

    def describe(self) -> Mapping[str, Any]:
        """Name, adapter version, API, model requested, base URL without credentials and query, streamed or not."""
        whole = {
            "name": self.name,
            "adapter": ADAPTER_VERSION,
            "api": self.endpoint.api,
            "model": self.endpoint.model,
            "base_url": _shown_url(self.endpoint.base_url),
            "stream": self.endpoint.stream,
        }
        return {**whole, "api_version": self.endpoint.api_version} if self.endpoint.api_version else whole

    def journal_identity(self, request: Request) -> Mapping[str, Any]:
        """All that decides the answer: endpoint, request body, and extra headers and query (headers by their digest).

        Whether the answer is streamed does not decide it.
        """
        body = {name: value for name, value in self._body(request).items() if name not in _STREAMING}
        return {**self._asked_of, "body": body}

    async def respond(self, request: Request) -> Response:
        """Ask once; the whole attempt, to the last byte of a stream, has `request.timeout_s` seconds.

        Raises:
            CallError: No answer, with the kind of fault and, where the server named one, the time to wait.
            ProviderConfigError: A parameter that is the provider's own (`model`, `messages`, ...) or is no JSON.
        """
        body = self._body(request)
        client = await self._connected()
        try:
            async with asyncio.timeout(request.timeout_s):
                return await self._asked(client, body, timeout_s=request.timeout_s)
        except TimeoutError:
            message = f"no whole answer within {request.timeout_s:g} s"
            raise CallError(message, kind=FaultKind.TIMEOUT) from None

    async def aclose(self) -> None:
        """Give back connections. A later `respond` opens new ones."""
        client, self._client, self._loop = self._client, None, None
        if isinstance(client, DirectClient):
            await client.aclose()
        elif client is not None:
            await client.close()

    @cached_property
    def _asked_of(self) -> Mapping[str, Any]:
        """The part of the journal's identity that is the same for all requests."""
        endpoint = self.endpoint
        return {
            "provider": self.name,
            "adapter": ADAPTER_VERSION,
            "api": endpoint.api,
            "base_url": _shown_url(endpoint.base_url),
            "api_version": endpoint.api_version,
            "query": {name: str(value) for name, value in endpoint.query.items()},
            "headers": {name.lower(): sha256_text(value) for name, value in endpoint.headers.items()},
        }

    def _body(self, request: Request) -> dict[str, Any]:
        """The request's body. A run has one mapping of parameters: what follows from it is checked and made once."""
        if self._framed_for is not request.parameters:
            self._frame = _frame(request.parameters, self.endpoint)
            self._framed_for = request.parameters
        messages = [dict(message) for message in request.messages]
        if self.endpoint.api == "responses":
            return {**self._frame, "input": [_input_item(message) for message in messages]}
        if self.endpoint.api == "embeddings":
            return {**self._frame, "input": [_text_of(message) for message in messages]}
        return {**self._frame, "messages": messages}

    async def _connected(self) -> Any:
        # A pool of connections belongs to the event loop it was made on.
        loop = asyncio.get_running_loop()
        if self._client is None or self._loop is not loop:
            if isinstance(self._client, DirectClient):
                await self._client.aclose()
            self._client, self._loop = _new_client(self.endpoint), loop
        return self._client

    async def _asked(self, client: Any, body: Mapping[str, Any], *, timeout_s: float) -> Response:
        if isinstance(client, DirectClient):
            return await self._asked_directly(client, body)
        return await self._asked_through_sdk(client, _arguments(body, self.endpoint), timeout_s=timeout_s)

    async def _asked_directly(self, client: DirectClient, body: Mapping[str, Any]) -> Response:
        try:
            return await self._answered_directly(client, body)
        except CallError as error:
            raise self._without_secrets(error) from None
        except HttpError as error:
            self._note_limits(error.headers)
            raise self._without_secrets(_status_fault(error, self.endpoint, error.headers, now_s=self._now())) from None
        except StreamEnd as error:
            raise self._without_secrets(_stream_fault(error.body)) from None
        except (ValueError, RecursionError) as error:
            raise self._without_secrets(_unreadable(error)) from None
        except Exception as error:
            if not isinstance(error, OSError) and not _is_transport_error(error):
                raise
            raise self._without_secrets(_connection_fault(error, self.endpoint)) from None

    async def _answered_directly(self, client: DirectClient, body: Mapping[str, Any]) -> Response:
        watch = _Watch(self._clock, self._clock())
        if not self.endpoint.stream:
            reply = await client.post(body)
            watch.stop()
            self._note_limits(reply.headers)
            return self._whole(reply.content, body, watch)
        chat = self.endpoint.api == "chat"
        async with client.stream(body) as (headers, events):
            self._note_limits(headers)
            return await (_chat_stream(events, watch) if chat else _responses_stream(events, watch))

    def _note_limits(self, headers: Mapping[str, str]) -> None:
        self.rate_limits = _rate_limits(headers) or self.rate_limits

    async def _asked_through_sdk(self, client: Any, arguments: Mapping[str, Any], *, timeout_s: float) -> Response:
        import openai

        # The SDK's timeouts are per read, which a trickling stream never trips: only connecting is left to it.
        timeout = openai.Timeout(None, connect=min(CONNECT_TIMEOUT_S, timeout_s / 2))
        try:
            return await self._answered(_method(client, self.endpoint.api), arguments, timeout)
        except CallError as error:
            raise self._without_secrets(error) from None
        except openai.OpenAIError as error:
            self._note_limits(getattr(getattr(error, "response", None), "headers", {}))
            raise self._without_secrets(_sdk_fault(error, self.endpoint, now_s=self._now())) from None
        except OSError as error:  # SDKs before 2 let errors of the socket through in the middle of a stream
            raise self._without_secrets(_connection_fault(error, self.endpoint)) from None
        except (ValueError, RecursionError) as error:
            raise self._without_secrets(_unreadable(error)) from None
        except Exception as error:
            if not _is_transport_error(error):
                raise
            raise self._without_secrets(_connection_fault(error, self.endpoint)) from None

    async def _answered(self, method: Any, arguments: Mapping[str, Any], timeout: Any) -> Response:
        from openai import AsyncStream

        watch = _Watch(self._clock, self._clock())
        # Raw: the SDK's models are built on first use, for 0.4 s in the middle of a timed answer, and check nothing.
        raw = await method(**arguments, timeout=timeout)
        self._note_limits(raw.headers)
        if not self.endpoint.stream:
            watch.stop()
            return self._whole(raw.content, arguments, watch)
        chat = self.endpoint.api == "chat"
        async with raw.parse(to=AsyncStream[object]) as events:
            return await (_chat_stream(events, watch) if chat else _responses_stream(events, watch))

    def _whole(self, content: bytes, asked: Mapping[str, Any], watch: _Watch) -> Response:
        """An answer that was not streamed."""
        body = _json_body(content)
        if self.endpoint.api == "embeddings":
            return _embeddings_response(body, asked, watch)
        return _chat_response(body, watch) if self.endpoint.api == "chat" else _responses_response(body, watch)

    def _without_secrets(self, error: CallError) -> CallError:
        """The error, with the key and secret headers blotted out, which some servers echo."""
        message = error.message
        for secret in (self.endpoint.key, *self.endpoint.headers.values()):
            if len(secret) >= 6:
                message = message.replace(secret, "[secret]")
        return CallError(message, kind=error.kind, retry_after_s=error.retry_after_s, hint=error.hint)


def from_settings(settings: ProviderSettings) -> OpenAIProvider:
    """Make the provider from its options.

    Options: `api` ("chat", "responses", or "embeddings" for texts as vectors), `model` (a template of {model},
    {provider_version}, {prompt_version}), `base-url` (else AIGATE_BASE_URL, OPENAI_BASE_URL), `api-key-env` (the
    variable that holds the key; "" for a server without keys), `stream`, `organization`, `project`, `api-version`
    (Azure), `default-headers` (values may be "env:NAME"), `default-query`, `transport` ("auto", "direct" or "sdk"). The
    environment is `settings.environ`, never the process's own; only proxies and certificates are looked for there, as
    the SDK's HTTP client does it.

    Raises:
        ProviderConfigError: An unknown option, a wrong value, or no key.
    """
    settings.only("openai", *OPTIONS)
    options = settings.options
    api = options.get("api", "chat")
    if api not in get_args(Api):
        raise _wrong_option("api", api, '"chat", "responses" or "embeddings"')
    base_url, given = _base_url(settings)
    key, origin = _key(settings, base_url=base_url if given else "")
    return OpenAIProvider(
        Endpoint(
            model=_model(_text_option(options, "model", DEFAULT_MODEL), settings.version),
            base_url=base_url,
            key=key,
            key_origin=origin,
            api=cast("Api", api),
            stream=_stream(options) and api != "embeddings",  # vectors come all at once
            api_version=_text_option(options, "api-version", ""),
            organization=_text_option(options, "organization", ""),
            project=_text_option(options, "project", ""),
            headers=_headers(settings),
            query=_query(options),
            transport=_transport(options),
        )
    )


def _model(template: str, version: VersionId) -> str:
    known = {
        "model": version.model,
        "provider_version": version.provider_version,
        "prompt_version": version.prompt_version,
    }
    for name in re.findall(r"\{([^{}]*)\}", template):
        if name not in known:
            raise ProviderConfigError(
                f"provider 'openai': option 'model': unknown placeholder {{{name}}} in {template!r}",
                hint=nearest(name, known, kind="placeholders"),
            )
    requested = re.sub(r"\{([^{}]*)\}", lambda found: known[found[1]], template)
    if not requested.strip():
        raise _wrong_option("model", template, "a model name or a template of one")
    return requested


def _base_url(settings: ProviderSettings) -> tuple[str, bool]:
    """The base URL, and whether somebody gave it."""
    environ = settings.environ
    given = _text_option(settings.options, "base-url", "")
    given = given or environ.get("AIGATE_BASE_URL", "") or environ.get("OPENAI_BASE_URL", "")
    if not given:
        return OPENAI_BASE_URL, False
    try:
        parts = urlsplit(given)
        sound = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        sound = False
    if not sound:
        raise _wrong_option("base-url", _shown_url(given), "a URL with http or https and a host")
    return given, True


def _key(settings: ProviderSettings, *, base_url: str) -> tuple[str, str]:
    """The key and the variable it came from; "none" for a server without keys."""
    name = settings.options.get("api-key-env", "OPENAI_API_KEY")
    if not isinstance(name, str):
        raise _wrong_option("api-key-env", name, "the name of an environment variable, or an empty string")
    if not name:
        if base_url and urlsplit(base_url).hostname != urlsplit(OPENAI_BASE_URL).hostname:
            return "none", ""
        raise ProviderConfigError(
            "provider 'openai': api-key-env is empty, but the endpoint needs a key",
            hint="name the variable that holds the key, or set base-url to a server without keys",
        )
    key = settings.environ.get(name, "").strip()
    if not key:
        raise ProviderConfigError(f"provider 'openai': {name} is not set", hint=_key_hint(name, base_url))
    if not (key.isascii() and key.isprintable()):
        raise ProviderConfigError(f"provider 'openai': {name} holds a character that no HTTP header can carry")
    return key, name


def _key_hint(name: str, base_url: str) -> str:
    if base_url and _is_local(base_url):
        return f'export {name}, or set api-key-env = "" for a server without keys'
    return f"export {name}=..., or name another variable with api-key-env; offline: --provider extractive"


def _is_local(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _stream(options: Mapping[str, Any]) -> bool:
    stream = options.get("stream", True)
    if not isinstance(stream, bool):
        raise _wrong_option("stream", stream, "true or false")
    return stream


def _transport(options: Mapping[str, Any]) -> Transport:
    transport = options.get("transport", "auto")
    if transport not in {"auto", "direct", "sdk"}:
        raise _wrong_option("transport", transport, '"auto", "direct" or "sdk"')
    return cast("Transport", transport)


def _text_option(options: Mapping[str, Any], name: str, default: str) -> str:
    found = options.get(name, default)
    if not isinstance(found, str):
        raise _wrong_option(name, found, "a string")
    return found


def _headers(settings: ProviderSettings) -> dict[str, str]:
    table = settings.options.get("default-headers", {})
    if not isinstance(table, Mapping) or not all(isinstance(value, str) for value in table.values()):
        raise ProviderConfigError("provider 'openai': option 'default-headers': expected a table of strings")
    return {name: _header_value(name, value, settings.environ) for name, value in table.items()}


def _header_value(name: str, value: str, environ: Mapping[str, str]) -> str:
    variable = value.removeprefix("env:")
    if variable == value:
        return value
    if variable not in environ:
        raise ProviderConfigError(
            f"provider 'openai': option 'default-headers': {name} is '{value}', but {variable} is not set",
            hint=f"export {variable}=...",
        )
    return environ[variable].strip()


def _query(options: Mapping[str, Any]) -> dict[str, Any]:
    table = options.get("default-query", {})
    if not isinstance(table, Mapping) or not all(isinstance(value, str | int | float) for value in table.values()):
        raise ProviderConfigError("provider 'openai': option 'default-query': expected a table of strings and numbers")
    return dict(table)


def _wrong_option(name: str, got: Any, expected: str) -> ProviderConfigError:
    return ProviderConfigError(f"provider 'openai': option '{name}' is {got!r}, expected {expected}")


def _shown_url(url: str) -> str:
    """A URL without credentials, query and fragment."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def _new_client(endpoint: Endpoint) -> Any:
    if endpoint.transport != "sdk":
        proxies = getproxies_environment()
        enough = direct_is_enough(endpoint.base_url, api_version=endpoint.api_version, proxies=proxies)
        if enough or endpoint.transport == "direct":
            return _direct_client(endpoint)
    import openai

    whole: dict[str, Any] = {
        "api_key": endpoint.key,
        "organization": endpoint.organization,
        "project": endpoint.project,
        "max_retries": 0,
        "default_headers": dict(endpoint.headers),
        "default_query": dict(endpoint.query),
    }
    if endpoint.api_version:
        # A base URL without the path of a deployment is a resource's endpoint: the SDK adds the path.
        place = "base_url" if "/openai" in urlsplit(endpoint.base_url).path else "azure_endpoint"
        azure: dict[str, Any] = {place: endpoint.base_url, "api_version": endpoint.api_version}
        client: Any = openai.AsyncAzureOpenAI(**azure, **whole)
    else:
        client = openai.AsyncOpenAI(base_url=endpoint.base_url, **whole)
    return _without_environment(client, endpoint)


def _direct_client(endpoint: Endpoint) -> DirectClient:
    named = {"OpenAI-Organization": endpoint.organization, "OpenAI-Project": endpoint.project}
    path = "chat/completions" if endpoint.api == "chat" else endpoint.api
    parts = urlsplit(endpoint.base_url)
    query = {**dict(parse_qsl(parts.query)), **endpoint.query}
    return DirectClient(
        urlunsplit((parts.scheme, parts.netloc, f"{parts.path.rstrip('/')}/{path}", "", "")),
        headers={
            "Authorization": f"Bearer {endpoint.key}",
            **{name: value for name, value in named.items() if value},
            **endpoint.headers,
        },
        query=query,
        connect_timeout_s=CONNECT_TIMEOUT_S,
    )


def _without_environment(client: Any, endpoint: Endpoint) -> Any:
    """Take back what the SDK reads from the process's environment by itself: it would go out unseen."""
    for name, value in (
        ("organization", endpoint.organization or None),
        ("project", endpoint.project or None),
        ("admin_api_key", None),
        ("_azure_ad_token", None),
        ("_custom_headers", dict(endpoint.headers)),
    ):
        setattr(client, name, value)
    return client


def _method(client: Any, api: Api) -> Any:
    resource = client.chat.completions if api == "chat" else getattr(client, api)
    return resource.with_raw_response.create


def _frame(parameters: Mapping[str, Any], endpoint: Endpoint) -> dict[str, Any]:
    """A request's body without what is said.

    Raises:
        ProviderConfigError: A parameter that is the provider's own or is no JSON.
    """
    whole = dict(parameters)
    _check_parameters(whole)
    if endpoint.api == "embeddings":
        return {"encoding_format": "base64", **whole, "model": endpoint.model}
    if endpoint.api == "responses":
        whole = _with_output_limit(whole)
    elif endpoint.stream:
        whole["stream_options"] = {"include_usage": True}
    return {**whole, "model": endpoint.model, "stream": endpoint.stream}


def _arguments(body: Mapping[str, Any], endpoint: Endpoint) -> dict[str, Any]:
    """The body as keyword arguments of the SDK's method: what it does not know by name goes out all the same."""
    known = _known_parameters(endpoint.api)
    extra = {name: value for name, value in body.items() if name not in known}
    return {
        **{name: value for name, value in body.items() if name in known},
        **({"extra_body": extra} if extra else {}),
    }


def _check_parameters(parameters: Mapping[str, Any]) -> None:
    if reserved := sorted(RESERVED_PARAMETERS.intersection(parameters)):
        raise ProviderConfigError(
            f"provider 'openai': '{reserved[0]}' cannot be a request parameter: it is the provider's own",
            hint="the model is set by the version and the option 'model', streaming by the option 'stream'",
        )
    try:
        canonical_json(parameters)
    except ValueError as error:
        raise ProviderConfigError(f"provider 'openai': request parameters are no JSON: {error}") from None


@cache
def _known_parameters(api: Api) -> frozenset[str]:
    return frozenset(inspect.signature(_resource(api).create).parameters) - {"self"}


def _resource(api: Api) -> Any:
    if api == "chat":
        from openai.resources.chat.completions import AsyncCompletions

        return AsyncCompletions
    if api == "embeddings":
        from openai.resources.embeddings import AsyncEmbeddings

        return AsyncEmbeddings
    try:
        from openai.resources.responses import AsyncResponses
    except ImportError as error:
        raise ProviderConfigError(
            f"provider 'openai': the installed openai package has no Responses API: {error}",
            hint='pip install --upgrade openai (1.66 or later), or set api = "chat"',
        ) from error
    return AsyncResponses


def _with_output_limit(parameters: Mapping[str, Any]) -> dict[str, Any]:
    limits = [n for n in ("max_tokens", "max_completion_tokens", "max_output_tokens") if parameters.get(n) is not None]
    if len(limits) > 1:
        raise ProviderConfigError(
            f"provider 'openai': {' and '.join(limits)} mean the same to the Responses API", hint="keep one of them"
        )
    renamed = ("max_tokens", "max_completion_tokens")
    rest = {name: value for name, value in parameters.items() if name not in renamed}
    return {**rest, "max_output_tokens": parameters[limits[0]]} if limits else rest


def _input_item(message: dict[str, Any]) -> dict[str, Any]:
    """A chat message as an input item of the Responses API, which has other names for the parts of a content."""
    content = message.get("content")
    if not isinstance(content, Sequence) or isinstance(content, str):
        return message
    said = "output_text" if message.get("role") == "assistant" else "input_text"
    return {**message, "content": [_input_part(part, said=said) for part in content]}


def _text_of(message: Mapping[str, Any]) -> str:
    """What of a message is made into a vector."""
    content = message.get("content")
    if not isinstance(content, str):
        raise ProviderConfigError("provider 'openai': only texts can be embedded, and a message holds something else")
    return content


def _input_part(part: Any, *, said: str) -> Any:
    if not isinstance(part, Mapping):
        return part
    if part.get("type") == "text":
        return {**part, "type": said}
    image = part.get("image_url")
    if part.get("type") == "image_url" and isinstance(image, Mapping):
        detail = {"detail": image["detail"]} if "detail" in image else {}
        return {"type": "input_image", "image_url": image.get("url"), **detail}
    return dict(part)


@dataclass(slots=True)
class _Watch:
    """Times one attempt."""

    clock: Callable[[], float]
    started_s: float
    ttft_s: float | None = None
    ended_s: float | None = None

    def stop(self) -> None:
        """The last byte arrived; what follows is reading."""
        self.ended_s = self.clock()

    def token(self) -> None:
        """A piece of the answer arrived."""
        if self.ttft_s is None:
            self.ttft_s = self.elapsed_s()

    def elapsed_s(self) -> float:
        """Seconds from the request to the last byte, or to now."""
        return (self.clock() if self.ended_s is None else self.ended_s) - self.started_s


@dataclass(slots=True)
class _Parts:
    """What an answer is put together from.

    Attributes:
        content: The text; None while none was sent.
        refusal: The refusal's text.
        calls: Tool calls: name and arguments, by index.
        finish_reason: As the provider says.
    """

    content: str | None = None
    refusal: str = ""
    calls: dict[int, dict[str, str]] = field(default_factory=dict)
    finish_reason: str | None = None
    served_model: str | None = None
    fingerprint: str | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None

    def response(self, watch: _Watch) -> Response:
        return Response(
            output=_output_of(self),
            latency_s=watch.elapsed_s(),
            ttft_s=watch.ttft_s,
            input_tokens=self.input_tokens,
            output_tokens=self.output_tokens,
            finish_reason=self.finish_reason,
            served_model=self.served_model,
            fingerprint=self.fingerprint,
            refusal=bool(self.refusal),
        )


def _output_of(parts: _Parts) -> str:
    """The answer's text: refusal, text or tool calls, in that order.

    Raises:
        CallError: CONTENT_FILTER when the filter left nothing; BAD_RESPONSE when there is nothing and no reason.
    """
    if parts.refusal:
        return parts.refusal
    if not parts.content and parts.finish_reason == "content_filter":
        raise CallError("the provider's content filter withheld the answer", kind=FaultKind.CONTENT_FILTER)
    if not parts.content and parts.calls:
        return canonical_json([_call(parts.calls[index]) for index in sorted(parts.calls)])
    if parts.content is None and parts.finish_reason not in {"length", "max_output_tokens"}:
        _bad("the answer has no content, refusal or tool calls")
    return parts.content or ""


def _call(call: Mapping[str, str]) -> dict[str, Any]:
    """A tool call without its id, which is random; its arguments as JSON where they are JSON."""
    try:
        arguments = json.loads(call["arguments"])
        canonical_json(arguments)
    except (ValueError, RecursionError):
        arguments = call["arguments"]
    return {"name": call["name"], "arguments": arguments}


def _json_body(content: bytes) -> Mapping[str, Any]:
    """The body of a whole answer.

    Raises:
        CallError: BAD_RESPONSE, when it is no JSON object; what the error says, when it is an error object (some
            gateways answer 200 and an error).
    """
    try:
        body = json.loads(content)
    except (ValueError, RecursionError):
        shown = _shortened(content[: 4 * MESSAGE_LIMIT].decode("utf-8", "replace"))
        _bad(f"expected JSON, got {shown!r}", hint="check base-url: something else than the API may have answered")
    if not isinstance(body, dict):
        _bad(f"expected a JSON object, got {type(body).__name__}")
    if body.get("error") and body.get("status") != "failed":
        raise _stream_fault(body["error"])
    return body


def _chat_response(answer: Any, watch: _Watch) -> Response:
    choices = _get(answer, "choices", list)
    if not choices:
        _bad("the answer has no choices")
    choice = choices[0]
    message = _get(choice, "message", dict)
    if message is None:
        _bad("the first choice has no message")
    parts = _Parts(content=_get(message, "content", str), refusal=_get(message, "refusal", str) or "")
    for index, call in enumerate(_get(message, "tool_calls", list) or ()):
        _add_call(parts, index, call)
    parts.finish_reason = _get(choice, "finish_reason", str)
    _add_identity(parts, answer)
    _add_usage(parts, answer, "prompt_tokens", "completion_tokens")
    return parts.response(watch)


async def _chat_stream(stream: Any, watch: _Watch) -> Response:
    parts = _Parts()
    async for chunk in stream:
        _add_identity(parts, chunk)
        _add_usage(parts, chunk, "prompt_tokens", "completion_tokens")
        for choice in _get(chunk, "choices", list) or ():
            if not _get(choice, "index", int):  # only the first of several answers
                _add_delta(parts, choice, watch)
    if parts.finish_reason is None:
        _bad("the stream ended without a finish reason", hint="if the server cannot stream, set stream = false")
    return parts.response(watch)


def _add_delta(parts: _Parts, choice: Any, watch: _Watch) -> None:
    parts.finish_reason = _get(choice, "finish_reason", str) or parts.finish_reason
    delta = _get(choice, "delta", dict) or {}
    content, refusal = _get(delta, "content", str), _get(delta, "refusal", str)
    calls = _get(delta, "tool_calls", list) or ()
    if content is not None:
        parts.content = (parts.content or "") + content
    parts.refusal += refusal or ""
    for call in calls:
        _add_call(parts, _get(call, "index", int) or 0, call)
    if content or refusal or calls:
        watch.token()


def _add_call(parts: _Parts, index: int, call: Any) -> None:
    """Add a tool call, or the next piece of one."""
    whole = parts.calls.setdefault(index, {"name": "", "arguments": ""})
    for key, place, name in (
        ("name", "function", "name"),
        ("arguments", "function", "arguments"),
        ("name", "custom", "name"),
        ("arguments", "custom", "input"),
    ):
        whole[key] += _get(_get(call, place, dict) or {}, name, str) or ""


def _responses_response(answer: Any, watch: _Watch) -> Response:
    status = _get(answer, "status", str)
    if status == "failed":
        raise _stream_fault(_get(answer, "error", dict) or {})
    if status not in {"completed", "incomplete"}:
        _bad(f"the response's status is {status!r}, expected 'completed'")
    parts = _Parts(finish_reason="stop")
    if status == "incomplete":
        parts.finish_reason = _get(_get(answer, "incomplete_details", dict) or {}, "reason", str) or "incomplete"
    for index, item in enumerate(_get(answer, "output", list) or ()):
        _add_item(parts, index, item)
    _add_identity(parts, answer)
    _add_usage(parts, answer, "input_tokens", "output_tokens")
    return parts.response(watch)


def _embeddings_response(answer: Any, asked: Mapping[str, Any], watch: _Watch) -> Response:
    """The vectors of the texts that were sent, in order.

    Raises:
        CallError: BAD_RESPONSE: not one for each, not one's own place, or no vectors (`refuse_unsound`).
    """
    rows = _get(answer, "data", list) or []
    places = [_get(row, "index", int) for row in rows]
    count = len(asked["input"])
    if sorted(-1 if place is None else place for place in places) != list(range(count)):
        _bad(f"the embeddings have the places {places}, expected each of 0 to {count - 1} once")
    placed = dict(zip(places, map(_vector, rows), strict=True))
    vectors = [placed[place] for place in range(count)]
    try:
        refuse_unsound(vectors, count=count, dimensions=asked.get("dimensions"))
        output = vectors_text(vectors)
    except (ValueError, OverflowError) as error:
        _bad(str(error))
    parts = _Parts(content=output, finish_reason="stop", output_tokens=0)
    _add_identity(parts, answer)
    parts.input_tokens = _tokens(_get(answer, "usage", dict) or {}, "prompt_tokens")
    return parts.response(watch)


def _vector(row: Any) -> Vector:
    """One embedding, in either encoding: servers may ignore the one that was asked for."""
    found = row.get("embedding")
    try:
        if isinstance(found, str):
            return unpacked(found)
        if isinstance(found, list) and all(type(number) in (int, float) for number in found):
            return tuple(map(float, found))
    except (ValueError, OverflowError) as error:
        _bad(str(error))
    return _bad(f"field 'embedding': expected numbers or base64, got {type(found).__name__}")


def _add_item(parts: _Parts, index: int, item: Any) -> None:
    kind = _get(item, "type", str)
    if kind == "function_call" or kind == "custom_tool_call":
        arguments = _get(item, "arguments" if kind == "function_call" else "input", str) or ""
        parts.calls[index] = {"name": _get(item, "name", str) or "", "arguments": arguments}
    for part in (_get(item, "content", list) or ()) if kind == "message" else ():
        if (text := _get(part, "text", str)) is not None:
            parts.content = (parts.content or "") + text
        parts.refusal += _get(part, "refusal", str) or ""


async def _responses_stream(stream: Any, watch: _Watch) -> Response:
    last: Any = None
    streamed = 0
    async for event in stream:
        kind = _get(event, "type", str)
        if kind in _DELTAS and (delta := _get(event, "delta", str)):
            watch.token()
            streamed += len(delta)
        elif kind in {"response.completed", "response.incomplete", "response.failed"}:
            last = _get(event, "response", dict)
        elif kind == "error":
            raise _stream_fault(event)
    if last is None:
        _bad("the stream ended without a finished response", hint="if the server cannot stream, set stream = false")
    response = _responses_response(last, watch)
    if streamed and not response.output:
        _bad("the stream held text, but the finished response holds none")
    return response


_DELTAS = frozenset(
    {
        "response.output_text.delta",
        "response.refusal.delta",
        "response.function_call_arguments.delta",
        "response.custom_tool_call_input.delta",
    }
)


def _add_identity(parts: _Parts, answer: Any) -> None:
    parts.served_model = _get(answer, "model", str) or parts.served_model
    parts.fingerprint = _get(answer, "system_fingerprint", str) or parts.fingerprint


def _add_usage(parts: _Parts, answer: Any, sent: str, received: str) -> None:
    if (usage := _get(answer, "usage", dict)) is not None:
        parts.input_tokens = _tokens(usage, sent)
        parts.output_tokens = _tokens(usage, received)


def _tokens(usage: Any, name: str) -> int | None:
    found = _get(usage, name, int)
    if found is not None and found < 0:
        _bad(f"usage.{name} is {found}")
    return found


def _get(value: Any, name: str, kind: type[T]) -> T | None:
    """A field that a sound answer has as `kind` or null; None where it is left out.

    Raises:
        CallError: BAD_RESPONSE, when it is something else, or `value` is no object.
    """
    if not isinstance(value, dict):
        _bad(f"expected an object that may hold '{name}', got {type(value).__name__}")
    found = value.get(name)
    if found is not None and (isinstance(found, bool) or not isinstance(found, kind)):
        _bad(f"field '{name}': expected {kind.__name__}, got {type(found).__name__}")
    return found


def _bad(message: str, *, hint: str = "") -> NoReturn:
    raise CallError(message, kind=FaultKind.BAD_RESPONSE, hint=hint)


def _unreadable(error: Exception) -> CallError:
    return CallError(f"the answer cannot be read: {type(error).__name__}: {error}", kind=FaultKind.BAD_RESPONSE)


def _sdk_fault(error: Any, endpoint: Endpoint, *, now_s: float) -> CallError:
    import openai

    if isinstance(error, openai.APIStatusError):
        return _status_fault(error, endpoint, error.response.headers, now_s=now_s)
    if isinstance(error, openai.APIConnectionError):
        return _connection_fault(error.__cause__ or error, endpoint)
    if isinstance(error, openai.APIResponseValidationError):
        return _unreadable(error)
    return _stream_fault(error)


def _status_fault(error: Any, endpoint: Endpoint, headers: Mapping[str, str], *, now_s: float) -> CallError:
    status = error.status_code
    kind = _status_kind(status, _codes(error))
    return CallError(
        f"HTTP {status}: {_said(error)}",
        kind=kind,
        retry_after_s=_retry_after_s(headers, now_s=now_s),
        hint=_hint(kind, endpoint),
    )


def _status_kind(status: int, codes: frozenset[str]) -> FaultKind:
    if codes & FILTER_CODES:
        return FaultKind.CONTENT_FILTER
    if codes & QUOTA_CODES or status == 402:
        return FaultKind.QUOTA
    named = {
        401: FaultKind.AUTH,
        403: FaultKind.AUTH,
        404: FaultKind.NOT_FOUND,
        408: FaultKind.TIMEOUT,
        409: FaultKind.SERVER,
        429: FaultKind.RATE_LIMIT,
    }
    if status in named:
        return named[status]
    if status >= 500:
        return FaultKind.SERVER
    return FaultKind.BAD_REQUEST if status >= 400 else FaultKind.BAD_RESPONSE


def _stream_fault(error: Any) -> CallError:
    """An error that stands in the answer itself: an event of a stream, or a failed response."""
    codes = _codes(error)
    kinds = {
        FaultKind.CONTENT_FILTER: FILTER_CODES,
        FaultKind.QUOTA: QUOTA_CODES,
        FaultKind.RATE_LIMIT: frozenset({"rate_limit_exceeded", "rate_limit_error", "429"}),
        FaultKind.BAD_REQUEST: frozenset({"invalid_request_error", "invalid_prompt", "context_length_exceeded"}),
        FaultKind.SERVER: frozenset({"server_error", "internal_error", "overloaded_error", "500", "502", "503"}),
    }
    kind = next((kind for kind, known in kinds.items() if codes & known), FaultKind.BAD_RESPONSE)
    return CallError(f"the provider broke off with an error: {_said(error)}", kind=kind)


def _codes(error: Any) -> frozenset[str]:
    """Every code an error carries, in lower case: its own, its type, and Azure's inner one."""
    body = _error_body(error)
    body = body if isinstance(body, Mapping) else {}
    inner = body.get("innererror")
    found = [getattr(error, "code", None), getattr(error, "type", None), body.get("code"), body.get("type")]
    found.append(inner.get("code") if isinstance(inner, Mapping) else None)
    return frozenset(str(code).lower() for code in found if isinstance(code, str | int))


def _said(error: Any) -> str:
    """What the server said, shortened."""
    body = _error_body(error)
    message = body.get("message") if isinstance(body, Mapping) else body
    if not isinstance(message, str) or not message:
        message = getattr(error, "message", None) or str(error)
    return _shortened(str(message))


def _error_body(error: Any) -> Any:
    return error if isinstance(error, Mapping) else getattr(error, "body", None)


def _shortened(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= MESSAGE_LIMIT else f"{text[:MESSAGE_LIMIT]}..."


def _hint(kind: FaultKind, endpoint: Endpoint) -> str:
    if kind is FaultKind.AUTH:
        return f"check the key in {endpoint.key_origin}" if endpoint.key_origin else "this server wants a key"
    if kind is FaultKind.NOT_FOUND:
        return f"'{endpoint.model}' was requested; set the option 'model' if the endpoint spells it otherwise"
    return "the account is out of credit" if kind is FaultKind.QUOTA else ""


def _retry_after_s(headers: Any, *, now_s: float) -> float | None:
    """Seconds to wait: `retry-after-ms`, or `Retry-After` in seconds or as a date; None where neither is sound."""
    milliseconds = _number(headers.get("retry-after-ms"))
    if milliseconds is not None:
        return milliseconds / 1000
    given = headers.get("retry-after")
    seconds = _number(given)
    if seconds is not None or given is None:
        return seconds
    try:
        return max(0.0, parsedate_to_datetime(given).timestamp() - now_s)
    except (ValueError, OverflowError):
        return None


def _number(text: str | None) -> float | None:
    try:
        found = float(text or "")
    except ValueError:
        return None
    return max(0.0, found) if math.isfinite(found) else None


def _rate_limits(headers: Mapping[str, str]) -> RateLimits | None:
    """What `x-ratelimit-*` headers say; None where there are none."""
    told = {name: headers.get(f"x-ratelimit-{name}") for name in _LIMIT_HEADERS}
    if not any(told.values()):
        return None
    return RateLimits(
        limit_requests=_count(told["limit-requests"]),
        remaining_requests=_count(told["remaining-requests"]),
        reset_requests_s=_duration_s(told["reset-requests"]),
        limit_tokens=_count(told["limit-tokens"]),
        remaining_tokens=_count(told["remaining-tokens"]),
        reset_tokens_s=_duration_s(told["reset-tokens"]),
    )


_LIMIT_HEADERS = tuple(f"{what}-{of}" for what in ("limit", "remaining", "reset") for of in ("requests", "tokens"))
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_UNIT_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def _count(text: str | None) -> int | None:
    found = _number(text)
    return None if found is None else int(found)


def _duration_s(text: str | None) -> float | None:
    """Seconds of `6m0s`, `17ms` or `1`; None where it is none of these."""
    if text is None or (seconds := _number(text)) is not None:
        return None if text is None else seconds
    parts = _DURATION.findall(text)
    if "".join(number + unit for number, unit in parts) != text:
        return None
    return sum(float(number) * _UNIT_S[unit] for number, unit in parts)


def _connection_fault(cause: BaseException, endpoint: Endpoint) -> CallError:
    said = str(cause) or type(cause).__name__
    message = f"the connection to {_shown_url(endpoint.base_url)} failed: {_shortened(said)}"
    return CallError(message, kind=FaultKind.CONNECTION, hint="check base-url, the network and the proxy")


def _is_transport_error(error: BaseException) -> bool:
    """True for errors of the HTTP library below the SDK, whichever it is."""
    libraries = {"anyio", "httpcore", "httpcore2", "httpx", "httpx2"}
    return any(kind.__module__.partition(".")[0] in libraries for kind in type(error).__mro__)
