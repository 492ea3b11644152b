"""Which experiments are run, how often, and what each must show (the target table of the method's reference)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from rates import real
from rates.data import KINDS
from rates.error_rates import NAIVE
from rates.rivals import RIVALS

SIZES = (50, 100, 200, 500, 1000)
NOISE = 3.0  # standard errors that a figure may lie beyond its target
RATES = ("block", "pass", "undecided", "wrong", "alarm", "default", "strict", "groups ignored", "clusters ignored")
RATES = (*RATES, "one hypothesis, one look", "disagree")
MEANS = ("used", "calls")


@dataclass(frozen=True)
class Target:
    """What a figure must be.

    Attributes:
        measure: Which figure; see `figure`.
        limit: The bound.
        at_most: True for an upper bound.
        noise: Standard errors that a rate may lie beyond it.
    """

    measure: str
    limit: float
    at_most: bool = True
    noise: float = NOISE


@dataclass(frozen=True)
class Configuration:
    """One experiment with its options.

    Attributes:
        section: The table it belongs to.
        name: What it is, unique within the section.
        experiment: Name of the function.
        options: Its options; JSON.
        runs: Simulated runs.
        targets: What it must show.
        shown: Measures without a target that the report shows too.
    """

    section: str
    name: str
    experiment: str
    options: dict[str, Any]
    runs: int
    targets: tuple[Target, ...] = ()
    shown: tuple[str, ...] = field(default=())

    @property
    def key(self) -> str:
        """What identifies it in a checkpoint: all that can move its result."""
        return json.dumps([self.section, self.name, self.experiment, self.options, self.runs], sort_keys=True)

    @property
    def seed(self) -> int:
        """Seed of its random numbers; the number of runs does not move it."""
        return seed_from(f"{self.section}|{self.name}|{self.experiment}|{json.dumps(self.options, sort_keys=True)}")


def seed_from(text: str) -> int:
    """A seed from a text, the same on every machine."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")


def figure(measure: str, counts: dict[str, float], runs: int) -> float:
    """A figure of a result: a rate, a mean over runs, or a number as it was returned."""
    if measure == "saved":
        return 1.0 - counts["used"] / runs
    if measure in RATES or measure in MEANS:
        return counts[measure] / runs
    return counts[measure]


def is_rate(measure: str) -> bool:
    """Whether a figure is a share of runs."""
    return measure in RATES


def standard_error(measure: str, counts: dict[str, float], runs: int, *, rate: float | None = None) -> float:
    """Monte-Carlo standard error of a figure, of a rate at its limit where one is given; 0 where it is not known."""
    if is_rate(measure):
        p = figure(measure, counts, runs) if rate is None else rate
        return (p * (1.0 - p) / runs) ** 0.5
    summed = "used" if measure == "saved" else measure
    if summed not in MEANS:
        return 0.0
    mean = counts[summed] / runs
    return (max(0.0, counts[f"{summed}, squares"] / runs - mean**2) / runs) ** 0.5


def slack(target: Target, counts: dict[str, float], runs: int) -> float:
    """How far a figure may lie beyond its limit before it counts as missed."""
    return target.noise * standard_error(target.measure, counts, runs, rate=target.limit)


def meets(target: Target, counts: dict[str, float], runs: int) -> str:
    """ "met", "within noise" or "missed"."""
    value, beyond = figure(target.measure, counts, runs), slack(target, counts, runs)
    excess = value - target.limit if target.at_most else target.limit - value
    return "met" if excess <= 1e-12 else "within noise" if excess <= beyond + 1e-12 else "missed"


def configurations(*, quick: bool, rivals: bool = True) -> list[Configuration]:
    """All of them, for the full mode; for the quick mode most of them, with few runs."""
    chosen = list(_all())
    if not rivals:
        chosen = [c for c in chosen if c.options.get("rule") not in RIVALS]
    chosen = [c for c in chosen if _possible(c)]
    return [_quickly(c, runs) for c in chosen if (runs := _quick_runs(c))] if quick else chosen


def _quickly(c: Configuration, runs: int) -> Configuration:
    # With so many targets one in twenty would miss a bound of 1.96 standard errors by chance.
    return replace(c, runs=runs, targets=tuple(replace(target, noise=NOISE) for target in c.targets))


