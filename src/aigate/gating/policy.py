"""`Policy`: a non-empty set of checks, with the error rate and margin they share."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from aigate.core.digest import digest_of
from aigate.core.registry import nearest, refuse_unknown
from aigate.errors import ConfigError
from aigate.gating.checks.base import Check, PolicySettings, check_from_config
from aigate.gating.checks.min_score import MinScore
from aigate.gating.margins import Margin

__all__ = ["Policy"]

LONGEST_VALID_DAYS = 366
HIGHEST_ALPHA = 0.5
MARGIN_EXPECTED = "expected a number between 0 and 1, or 'auto'"
KEYS = ("alpha", "margin", "checks", "valid-days", "at-most-missing", "strict", "accept-weak-judge")


@dataclass(frozen=True)
class Policy:
    """What a candidate must show.

    Attributes:
        checks: The rules; at least one.
        alpha: One-sided error rate, in (0, 0.5).
        margin: Tolerated drop of a mean score, in (0, 1); "auto": the smallest one that the suite can show.
        valid_days: How long a verdict holds after the run ended, in days; 1 to 366.
        at_most_missing: Share of scores that may be missing before nothing is decided, in [0, 1).
        strict: Refuse, before anything is asked, a margin that the suite is too small or too noisy to see.
        accept_weak_judge: Metrics that may gate although their judge was measured to agree badly with people (J < 0.5).

    Raises:
        ConfigError: No checks (a policy without rules would pass anything), or a number out of range.
    """

    checks: tuple[Check, ...]
    alpha: float = 0.05
    margin: Margin = 0.05
    valid_days: int = 7
    at_most_missing: float = 0.10
    strict: bool = False
    accept_weak_judge: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.checks:
            raise ConfigError("a policy needs at least one check", hint='e.g. { check = "min-score", at-least = 0.85 }')
        if not 0.0 < self.alpha < HIGHEST_ALPHA:
            raise ConfigError(f"'alpha' is {self.alpha!r}: expected a number between 0 and {HIGHEST_ALPHA:g}")
        if self.margin != "auto" and not _tolerable(self.margin):
            raise ConfigError(f"'margin' is {self.margin!r}: {MARGIN_EXPECTED}", hint="0.05 is 5 points")
        if self.margin == "auto" and any(map(_takes_margin_by_people, self.checks)):
            raise ConfigError("'margin' is 'auto', and a check with 'human' has none of its own", hint="margin = 0.05")
        if not 0.0 <= self.at_most_missing < 1.0:
            raise ConfigError(f"'at-most-missing' is {self.at_most_missing!r}: expected a number in [0, 1)")
        if not 1 <= self.valid_days <= LONGEST_VALID_DAYS:
            raise ConfigError(
                f"'valid-days' is {self.valid_days!r}: expected a whole number, 1 to {LONGEST_VALID_DAYS}"
            )

    @classmethod
    def from_config(cls, table: Mapping[str, Any], *, where: str = "[policy]") -> Policy:
        """A policy from the `[policy]` table of suite.toml, or from the header of a run.

        Raises:
            ConfigError: An unknown key, a wrong type or value; the message starts with `where`.
        """
        refuse_unknown(table, KEYS, where=where, kind="keys", error=ConfigError)
        rows = table.get("checks", [])
        if not isinstance(rows, list) or not all(isinstance(row, Mapping) for row in rows):
            raise ConfigError(f"{where}: 'checks' is {rows!r}: expected a list of tables")
        checks = tuple(check_from_config(row, where=where) for row in rows)
        given: dict[str, Any] = {
            key.replace("-", "_"): _setting(key, table[key], where) for key in KEYS if key != "checks" and key in table
        }
        try:
            return cls(checks, **given)
        except ConfigError as error:
            raise ConfigError(f"{where}: {error.message}", hint=error.hint) from None

    @classmethod
    def with_flag(cls, table: Mapping[str, Any], *, primary: str, threshold: float | None, where: str) -> Policy:
        """The policy of a table with a threshold of the primary metric in it; a table without checks gets that one.

        Raises:
            ConfigError: As `from_config`.
        """
        if threshold is None:
            return cls.from_config(table, where=where)
        if not table.get("checks"):
            table = {**table, "checks": [MinScore(primary, at_least=threshold).to_dict()]}
        return cls.from_config(table, where=where).with_threshold(primary, threshold)

    def to_dict(self) -> dict[str, Any]:
        """The policy as JSON, every default spelt out; `from_config` reads it back.

        `strict` and `accept-weak-judge` are written only where they are set: policies written before they were known
        keep their digest.
        """
        return {
            **({"strict": True} if self.strict else {}),
            **({"accept-weak-judge": list(self.accept_weak_judge)} if self.accept_weak_judge else {}),
            "alpha": self.alpha,
            "margin": self.margin,
            "valid-days": self.valid_days,
            "at-most-missing": self.at_most_missing,
            "checks": [check.to_dict() for check in self.checks],
        }

    @property
    def digest(self) -> str:
        """The digest of the policy with every default spelt out."""
        return digest_of(self.to_dict())

    @property
    def settings(self) -> PolicySettings:
        """What all checks share."""
        return PolicySettings(self.alpha, self.margin, strict=self.strict)

    @property
    def needs_baseline(self) -> bool:
        """True when some check compares with the baseline."""
        return any(check.needs_baseline for check in self.checks)

    def with_threshold(self, metric: str, at_least: float) -> Policy:
        """This policy with THRESHOLD in its min-score of that metric; with a new min-score where it has none.

        A threshold that is lower than the policy's own is kept in the check as `lowered_from`, so that every verdict
        says it.
        """
        found = [check for check in self.checks if isinstance(check, MinScore) and check.metric == metric]
        before = max((check.lowered_from or check.at_least for check in found), default=at_least)
        first = found[0] if found else MinScore(metric, at_least=at_least)
        first = replace(first, at_least=at_least, lowered_from=before if at_least < before else None)
        return replace(self, checks=(first, *(check for check in self.checks if check not in found)))

    def without_baseline(self) -> Policy | None:
        """What of the checks can be judged without a baseline; None when nothing can."""
        alone = tuple(part for check in self.checks if (part := check.without_baseline()) is not None)
        return replace(self, checks=alone) if alone else None

    def require_metrics(
        self, computed: Sequence[str], run_metrics: Collection[str], tags: Collection[str], *, where: str
    ) -> None:
        """Refuse a policy that decides on what the suite does not hold.

        Args:
            computed: Metrics the scorers compute per sample.
            run_metrics: Metrics they compute over a whole run.
            tags: Tags that samples of the suite carry.
            where: What to blame in messages.

        Raises:
            ConfigError: A metric no scorer computes, or a tag no sample carries; names the nearest.
        """
        refuse_unknown(
            self.accept_weak_judge, computed, where=f"{where}: accept-weak-judge", kind="metrics", error=ConfigError
        )
        for check in self.checks:
            for metric in check.metrics:
                over_run = isinstance(check, MinScore) and _is_run_metric(metric, run_metrics)
                if metric in run_metrics and not over_run:
                    raise ConfigError(
                        f"{where}: check '{check.name}' needs a score per sample, '{metric}' is one number per run",
                        hint=f"use '{metric.partition('.')[0]}', or min-score for '{metric}'",
                    )
                if metric not in computed and not over_run:
                    raise ConfigError(
                        f"{where}: check '{check.name}' decides on '{metric}', which no scorer computes",
                        hint=nearest(metric, [*computed, *run_metrics], kind="metrics"),
                    )
            for tag in check.tags:
                if tag not in tags:
                    raise ConfigError(
                        f"{where}: check '{check.name}' looks at tag '{tag}', which no sample carries",
                        hint=nearest(tag, tags, kind="tags"),
                    )


def _is_run_metric(metric: str, run_metrics: Collection[str]) -> bool:
    """True for a listed run metric, or one per class such as `accuracy.f1[refund]`."""
    per_class = re.fullmatch(r"(.+)\[.+\]", metric)
    return metric in run_metrics or (per_class is not None and f"{per_class[1]}_macro" in run_metrics)


def _takes_margin_by_people(check: Any) -> bool:
    """True for a check that people's labels decide, with the policy's margin."""
    return getattr(check, "human", None) is not None and check.margin is None


def _tolerable(margin: Any) -> bool:
    """True for a number in (0, 1); a caller in Python may give any other word than "auto"."""
    return not isinstance(margin, str) and 0.0 < margin < 1.0


def _setting(key: str, value: Any, where: str) -> float | int | str | bool | tuple[str, ...]:
    """The value of a key that is no check, of the right type.

    Raises:
        ConfigError: Another type.
    """
    what = f"{where}: '{key}'"
    if key == "strict":
        if not isinstance(value, bool):
            raise ConfigError(f"{what} is {value!r}: expected true or false")
        return value
    if key == "accept-weak-judge":
        names = [value] if isinstance(value, str) else value
        if not isinstance(names, list) or not all(isinstance(name, str) and name for name in names):
            raise ConfigError(f"{what} is {value!r}: expected the names of metrics", hint='e.g. ["faithfulness"]')
        return tuple(names)
    if key == "margin" and isinstance(value, str):
        if value != "auto":
            raise ConfigError(f"{what} is {value!r}: {MARGIN_EXPECTED}", hint="margin = 0.05 is 5 points")
        return value
    return _number(value, what, whole=key == "valid-days")


def _number(value: Any, what: str, *, whole: bool) -> float | int:
    kinds = int if whole else (int, float)
    if isinstance(value, bool) or not isinstance(value, kinds):
        raise ConfigError(f"{what} is {value!r}: expected a {'whole number' if whole else 'number'}")
    return value if whole else float(value)
