"""What a check is, what it sees, and how it is read from a policy."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, dataclass, field, fields
from typing import Any, ClassVar, Protocol, Self, TypeVar, get_args, get_type_hints, runtime_checkable

from aigate.core.registry import Registry, nearest, refuse_unknown
from aigate.core.run import Run
from aigate.core.verdict import CheckOutcome, Reason, Status
from aigate.errors import ConfigError
from aigate.gating.comparison import Comparison
from aigate.gating.reasons import reason

__all__ = ["CHECKS", "Check", "ConfiguredCheck", "Evidence", "PolicySettings", "check_from_config"]

T = TypeVar("T")

CHECKS = Registry(
    kind="check",
    group="aigate.checks",
    built_in={
        "max-error-rate": "aigate.gating.checks.max_error_rate:MaxErrorRate",
        "min-score": "aigate.gating.checks.min_score:MinScore",
        "must-pass": "aigate.gating.checks.must_pass:MustPass",
        "no-regression": "aigate.gating.checks.no_regression:NoRegression",
        "same-shape": "aigate.gating.checks.same_shape:SameShape",
    },
    error=ConfigError,
)


@dataclass(frozen=True, slots=True)
class PolicySettings:
    """What all checks of a policy share.

    Attributes:
        alpha: One-sided chance of blocking a candidate equal to the baseline, and of passing one worse by the margin.
        margin: Tolerated drop of a mean score, in (0, 1).
    """

    alpha: float = 0.05
    margin: float = 0.05


@dataclass(frozen=True)
class Evidence:
    """What a check decides on.

    Attributes:
        candidate: The run under test.
        comparison: It beside its baseline; None without a baseline.
        settings: What all checks share.
        checks: Every check of the policy, for those that share an error rate.
        obstacles: Why the runs are not comparable; empty when they are.
        seed: Seed of anything random, from the content of both runs.
        memory: What checks worked out together, so that it is worked out once.
    """

    candidate: Run
    comparison: Comparison | None
    settings: PolicySettings
    checks: tuple[Check, ...]
    obstacles: tuple[Reason, ...]
    seed: int
    memory: dict[Any, Any] = field(default_factory=dict, repr=False, compare=False)

    def remember(self, key: Any, work: Callable[[], T]) -> T:
        """The result of `work`, worked out once per key."""
        if key not in self.memory:
            self.memory[key] = work()
        found: T = self.memory[key]
        return found

    def no_comparison(self, check: str, metric: str | None) -> CheckOutcome | None:
        """The outcome of a check that needs a baseline when there is none to use; None when there is one."""
        if self.comparison is None:
            why = reason(
                "no-baseline",
                f"no baseline to compare {self.candidate.version} with",
                "give --baseline RUN, or promote a first baseline: aigate baseline promote RUN",
            )
            return CheckOutcome(check, Status.ERROR, "no baseline", metric=metric, reasons=(why,))
        if self.obstacles:
            why = reason("not-comparable", "not judged: the runs are not comparable", self.obstacles[0].hint)
            return CheckOutcome(check, Status.ERROR, "not judged: not comparable", metric=metric, reasons=(why,))
        return None


@runtime_checkable
class Check(Protocol):
    """One rule. Judges evidence and says one of four things; never raises for anything in the evidence."""

    name: ClassVar[str]
    needs_baseline: ClassVar[bool]

    @property
    def metrics(self) -> tuple[str, ...]:
        """The metrics it names; empty when it decides on something else."""
        ...

    @property
    def tags(self) -> tuple[str, ...]:
        """The tags it looks at; samples must carry them."""
        ...

    @property
    def cannot_fail(self) -> str:
        """Why nothing can miss its bound, in words; empty for a bound that something can."""
        ...

    def metrics_for(self, run: Run) -> tuple[str, ...]:
        """The metrics it decides on in this run: those it names, or the run's primary one where it leaves it open."""
        ...

    def judge(self, evidence: Evidence) -> CheckOutcome:
        """Decide. Pass only where the good case is shown."""
        ...

    def to_dict(self) -> dict[str, Any]:
        """The check as it would stand in a policy, every option spelt out."""
        ...


