"""The endpoint as the harness sees it: started once, reset before every run, asked what arrived."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    from contest.server import Behaviour

SERVER = Path(__file__).with_name("server.py")


@dataclass(frozen=True, slots=True)
class Running:
    """A running endpoint.

    Attributes:
        base_url: What clients are given; ends in /v1.
    """

    base_url: str

    def reset(self, behaviour: Behaviour) -> None:
        """Begin a new count with a new behaviour."""
        document = {name: getattr(behaviour, name) for name in behaviour.__dataclass_fields__}
        _fetched(f"{self._origin}/_reset", json.dumps(document).encode())

    def stats(self) -> dict[str, Any]:
        """What arrived since the last reset; see `server.Counts`."""
        return _fetched(f"{self._origin}/_stats")

    @property
    def _origin(self) -> str:
        return self.base_url.removesuffix("/v1")


@contextmanager
def running() -> Iterator[Running]:
    """Start the endpoint in a process of its own; stop it at the end."""
    with subprocess.Popen([sys.executable, str(SERVER)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            if not (url := process.stdout.readline().strip()):
                raise RuntimeError(f"{SERVER.name} did not start; its exit code is {process.wait()}")
            yield Running(url)
        finally:
            process.terminate()


def _fetched(url: str, body: bytes | None = None) -> dict[str, Any]:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # loopback, whatever the proxy
    with opener.open(urllib.request.Request(url, data=body), timeout=30) as answer:  # noqa: S310 - our own http URL
        return json.load(answer)
