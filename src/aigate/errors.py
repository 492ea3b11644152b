"""The whole error tree, drawn first.

::

    AigateError                     every error of ours; carries `hint`: what to do next
    ├── UsageError                  exit 2: wrong flag, wrong value, wrong file
    │   ├── VersionIdError          text that is no `model/provider-version/prompt-version`
    │   ├── ConfigError             suite.toml, pyproject.toml or the environment
    │   ├── SuiteError              samples, prompts or contract of a golden suite
    │   ├── JournalError            a journal that is damaged, something else, or cannot be written
    │   ├── StoreError              a folder, bucket or other store that cannot be reached, read or written
    │   ├── ClusterError            a Dask cluster that cannot be reached, or whose workers do not fit
    │   ├── ProviderConfigError     unknown provider, missing key, a callable that cannot be imported
    │   └── MissingExtraError       a package of an extra is not installed; says how to install it
    ├── CannotJudgeError            exit 4: the gate could not judge
    │   ├── RunFileError            a run file that is truncated, tampered with, or of a newer format
    │   ├── BaselineError           no baseline, or a promotion that is not allowed
    │   ├── ChangedError            what was to be replaced is not what was read any more
    │   └── NotComparableError      two runs that no comparison may be drawn between
    ├── CallError                   one call of a provider failed; has `kind` and `retryable`
    ├── ScoringError                one scorer could not score one response
    └── VerdictError                raised by `Verdict.raise_for_status()`; carries the verdict
        ├── GateFailed              status fail
        ├── GateInconclusive        status inconclusive
        └── GateErrored             status error

An error message says where, what was found and what was expected; `hint` says the next step.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from aigate.core.response import FaultKind
    from aigate.core.verdict import Verdict

__all__ = [
    "AigateError",
    "BaselineError",
    "CallError",
    "CannotJudgeError",
    "ChangedError",
    "ClusterError",
    "ConfigError",
    "GateErrored",
    "GateFailed",
    "GateInconclusive",
    "JournalError",
    "MissingExtraError",
    "NotComparableError",
    "ProviderConfigError",
    "RunFileError",
    "ScoringError",
    "StoreError",
    "SuiteError",
    "UsageError",
    "VerdictError",
    "VersionIdError",
]


class AigateError(Exception):
    """Every error of aigate.

    Args:
        message: Where, got, expected.
        hint: What to do next; one sentence, may be empty.
    """

    exit_code: ClassVar[int] = 4

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n  next: {self.hint}" if self.hint else self.message


class UsageError(AigateError):
    """A wrong flag, value or file: the user changes something and runs again."""

    exit_code = 2


class VersionIdError(UsageError, ValueError):
    """Text that is no `model/provider-version/prompt-version`."""


class ConfigError(UsageError):
    """suite.toml, pyproject.toml, the environment or a flag holds something aigate does not know."""


class SuiteError(UsageError):
    """Samples, prompts or contract of a golden suite cannot be read; the message starts with file:line."""


class JournalError(UsageError):
    """A journal that is damaged, something else, of a newer format, or cannot be written."""


class StoreError(UsageError):
    """A folder, a bucket or another store that cannot be reached, read or written: a setting, a key, the network."""


class ClusterError(UsageError):
    """A Dask cluster that cannot be reached, was lost, or whose workers have another aigate."""


class ProviderConfigError(UsageError):
    """An unknown provider, a missing key, a callable that cannot be imported."""


class MissingExtraError(UsageError, ImportError):
    """A package of an extra is not installed.

    Args:
        package: The package that could not be imported.
        extra: The extra of aigate that brings it.
        purpose: What needs it, as a noun phrase.
    """

    def __init__(self, package: str, *, extra: str, purpose: str) -> None:
        super().__init__(f"{purpose} needs the package '{package}'", hint=f"pip install 'aigate[{extra}]'")
        self.package = package
        self.extra = extra


class CannotJudgeError(AigateError):
    """The gate could not judge: never a pass, never a fail."""

    exit_code = 4


class RunFileError(CannotJudgeError):
    """A run file that is truncated, tampered with, or of a format this version does not read."""


class BaselineError(CannotJudgeError):
    """A baseline that is missing, or a promotion that is not allowed."""


class ChangedError(CannotJudgeError):
    """What was to be replaced is not what was read any more: somebody else was first."""


class NotComparableError(CannotJudgeError):
    """Two runs that no comparison may be drawn between; `reasons` names what differs.

    Args:
        reasons: One sentence per difference, at least one.
        hint: What to do next.
    """

    def __init__(self, reasons: tuple[str, ...], *, hint: str = "") -> None:
        super().__init__("not comparable: " + "; ".join(reasons), hint=hint)
        self.reasons = reasons


class CallError(AigateError):
    """One call of a provider failed.

    Args:
        message: What the provider or the client said.
        kind: Which fault it is; decides who is to blame and whether a retry can help.
        retry_after_s: Seconds the provider asked us to wait, where it said so.
    """

    def __init__(self, message: str, *, kind: FaultKind, retry_after_s: float | None = None, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.kind = kind
        self.retry_after_s = retry_after_s


class ScoringError(AigateError):
    """One scorer could not score one response; the runner stores it as `Unscored`, never as a number."""


class VerdictError(AigateError):
    """The verdict is not a pass. Raised by `Verdict.raise_for_status()`.

    Args:
        message: The verdict's first line and its reasons.
        verdict: The verdict itself.
    """

    def __init__(self, message: str, *, verdict: Verdict) -> None:
        super().__init__(message)
        self.verdict = verdict


class GateFailed(VerdictError):
    """Status fail: the candidate is worse than the policy allows."""

    exit_code = 1


class GateInconclusive(VerdictError):
    """Status inconclusive: the evidence does not settle it."""

    exit_code = 3


class GateErrored(VerdictError):
    """Status error: the gate could not judge."""

    exit_code = 4