def _possible(c: Configuration) -> bool:
    if c.options.get("rule") in RIVALS:
        return RIVALS[c.options["rule"]].installed is not None
    return "source" not in c.options or real.available()


QUICK = {
    "verdicts": 150,
    "bare_blocks": 400,
    "family_blocks": 60,
    "repeats_blocks": 60,
    "false_passes": 300,
    "cluster_passes": 100,
    "escalations": 30,
    "bump": 10,
    "real_false_blocks": 100,
    "threshold_stops": 60,
    "rate_alarms": 1000,
    "naive_rate_alarms": 1000,
    "relative_alarms": 200,
    "mean_alarms": 200,
    "compared": 20,
    "anchored_blocks": 40,
}
LARGEST_QUICK = 200  # samples of a simulated run in the quick mode, where the whole suite has to be seen in a minute


def _quick_runs(c: Configuration) -> int:
    """Runs in the quick mode; none for what is too slow there, or says nothing with few runs."""
    large = c.options.get("n", 0) > LARGEST_QUICK and c.experiment not in ("threshold_stops",)
    slow = c.options.get("rule") in RIVALS and RIVALS[c.options["rule"]].slow
    if large or slow:
        return 0
    return min(c.runs, QUICK.get(c.experiment, 0))


def _all() -> Iterator[Configuration]:
    yield from _equal()
    yield from _bare()
    yield from _families()
    yield from _false_passes()
    yield from _power()
    yield from _clusters()
    yield from _repeats()
    yield from _stored()
    yield from _real()
    yield from _thresholds()
    yield from _streams()
    yield from _rivals()


def _looks(n: int, looks: int) -> str:
    return f"n={n}, " + ("fixed" if looks == 1 else f"{looks} looks")


def _equal() -> Iterator[Configuration]:
    block = Target("block", 0.05)
    for kind in KINDS.values():
        for n in SIZES:
            for looks in (1, 5):
                options = {"kind": kind.key, "n": n, "looks": looks, "drop": 0.0, "blocks_only": True}
                name = f"{kind.label}; {_looks(n, looks)}"
                yield Configuration("equal", name, "verdicts", options, 10_000, (block,))


def _bare() -> Iterator[Configuration]:
    covered = Target("block", 0.05, noise=1.96)
    for n in (50, 200):
        for looks in (1, 5):
            options = {"kind": "short", "n": n, "looks": looks}
            yield Configuration("bare", _looks(n, looks), "bare_blocks", options, 20_000, (covered,))


def _families() -> Iterator[Configuration]:
    family = Target("block", 0.05)
    for groups, size, icc in ((40, 5, 0.3), (20, 10, 0.3), (200, 1, 0.0)):
        options = {"groups": groups, "size": size, "icc": icc, "metrics": 4, "looks": 5}
        name = f"{groups} x {size}, ICC {icc:g}, 4 metrics x 5 slices, 5 looks"
        shown = ("one hypothesis, one look", "clusters ignored") if size > 1 else ()
        yield Configuration("families", name, "family_blocks", options, 10_000, (family,), shown)


def _false_passes() -> Iterator[Configuration]:
    for kind in KINDS.values():
        limit = Target("pass", 0.06 if kind.binary else 0.05)
        for n, looks in ((50, 1), (100, 1), (200, 1), (500, 1), (200, 5), (500, 5)):
            options = {"kind": kind.key, "n": n, "looks": looks}
            name = f"{kind.label}; {_looks(n, looks)}"
            yield Configuration("false passes", name, "false_passes", options, 10_000, (limit,))


def _power() -> Iterator[Configuration]:
    least = {
        (100, 0.10): {"block": 0.70},
        (200, 0.10): {"block": 0.93},
        (500, 0.10): {"block": 0.99, "saved": 0.55},
        (1000, 0.10): {"saved": 0.65},
        (200, 0.0): {"pass": 0.70},
        (500, 0.0): {"pass": 0.95, "saved": 0.35},
        (1000, 0.0): {"pass": 0.99, "saved": 0.50},
    }
    for n in SIZES:
        for looks in (1, 5):
            for drop in (0.0, 0.02, 0.05, 0.10):
                wanted = least.get((n, drop), {}) if looks == 5 else {}
                targets = tuple(Target(m, v, at_most=False) for m, v in wanted.items())
                yield _verdicts("power, 0/1 corr .6", "binary-6", n, looks, drop, targets)
    for n, limit in ((50, 0.60), (100, 0.84), (200, 0.95)):
        for looks in (1, 5):
            for drop in (0.0, 0.05, 0.10):
                wanted = (Target("block", limit, at_most=False),) if drop == 0.05 else ()
                yield _verdicts("power, claims share", "claims", n, looks, drop, wanted)


