"""How fast, how thrifty and how safe the runner is; beside it a bare loop, and other tools on the same endpoint.

    python benchmarks/runner.py --install   the other tools, each in an environment of its own below --peers-dir
    python benchmarks/runner.py --quick     under a minute: aigate and bare loops, small counts, no timing judged;
                                            exit code 1 when a sample is lost or wrong, or anything is paid for twice
    python benchmarks/runner.py --full      an hour; writes results/runner.md and .json; exit code 1 when a target is
                                            missed. A tool that is not installed is named in the table

The endpoint is a process on loopback (`contest/server.py`), the runners stand in `contest/entries.py`, what is measured
in `contest/scenarios.py`, the targets in `contest/targets.py`. An interrupted full run goes on where it stopped, as
long as the code is the same: for rows of other tools that of the contest, for all others aigate's too. Measure on an
idle machine: how busy it was is written beside the figures.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from contest import endpoint, report, scenarios
from contest.entries import CONTENDERS, Contender, install, installed
from contest.processes import clean_environ

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results"
SOURCES = (HERE / "contest", HERE.parent / "src" / "aigate")
PEERS = Path(tempfile.gettempdir()) / "aigate-peers"


def main(arguments: list[str] | None = None) -> int:
    """Install, or run, write and print; 0 when no target is missed."""
    options = _options(arguments)
    if options.mode == "install":
        return _install(options)
    started_s, machine = time.monotonic(), report.machine()  # the load before we make our own
    sizes = scenarios.QUICK if options.mode == "quick" else scenarios.FULL
    with (
        tempfile.TemporaryDirectory(prefix="aigate-runner-", dir=options.scratch) as scratch,
        endpoint.running() as server,
    ):
        where = Path(scratch)
        setting = scenarios.Setting(server, where, options.peers_dir.absolute(), clean_environ(where, os.environ))
        ready, versions = _ready(setting, options.contenders)
        rows = _rows(setting, scenarios.units(sizes, ready, repeats=options.repeats), options)
    document: dict[str, Any] = {
        "mode": options.mode,
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "machine": machine,
        "repeats": options.repeats,
        "versions": versions,
        "minutes": (time.monotonic() - started_s) / 60.0,
        "rows": rows,
    }
    return _written(document, sizes, options)


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    mode = parser.add_mutually_exclusive_group(required=True)
    for name, told in (("quick", "small counts, for CI"), ("full", "the committed table"), ("install", "other tools")):
        mode.add_argument(f"--{name}", dest="mode", action="store_const", const=name, help=told)
    parser.add_argument("--repeats", type=int, help="default: 1 with --quick, 3 with --full; medians are told")
    parser.add_argument("--contenders", default="", metavar="KEY,...", help="only these; default: all of the mode")
    parser.add_argument(
        "--only", default="", metavar="TEXT", help="only units whose 'kind: name' contains this; printed, not written"
    )
    parser.add_argument("--peers-dir", type=Path, default=PEERS, metavar="FOLDER", help="default: %(default)s")
    parser.add_argument("--scratch", type=Path, metavar="FOLDER", help="1 GB free; default: the system's")
    parser.add_argument("--out", type=Path, default=RESULTS, metavar="FOLDER", help="of the result (full mode)")
    options = parser.parse_args(arguments)
    if options.repeats is None:
        options.repeats = 3 if options.mode == "full" else 1
    if options.repeats < 1:
        parser.error(f"--repeats {options.repeats}: expected at least 1")
    try:
        options.contenders = scenarios.chosen(options.contenders, quick=options.mode == "quick")
    except ValueError as error:
        parser.error(f"--contenders: {error}")
    return options


def _install(options: argparse.Namespace) -> int:
    failures = 0
    for contender in CONTENDERS:
        if contender.requires and contender in options.contenders:
            there = installed(contender, options.peers_dir)
            failure = None if there else install(contender, options.peers_dir)
            there = there or installed(contender, options.peers_dir)
            print(f"{contender.title}: {there if there else f'NOT INSTALLED: {failure}'}", flush=True)
            failures += there is None
    return 1 if failures else 0


def _ready(
    setting: scenarios.Setting, contenders: tuple[Contender, ...]
) -> tuple[tuple[Contender, ...], dict[str, str]]:
    """Those that run, and of each its versions, or why it does not."""
    ready, versions = [], {}
    for contender in contenders:
        found = installed(contender, setting.peers)
        broken = None if found is None else scenarios.warm_up(setting, contender)
        if found is None:
            versions[contender.key] = "**not installed** (`--install`): no rows"
        elif broken:
            versions[contender.key] = "**does not run**: no rows"
            print(f"{contender.title} does not run:\n{broken}", file=sys.stderr)
        else:
            versions[contender.key] = ", ".join(f"{name} {number}" for name, number in found.items())
            ready.append(contender)
        print(f"{contender.title}: {versions[contender.key]}", file=sys.stderr)
    return tuple(ready), versions


def _rows(setting: scenarios.Setting, units: Any, options: argparse.Namespace) -> list[dict[str, Any]]:
    """A row for every unit; those that an interrupted full run of the same code left are taken as they are."""
    checkpoint = options.out / "runner.partial.jsonl" if options.mode == "full" else None
    codes = {of_peer: _code_digest(SOURCES[:1] if of_peer else SOURCES) for of_peer in (False, True)}
    done = _kept(checkpoint, set(codes.values()))
    rows = []
    for unit in [unit for unit in units if options.only in unit.key]:
        code = codes[unit.of_peer]
        if (row := done.get((code, unit.key))) is None:
            started_s = time.monotonic()
            row = unit.run(setting)
            print(f"{time.monotonic() - started_s:7.1f} s  {unit.key}", file=sys.stderr)
            _keep(checkpoint, {"code": code, "key": unit.key, "row": row})
        rows.append(row)
    return rows


def _code_digest(folders: Iterable[Path]) -> str:
    digest = hashlib.sha256()
    for path in sorted(path for folder in folders for path in folder.rglob("*.py")):
        digest.update(str(path.relative_to(HERE.parent)).encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


def _kept(checkpoint: Path | None, codes: set[str]) -> dict[tuple[str, str], dict[str, Any]]:
    if checkpoint is None or not checkpoint.exists():
        return {}
    found = {}
    for line in checkpoint.read_text(encoding="utf-8").splitlines():
        try:
            entry = json.loads(line)
        except json.JSONDecodeError:  # the line that was being written when the run was interrupted
            continue
        if entry["code"] in codes:
            found[entry["code"], entry["key"]] = entry["row"]
    return found


def _keep(checkpoint: Path | None, entry: dict[str, Any]) -> None:
    if checkpoint is not None:
        checkpoint.parent.mkdir(parents=True, exist_ok=True)
        with checkpoint.open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")


def _written(document: dict[str, Any], sizes: scenarios.Sizes, options: argparse.Namespace) -> int:
    page = report.markdown(document, sizes)
    whole = not options.only and options.contenders == CONTENDERS  # a part must not take the place of the whole table
    if document["mode"] == "full" and whole:
        options.out.mkdir(parents=True, exist_ok=True)
        (options.out / "runner.md").write_text(page, encoding="utf-8")
        (options.out / "runner.json").write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
        (options.out / "runner.partial.jsonl").unlink(missing_ok=True)
    print(page)
    good = report.nothing_missed(document)
    print(f"{document['minutes']:.1f} minutes; {'no target missed' if good else 'TARGETS MISSED'}", file=sys.stderr)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