class ConfiguredCheck:
    """Reading and writing a check that is a frozen dataclass: field `at_least` is option `at-least`."""

    name: ClassVar[str]

    @property
    def metrics(self) -> tuple[str, ...]:
        """The metrics it names; none unless a check says otherwise."""
        return ()

    @property
    def tags(self) -> tuple[str, ...]:
        """The tags it looks at; none unless a check says otherwise."""
        return ()

    @property
    def cannot_fail(self) -> str:
        """Why nothing can miss the bound, in words; empty for a bound that something can."""
        return ""

    def metrics_for(self, run: Run) -> tuple[str, ...]:  # noqa: ARG002 - for checks that leave the metric to the run
        """The metrics it decides on in this run."""
        return self.metrics

    @classmethod
    def from_config(cls, row: Mapping[str, Any], *, where: str) -> Self:
        """Make the check from its row in a policy.

        Raises:
            ConfigError: An unknown option, a wrong type, a missing option, or a value out of range.
        """
        known = {_option(f): f for f in fields(cls)}  # type: ignore[arg-type]
        given = {key: value for key, value in row.items() if key != "check"}
        refuse_unknown(given, known, where=f"{where}: check '{cls.name}'", error=ConfigError)
        hints = get_type_hints(cls)
        for option, spec in known.items():
            if option in given:
                given[option] = _typed(given[option], hints[spec.name], f"{where}: check '{cls.name}': '{option}'")
            elif spec.default is MISSING and spec.default_factory is MISSING:
                raise ConfigError(
                    f"{where}: check '{cls.name}' needs '{option}'", hint=nearest("", known, kind="options")
                )
        try:
            return cls(**{known[option].name: value for option, value in given.items()})
        except ConfigError as error:
            raise ConfigError(f"{where}: check '{cls.name}': {error.message}", hint=error.hint) from None

    def to_dict(self) -> dict[str, Any]:
        """The check as it would stand in a policy, every option spelt out."""
        values = {_option(f): getattr(self, f.name) for f in fields(self)}  # type: ignore[arg-type]
        plain = {key: list(value) if isinstance(value, tuple) else value for key, value in values.items()}
        return {"check": self.name, **{key: value for key, value in plain.items() if value is not None}}


def check_from_config(row: Mapping[str, Any], *, where: str) -> Check:
    """A check from its row in a policy.

    Raises:
        ConfigError: No `check`, an unknown one, or wrong options.
    """
    name = row.get("check")
    if not isinstance(name, str):
        raise ConfigError(f"{where}: a check needs a name", hint='write { check = "min-score", ... }')
    try:
        kind = CHECKS.factory(name)
    except ConfigError as error:
        raise ConfigError(f"{where}: {error.message}", hint=error.hint) from None
    made: Check = kind.from_config(row, where=where)  # type: ignore[attr-defined]
    return made


def share(value: float, what: str) -> float:
    """The value itself, when it is a finite number in [0, 1].

    Raises:
        ConfigError: It is not.
    """
    if not 0.0 <= value <= 1.0:
        raise ConfigError(f"'{what}' is {value!r}: expected a number in [0, 1]", hint="0.85 means 85 %")
    return value


def _option(spec: Field[Any]) -> str:
    return spec.name.replace("_", "-")


def _typed(value: Any, hint: Any, what: str) -> Any:
    """The value as the field's type, without guessing: an integer may stand for a float, a list for a tuple."""
    accepted = get_args(hint) if type(None) in get_args(hint) else (hint,)
    if bool in accepted and isinstance(value, bool):
        return value
    if float in accepted and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if str in accepted and isinstance(value, str):
        return value
    if isinstance(value, list) and all(isinstance(item, str) for item in value) and tuple[str, ...] in accepted:
        return tuple(value)
    if int in accepted and isinstance(value, int) and not isinstance(value, bool):
        return value
    expected = " or ".join(_type_name(kind) for kind in accepted if kind is not type(None))
    raise ConfigError(f"{what} is {value!r}: expected {expected}")


def _type_name(kind: Any) -> str:
    return _TYPE_NAMES.get(kind, str(kind))


_TYPE_NAMES: Mapping[Any, str] = {
    bool: "true or false",
    float: "a number",
    int: "a whole number",
    str: "a text",
    tuple[str, ...]: "a list of texts",
}