def _verdicts(section: str, kind: str, n: int, looks: int, drop: float, targets: tuple[Target, ...]) -> Configuration:
    options = {"kind": kind, "n": n, "looks": looks, "drop": drop}
    shown = ("block", "pass", "undecided", "saved")
    name = f"{_looks(n, looks)}, drop {100 * drop:g}"
    return Configuration(section, name, "verdicts", options, 2_000, targets, shown)


def _clusters() -> Iterator[Configuration]:
    strict = Target("strict", 0.05)
    for groups, size, icc, whole in (
        (40, 5, 0.2, False),
        (20, 10, 0.3, False),
        (40, 5, 0.0, True),
        (100, 3, 0.0, True),
    ):
        breaks = "groups break whole" if whole else f"ICC {icc:g}, answers break one by one"
        for drop in (0.05, 0.0):
            options = {"groups": groups, "size": size, "icc": icc, "whole": whole, "drop": drop}
            default = () if whole or drop == 0.0 else (Target("default", 0.05),)
            yield Configuration(
                "clusters, pass",
                f"{groups} x {size}, {breaks}, drop {100 * drop:g}",
                "cluster_passes",
                options,
                4_000,
                (*default, strict) if drop else (),
                ("default", "strict", "groups ignored"),
            )


def _repeats() -> Iterator[Configuration]:
    for n in (50, 200):
        options = {"n": n, "repeats": [1, 5], "correlation": 0.3}
        block = Target("block", 0.05)
        yield Configuration("repeats", f"n={n}, K_b=5 K_c=1, equal", "repeats_blocks", options, 10_000, (block,))
    for repeats in ((1, 1), (1, 5), (3, 3), (3, 5)):
        options = {"n": 200, "repeats": list(repeats), "correlation": 0.3, "drop": 0.05}
        name = f"n=200, K_b={repeats[1]} K_c={repeats[0]}, drop 5"
        yield Configuration("repeats", name, "repeats_blocks", options, 2_000, (), ("block",))
    for looks in (5, 1):
        for correlation in (0.3, 0.6):
            for drop in (0.0, 0.05, 0.10):
                yield _escalation(looks, correlation, drop)


def _escalation(looks: int, correlation: float, drop: float) -> Configuration:
    options = {"n": 200, "repeats": 5, "most": 3, "correlation": correlation, "drop": drop, "looks": looks}
    targets = [Target("calls", 2.2)] if drop in (0.0, 0.05) else []
    targets += [Target("undecided", 0.10)] if drop == 0.0 else []
    targets += [Target("block", 0.78, at_most=False)] if drop == 0.05 else []
    first = "5 looks first" if looks == 5 else "one look first"
    name = f"n=200, {first}, corr {correlation:g}, drop {100 * drop:g}"
    shown = ("block", "pass", "undecided", "calls")
    return Configuration("escalation", name, "escalations", options, 2_000, tuple(targets), shown)


def _stored() -> Iterator[Configuration]:
    for repeats in (1, 5, 10):
        options = {"n": 200, "repeats": repeats, "correlation": 0.3, "candidates": 200}
        shown = ("mean", "sd", "max")
        yield Configuration("one stored baseline", f"K_b={repeats}", "conditional", options, 100, (), shown)
    for anchor in (False, True):
        options = {"n": 200, "step": 0.01, "correlation": 0.3, "anchor": anchor, "longest": 60}
        name = "with an anchor" if anchor else "rolling baseline only"
        yield Configuration("ratchet", name, "ratchet", options, 500, (), ("mean", "p90"))
    for split in (False, True):
        options = {"n": 200, "correlation": 0.3, "split": split}
        name = "equal, rolling at 2.5 % and anchor at 2.5 %" if split else "equal, rolling at 5 % and anchor at 2.5 %"
        targets = (Target("block", 0.05),) if split else ()
        yield Configuration("ratchet", name, "anchored_blocks", options, 4_000, targets, ("block",))


