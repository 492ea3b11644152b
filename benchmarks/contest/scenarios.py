"""What is run: each unit is one measured thing, and gives one row of JSON."""

from __future__ import annotations

import math
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from contest.endpoint import Running
from contest.entries import AIGATE, BARE_AIOHTTP, BARE_OPENAI, CONTENDERS, SUITE, Contender
from contest.job import Job, checked, write_recording, write_samples
from contest.processes import Measured, busy_share, measured
from contest.server import Behaviour

Row = dict[str, Any]

FIXED = Behaviour(median_s=0.1)
LIGHT = ((429, 0.05), (500, 0.01))
HEAVY = ((429, 0.20), (500, 0.05))
TYPICAL_SEED = 2  # of few requests some seeds inject nearly twice their share
VERDICT = re.compile(r"(PASS|FAIL|INCONCLUSIVE|ERROR)\b")
REPOSITORY = Path(__file__).resolve().parents[2]
BARE_START = "import argparse; argparse.ArgumentParser().parse_args([])"
BARE = "argparse"  # the start that others are held against


@dataclass(frozen=True, slots=True)
class Race:
    """The same job for every contender.

    Attributes:
        key: Short and stable.
        title: For the report.
        size: Samples.
        concurrency: Requests in flight.
        behaviour: Of the endpoint.
        once: Run once, whatever the number of repeats; `peers`: only the peers.
    """

    key: str
    title: str
    size: int
    concurrency: int
    behaviour: Behaviour
    once: bool | str = False

    @property
    def ideal_s(self) -> float:
        """Seconds in which nothing but the endpoint is waited for; of a lognormal latency by its mean."""
        mean_s = self.behaviour.median_s * math.exp(self.behaviour.sigma**2 / 2)
        return self.size * mean_s / self.concurrency

    @property
    def limit_s(self) -> float:
        """Seconds after which a contender is stopped."""
        return 90.0 + 40.0 * self.ideal_s

    def is_repeated_for(self, contender: Contender) -> bool:
        """Whether it runs more than once."""
        return not (self.once is True or (self.once == "peers" and contender.is_peer))


@dataclass(frozen=True, slots=True)
class Sizes:
    """What differs between the quick mode and the full one.

    Attributes:
        races: Without an interruption.
        killed: The one that is killed half way.
        rerun: The one that is run again unchanged.
        replayed: Answers of the replayed recording.
        starts: How often each start is measured.
        whole: Whether everybody is killed and aigate's default suite is run; else aigate is killed alone.
    """

    races: tuple[Race, ...]
    killed: Race
    rerun: Race
    replayed: int
    starts: int
    whole: bool


FULL = Sizes(
    races=(
        Race("2000-32", "2,000 samples at concurrency 32, 100 ms", 2_000, 32, FIXED),
        Race("2000-128", "2,000 samples at concurrency 128, 100 ms", 2_000, 128, FIXED),
        Race("10000-128", "10,000 samples at concurrency 128, 100 ms", 10_000, 128, FIXED, once="peers"),
        Race(
            "lognormal",
            "2,000 samples at concurrency 32, lognormal latency (median 100 ms, sigma 0.5)",
            *(2_000, 32),
            Behaviour(median_s=0.1, sigma=0.5),
            once=True,
        ),
        Race(
            "faults-light",
            "5 % 429 and 1 % 500: 2,000 samples at concurrency 32, Retry-After 1 s",
            *(2_000, 32),
            Behaviour(0.1, 0.0, LIGHT, 1.0),
            once=True,
        ),
        Race(
            "faults-heavy",
            "20 % 429 and 5 % 500: 2,000 samples at concurrency 32, Retry-After 1 s",
            *(2_000, 32),
            Behaviour(0.1, 0.0, HEAVY, 1.0),
            once=True,
        ),
    ),
    killed=Race("killed", "kill -9 half way, then the same command: 2,000 samples at concurrency 32", 2_000, 32, FIXED),
    rerun=Race("rerun", "an unchanged re-run of 10,000 journaled samples", 10_000, 128, FIXED),
    replayed=1_000_000,
    starts=9,
    whole=True,
)
QUICK = Sizes(
    races=(
        Race("plain", "300 samples at concurrency 32, 20 ms", 300, 32, Behaviour(0.02)),
        Race(
            "faults-light",
            "5 % 429 and 1 % 500: 300 samples at concurrency 32, Retry-After 0.1 s",
            *(300, 32),
            Behaviour(0.02, 0.0, LIGHT, 0.1, TYPICAL_SEED),
        ),
        Race(
            "faults-heavy",
            "20 % 429 and 5 % 500: 300 samples at concurrency 32, Retry-After 0.1 s",
            *(300, 32),
            Behaviour(0.02, 0.0, HEAVY, 0.1, TYPICAL_SEED),
        ),
    ),
    killed=Race("killed", "kill -9 half way, then the same command: 600 samples at concurrency 16", 600, 16, FIXED),
    rerun=Race("rerun", "an unchanged re-run of 300 journaled samples", 300, 32, Behaviour(0.02)),
    replayed=5_000,
    starts=1,
    whole=False,
)
QUICK_CONTENDERS = (AIGATE, BARE_AIOHTTP, BARE_OPENAI)


