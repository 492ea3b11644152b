"""What a provider is: it answers one request with one version. One file per provider stands beside this one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from aigate.core.response import Response
from aigate.core.sample import Message, Sample
from aigate.core.version import VersionId
from aigate.errors import ProviderConfigError

__all__ = ["BUILT_IN", "Provider", "ProviderSettings", "Request", "make_provider"]

BUILT_IN: Mapping[str, str] = {
    "callable": "aigate.providers.callable:from_settings",
    "extractive": "aigate.providers.extractive:from_settings",
    "openai": "aigate.providers.openai:from_settings",
    "replay": "aigate.providers.replay:from_settings",
}
GROUP = "aigate.providers"


@dataclass(frozen=True, slots=True)
class Request:
    """One question to one version.

    Attributes:
        sample: The golden case. A provider that calls a model sends only `messages`; `reference` is never sent.
        messages: The rendered prompt.
        parameters: Request parameters: those of the suite and of the prompt file (temperature, max_tokens, ...).
        repeat: Which answer to this sample it is, from 0.
        timeout_s: Seconds this attempt may take.
    """

    sample: Sample
    messages: tuple[Message, ...]
    parameters: Mapping[str, Any] = field(default_factory=dict)
    repeat: int = 0
    timeout_s: float = 60.0


@runtime_checkable
class Provider(Protocol):
    """Answers requests with one version. Safe for many `respond` calls at once on one event loop."""

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
        from difflib import get_close_matches

        for key in self.options:
            if key not in known:
                near = get_close_matches(key, known, n=1)
                hint = f"did you mean '{near[0]}'?" if near else f"known options: {', '.join(known) or 'none'}"
                raise ProviderConfigError(f"provider '{provider}': unknown option '{key}'", hint=hint)


def make_provider(name: str, settings: ProviderSettings) -> Provider:
    """Make a provider by name: a built-in one, or one that an installed package names in `aigate.providers`.

    Raises:
        ProviderConfigError: No provider of that name, or its settings are wrong.
    """
    factory = _factory(name)
    return factory(settings)


def _factory(name: str) -> Callable[[ProviderSettings], Provider]:
    if name in BUILT_IN:
        module, _, attribute = BUILT_IN[name].partition(":")
        found: Callable[[ProviderSettings], Provider] = getattr(import_module(module), attribute)
        return found
    installed = {entry.name: entry for entry in entry_points(group=GROUP)}
    if name in installed:
        loaded: Callable[[ProviderSettings], Provider] = installed[name].load()
        return loaded
    from difflib import get_close_matches

    known = sorted({*BUILT_IN, *installed})
    near = get_close_matches(name, known, n=1)
    hint = f"did you mean '{near[0]}'?" if near else f"known providers: {', '.join(known)}"
    raise ProviderConfigError(f"unknown provider '{name}'", hint=hint)