def _real() -> Iterator[Configuration]:
    for source in (*real.PAIRS, "taubench"):
        for n, looks in ((50, 1), (200, 5), (500, 5)):
            options = {"source": source, "n": n, "looks": looks}
            name = f"{source}; {_looks(n, looks)}"
            block = Target("block", 0.05)
            yield Configuration("equal, real pairs", name, "real_false_blocks", options, 4_000, (block,))
    targets = (Target("block", 1.0, at_most=False), Target("used", 0.25))
    options = {"source": "llmdrift-prime", "looks": 5}
    yield Configuration("real bump", "gpt-4 0314 to 0613, prime", "bump", options, 500, targets)


def _thresholds() -> Iterator[Configuration]:
    for n, looks in ((500, None), (500, 5), (100, None)):
        for mean in (0.95, 0.92, 0.88, 0.84, 0.80, 0.75):
            wanted = [Target("wrong", 0.01)]
            wanted += [Target("used", 0.40)] if (n, looks, mean) == (500, None, 0.92) else []
            options = {"n": n, "mean": mean, "threshold": 0.85, "looks": looks}
            name = f"N={n}, mean {mean}, " + ("after every sample" if looks is None else "5 looks")
            yield Configuration(
                "threshold 0.85", name, "threshold_stops", options, 400, tuple(wanted), ("used", "wrong")
            )


def _streams() -> Iterator[Configuration]:
    section = "canary"
    options: dict[str, Any] = {"rate": 0.01, "limit": 0.01, "requests": 5_000}
    false_alarm = (Target("alarm", 0.01),)
    yield Configuration(section, "1 % errors, 5,000 requests", "rate_alarms", options, 10_000, false_alarm)
    for rate in (0.003, 0.007, 0.015, 0.02, 0.03, 0.05, 0.10):
        targets = (Target("alarm", 0.99, at_most=False),) if rate == 0.03 else ()
        options = {"rate": rate, "limit": 0.01, "requests": 1_800}
        name = f"{100 * rate:g} % errors, 1,800 requests"
        yield Configuration(section, name, "rate_alarms", options, 5_000, targets, ("alarm", "median"))
    for rate in (0.003, 0.007, 0.01):
        options = {"rate": rate, "limit": 0.01, "per_minute": 60, "minutes": 30}
        name = f"naive: five-minute rate above 1 %, {100 * rate:g} % errors"
        yield Configuration(section, name, "naive_rate_alarms", options, 5_000, (), ("alarm",))
    for ratio in (1.0, 2.0, 3.0, 5.0):
        options = {"share": 0.05, "ratio": ratio, "errors": 400}
        targets = false_alarm if ratio == 1.0 else ()
        name = f"relative to stable, share 5 %, {ratio:g}x, 400 errors of both"
        yield Configuration(section, name, "relative_alarms", options, 4_000, targets, ("alarm",))
    for mean in (0.85, 0.80, 0.75, 0.70):
        options = {"mean": mean, "limit": 0.85, "sd": 0.25, "requests": 1_000}
        targets = {0.85: false_alarm, 0.75: (Target("median", 60),)}.get(mean, ())
        name = f"faithfulness {mean:.2f}, limit 0.85, 1,000 judged"
        yield Configuration(section, name, "mean_alarms", options, 4_000, targets, ("alarm", "median"))


def _rivals() -> Iterator[Configuration]:
    for kind in ("binary-6", "claims"):
        for n in (50, 200):
            for rule in ("aigate", "aigate, 5 looks", *NAIVE, *RIVALS):
                if rule in RIVALS and RIVALS[rule].binary_only and kind == "claims":
                    continue
                for drop in (0.0, 0.05, 0.10):
                    yield _compared(kind, n, rule, drop)


def _compared(kind: str, n: int, rule: str, drop: float) -> Configuration:
    seed = seed_from(f"{kind}|{n}|{drop}")  # the same data for every rule
    options = {"kind": kind, "n": n, "drop": drop, "rule": rule, "data_seed": seed}
    runs = 2_000 if rule not in RIVALS else 200 if RIVALS[rule].slow else 300
    name = f"{rule}; {KINDS[kind].label}; n={n}; drop {100 * drop:g}"
    return Configuration("rules", name, "compared", options, runs, (), ("block", "pass", "undecided"))
