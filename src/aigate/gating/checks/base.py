"""What a check is, what it sees, and how it is read from a policy."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, dataclass, field, fields
from types import UnionType
from typing import (
    Any,
    ClassVar,
    Literal,
    Protocol,
    Self,
    TypeVar,
    Union,
    get_args,
    get_origin,
    get_type_hints,
    runtime_checkable,
)

from aigate.core.registry import Registry, nearest, refuse_unknown
from aigate.core.run import Run, RunHeader
from aigate.core.verdict import CheckOutcome, Reason, Status
from aigate.errors import ConfigError
from aigate.gating.arrays import arrays_of
from aigate.gating.comparison import Comparison
from aigate.gating.margins import Margin
from aigate.gating.reasons import reason
from aigate.gating.views import Rates, Schedule, View, schedule
from aigate.stats.arrays import distinct

__all__ = ["CHECKS", "Check", "ConfiguredCheck", "Evidence", "PolicySettings", "check_from_config", "looks_at_output"]

T = TypeVar("T")

CHECKS = Registry(
    kind="check",
    group="aigate.checks",
    built_in={
        "max-cost": "aigate.gating.checks.max_cost:MaxCost",
        "max-error-rate": "aigate.gating.checks.max_error_rate:MaxErrorRate",
        "max-latency": "aigate.gating.checks.max_latency:MaxLatency",
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
        margin: Tolerated drop of a mean score, in (0, 1); "auto": the smallest one that the suite can show, see
            `aigate.gating.margins`.
        strict: True when a margin that the suite cannot see is refused before anything is asked.
    """

    alpha: float = 0.05
    margin: Margin = 0.05
    strict: bool = False


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
        views: The looks of the candidate of which everything was asked, in order; none where it was stopped before.
        view_seeds: One seed per view, from what that look uses.
        part_may_pass: False where only the whole suite may pass: a new model or provider version.
        block_share: Share of alpha that a block against this baseline may cost: 1/2 each with an anchor beside it.
        against: What the baseline is called, where it is not the baseline: `anchor`.
        memory: What checks worked out together, so that it is worked out once.
    """

    candidate: Run
    comparison: Comparison | None
    settings: PolicySettings
    checks: tuple[Check, ...]
    obstacles: tuple[Reason, ...]
    seed: int
    views: tuple[View, ...]
    view_seeds: tuple[int, ...]
    part_may_pass: bool = True
    block_share: float = 1.0
    against: str | None = None
    memory: dict[Any, Any] = field(default_factory=dict, repr=False, compare=False)

    def remember(self, key: Any, work: Callable[[], T]) -> T:
        """The result of `work`, worked out once per key."""
        if key not in self.memory:
            self.memory[key] = work()
        found: T = self.memory[key]
        return found

    def seed_at(self, view: View) -> int:
        """The seed of what is drawn at one look: it knows nothing of what came after."""
        return self.view_seeds[self.views.index(view)]

    @property
    def block_alpha(self) -> float:
        """The one-sided chance of blocking a candidate equal to this baseline by the relabelling test.

        Checks that people's labels decide share alpha with it, one part each.
        """
        relabelled, by_people = self._deciding
        part = relabelled / (relabelled + by_people) if relabelled else 1.0
        return self.settings.alpha * self.block_share * part

    @property
    def block_alpha_by_people(self) -> float:
        """The same for each check that people's labels decide."""
        return self.settings.alpha * self.block_share / max(1, sum(self._deciding))

    @property
    def _deciding(self) -> tuple[int, int]:
        """How many hypotheses the relabelling test decides, and how many checks people's labels."""
        relabelled = {hypothesis for check in self.checks for hypothesis in getattr(check, "hypotheses", ())}
        return len(relabelled), sum(getattr(check, "human", None) is not None for check in self.checks)

    def schedule(self) -> Schedule:
        """How alpha is spent over the looks; the comparison's units are what is counted."""
        comparison = self.comparison
        assert comparison is not None  # noqa: S101 - for the type checker: a check without one ends before
        run, rates = comparison.candidate, Rates(self.block_alpha, self.settings.alpha, self.part_may_pass)

        def made() -> Schedule:
            shared = distinct(arrays_of(run).units[comparison.rows[0]])
            return schedule(run, self.views, shared, rates)

        return self.remember("schedule", made)

    def no_look(self, check: str, metric: str | None = None, threshold: float | None = None) -> CheckOutcome | None:
        """The outcome of a check on a run that was stopped before its first look; None when there is a look."""
        if self.views:
            return None
        why = reason("early-stopped", "the run was stopped before its first look", "run again: --resume")
        return CheckOutcome(check, Status.INCONCLUSIVE, why.text, metric=metric, threshold=threshold, reasons=(why,))

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

    @property
    def needs_baseline(self) -> bool:
        """True when it compares with the baseline."""
        ...

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

    def without_baseline(self) -> Check | None:
        """What of it can be judged without a baseline; None where nothing can."""
        ...

    def too_small_for(self, units: int, answers: int, alpha: float) -> str:
        """Why it can never pass on so few samples or groups, and answers; empty where it can, or where nobody knows."""
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

    def without_baseline(self) -> Check | None:
        """What of it can be judged without a baseline: all of it, unless it compares."""
        return None if self.needs_baseline else self  # type: ignore[attr-defined, return-value]

    def too_small_for(self, units: int, answers: int, alpha: float) -> str:  # noqa: ARG002 - for checks that count
        """Why it can never pass on so few samples or groups, and answers; nothing is known here."""
        return ""

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