@dataclass(frozen=True, slots=True)
class Setting:
    """Where everything runs.

    Attributes:
        endpoint: The running endpoint.
        scratch: An empty folder.
        peers: Where the other tools are installed.
        environ: The environment of every process.
    """

    endpoint: Running
    scratch: Path
    peers: Path
    environ: dict[str, str]


@dataclass(frozen=True, slots=True)
class Unit:
    """One thing to measure.

    Attributes:
        key: By which the checkpoint knows it.
        run: Measures it.
        of_peer: Whether another tool is measured: aigate's code has no part in it.
    """

    key: str
    run: Callable[[Setting], Row]
    of_peer: bool = False


def units(sizes: Sizes, contenders: tuple[Contender, ...], *, repeats: int) -> Iterator[Unit]:
    """All that is measured, in order; every second repeat in the opposite order of contenders."""
    for race in sizes.races:
        for repeat in range(repeats):
            for contender in contenders[:: -1 if repeat % 2 else 1]:
                if repeat == 0 or race.is_repeated_for(contender):
                    yield _raced(race, contender, repeat)
    for contender in contenders if sizes.whole else [c for c in contenders if c is AIGATE]:
        yield _unit(
            "killed", contender.key, partial(_killed, race=sizes.killed, contender=contender), of_peer=contender.is_peer
        )
    if AIGATE in contenders:
        yield _unit("rerun", AIGATE.key, lambda setting: _rerun(setting, sizes.rerun))
        yield _unit("replay", AIGATE.key, lambda setting: _replayed(setting, sizes.replayed))
    if AIGATE in contenders and sizes.whole:
        yield _unit("default-suite", AIGATE.key, lambda setting: _default_suite(setting, sizes.starts))
    yield _unit("starts", "all", lambda setting: _starts(setting, contenders, sizes.starts))


def warm_up(setting: Setting, contender: Contender) -> str | None:
    """Run 8 samples, so that byte-code and disk caches are warm; what is wrong with the contender, or None."""
    race = Race("warm-up", "", 8, 4, Behaviour(median_s=0.01))
    with _folder(setting, "warm-up") as folder:
        run, _, done = _run(setting, race, contender, folder)
    return None if done["finished"] == 8 and not done["wrong"] else f"exit code {run.code}\n{run.tail}"


def _raced(race: Race, contender: Contender, repeat: int) -> Unit:
    name = f"{contender.key} {repeat}"
    return _unit(race.key, name, lambda setting: _race(setting, race, contender), of_peer=contender.is_peer)


def _unit(kind: str, name: str, run: Callable[[Setting], Row], *, of_peer: bool = False) -> Unit:
    def row(setting: Setting) -> Row:
        busy = busy_share()
        return {"kind": kind, "busy": round(busy, 3), **run(setting)}

    return Unit(f"{kind}: {name}", row, of_peer)


def _race(setting: Setting, race: Race, contender: Contender) -> Row:
    with _folder(setting, race.key) as folder:
        run, stats, done = _run(setting, race, contender, folder)
    return {
        "contender": contender.key,
        "efficiency": race.ideal_s / run.wall_s,
        "span_efficiency": _span_efficiency(race, stats),
        "cpu_ms_per_sample": 1000.0 * run.cpu_s / race.size,
        "verdict_s": _verdict_s(run, stats),
        **_told(run),
        **done,
        **_kept(stats),
    }


