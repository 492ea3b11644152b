"""The log of a CI job is read by its runner, which obeys what it takes for a command (`::set-output ...`).

What a model wrote gets there too. `aigate.reports.text.printable` breaks such commands; what is shown to people is also
put between marks that tell a GitHub runner to obey nothing.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TextIO

__all__ = ["commands_stopped", "in_github_job"]


def in_github_job(environ: Mapping[str, str]) -> bool:
    """True where a GitHub runner reads what is printed."""
    return environ.get("GITHUB_ACTIONS") == "true"


@contextmanager
def commands_stopped(
    stream: TextIO, environ: Mapping[str, str], *, token: Callable[[], str] = secrets.token_hex
) -> Iterator[None]:
    """Within it, the runner of a GitHub job obeys nothing that is printed on `stream`; elsewhere nothing happens.

    The token that ends it is drawn when it begins, so that nothing that was written before can know it.
    """
    if not in_github_job(environ):
        yield
        return
    drawn = f"aigate-{token()}"
    stream.write(f"::stop-commands::{drawn}\n")
    try:
        yield
    finally:
        stream.write(f"::{drawn}::\n")
        stream.flush()