def looks_at_output(check: Check, header: RunHeader) -> bool:
    """True for a check on the shape of outputs, or on a metric of a contract scorer."""
    specs = (header.metric(metric) for metric in check.metrics)
    return check.name == "same-shape" or any(spec.scorer.partition(":")[0] == "contract" for spec in specs if spec)


def share(value: float, what: str) -> float:
    """The value itself, when it is a finite number in [0, 1].

    Raises:
        ConfigError: It is not.
    """
    if not 0.0 <= value <= 1.0:
        raise ConfigError(f"'{what}' is {value!r}: expected a number in [0, 1]", hint="0.85 means 85 %")
    return value


def above_zero(value: float | None, what: str, meaning: str) -> None:
    """Refuse a bound that is no finite number above 0; None is no bound.

    Raises:
        ConfigError: It is not; the hint says what a right one means.
    """
    if value is not None and not 0.0 < value < math.inf:
        raise ConfigError(f"'{what}' is {value!r}: expected a number above 0", hint=meaning)


def _option(spec: Field[Any]) -> str:
    return spec.name.replace("_", "-")


def _typed(value: Any, hint: Any, what: str) -> Any:
    """The value as the field's type, without guessing: an integer may stand for a float, a list for a tuple."""
    accepted = _alternatives(hint)
    words = [word for kind in accepted if get_origin(kind) is Literal for word in get_args(kind)]
    if bool in accepted and isinstance(value, bool):
        return value
    if float in accepted and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if isinstance(value, str) and (str in accepted or value in words):
        return value
    if isinstance(value, list) and all(isinstance(item, str) for item in value) and tuple[str, ...] in accepted:
        return tuple(value)
    if int in accepted and isinstance(value, int) and not isinstance(value, bool):
        return value
    expected = " or ".join(_type_name(kind) for kind in accepted if kind is not type(None))
    raise ConfigError(f"{what} is {value!r}: expected {expected}")


def _alternatives(hint: Any) -> tuple[Any, ...]:
    """The types a union accepts; the type itself where it is none."""
    return get_args(hint) if get_origin(hint) in {Union, UnionType} else (hint,)


def _type_name(kind: Any) -> str:
    if get_origin(kind) is Literal:
        return " or ".join(repr(word) for word in get_args(kind))
    return _TYPE_NAMES.get(kind, str(kind))


_TYPE_NAMES: Mapping[Any, str] = {
    bool: "true or false",
    float: "a number",
    int: "a whole number",
    str: "a text",
    tuple[str, ...]: "a list of texts",
}