def _killed(setting: Setting, race: Race, contender: Contender) -> Row:
    """Killed once half of the answers were sent; what arrives after that and had arrived before is asked twice."""

    def half_way() -> bool:
        return bool(setting.endpoint.stats()["answers"] >= race.size // 2)

    with _folder(setting, race.key) as folder:
        first, at_kill, _ = _run(setting, race, contender, folder, kill_when=half_way)
        second, stats, done = _run(setting, race, contender, folder, again=True)
    return {
        "contender": contender.key,
        "concurrency": race.concurrency,
        "answers_at_kill": at_kill["answers"],
        "was_killed": first.code == -9,
        "cut": at_kill["cut"],
        "asked_again": stats["asked_again"],
        **_told(second),
        **done,
    }


def _rerun(setting: Setting, race: Race) -> Row:
    with _folder(setting, race.key) as folder:
        _run(setting, race, AIGATE, folder)
        setting.endpoint.reset(race.behaviour)
        run, stats, done = _run(setting, race, AIGATE, folder, again=True)
    return {"contender": AIGATE.key, "size": race.size, **_told(run), **done, **_kept(stats)}


def _replayed(setting: Setting, size: int) -> Row:
    """A recording through the whole command: no network, everything else."""
    with _folder(setting, "replay") as folder:
        write_samples(folder / "suite" / "samples.jsonl", size)
        (folder / "suite" / "suite.toml").write_text(SUITE, encoding="utf-8")
        write_recording(folder / "recorded.jsonl", size)
        command = [sys.executable, "-m", "aigate", "eval", "--suite", "suite", "--recorded", "recorded.jsonl"]
        run = measured([*command, "--out", "run.jsonl"], folder=folder, environ=setting.environ, limit_s=600)
        done = asdict(checked(AIGATE.results(folder), size))
    return {"contender": AIGATE.key, "size": size, "samples_per_s": size / run.wall_s, **_told(run), **done}


def _default_suite(setting: Setting, times: int) -> Row:
    """`aigate eval` in a copy of this repository's suite, start to verdict, as after the first time."""
    with _folder(setting, "default-suite") as folder:
        shutil.copyfile(REPOSITORY / "pyproject.toml", folder / "pyproject.toml")
        shutil.copytree(REPOSITORY / "goldens", folder / "goldens")
        command = [sys.executable, "-m", "aigate", "eval", "--out", "run.jsonl"]
        runs = [measured(command, folder=folder, environ=setting.environ, limit_s=120) for _ in range(times + 1)]
    return {"contender": AIGATE.key, "walls_s": [run.wall_s for run in runs[1:]], **_told(runs[-1])}


def _starts(setting: Setting, contenders: tuple[Contender, ...], times: int) -> Row:
    """The shortest command of each, beside a bare interpreter that imports argparse; in turns."""
    commands = {BARE: [sys.executable, "-c", BARE_START]}
    commands |= {c.key: [setting.peers / c.starts[0], *c.starts[1:]] for c in contenders if c.starts}
    walls: dict[str, list[float]] = {key: [] for key in commands}
    with _folder(setting, "starts") as folder:
        for turn in range(times + 1):
            for key, command in commands.items():
                run = measured(command, folder=folder, environ=setting.environ, limit_s=120)
                if run.code:
                    raise RuntimeError(f"{command} ended with {run.code}:\n{run.tail}")
                walls[key] += [run.wall_s] if turn else []  # the first turn fills the disk cache
    return {"walls_s": walls}


def _run(
    setting: Setting,
    race: Race,
    contender: Contender,
    folder: Path,
    *,
    kill_when: Callable[[], bool] | None = None,
    again: bool = False,
) -> tuple[Measured, Row, Row]:
    """One contender on one job: what it took, what the endpoint saw, what its results are worth.

    Args:
        setting: Where.
        race: The job.
        contender: Who.
        folder: Where it writes.
        kill_when: As for `measured`.
        again: Whether this goes on in the folder, with the endpoint's counts, of the run before.
    """
    samples = setting.scratch / f"samples-{race.size}.jsonl"
    if not samples.exists():
        write_samples(samples, race.size)
    if not again:
        setting.endpoint.reset(race.behaviour)
    job = Job(folder, samples, race.size, race.concurrency, setting.endpoint.base_url)
    command = contender.command(job, setting.peers)
    environ = {**setting.environ, "CONTEST_SAMPLES": "samples.jsonl"}
    run = measured(command, folder=folder, environ=environ, limit_s=race.limit_s, kill_when=kill_when)
    stats = setting.endpoint.stats()
    return run, stats, asdict(checked(contender.results(folder), race.size))


class _folder:  # noqa: N801 - used as a function is
    """A fresh folder for one unit, gone afterwards: a million samples are not left lying about."""

    def __init__(self, setting: Setting, name: str) -> None:
        self._path = setting.scratch / "runs" / name

    def __enter__(self) -> Path:
        shutil.rmtree(self._path, ignore_errors=True)
        self._path.mkdir(parents=True)
        return self._path

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self._path, ignore_errors=True)


def _told(run: Measured) -> Row:
    told = {"wall_s": run.wall_s, "cpu_s": run.cpu_s, "peak_mb": run.peak_mb, "code": run.code}
    return {**told, "timed_out": run.timed_out}


def _kept(stats: Row) -> Row:
    names = ("requests", "answered_again", "peak_in_flight", "statuses")
    return {name: stats[name] for name in names}


def _verdict_s(run: Measured, stats: Row) -> float | None:
    """Seconds from the last answer to the first line of the verdict; None where there is no verdict."""
    said = [at for at, text in run.lines if VERDICT.match(text)]
    last = stats["last_answer_at"]
    return said[0] - last if said and last is not None else None


def _span_efficiency(race: Race, stats: Row) -> float | None:
    """Efficiency from the first request to the last answer: without start and end of the process."""
    if stats["last_answer_at"] is None or stats["last_answer_at"] <= stats["first_request_at"]:
        return None
    return race.ideal_s / (stats["last_answer_at"] - stats["first_request_at"])


def chosen(names: str, *, quick: bool) -> tuple[Contender, ...]:
    """The contenders whose keys are listed, separated by commas; empty: all of the mode.

    Raises:
        ValueError: A key is unknown.
    """
    known = {contender.key: contender for contender in CONTENDERS}
    wanted = [name.strip() for name in names.split(",") if name.strip()]
    if unknown := [name for name in wanted if name not in known]:
        raise ValueError(f"no contender {unknown[0]!r}; there are {', '.join(known)}")
    return tuple(known[name] for name in wanted) or (QUICK_CONTENDERS if quick else CONTENDERS)
