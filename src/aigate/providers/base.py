"""What a provider is: it answers one request with one version. One file per provider stands beside this one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from aigate.core.registry import Registry, refuse_unknown
from aigate.core.response import Response
from aigate.core.sample import Message, Sample
from aigate.core.version import VersionId
from aigate.errors import ProviderConfigError

__all__ = [
    "PROVIDERS",
    "Provider",
    "ProviderSettings",
    "RateLimits",
    "Request",
    "has_journal_identity",
    "is_local",
    "is_offline",
    "journal_identity_of",
    "keeps_deadlines",
    "make_provider",
    "most_repeats_of",
    "rate_limits_of",
]

PROVIDERS = Registry(
    kind="provider",
    group="aigate.providers",
    built_in={
        "callable": "aigate.providers.callable:from_settings",
        "extractive": "aigate.providers.extractive:from_settings",
        "openai": "aigate.providers.openai:from_settings",
        "replay": "aigate.providers.replay:from_settings",
    },
    error=ProviderConfigError,
)


@dataclass(frozen=True, slots=True)
class Request:
    """One question to one version.

    Attributes:
        sample: The golden case. A provider that calls a model sends only `messages`; `reference` is never sent.
        messages: The rendered prompt.
        parameters: Request parameters: those of the suite and of the prompt file (temperature, max_tokens, ...).
        repeat: Which answer to this sample it is, from 0.
        timeout_s: Seconds this attempt may take.
        embeds: True where the texts of the messages are to be made into vectors: nothing is written, so nothing but
            what is sent is paid for.
    """

    sample: Sample
    messages: tuple[Message, ...]
    parameters: Mapping[str, Any] = field(default_factory=dict)
    repeat: int = 0
    timeout_s: float = 60.0
    embeds: bool = False


@dataclass(frozen=True, slots=True)
class RateLimits:
    """What a provider said last about its rate limits (OpenAI's `x-ratelimit-*` headers); None: not said.

    Attributes:
        limit_requests: Requests per minute that it allows.
        remaining_requests: Requests left until the reset.
        reset_requests_s: Seconds until all requests are there again.
        limit_tokens: Tokens per minute that it allows.
        remaining_tokens: Tokens left until the reset.
        reset_tokens_s: Seconds until all tokens are there again.
    """

    limit_requests: int | None = None
    remaining_requests: int | None = None
    reset_requests_s: float | None = None
    limit_tokens: int | None = None
    remaining_tokens: int | None = None
    reset_tokens_s: float | None = None


@runtime_checkable
class Provider(Protocol):
    """Answers requests with one version. Safe for many `respond` calls at once on one event loop.

    A provider may have more members, each read by a function below; one written without them stays a provider.

    - `most_repeats: int | None`: how many different answers it can give to one sample; see `most_repeats_of`.
    - `offline: bool`: True when nothing is called and no answer costs anything; see `is_offline`.
    - `journal_identity(request) -> Mapping | None`: all that decides an answer; see `journal_identity_of`.
    - `rate_limits: RateLimits | None`: what the server said last about its limits; see `rate_limits_of`.
    - `local: bool`: True when it answers from files of this machine; see `is_local`.
    - `keeps_deadlines: bool`: True when it ends each call in time by itself; see `keeps_deadlines`.
    """

    @property
    def name(self) -> str:
        """The name it is chosen by, e.g. `openai`."""
        ...

    def describe(self) -> Mapping[str, Any]:
        """What identifies it in a run file: name, adapter version, endpoint, model requested. JSON, never a secret."""
        ...

    async def respond(self, request: Request) -> Response:
        """Answer once. Never retries: the runner does.

        Returns:
            A response with an output, or with a fault that is part of the answer (a recorded error).

        Raises:
            CallError: The call failed; its `kind` says how.
        """
        ...

    async def aclose(self) -> None:
        """Give back connections. May be called twice."""
        ...


@dataclass(frozen=True, slots=True)
class ProviderSettings:
    """What a provider is made from.

    Attributes:
        version: The version under test.
        options: `[provider-options]` of suite.toml and flags, by kebab-case key.
        folder: What relative paths in `options` are relative to (the suite's folder).
        environ: The environment; an argument, so that nothing reads the real one behind a caller's back.
        concurrency: How many requests the runner keeps in flight.
    """

    version: VersionId
    options: Mapping[str, Any] = field(default_factory=dict)
    folder: Path = Path()
    environ: Mapping[str, str] = field(default_factory=dict)
    concurrency: int = 8

    def only(self, provider: str, *known: str) -> None:
        """Refuse options that the provider does not know.

        Raises:
            ProviderConfigError: An unknown option; the message names the nearest known one.
        """
        refuse_unknown(self.options, known, where=f"provider '{provider}'", error=ProviderConfigError)


def make_provider(name: str, settings: ProviderSettings) -> Provider:
    """Make a provider by name: a built-in one, or one that an installed package names in `aigate.providers`.

    Raises:
        ProviderConfigError: No provider of that name, or its settings are wrong.
    """
    provider: Provider = PROVIDERS.factory(name)(settings)
    return provider


def is_offline(provider: Provider) -> bool:
    """True when a provider calls nothing: an early stop would save nothing, so every answer is given."""
    return bool(getattr(provider, "offline", False))


def is_local(provider: Provider) -> bool:
    """True when a provider answers from files of this machine: it is not asked on another one."""
    return bool(getattr(provider, "local", False))


def keeps_deadlines(provider: Provider) -> bool:
    """True when a provider ends each call in time by itself, and alone knows what time was lost on."""
    return bool(getattr(provider, "keeps_deadlines", False))


def most_repeats_of(provider: Provider) -> int | None:
    """How many different answers a provider can give to one sample; None for any number.

    Further repeats are planned only up to it.
    """
    most: int | None = getattr(provider, "most_repeats", None)
    return most


def journal_identity_of(provider: Provider, request: Request) -> Mapping[str, Any] | None:
    """All that decides the answer to a request, as JSON without secrets: what the journal keys the answer by.

    That is the request as it is sent, where it is sent to, and the adapter's version; not the repeat, which the journal
    adds. None where answers must not be kept: the code behind them may change without anybody's saying so, or they cost
    nothing.
    """
    ask = getattr(provider, "journal_identity", None)
    identity: Mapping[str, Any] | None = None if ask is None else ask(request)
    return identity


def has_journal_identity(provider: Provider) -> bool:
    """True when a provider says what decides its answers, so that they may be kept."""
    return hasattr(provider, "journal_identity")


def rate_limits_of(provider: Provider) -> RateLimits | None:
    """What a provider's server said last about its limits; None where it said nothing."""
    limits: RateLimits | None = getattr(provider, "rate_limits", None)
    return limits
